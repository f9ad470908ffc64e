use super::ExpectedIssuer::{Always, IfSent, Unknown};
use super::*;

const HONEST: &str = "https://login.example.com";

/// State and code, or why there is none.
fn reading(query: &str, issuer: ExpectedIssuer<'_>) -> Result<(String, Result<String, Denial>), CallbackError> {
    let text = |secret: &Secret| secret.expose_str().expect("text").to_owned();
    read(query, issuer).map(|callback| {
        let outcome = match callback.outcome {
            Outcome::Code(code) => Ok(text(&code)),
            Outcome::Denied(denial) => Err(denial),
        };
        (text(&callback.state), outcome)
    })
}

fn agreed() -> Result<(String, Result<String, Denial>), CallbackError> {
    Ok(("s".to_owned(), Ok("c".to_owned())))
}

#[test]
fn o3_the_six_rows_of_the_issuer_table() {
    let with = |iss: &str, issuer| reading(&format!("code=c&state=s{iss}"), issuer);
    let (honest, evil) = ("&iss=https%3A%2F%2Flogin.example.com", "&iss=https://evil.example");
    // Advertised: sent and right, not sent, sent and wrong.
    assert_eq!(with(honest, Always(HONEST)), agreed());
    assert_eq!(with("", Always(HONEST)), Err(CallbackError::IssuerMissing));
    assert_eq!(with(evil, Always(HONEST)), Err(CallbackError::Issuer));
    // Not advertised: sent and wrong, not sent.
    assert_eq!(with(evil, IfSent(HONEST)), Err(CallbackError::Issuer));
    assert_eq!(with("", IfSent(HONEST)), agreed());
    // Sent, and right only to who normalises.
    for alike in [
        "https://login.example.com/",
        "https://LOGIN.example.com",
        "HTTPS://login.example.com",
        "https://login.example.com:443",
        "https://login.example.com%20",
        "https://login.example.com%00",
        "",
    ] {
        assert_eq!(with(&format!("&iss={alike}"), Always(HONEST)), Err(CallbackError::Issuer), "{alike}");
        assert_eq!(with(&format!("&iss={alike}"), IfSent(HONEST)), Err(CallbackError::Issuer), "{alike}");
    }
    // Nothing is known to compare with.
    assert_eq!(with(evil, Unknown), agreed());
}

#[test]
fn o3_nothing_of_another_issuers_error_is_shown() {
    let query = "error=canary&error_description=canary&state=canary&iss=https://canary.example";
    for issuer in [Always(HONEST), IfSent(HONEST)] {
        let error = read(query, issuer).expect_err("another issuer");
        assert_eq!(error, CallbackError::Issuer);
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
    assert_eq!(reading("error=access_denied&state=s", Always(HONEST)), Err(CallbackError::IssuerMissing));
}

#[test]
fn refuses_what_comes_twice() {
    for query in [
        "code=c&state=s&code=c",
        "code=c&state=s&state=s",
        "code=c&state=s&c%6Fde=d",
        "code=c&state=s&iss=https://login.example.com&iss=https://login.example.com",
        "error=a&error=b&state=s",
        "error=a&error_description=a&error_description=b&state=s",
        "code=c&state=s&scope=a&scope=b",
    ] {
        assert_eq!(reading(query, Unknown), Err(CallbackError::Duplicate), "{query}");
    }
}

#[test]
fn refuses_what_is_no_answer() {
    for (query, why) in [
        ("", CallbackError::State),
        ("code=c", CallbackError::State),
        ("code=c&state=", CallbackError::State),
        ("code=c&state=%ff", CallbackError::State),
        ("code=c&state=a%0ab", CallbackError::State),
        ("state=s", CallbackError::Shape),
        ("state=s&access_token=t", CallbackError::Shape),
        ("code=c&state=s&error=access_denied", CallbackError::Shape),
        ("code=&state=s", CallbackError::Code),
        ("code=a%00b&state=s", CallbackError::Code),
        ("code=a%0d%0ab&state=s", CallbackError::Code),
        ("code=%c3%a9&state=s", CallbackError::Code),
    ] {
        assert_eq!(reading(query, Unknown), Err(why), "{query}");
    }
    assert_eq!(reading(&format!("code={}&state=s", "a".repeat(MAX_CODE + 1)), Unknown), Err(CallbackError::Code));
    assert_eq!(reading(&format!("code=c&state={}", "a".repeat(MAX_STATE + 1)), Unknown), Err(CallbackError::State));
    assert_eq!(reading(&"a=b&".repeat(MAX_QUERY), Unknown), Err(CallbackError::TooLarge));
}

#[test]
fn takes_codes_as_providers_write_them() {
    let code = |query| reading(query, Unknown).expect("an answer").1.expect("a code");
    assert_eq!(code("state=s&code=4%2F0Ab%2Dx.Y_z~&scope=a+b&authuser=0&prompt=consent"), "4/0Ab-x.Y_z~");
    assert_eq!(code("code=M.C5_BL2%242%21abc*&state=s&session_state=1"), "M.C5_BL2$2!abc*");
}

#[test]
fn tells_refusals_in_plain_words() {
    let denied = |query: &str| reading(query, Unknown).expect("an answer").1.expect_err("a refusal");
    for (error, reason) in [
        ("access_denied", DenialReason::AccessDenied),
        ("server_error", DenialReason::Busy),
        ("temporarily_unavailable", DenialReason::Busy),
        ("invalid_request", DenialReason::InvalidRequest),
        ("unsupported_response_type", DenialReason::InvalidRequest),
        ("redirect_uri_mismatch", DenialReason::InvalidRequest),
        ("invalid_scope", DenialReason::InvalidScope),
        ("invalid_target", DenialReason::InvalidTarget),
        ("login_required", DenialReason::SignInRequired),
        ("unauthorized_client", DenialReason::UnauthorizedClient),
        ("Access_Denied", DenialReason::Unlisted),
        ("", DenialReason::Unlisted),
        ("%3Cscript%3E", DenialReason::Unlisted),
    ] {
        let denial = denied(&format!("error={error}&state=s"));
        assert_eq!(denial, Denial { reason, description: None }, "{error}");
        assert!(reason.sentence().ends_with('.') && !reason.code().is_empty());
    }
}

#[test]
fn o7_a_description_is_one_short_line() {
    let described = |text: &str| {
        let query = format!("error=access_denied&state=s&error_description={text}");
        reading(&query, Unknown).expect("an answer").1.expect_err("a refusal").description
    };
    assert_eq!(described("The+user+said+no"), Some("The user said no".to_owned()));
    assert_eq!(described("a%0d%0alevel%3Dinfo%1b%5b31m"), Some("alevel=info[31m".to_owned()));
    assert_eq!(described("%e2%80%ae%ff%00"), None);
    assert_eq!(described("++"), None);
    assert_eq!(described(&"x".repeat(1000)).map(|text| text.len()), Some(MAX_DESCRIPTION_SHOWN));
}

const MAX_DESCRIPTION_SHOWN: usize = 200;
