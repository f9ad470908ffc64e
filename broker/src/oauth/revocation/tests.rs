use async_trait::async_trait;
use std::sync::Mutex;

use super::*;
use crate::model::ClientAuthentication;
use crate::oauth::endpoint::NoAnswer;
use crate::oauth::profile::{GENERIC, GITHUB, GOOGLE, SALESFORCE, SLACK};

/// Answers as told, and keeps what it was asked: method and URL, headers, body.
struct Endpoint {
    answer: Option<(u16, &'static str)>,
    asked: Mutex<Vec<(String, String, String)>>,
}

#[async_trait]
impl TokenEndpoint for Endpoint {
    async fn ask(&self, request: Request<'_>, _: usize, _: Duration) -> Result<Answer, NoAnswer> {
        let text = |secret: &Secret| secret.expose_str().expect("text").to_owned();
        let headers = request.headers.iter().map(|(name, value)| format!("{name}: {}", text(value)));
        let (kind, body) = match &request.body {
            Some(Body::Form(form)) => ("form", text(form)),
            Some(Body::Json(json)) => ("json", text(json)),
            None => ("nothing", String::new()),
        };
        let headers = headers.chain([kind.to_owned()]).collect::<Vec<_>>().join("\n");
        self.asked.lock().expect("whole").push((format!("{} {}", request.method, request.url), headers, body));
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

const GITHUB_COM: Case = Case {
    revocation_url: None,
    token_url: "https://github.com/login/oauth/access_token",
    profile: &GITHUB,
    answer: Some((204, "")),
    ..PLAIN
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
    assert_eq!(asked[0].0, "POST https://login.example.com/revoke");
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
    assert_eq!(asked[0].0, "POST https://slack.com/api/auth.revoke");
    assert!(asked[0].1.ends_with("authorization: Bearer a1\nform"));
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
    assert_eq!(asked[0].0, "POST https://acme.my.salesforce.com/services/oauth2/revoke");
}

#[tokio::test]
async fn asks_nothing_where_there_is_nothing_to_ask() {
    let unsupported = (Err(RevocationError::Unsupported), vec![]);
    assert_eq!(revoking(Case { revocation_url: None, ..PLAIN }).await, unsupported);
    // A provider that borrows the profile, and has no API where GitHub's servers have theirs.
    let borrowed = Case { revocation_url: None, profile: &GITHUB, ..PLAIN };
    assert_eq!(revoking(borrowed).await, unsupported);
    let none = (Err(RevocationError::NoToken), vec![]);
    assert_eq!(revoking(Case { refresh_token: None, access_token: None, ..PLAIN }).await, none);
    assert_eq!(revoking(Case { refresh_token: None, access_token: None, ..GITHUB_COM }).await, none);
    for only_access_tokens in [&SLACK, &GITHUB] {
        let alone = Case { access_token: None, profile: only_access_tokens, ..PLAIN };
        assert_eq!(revoking(alone).await, unsupported, "{}", only_access_tokens.name);
    }
}

#[tokio::test]
async fn github_deletes_the_access_token_as_the_client_at_its_own_api() {
    for (token_url, api) in [
        ("https://github.com/login/oauth/access_token", "https://api.github.com"),
        ("https://acme.ghe.com/login/oauth/access_token", "https://api.acme.ghe.com"),
        ("https://git.example.com/login/oauth/access_token", "https://git.example.com/api/v3"),
        ("https://git.example.com:8443/login/oauth/access_token", "https://git.example.com:8443/api/v3"),
        // Not GitHub's, although they look alike: what they gave goes to nobody else.
        ("https://github.com.example.com/login/oauth/access_token", "https://github.com.example.com/api/v3"),
        ("https://xghe.com/login/oauth/access_token", "https://xghe.com/api/v3"),
    ] {
        let (result, asked) = revoking(Case { token_url, ..GITHUB_COM }).await;
        assert_eq!((result, asked.len()), (Ok(()), 1), "{token_url}");
        assert_eq!(asked[0].0, format!("DELETE {api}/applications/gate/token"));
        assert_eq!(asked[0].1, "accept: application/json\nauthorization: Basic Z2F0ZTpjYW5hcnk=\njson");
        assert_eq!(asked[0].2, r#"{"access_token":"a1"}"#, "neither the refresh token nor the secret");
    }
    let url = Some("https://proxy.example.com/github/applications/gate/token");
    let (_, asked) = revoking(Case { revocation_url: url, ..GITHUB_COM }).await;
    assert_eq!(asked[0].0, "DELETE https://proxy.example.com/github/applications/gate/token");
}

#[tokio::test]
async fn a_token_that_github_does_not_find_is_dead_and_what_came_with_it_may_not_be() {
    const NOT_FOUND: &str = r#"{"message":"Not Found","documentation_url":"https://docs.github.com/rest"}"#;
    let answered = async |refresh_token, status, body| {
        revoking(Case { refresh_token, answer: Some((status, body)), ..GITHUB_COM }).await.0
    };
    assert_eq!(answered(None, 404, NOT_FOUND).await, Ok(()));
    for (status, body) in [(404, "<html>"), (404, "{}"), (404, ""), (422, NOT_FOUND), (401, NOT_FOUND)] {
        assert_eq!(answered(None, status, body).await, Err(RevocationError::Refused), "{status} {body}");
    }
    assert_eq!(answered(Some("r1"), 404, NOT_FOUND).await, Err(RevocationError::Refused));
    assert_eq!(answered(Some("r1"), 204, "").await, Ok(()));
    assert_eq!(answered(None, 503, NOT_FOUND).await, Err(RevocationError::Unavailable));
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
