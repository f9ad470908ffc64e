//! The client-credentials grant (RFC 6749 §4.4) at one token endpoint.

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use url::Url;
use url::form_urlencoded::Serializer;
use zeroize::Zeroizing;

use super::token_response::{self, Malformed, Token, TokenEndpointError};
use crate::fetch::{self, FetchError, Fetcher};
use crate::model::ClientAuthentication;
use crate::secret::Secret;

/// Largest answer read.
const MAX_ANSWER: usize = 64 * 1024;

/// Parameters that the grant sets itself: never taken from `additional_token_params`, where they would replace the
/// client, the grant or what the token is for.
pub const RESERVED_PARAMS: [&str; 12] = [
    "assertion",
    "client_assertion",
    "client_assertion_type",
    "client_id",
    "client_secret",
    "code",
    "grant_type",
    "password",
    "redirect_uri",
    "refresh_token",
    "resource",
    "scope",
];

/// One request for a token, with its secrets opened.
pub struct ClientCredentialsRequest<'a> {
    /// Token endpoint.
    pub token_url: &'a Url,
    /// As registered.
    pub client_id: &'a Secret,
    /// As registered.
    pub client_secret: &'a Secret,
    /// Where client id and secret go.
    pub authentication: ClientAuthentication,
    /// Asked for; none asks for the client's default.
    pub scopes: &'a [String],
    /// RFC 8707.
    pub resource: Option<&'a str>,
    /// Further parameters, other than [`RESERVED_PARAMS`].
    pub additional_params: &'a [(String, String)],
}

/// What a token endpoint answered, unread.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`, if there was one.
    pub content_type: Option<String>,
    /// `Retry-After`, if there was one.
    pub retry_after: Option<Duration>,
    /// As it came.
    pub body: Secret,
}

/// Why there was no answer to read.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// It was larger than what would be read.
    #[error("the answer is too large")]
    TooLarge,
    /// Network, TLS, deadline, or an address that may not be reached.
    #[error("no answer")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// How a form reaches a token endpoint: follows no redirects, keeps to the deadline, reads at most `max_answer` bytes.
#[async_trait]
pub trait TokenEndpoint: Send + Sync + 'static {
    /// Posts a form once.
    async fn post_form(
        &self,
        url: &Url,
        headers: Vec<(&'static str, Secret)>,
        form: Secret,
        max_answer: usize,
        deadline: Duration,
    ) -> Result<Answer, NoAnswer>;
}

#[async_trait]
impl TokenEndpoint for Fetcher {
    async fn post_form(
        &self,
        url: &Url,
        headers: Vec<(&'static str, Secret)>,
        form: Secret,
        max_answer: usize,
        deadline: Duration,
    ) -> Result<Answer, NoAnswer> {
        let mut map = HeaderMap::new();
        map.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        for (name, value) in headers {
            // Exposed to be sent to the provider it is for; marked, so that no log of the client shows it.
            let mut value = HeaderValue::from_bytes(value.expose()).map_err(|error| NoAnswer::Failed(error.into()))?;
            value.set_sensitive(true);
            map.insert(name, value);
        }
        let request = fetch::Request {
            method: Method::POST,
            url: url.clone(),
            headers: map,
            body: Some(form),
            timeout: deadline,
        };
        let answer = match self.send(request).await {
            Ok(answer) => answer,
            Err(FetchError::TooLarge) => return Err(NoAnswer::TooLarge),
            Err(error) => return Err(NoAnswer::Failed(error.into())),
        };
        if answer.body.expose().len() > max_answer {
            return Err(NoAnswer::TooLarge);
        }
        let text = |name| answer.headers.get(name).and_then(|value| value.to_str().ok());
        Ok(Answer {
            status: answer.status.as_u16(),
            content_type: text(CONTENT_TYPE).map(str::to_owned),
            // In seconds (RFC 9110 §10.2.3); a date is not believed, since clocks differ.
            retry_after: text(RETRY_AFTER).and_then(|value| value.trim().parse().ok()).map(Duration::from_secs),
            body: answer.body,
        })
    }
}

/// Asks once. Errors hold nothing of the answer.
pub async fn client_credentials(
    endpoint: &dyn TokenEndpoint,
    request: &ClientCredentialsRequest<'_>,
    deadline: Duration,
) -> Result<Token, TokenEndpointError> {
    let answer = endpoint.post_form(request.token_url, request.headers(), request.body(), MAX_ANSWER, deadline).await;
    match answer {
        Ok(answer) => {
            token_response::read(answer.status, answer.content_type.as_deref(), answer.retry_after, &answer.body)
        }
        Err(NoAnswer::TooLarge) => Err(TokenEndpointError::Malformed(Malformed::TooLarge)),
        Err(NoAnswer::Failed(error)) => {
            tracing::warn!(host = request.token_url.host_str(), %error, "the token endpoint gives no answer");
            Err(TokenEndpointError::Transient { retry_after: None })
        }
    }
}

impl ClientCredentialsRequest<'_> {
    /// The form, in a buffer that is not moved while it grows and zeroized when it is sent.
    fn body(&self) -> Secret {
        let mut form = Serializer::new(String::with_capacity(16 * 1024));
        form.append_pair("grant_type", "client_credentials");
        if !self.scopes.is_empty() {
            form.append_pair("scope", &self.scopes.join(" "));
        }
        if let Some(resource) = self.resource {
            form.append_pair("resource", resource);
        }
        if self.authentication == ClientAuthentication::Post {
            // The two are sent to the provider they are registered with, and nowhere else.
            form.append_pair("client_id", &String::from_utf8_lossy(self.client_id.expose()));
            form.append_pair("client_secret", &String::from_utf8_lossy(self.client_secret.expose()));
        }
        for (name, value) in self.additional_params {
            if !RESERVED_PARAMS.contains(&name.as_str()) {
                form.append_pair(name, value);
            }
        }
        Secret::new(form.finish())
    }

    fn headers(&self) -> Vec<(&'static str, Secret)> {
        let mut headers = vec![("accept", Secret::new("application/json"))];
        if self.authentication == ClientAuthentication::Basic {
            headers.push(("authorization", basic(self.client_id, self.client_secret)));
        }
        headers
    }
}

/// RFC 6749 §2.3.1: both halves are form-encoded before they are joined, so that a `:` in the id is not the separator.
fn basic(client_id: &Secret, client_secret: &Secret) -> Secret {
    let mut pair =
        Zeroizing::new(String::with_capacity(4 * (client_id.expose().len() + client_secret.expose().len()) + 1));
    // Sent to the provider they are registered with.
    pair.extend(url::form_urlencoded::byte_serialize(client_id.expose()));
    pair.push(':');
    pair.extend(url::form_urlencoded::byte_serialize(client_secret.expose()));
    let mut value = String::with_capacity("Basic ".len() + pair.len() * 4 / 3 + 4);
    value.push_str("Basic ");
    STANDARD.encode_string(pair.as_bytes(), &mut value);
    Secret::new(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(secret: &Secret) -> &str {
        secret.expose_str().expect("text")
    }

    #[test]
    fn encodes_both_halves_before_joining_them() {
        let value = basic(&Secret::new("id:1"), &Secret::new("p w+/%"));
        let decoded = STANDARD.decode(text(&value).strip_prefix("Basic ").expect("basic")).expect("base64");
        assert_eq!(String::from_utf8(decoded).expect("text"), "id%3A1:p+w%2B%2F%25");
    }

    fn form(authentication: ClientAuthentication, params: &[(String, String)]) -> (String, Vec<&'static str>) {
        let url: Url = "https://login.example.com/token".parse().expect("a URL");
        let request = ClientCredentialsRequest {
            token_url: &url,
            client_id: &Secret::new("gate&1"),
            client_secret: &Secret::new("canary=+"),
            authentication,
            scopes: &["read".to_owned(), "write".to_owned()],
            resource: Some("https://mcp.example.com/a b"),
            additional_params: params,
        };
        (text(&request.body()).to_owned(), request.headers().iter().map(|(name, _)| *name).collect())
    }

    #[test]
    fn basic_keeps_the_secret_out_of_the_body() {
        let (body, headers) = form(ClientAuthentication::Basic, &[]);
        assert_eq!(body, "grant_type=client_credentials&scope=read+write&resource=https%3A%2F%2Fmcp.example.com%2Fa+b");
        assert_eq!(headers, ["accept", "authorization"]);
    }

    #[test]
    fn post_keeps_the_secret_out_of_the_headers() {
        let (body, headers) = form(ClientAuthentication::Post, &[]);
        assert!(body.ends_with("&client_id=gate%261&client_secret=canary%3D%2B"));
        assert_eq!(headers, ["accept"]);
    }

    #[test]
    fn no_further_parameter_replaces_what_the_grant_sets() {
        let params = ["audience", "scope", "grant_type", "client_id"].map(|name| (name.to_owned(), "x".to_owned()));
        let (body, _) = form(ClientAuthentication::Post, &params);
        assert!(body.ends_with("&audience=x"));
        assert_eq!(body.matches("grant_type=").count(), 1);
        assert_eq!(body.matches("scope=").count(), 1);
        assert_eq!(body.matches("client_id=").count(), 1);
    }
}
