//! Ending a grant at the provider: RFC 7009, and what providers have instead. Best effort: whatever comes of it, the
//! grant is gone here.

use std::time::Duration;

use reqwest::Method;
use url::Url;

use super::endpoint::{Answer, Body, Client, Form, MAX_ANSWER, Request, TokenEndpoint, basic, bearer};
use super::profile::{Profile, RevocationStyle};
use super::token_response::{self, Refused};
use crate::secret::Secret;

#[cfg(test)]
mod tests;

/// One request to revoke, with its secrets opened.
pub struct RevocationRequest<'a> {
    /// The manifest's, if it names one.
    pub revocation_url: Option<&'a Url>,
    /// Where the tokens are from.
    pub token_url: &'a Url,
    /// Whose they are.
    pub client: Client<'a>,
    /// Revoked first, since a provider that follows RFC 7009 §2.1 ends the access tokens with it.
    pub refresh_token: Option<&'a Secret>,
    /// Revoked where there is no refresh token, or where only it can be.
    pub access_token: Option<&'a Secret>,
    /// How the provider is asked.
    pub profile: &'static Profile,
}

/// Why a token may still be alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevocationError {
    /// The provider has no endpoint for it, or none that is known, or none for the token that there is;
    /// [`Profile::manage_url`] may say where to go.
    #[error("the provider has no revocation endpoint")]
    Unsupported,
    /// There is no token.
    #[error("there is no token to revoke")]
    NoToken,
    /// The provider says no.
    #[error("the provider refused to revoke the token")]
    Refused,
    /// No answer, or one that says to come back later (RFC 7009 §2.2.1).
    #[error("the revocation endpoint is not available")]
    Unavailable,
}

/// Asks once.
///
/// # Errors
/// [`RevocationError`]; nothing was sent if it is `Unsupported` or `NoToken`.
pub async fn revoke(
    endpoint: &dyn TokenEndpoint,
    request: &RevocationRequest<'_>,
    deadline: Duration,
) -> Result<(), RevocationError> {
    let url = request.profile.revocation_url(request.revocation_url, request.token_url, request.client.id);
    let url = url.ok_or(RevocationError::Unsupported)?;
    let answer = endpoint.ask(request.signed(&url)?, MAX_ANSWER, deadline).await.map_err(|error| {
        tracing::warn!(host = url.host_str(), %error, "the revocation endpoint gives no answer");
        RevocationError::Unavailable
    })?;
    request.outcome(&answer)
}

impl RevocationRequest<'_> {
    fn signed<'a>(&self, url: &'a Url) -> Result<Request<'a>, RevocationError> {
        let mut headers = vec![("accept", Secret::new("application/json"))];
        let (method, body) = match self.profile.revocation {
            RevocationStyle::Rfc7009 => {
                let (token, hint) = match (self.refresh_token, self.access_token) {
                    (Some(token), _) => (token, "refresh_token"),
                    (None, Some(token)) => (token, "access_token"),
                    (None, None) => return Err(RevocationError::NoToken),
                };
                let mut secrets = vec![token, self.client.id];
                secrets.extend(self.client.secret);
                let mut form = Form::with_room_for(&secrets);
                form.append_secret("token", token);
                form.append("token_type_hint", hint);
                self.client.sign(&mut headers, &mut form);
                (Method::POST, Body::Form(form.finish()))
            }
            RevocationStyle::Bearer => {
                headers.push(bearer(self.only_access_token()?));
                (Method::POST, Body::Form(Form::with_room_for(&[]).finish()))
            }
            RevocationStyle::AppToken => {
                let token = self.only_access_token()?;
                // Nobody else may revoke a token there.
                let secret = self.client.secret.ok_or(RevocationError::Unsupported)?;
                headers.push(("authorization", basic(self.client.id, secret)));
                (Method::DELETE, Body::Json(access_token_json(token)))
            }
        };
        Ok(Request { method, url, headers, body: Some(body) })
    }

    /// The access token, where no other can be revoked.
    fn only_access_token(&self) -> Result<&Secret, RevocationError> {
        self.access_token.ok_or(match self.refresh_token {
            Some(_) => RevocationError::Unsupported,
            None => RevocationError::NoToken,
        })
    }

    fn outcome(&self, answer: &Answer) -> Result<(), RevocationError> {
        match token_response::refused(self.profile, answer) {
            // RFC 7009 §2.2: a token that is not valid is a token that is revoked, whether or not the provider thinks so.
            Some(Refused::AlreadyDead) => Ok(()),
            Some(Refused::Later) => Err(RevocationError::Unavailable),
            // GitHub does not find an access token that is over. That says nothing of its refresh token.
            Some(Refused::No) if self.is_not_found(answer) && self.refresh_token.is_none() => Ok(()),
            Some(Refused::No) => Err(RevocationError::Refused),
            None => Ok(()),
        }
    }

    /// Whether GitHub's API says so, and not something else that has no such page.
    fn is_not_found(&self, answer: &Answer) -> bool {
        self.profile.revocation == RevocationStyle::AppToken
            && answer.status == 404
            && token_response::is_told(answer, "documentation_url")
    }
}

/// In a buffer that is not moved while it grows.
fn access_token_json(token: &Secret) -> Secret {
    // Sent to the provider that gave it, which ends it; of visible ASCII, as every access token is, so that an escape takes
    // two bytes at most.
    let token = token.expose_str().unwrap_or_default();
    let mut json = Vec::with_capacity(2 * token.len() + 64);
    serde_json::to_writer(&mut json, &AccessToken { access_token: token }).expect("text always becomes JSON");
    Secret::new(json)
}

#[derive(serde::Serialize)]
struct AccessToken<'a> {
    access_token: &'a str,
}
