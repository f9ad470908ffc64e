//! Clients, and how they prove who they are at the token and revocation endpoints.

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::HeaderMap;

use super::{form::Form, refusal::Refusal};

/// How a client authenticates (RFC 6749 section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// In the `Authorization` header.
    Basic,
    /// In the body.
    Post,
    /// Not at all: a public client.
    None,
}

/// A registered client.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its id.
    pub id: String,
    /// Its secret; empty for a public client.
    pub secret: String,
    /// The ways in which it may authenticate.
    pub authentication: Vec<ClientAuthentication>,
    /// The only redirect URIs it may use; any, if there are none.
    pub redirect_uris: Vec<String>,
}

/// A client that has proved who it is, and how.
pub(super) struct Authenticated {
    pub(super) id: String,
    pub(super) by: ClientAuthentication,
}

pub(super) fn authenticate(clients: &[Client], headers: &HeaderMap, form: &Form) -> Result<Authenticated, Refusal> {
    let (id, secret, by) = match (basic(headers)?, form.get("client_secret")) {
        // A client must not use more than one method (RFC 6749 section 2.3).
        (Some(_), Some(_)) => return Err(Refusal::InvalidRequest),
        (Some((id, secret)), None) => (id, secret, ClientAuthentication::Basic),
        (None, Some(secret)) => (form.required("client_id")?, secret.to_owned(), ClientAuthentication::Post),
        (None, None) => (form.required("client_id")?, String::new(), ClientAuthentication::None),
    };
    let known = clients.iter().find(|client| client.id == id && client.secret == secret);
    match known {
        Some(client) if client.authentication.contains(&by) => Ok(Authenticated { id, by }),
        Some(_) | None => Err(Refusal::InvalidClient),
    }
}

/// Id and secret, each form-encoded before they were joined.
fn basic(headers: &HeaderMap) -> Result<Option<(String, String)>, Refusal> {
    let Some(header) = headers.get("authorization") else { return Ok(None) };
    let joined = header.to_str().ok().and_then(|text| text.strip_prefix("Basic "));
    let joined = joined.and_then(|text| STANDARD.decode(text).ok()).and_then(|bytes| String::from_utf8(bytes).ok());
    let joined = joined.ok_or(Refusal::InvalidClient)?;
    let (id, secret) = joined.split_once(':').ok_or(Refusal::InvalidClient)?;
    Ok(Some((decoded(id), decoded(secret))))
}

fn decoded(text: &str) -> String {
    url::form_urlencoded::parse(format!("v={text}").as_bytes()).map(|(_, value)| value.into_owned()).collect()
}
