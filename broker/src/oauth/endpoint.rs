//! How a request reaches a provider's endpoint, and as which client.

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use url::Url;
use url::form_urlencoded::Serializer;
use zeroize::Zeroizing;

use crate::fetch::{self, FetchError, Fetcher};
use crate::model::ClientAuthentication;
use crate::secret::Secret;

/// Largest answer read.
pub(super) const MAX_ANSWER: usize = 64 * 1024;

/// What an endpoint answered, unread.
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
    /// There was no connection to send the request on: nobody has acted on it.
    #[error("no connection")]
    NotSent(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The network or the deadline came between: it may have been acted on.
    #[error("no answer")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// One request to an endpoint of a provider.
pub struct Request<'a> {
    /// HTTP method.
    pub method: Method,
    /// Where to.
    pub url: &'a Url,
    /// Besides what the body is.
    pub headers: Vec<(&'static str, Secret)>,
    /// What is sent, if anything is.
    pub body: Option<Body>,
}

/// What a request carries.
pub enum Body {
    /// As most endpoints want it.
    Form(Secret),
    /// As APIs want it.
    Json(Secret),
}

/// How a request reaches a provider: follows no redirects, keeps to the deadline, reads at most `max_answer` bytes.
#[async_trait]
pub trait TokenEndpoint: Send + Sync + 'static {
    /// Asks once.
    async fn ask(&self, request: Request<'_>, max_answer: usize, deadline: Duration) -> Result<Answer, NoAnswer>;

    /// Posts a form once.
    async fn post_form(
        &self,
        url: &Url,
        headers: Vec<(&'static str, Secret)>,
        form: Secret,
        max_answer: usize,
        deadline: Duration,
    ) -> Result<Answer, NoAnswer> {
        let request = Request { method: Method::POST, url, headers, body: Some(Body::Form(form)) };
        self.ask(request, max_answer, deadline).await
    }
}

#[async_trait]
impl TokenEndpoint for Fetcher {
    async fn ask(&self, request: Request<'_>, max_answer: usize, deadline: Duration) -> Result<Answer, NoAnswer> {
        let Request { method, url, headers, body } = request;
        let mut map = HeaderMap::new();
        let body = body.map(|body| {
            let (kind, body) = match body {
                Body::Form(form) => ("application/x-www-form-urlencoded", form),
                Body::Json(json) => ("application/json", json),
            };
            map.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            body
        });
        for (name, value) in headers {
            // Exposed to be sent to the provider it is for; marked, so that no log of the client shows it.
            let mut value = HeaderValue::from_bytes(value.expose()).map_err(|error| NoAnswer::Failed(error.into()))?;
            value.set_sensitive(true);
            map.insert(name, value);
        }
        let request = fetch::Request { method, url: url.clone(), headers: map, body, timeout: deadline };
        let answer = match self.send(request).await {
            Ok(answer) => answer,
            Err(FetchError::TooLarge) => return Err(NoAnswer::TooLarge),
            Err(
                error
                @ (FetchError::Scheme | FetchError::Credentials | FetchError::Address | FetchError::Connection(_)),
            ) => return Err(NoAnswer::NotSent(error.into())),
            Err(error @ (FetchError::Timeout | FetchError::Exchange(_))) => return Err(NoAnswer::Failed(error.into())),
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

/// A client as it is registered at a provider, with its secrets opened.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// As registered.
    pub id: &'a Secret,
    /// As registered; none for a public client.
    pub secret: Option<&'a Secret>,
    /// Where the two go.
    pub authentication: ClientAuthentication,
}

impl Client<'_> {
    /// Signs a request: as a header, or in the form.
    pub(super) fn sign(&self, headers: &mut Vec<(&'static str, Secret)>, form: &mut Form) {
        match (self.authentication, self.secret) {
            (ClientAuthentication::Basic, Some(secret)) => headers.push(("authorization", basic(self.id, secret))),
            (ClientAuthentication::Post, Some(secret)) => {
                form.append_secret("client_id", self.id);
                form.append_secret("client_secret", secret);
            }
            // RFC 6749 §3.2.1: who does not authenticate says at least who it is.
            (ClientAuthentication::None, _) | (ClientAuthentication::Basic | ClientAuthentication::Post, None) => {
                form.append_secret("client_id", self.id);
            }
        }
    }
}

/// A header that shows a token to whoever gave it, or whom it is for.
pub(super) fn bearer(token: &Secret) -> (&'static str, Secret) {
    let token = token.expose();
    let mut value = Vec::with_capacity("Bearer ".len() + token.len());
    value.extend_from_slice(b"Bearer ");
    value.extend_from_slice(token);
    ("authorization", Secret::new(value))
}

/// RFC 6749 §2.3.1: both halves are form-encoded before they are joined, so that a `:` in the id is not the separator.
pub(super) fn basic(client_id: &Secret, client_secret: &Secret) -> Secret {
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

/// A form, in a buffer that is not moved while it grows and is zeroized when it is sent.
pub(super) struct Form(Serializer<'static, String>);

impl Form {
    /// Room for `secrets` in any encoding, and for what else a form holds.
    pub(super) fn with_room_for(secrets: &[&Secret]) -> Self {
        // Only their lengths; an encoded byte takes three.
        let secrets: usize = secrets.iter().map(|secret| 3 * secret.expose().len()).sum();
        Self(Serializer::new(String::with_capacity(16 * 1024 + secrets)))
    }

    pub(super) fn append(&mut self, name: &str, value: &str) {
        self.0.append_pair(name, value);
    }

    pub(super) fn append_secret(&mut self, name: &str, value: &Secret) {
        // Sent to the provider it is for, and nowhere else. What is no UTF-8 is a secret that the provider never gave.
        self.0.append_pair(name, value.expose_str().unwrap_or_default());
    }

    pub(super) fn finish(mut self) -> Secret {
        Secret::new(self.0.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_both_halves_before_joining_them() {
        let value = basic(&Secret::new("id:1"), &Secret::new("p w+/%"));
        let encoded = value.expose_str().and_then(|value| value.strip_prefix("Basic ")).expect("basic");
        let decoded = STANDARD.decode(encoded).expect("base64");
        assert_eq!(String::from_utf8(decoded).expect("text"), "id%3A1:p+w%2B%2F%25");
    }

    #[test]
    fn a_form_never_moves_its_secrets() {
        let long = Secret::new("é".repeat(20_000));
        let mut form = Form::with_room_for(&[&long]);
        form.append_secret("code", &long);
        let capacity = 16 * 1024 + 3 * 40_000;
        assert!(form.finish().expose().len() <= capacity);
    }
}
