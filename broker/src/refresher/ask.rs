//! One request to a token endpoint, and as whom.

use std::time::{Duration, Instant};

use super::{Inner, ResolveError, ResolveTemplate};
use crate::model::{ClientAuthentication, ClientCredentials, ProviderClient, Template};
use crate::oauth::{self, Client, Given, Grant, TokenEndpointError, TokenRequest};
use crate::secret::Secret;

/// What a request came to.
pub(super) struct Asked {
    /// The provider's answer.
    pub(super) result: Result<Given, TokenEndpointError>,
    /// How long it took, and when its last byte was there.
    pub(super) took: Took,
}

/// The time of one request.
#[derive(Clone, Copy)]
pub(super) struct Took {
    pub(super) time: Duration,
    pub(super) answered_at: Instant,
}

/// A client as registered, with its secrets resolved: a secret that is missing asks no provider.
pub struct Registered {
    id: Secret,
    secret: Option<Secret>,
    authentication: ClientAuthentication,
}

impl Registered {
    /// Opens those of people's provider.
    pub async fn resolve(secrets: &dyn ResolveTemplate, client: &ProviderClient) -> Result<Self, ResolveError> {
        let ProviderClient { client_id, client_secret, client_authentication, .. } = client;
        Self::of(secrets, client_id, client_secret.as_ref(), *client_authentication).await
    }

    /// Opens those of client credentials.
    pub(super) async fn of_service(
        secrets: &dyn ResolveTemplate,
        client: &ClientCredentials,
    ) -> Result<Self, ResolveError> {
        let ClientCredentials { client_id, client_secret, client_authentication, .. } = client;
        Self::of(secrets, client_id, Some(client_secret), *client_authentication).await
    }

    async fn of(
        secrets: &dyn ResolveTemplate,
        id: &Template,
        secret: Option<&Template>,
        authentication: ClientAuthentication,
    ) -> Result<Self, ResolveError> {
        let id = secrets.resolve(id).await?.value;
        let secret = match secret {
            Some(template) => Some(secrets.resolve(template).await?.value),
            None => None,
        };
        Ok(Self { id, secret, authentication })
    }

    /// As which to ask.
    pub fn client(&self) -> Client<'_> {
        Client { id: &self.id, secret: self.secret.as_ref(), authentication: self.authentication }
    }
}

impl Inner {
    /// Asks once, for no longer than `limit`, for the successor of `refresh_token`.
    pub(super) async fn ask(
        &self,
        client: &ProviderClient,
        registered: &Registered,
        refresh_token: &Secret,
        limit: Duration,
    ) -> Asked {
        let request = TokenRequest {
            token_url: &client.token_url,
            client: registered.client(),
            grant: Grant::RefreshToken { refresh_token, scopes: &[] },
            resource: client.resource.as_deref(),
            additional_params: &client.additional_params,
            profile: client.profile,
        };
        metrics::counter!("sallyport_token_requests_total").increment(1);
        let started = Instant::now();
        let result = oauth::request_token(&*self.endpoint, &request, limit).await;
        let answered_at = Instant::now();
        let time = answered_at.duration_since(started);
        metrics::histogram!("sallyport_token_endpoint_seconds", "profile" => client.profile.name)
            .record(time.as_secs_f64());
        Asked { result, took: Took { time, answered_at } }
    }
}
