//! Ending a grant at the provider: RFC 7009, and what providers have instead. Best effort: whatever comes of it, the
//! grant is gone here.

use std::time::Duration;

use url::Url;

use super::endpoint::{Answer, Client, Form, MAX_ANSWER, TokenEndpoint};
use super::profile::{Profile, RevocationStyle};
use super::token_response::{self, Refused};
use crate::secret::Secret;

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
    /// The provider has no endpoint for it, or none that is known; [`Profile::manage_url`] may say where to go.
    #[error("the provider has no revocation endpoint")]
    Unsupported,
    /// There is no token of the kind that the provider revokes.
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
    let url = request.profile.revocation_url(request.revocation_url, request.token_url);
    let url = url.ok_or(RevocationError::Unsupported)?;
    let (headers, form) = request.signed().ok_or(RevocationError::NoToken)?;
    let answer = endpoint.post_form(&url, headers, form, MAX_ANSWER, deadline).await.map_err(|error| {
        tracing::warn!(host = url.host_str(), %error, "the revocation endpoint gives no answer");
        RevocationError::Unavailable
    })?;
    outcome(request.profile, &answer)
}

impl RevocationRequest<'_> {
    fn signed(&self) -> Option<(Vec<(&'static str, Secret)>, Secret)> {
        let mut headers = vec![("accept", Secret::new("application/json"))];
        match self.profile.revocation {
            RevocationStyle::Rfc7009 => {
                let (token, hint) = match (self.refresh_token, self.access_token) {
                    (Some(token), _) => (token, "refresh_token"),
                    (None, Some(token)) => (token, "access_token"),
                    (None, None) => return None,
                };
                let mut secrets = vec![token, self.client.id];
                secrets.extend(self.client.secret);
                let mut form = Form::with_room_for(&secrets);
                form.append_secret("token", token);
                form.append("token_type_hint", hint);
                self.client.sign(&mut headers, &mut form);
                Some((headers, form.finish()))
            }
            RevocationStyle::Bearer => {
                // Sent to the provider that gave it, which ends it.
                let token = self.access_token?.expose();
                let mut bearer = Vec::with_capacity("Bearer ".len() + token.len());
                bearer.extend_from_slice(b"Bearer ");
                bearer.extend_from_slice(token);
                headers.push(("authorization", Secret::new(bearer)));
                Some((headers, Form::with_room_for(&[]).finish()))
            }
        }
    }
}

fn outcome(profile: &Profile, answer: &Answer) -> Result<(), RevocationError> {
    match token_response::refused(profile, answer) {
        // RFC 7009 §2.2: a token that is not valid is a token that is revoked, whether or not the provider thinks so.
        Some(Refused::AlreadyDead) => Ok(()),
        Some(Refused::Later) => Err(RevocationError::Unavailable),
        Some(Refused::No) => Err(RevocationError::Refused),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use std::sync::Mutex;

    use super::*;
    use crate::model::ClientAuthentication;
    use crate::oauth::endpoint::NoAnswer;
    use crate::oauth::profile::{GENERIC, GITHUB, GOOGLE, SALESFORCE, SLACK};

    /// Answers as told, and keeps what it was asked: URL, headers, form.
    struct Endpoint {
        answer: Option<(u16, &'static str)>,
        asked: Mutex<Vec<(String, String, String)>>,
    }

    #[async_trait]
    impl TokenEndpoint for Endpoint {
        async fn post_form(
            &self,
            url: &Url,
            headers: Vec<(&'static str, Secret)>,
            form: Secret,
            _: usize,
            _: Duration,
        ) -> Result<Answer, NoAnswer> {
            let text = |secret: &Secret| secret.expose_str().expect("text").to_owned();
            let headers = headers.iter().map(|(name, value)| format!("{name}: {}", text(value))).collect::<Vec<_>>();
            self.asked.lock().expect("whole").push((url.to_string(), headers.join("\n"), text(&form)));
            let (status, body) = self.answer.ok_or_else(|| NoAnswer::Failed("reset".into()))?;
            Ok(Answer { status, content_type: None, retry_after: None, body: Secret::new(body) })
        }
    }

    struct Case {
        revocation_url: Option<&'static str>,
        token_url: &'static str,
        refresh_token: Option<&'static str>,
        access_token: Option<&'static str>,
        profile: &'static Profile,
        answer: Option<(u16, &'static str)>,
    }

    const PLAIN: Case = Case {
        revocation_url: Some("https://login.example.com/revoke"),
        token_url: "https://login.example.com/token",
        refresh_token: Some("r&1"),
        access_token: Some("a1"),
        profile: &GENERIC,
        answer: Some((200, "")),
    };

    type Asked = Vec<(String, String, String)>;

    async fn revoking(case: Case) -> (Result<(), RevocationError>, Asked) {
        let endpoint = Endpoint { answer: case.answer, asked: Mutex::default() };
        let (id, secret) = (Secret::new("gate"), Secret::new("canary"));
        let (refresh, access) = (case.refresh_token.map(Secret::new), case.access_token.map(Secret::new));
        let configured: Option<Url> = case.revocation_url.map(|url| url.parse().expect("a URL"));
        let request = RevocationRequest {
            revocation_url: configured.as_ref(),
            token_url: &case.token_url.parse().expect("a URL"),
            client: Client { id: &id, secret: Some(&secret), authentication: ClientAuthentication::Post },
            refresh_token: refresh.as_ref(),
            access_token: access.as_ref(),
            profile: case.profile,
        };
        let result = revoke(&endpoint, &request, Duration::from_secs(1)).await;
        (result, endpoint.asked.into_inner().expect("whole"))
    }

    #[tokio::test]
    async fn o13_revokes_the_refresh_token_if_there_is_one() {
        let (result, asked) = revoking(PLAIN).await;
        assert_eq!(result, Ok(()));
        let form = "token=r%261&token_type_hint=refresh_token&client_id=gate&client_secret=canary";
        assert_eq!(asked[0].0, "https://login.example.com/revoke");
        assert_eq!(asked[0].2, form);
        let (_, asked) = revoking(Case { refresh_token: None, ..PLAIN }).await;
        assert!(asked[0].2.starts_with("token=a1&token_type_hint=access_token&"));
    }

    #[tokio::test]
    async fn slack_revokes_the_access_token_by_itself() {
        let slack = Case {
            revocation_url: None,
            token_url: "https://slack.com/api/oauth.v2.access",
            profile: &SLACK,
            answer: Some((200, r#"{"ok":true,"revoked":true}"#)),
            ..PLAIN
        };
        let (result, asked) = revoking(slack).await;
        assert_eq!(result, Ok(()));
        assert_eq!(asked[0].0, "https://slack.com/api/auth.revoke");
        assert!(asked[0].1.ends_with("authorization: Bearer a1"));
        assert_eq!(asked[0].2, "", "neither the client's secret nor the refresh token");
    }

    #[tokio::test]
    async fn a_borrowed_profile_sends_no_token_to_the_provider_it_is_from() {
        let unsupported = (Err(RevocationError::Unsupported), vec![]);
        assert_eq!(revoking(Case { revocation_url: None, profile: &GOOGLE, ..PLAIN }).await, unsupported);
        let (_, asked) = revoking(Case {
            revocation_url: None,
            token_url: "https://acme.my.salesforce.com/services/oauth2/token",
            profile: &SALESFORCE,
            ..PLAIN
        })
        .await;
        assert_eq!(asked[0].0, "https://acme.my.salesforce.com/services/oauth2/revoke");
    }

    #[tokio::test]
    async fn asks_nothing_where_there_is_nothing_to_ask() {
        let unsupported = (Err(RevocationError::Unsupported), vec![]);
        assert_eq!(revoking(Case { revocation_url: None, ..PLAIN }).await, unsupported);
        let github = Case {
            revocation_url: None,
            token_url: "https://github.com/login/oauth/access_token",
            profile: &GITHUB,
            ..PLAIN
        };
        assert_eq!(revoking(github).await, unsupported);
        let none = (Err(RevocationError::NoToken), vec![]);
        assert_eq!(revoking(Case { refresh_token: None, access_token: None, ..PLAIN }).await, none);
        assert_eq!(revoking(Case { access_token: None, profile: &SLACK, ..PLAIN }).await, none);
    }

    #[tokio::test]
    async fn tells_dead_tokens_from_refusals_and_outages() {
        let answered = async |answer| revoking(Case { answer, ..PLAIN }).await.0;
        for done in [(200, ""), (200, "{}"), (204, ""), (200, "<html>"), (400, r#"{"error":"invalid_token"}"#)] {
            assert_eq!(answered(Some(done)).await, Ok(()), "{done:?}");
        }
        assert_eq!(answered(Some((400, r#"{"error":"invalid_grant"}"#))).await, Ok(()));
        for refused in [
            (400, r#"{"error":"unsupported_token_type"}"#),
            (401, r#"{"error":"invalid_client"}"#),
            (401, ""),
            (200, r#"{"ok":false,"error":"not_authed"}"#),
            (404, "<html>"),
            (302, ""),
        ] {
            assert_eq!(answered(Some(refused)).await, Err(RevocationError::Refused), "{refused:?}");
        }
        for later in [Some((503, "")), Some((429, "")), Some((500, "{}")), None] {
            assert_eq!(answered(later).await, Err(RevocationError::Unavailable), "{later:?}");
        }
        let slack = async |answer| revoking(Case { answer: Some((200, answer)), profile: &SLACK, ..PLAIN }).await.0;
        assert_eq!(slack(r#"{"ok":false,"error":"token_revoked"}"#).await, Ok(()));
        assert_eq!(slack(r#"{"ok":false,"error":"ratelimited"}"#).await, Err(RevocationError::Unavailable));
    }
}
