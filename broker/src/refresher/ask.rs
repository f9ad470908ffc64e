//! One request to a token endpoint, and what is known of the provider when there is no token.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use url::Url;

use super::{Inner, ResolveError, ResolveTemplate};
use crate::model::ProviderClient;
use crate::oauth::{self, Answer, Client, Grant, NoAnswer, Token, TokenEndpoint, TokenEndpointError, TokenRequest};
use crate::secret::Secret;

/// What a request came to.
pub(super) struct Asked {
    /// The provider's answer.
    pub(super) result: Result<Token, TokenEndpointError>,
    /// Whether it may have used the refresh token up.
    pub(super) may_have_acted: bool,
    /// How long it took.
    pub(super) took: Duration,
    /// When its last byte was there.
    pub(super) answered_at: Instant,
}

/// A client as registered, with its secrets resolved: a secret that is missing asks no provider.
pub struct Registered {
    id: Secret,
    secret: Option<Secret>,
}

impl Registered {
    /// Opens them.
    pub async fn resolve(secrets: &dyn ResolveTemplate, client: &ProviderClient) -> Result<Self, ResolveError> {
        let id = secrets.resolve(&client.client_id).await?.value;
        let secret = match &client.client_secret {
            Some(template) => Some(secrets.resolve(template).await?.value),
            None => None,
        };
        Ok(Self { id, secret })
    }

    /// As which to ask `client`'s provider.
    pub fn client<'a>(&'a self, client: &ProviderClient) -> Client<'a> {
        Client { id: &self.id, secret: self.secret.as_ref(), authentication: client.client_authentication }
    }
}

impl Inner {
    /// Asks once for the successor of `refresh_token`.
    pub(super) async fn ask(&self, client: &ProviderClient, registered: &Registered, refresh_token: &Secret) -> Asked {
        let request = TokenRequest {
            token_url: &client.token_url,
            client: registered.client(client),
            grant: Grant::RefreshToken { refresh_token, scopes: &[] },
            resource: client.resource.as_deref(),
            additional_params: &client.additional_params,
            profile: client.profile,
        };
        metrics::counter!("sallyport_token_requests_total").increment(1);
        let started = Instant::now();
        let wire = Wire { endpoint: Arc::clone(&self.endpoint), seen: Mutex::new(Seen::Nothing) };
        let result = oauth::request_token(&wire, &request, self.limits.provider).await;
        let answered_at = Instant::now();
        let took = answered_at.duration_since(started);
        metrics::histogram!("sallyport_token_endpoint_seconds", "profile" => client.profile.name)
            .record(took.as_secs_f64());
        let may_have_acted = wire.seen.into_inner().unwrap_or_else(PoisonError::into_inner).may_have_acted(&result);
        Asked { result, may_have_acted, took, answered_at }
    }
}

/// What was seen of an exchange.
#[derive(Clone, Copy)]
enum Seen {
    /// It was sent, or may have been, and no whole answer came.
    Nothing,
    /// There was no connection to send it on.
    NoConnection,
    /// A whole answer, of this status.
    Status(u16),
}

impl Seen {
    fn may_have_acted(self, result: &Result<Token, TokenEndpointError>) -> bool {
        match (self, result) {
            (_, Ok(_)) | (Self::Nothing, Err(_)) => true,
            (Self::NoConnection, Err(_)) => false,
            // A success whose words nobody understands.
            (Self::Status(200..300), Err(TokenEndpointError::Malformed(_))) => true,
            (Self::Status(_), Err(_)) => false,
        }
    }
}

/// Looks on while a form is posted.
struct Wire {
    endpoint: Arc<dyn TokenEndpoint>,
    seen: Mutex<Seen>,
}

#[async_trait]
impl TokenEndpoint for Wire {
    async fn post_form(
        &self,
        url: &Url,
        headers: Vec<(&'static str, Secret)>,
        form: Secret,
        max_answer: usize,
        deadline: Duration,
    ) -> Result<Answer, NoAnswer> {
        let answer = self.endpoint.post_form(url, headers, form, max_answer, deadline).await;
        let seen = match &answer {
            Ok(answer) => Seen::Status(answer.status),
            Err(NoAnswer::NotSent(_)) => Seen::NoConnection,
            Err(NoAnswer::Failed(_) | NoAnswer::TooLarge) => Seen::Nothing,
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        answer
    }
}
