//! The login issuer, as this gateway is its client.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use url::Url;

use super::{Oidc, Refused};
use crate::clock::{Clock, UnixTime};
use crate::fetch::Fetcher;
use crate::issuers::{LoginEndpoints, TTL};
use crate::model::ClientAuthentication;
use crate::oauth::profile::GENERIC;
use crate::oauth::{Client, Grant, Token, TokenRequest, Verifier, request_token};
use crate::secret::Secret;

/// How long its token endpoint may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// A client of a login issuer, and where that issuer is reached.
pub(super) struct Provider {
    pub(super) oidc: Oidc,
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
    known: Mutex<Option<(UnixTime, Arc<LoginEndpoints>)>>,
}

impl Provider {
    pub(super) fn new(oidc: Oidc, fetcher: Fetcher, clock: Arc<dyn Clock>) -> Self {
        Self { oidc, fetcher, clock, known: Mutex::default() }
    }

    /// What people know it by.
    pub(super) fn host(&self) -> &str {
        let rest = self.oidc.issuer.split_once("://").map_or(self.oidc.issuer.as_str(), |(_, rest)| rest);
        rest.split('/').next().unwrap_or(rest)
    }

    /// Its endpoints, as it published them within ten minutes; asked for once, however many sign in.
    pub(super) async fn endpoints(&self) -> Result<Arc<LoginEndpoints>, Refused> {
        let mut known = self.known.lock().await;
        let now = self.clock.now();
        if let Some((at, endpoints)) = &*known
            && now.since(*at) < TTL
        {
            return Ok(Arc::clone(endpoints));
        }
        let found = LoginEndpoints::discover(&self.oidc.issuer, self.oidc.assume_pkce, &self.fetcher).await;
        let found = Arc::new(found.map_err(|error| Refused::Discovery(Arc::new(error)))?);
        *known = Some((now, Arc::clone(&found)));
        Ok(found)
    }

    /// Exchanges a code.
    pub(super) async fn tokens(
        &self,
        endpoints: &LoginEndpoints,
        code: &Secret,
        verifier: &Verifier,
        redirect_uri: &Url,
    ) -> Result<Token, Refused> {
        let authentication = match (&self.oidc.client_secret, endpoints.takes_basic) {
            (None, _) => ClientAuthentication::None,
            (Some(_), true) => ClientAuthentication::Basic,
            (Some(_), false) => ClientAuthentication::Post,
        };
        let request = TokenRequest {
            token_url: &endpoints.token,
            client: Client { id: &self.oidc.client_id, secret: self.oidc.client_secret.as_ref(), authentication },
            grant: Grant::AuthorizationCode { code, verifier, redirect_uri },
            resource: None,
            additional_params: &[],
            profile: &GENERIC,
        };
        Ok(request_token(&self.fetcher, &request, DEADLINE).await?.token()?)
    }
}
