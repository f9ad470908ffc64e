use super::*;
use crate::oauth::profile::GENERIC;
use crate::secret::Secret;

const JSON: Option<&str> = Some("application/json");
const FORM: Option<&str> = Some("application/x-www-form-urlencoded;charset=UTF-8");

fn reading(status: u16, content_type: Option<&str>, body: &[u8]) -> Result<(String, Option<u64>), TokenEndpointError> {
    let answer = Answer {
        status,
        content_type: content_type.map(str::to_owned),
        retry_after: Some(Duration::from_secs(7)),
        body: Secret::new(body),
    };
    read(&GENERIC, &answer).and_then(Given::token).map(|token| {
        let text = token.access_token.expose_str().expect("visible ASCII").to_owned();
        (text, token.expires_in.map(|life| life.as_secs()))
    })
}

fn json(status: u16, body: &str) -> Result<(String, Option<u64>), TokenEndpointError> {
    reading(status, JSON, body.as_bytes())
}

fn refused(code: RefusalCode) -> Result<(String, Option<u64>), TokenEndpointError> {
    Err(TokenEndpointError::Refused { code })
}

fn malformed(why: Malformed) -> Result<(String, Option<u64>), TokenEndpointError> {
    Err(TokenEndpointError::Malformed(why))
}

fn transient() -> Result<(String, Option<u64>), TokenEndpointError> {
    Err(TokenEndpointError::Transient { retry_after: Some(Duration::from_secs(7)) })
}

fn token(expires_in: impl Into<Option<u64>>) -> Result<(String, Option<u64>), TokenEndpointError> {
    Ok(("t0k".to_owned(), expires_in.into()))
}

#[test]
fn reads_every_life_that_endpoints_write() {
    let life = |written: &str| json(200, &format!(r#"{{"access_token":"t0k","token_type":"Bearer"{written}}}"#));
    assert_eq!(life(r#","expires_in":3600"#), token(3600));
    assert_eq!(life(r#","expires_in":3599.9"#), token(3599));
    assert_eq!(life(r#","expires_in":3.6e3"#), token(3600));
    assert_eq!(life(r#","expires_in":"3600""#), token(3600));
    assert_eq!(life(r#","expires_in":" 3600 ""#), token(3600));
    assert_eq!(life(""), token(None));
    assert_eq!(life(r#","expires_in":null"#), token(None));
    assert_eq!(life(r#","expires_in":0"#), token(None));
    assert_eq!(life(r#","expires_in":-1"#), token(None));
    assert_eq!(life(r#","expires_in":"soon""#), token(None));
    assert_eq!(life(r#","expires_in":"nan""#), token(None));
    assert_eq!(life(r#","expires_in":true"#), token(None));
    assert_eq!(life(r#","expires_in":{"s":3600}"#), token(None));
    assert_eq!(life(r#","expires_in":18446744073709551615"#), token(MAX_EXPIRES_IN.as_secs()));
    assert_eq!(life(r#","expires_in":1e300"#), token(MAX_EXPIRES_IN.as_secs()));
    assert_eq!(life(r#","expires_in":"inf""#), token(MAX_EXPIRES_IN.as_secs()));
}

#[test]
fn reads_tokens_in_every_wrapping() {
    assert_eq!(json(201, r#"{"access_token":"t0k"}"#), token(None));
    assert_eq!(reading(200, JSON, b"\xef\xbb\xbf{\"access_token\":\"t0k\"}"), token(None));
    assert_eq!(reading(200, None, b" \r\n{\"access_token\":\"t0k\"}\n"), token(None));
    assert_eq!(reading(200, Some("text/html"), b"{\"access_token\":\"t0k\"}"), token(None));
    assert_eq!(reading(200, FORM, b"access_token=t0k&token_type=bearer&expires_in=60"), token(60));
    assert_eq!(reading(200, Some("text/plain"), b"access_token=t0k&scope="), token(None));
    assert_eq!(json(200, r#"{"ok":true,"access_token":"t0k","token_type":"bot","error":null}"#), token(None));
    assert_eq!(json(200, r#"{"access_token":"t0k","token_type":7,"error":""}"#), token(None));
    assert_eq!(json(200, r#"{"access_token":"t\u0030k","authed_user":{"access_token":"other"}}"#), token(None));
}

#[test]
fn refuses_what_is_not_a_bearer_token() {
    assert_eq!(json(200, r#"{"access_token":null}"#), malformed(Malformed::NoAccessToken));
    assert_eq!(json(200, r#"{"access_token":""}"#), malformed(Malformed::AccessToken));
    assert_eq!(json(200, r#"{"access_token":"null"}"#), malformed(Malformed::AccessToken));
    assert_eq!(json(200, r#"{"access_token":"undefined"}"#), malformed(Malformed::AccessToken));
    assert_eq!(json(200, r#"{"access_token":17}"#), malformed(Malformed::AccessToken));
    assert_eq!(json(200, r#"{"access_token":{"value":"t0k"}}"#), malformed(Malformed::AccessToken));
    assert_eq!(json(200, r#"{"access_token":"a\r\nx-admin: 1"}"#), malformed(Malformed::AccessToken));
    assert_eq!(json(200, r#"{"access_token":"t 0k"}"#), malformed(Malformed::AccessToken));
    assert_eq!(json(200, r#"{"access_token":"t0k\u00e9"}"#), malformed(Malformed::AccessToken));
    assert_eq!(json(200, &format!(r#"{{"access_token":"{}"}}"#, "x".repeat(MAX_ACCESS_TOKEN + 1))), {
        malformed(Malformed::AccessToken)
    });
    assert_eq!(json(200, r#"{"access_token":"t0k","token_type":"DPoP"}"#), malformed(Malformed::TokenType));
    assert_eq!(json(200, r#"{"authed_user":{"access_token":"t0k"}}"#), malformed(Malformed::NoAccessToken));
    assert_eq!(json(200, r#"{"data":{"access_token":"t0k"}}"#), malformed(Malformed::NoAccessToken));
    assert_eq!(json(200, "{}"), malformed(Malformed::NoAccessToken));
}

#[test]
fn refuses_what_reads_in_two_ways() {
    let twice = malformed(Malformed::DuplicateKey);
    assert_eq!(json(200, r#"{"access_token":"t0k","access_token":"other"}"#), twice);
    assert_eq!(json(200, r#"{"access_token":"t0k","access_\u0074oken":"other"}"#), twice);
    assert_eq!(json(200, r#"{"access_token":"t0k","x":1,"x":2}"#), twice);
    assert_eq!(reading(200, FORM, b"access_token=t0k&access%5Ftoken=other"), twice);
}

#[test]
fn refuses_bodies_that_are_neither_json_nor_form() {
    let shape = malformed(Malformed::Shape);
    assert_eq!(json(200, ""), shape);
    assert_eq!(json(200, r#"["t0k"]"#), shape);
    assert_eq!(json(200, r#"{"access_token":"t0k""#), shape);
    assert_eq!(json(200, r#"{"access_token":"t0k"} {"access_token":"other"}"#), shape);
    assert_eq!(reading(200, JSON, b"{\"access_token\":\"\xff\"}"), shape);
    assert_eq!(reading(200, Some("text/html"), b"<html><a href=\"?a=b\">sign in</a></html>"), shape);
    assert_eq!(json(200, &"{\"a\":".repeat(100_000)), shape);
}

#[test]
fn depth_does_no_harm() {
    let deep = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    assert_eq!(json(200, &deep), malformed(Malformed::NoAccessToken));
    assert_eq!(json(200, &format!(r#"{{"x":{deep},"access_token":"t0k"}}"#)), token(None));
    assert_eq!(json(200, &format!(r#"{{"access_token":{deep}}}"#)), malformed(Malformed::AccessToken));
}

#[test]
fn tells_refusals_from_outages() {
    assert_eq!(json(400, r#"{"error":"invalid_client"}"#), refused(RefusalCode::InvalidClient));
    assert_eq!(json(401, r#"{"error":"unauthorized_client"}"#), refused(RefusalCode::UnauthorizedClient));
    assert_eq!(json(400, r#"{"error":"invalid_target"}"#), refused(RefusalCode::InvalidTarget));
    assert_eq!(json(200, r#"{"error":"invalid_scope","access_token":"t0k"}"#), refused(RefusalCode::InvalidScope));
    assert_eq!(json(200, r#"{"ok":false,"error":"invalid_auth"}"#), refused(RefusalCode::Unlisted));
    assert_eq!(json(200, r#"{"ok":false}"#), refused(RefusalCode::Unlisted));
    assert_eq!(json(400, r#"{"error":{"code":17}}"#), refused(RefusalCode::Unlisted));
    assert_eq!(reading(400, FORM, b"error=unsupported_grant_type"), refused(RefusalCode::UnsupportedGrantType));
    assert_eq!(json(401, "go away"), refused(RefusalCode::InvalidClient));
    assert_eq!(json(200, r#"{"ok":false,"error":"ratelimited"}"#), transient());
    assert_eq!(json(400, r#"{"error":"temporarily_unavailable"}"#), transient());
    for status in [408, 429, 500, 502, 503, 504] {
        assert_eq!(json(status, r#"{"error":"invalid_client"}"#), transient());
    }
    assert_eq!(json(400, "<html>"), malformed(Malformed::Status(400)));
    assert_eq!(json(403, r#"{"access_token":"t0k"}"#), malformed(Malformed::Status(403)));
    assert_eq!(json(302, r#"{"access_token":"t0k"}"#), malformed(Malformed::Status(302)));
}

#[test]
fn i9_no_error_shows_the_body() {
    let bodies = [
        (200, r#"{"access_token":"canary canary"}"#),
        (400, r#"{"error":"canary","error_description":"canary"}"#),
        (200, "canary"),
        (200, r#"{"canary":1,"canary":2}"#),
    ];
    for (status, body) in bodies {
        let error = json(status, body).expect_err("not a token");
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
}
