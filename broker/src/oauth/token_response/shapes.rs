//! O8: the shapes in which token endpoints are seen to answer. Each is stored right, or everything is kept as it was.

use super::*;
use crate::oauth::profile::{ATLASSIAN, GENERIC, GITHUB, GOOGLE, MICROSOFT, NOTION, SALESFORCE, SLACK, SLACK_USER};
use crate::secret::Secret;

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
const JSON: &str = "application/json";

/// What is stored; `None` keeps what there was.
#[derive(Debug, Default, PartialEq)]
struct Stored {
    access: String,
    refresh: Option<String>,
    seconds: Option<u64>,
    scopes: Option<Vec<String>>,
    account: Option<String>,
    /// The refresh token is all there is, and why.
    alone: Option<Malformed>,
}

fn stored(access: &str) -> Stored {
    Stored { access: access.into(), ..Stored::default() }
}

impl Stored {
    fn refresh(self, token: &str) -> Self {
        Self { refresh: Some(token.into()), ..self }
    }

    fn seconds(self, seconds: u64) -> Self {
        Self { seconds: Some(seconds), ..self }
    }

    fn scopes(self, scopes: &[&str]) -> Self {
        Self { scopes: Some(scopes.iter().map(|scope| (*scope).to_owned()).collect()), ..self }
    }

    fn account(self, account: &str) -> Self {
        Self { account: Some(account.into()), ..self }
    }
}

fn answered(
    profile: &Profile,
    status: u16,
    content_type: &str,
    body: impl Into<Vec<u8>>,
) -> Result<Stored, TokenEndpointError> {
    let body = Secret::new(body);
    let answer = Answer { status, content_type: Some(content_type.to_owned()), retry_after: None, body };
    let text = |secret: &Secret| secret.expose_str().expect("text").to_owned();
    read(profile, &answer).map(|given| match given {
        Given::Token(token) => Stored {
            access: text(&token.access_token),
            refresh: token.refresh_token.as_ref().map(text),
            seconds: token.expires_in.map(|life| life.as_secs()),
            scopes: token.scopes,
            account: token.account,
            alone: None,
        },
        Given::RefreshTokenAlone { refresh_token, why } => {
            Stored { refresh: Some(text(&refresh_token)), alone: Some(why), ..Stored::default() }
        }
    })
}

fn json(profile: &Profile, status: u16, body: &str) -> Result<Stored, TokenEndpointError> {
    answered(profile, status, JSON, body)
}

fn alone(refresh: &str, why: Malformed) -> Result<Stored, TokenEndpointError> {
    Ok(Stored { refresh: Some(refresh.into()), alone: Some(why), ..Stored::default() })
}

fn kept(why: Malformed) -> Result<Stored, TokenEndpointError> {
    Err(TokenEndpointError::Malformed(why))
}

fn refused(code: RefusalCode) -> Result<Stored, TokenEndpointError> {
    Err(TokenEndpointError::Refused { code })
}

const LATER: Result<Stored, TokenEndpointError> = Err(TokenEndpointError::Transient { retry_after: None });

#[test]
fn o8_a_pair_is_stored_from_every_wrapping() {
    let pair = || Ok(stored("a").refresh("r").seconds(60));
    let plain = r#"{"access_token":"a","refresh_token":"r","expires_in":60}"#;
    assert_eq!(json(&GENERIC, 200, plain), pair());
    assert_eq!(json(&GENERIC, 201, plain), pair());
    assert_eq!(answered(&GENERIC, 200, JSON, format!("\u{feff}{plain}")), pair());
    assert_eq!(answered(&GENERIC, 200, "text/html", plain), pair());
    assert_eq!(answered(&GENERIC, 200, "", format!("\r\n\t{plain}\n")), pair());
    assert_eq!(answered(&GENERIC, 200, FORM, "access_token=a&refresh_token=r&expires_in=60"), pair());
    assert_eq!(answered(&GENERIC, 200, "text/plain", "access_token=a&refresh_token=r&expires_in=60"), pair());
    let padded = format!(r#"{{"padding":"{}",{}"#, "x".repeat(60_000), &plain[1..]);
    assert_eq!(json(&GENERIC, 200, &padded), pair());
    let deep = format!(r#"{{"x":{}{},{}"#, "[".repeat(20_000), "]".repeat(20_000), &plain[1..]);
    assert_eq!(json(&GENERIC, 200, &deep), pair());
}

#[test]
fn o8_a_refresh_token_that_is_none_leaves_the_old_one() {
    let with = |rest: &str| json(&GENERIC, 200, &format!(r#"{{"access_token":"a"{rest}}}"#));
    let long = "r".repeat(MAX_REFRESH_TOKEN);
    for rest in [
        "",
        r#","refresh_token":null"#,
        r#","refresh_token":"""#,
        r#","refresh_token":"  ""#,
        r#","refresh_token":"null""#,
        r#","refresh_token":"undefined""#,
        r#","refresh_token":false"#,
        r#","refresh_token":17"#,
        r#","refresh_token":["r"]"#,
        r#","refresh_token":{"value":"r"}"#,
        r#","refresh_token":"r\u0000""#,
        r#","refresh_token":"r\r\n""#,
        r#","refresh_token":"ré""#,
        &format!(r#","refresh_token":"{long}r""#),
    ] {
        assert_eq!(with(rest), Ok(stored("a")), "{rest}");
    }
    assert_eq!(with(r#","refresh_token":"same""#), Ok(stored("a").refresh("same")));
    assert_eq!(with(r#","refresh_token":"1//0g-x._~+/= !""#), Ok(stored("a").refresh("1//0g-x._~+/= !")));
    assert_eq!(with(&format!(r#","refresh_token":"{long}""#)), Ok(stored("a").refresh(&long)));
}

#[test]
fn o8_no_token_is_ever_a_word_for_none() {
    for word in ["null", "undefined", "None", "nil", "false", "true", "", " "] {
        assert_eq!(
            json(&GENERIC, 200, &format!(r#"{{"access_token":"{word}","refresh_token":"r"}}"#)),
            alone("r", Malformed::AccessToken),
            "{word:?}"
        );
        let form = answered(&GENERIC, 200, FORM, format!("access_token={word}&refresh_token={word}"));
        assert_eq!(form, kept(Malformed::AccessToken), "{word:?}");
    }
}

#[test]
fn o8_what_is_not_read_is_kept() {
    let kept_as = |body: &str, why| assert_eq!(json(&GENERIC, 200, body), kept(why), "{body}");
    kept_as("", Malformed::Shape);
    kept_as("<!doctype html><title>Sign in</title>", Malformed::Shape);
    kept_as(r#"{"access_token":"a","refresh_token":"r"#, Malformed::Shape);
    kept_as(r#"[{"access_token":"a"}]"#, Malformed::Shape);
    kept_as(r#""access_token""#, Malformed::Shape);
    kept_as("null", Malformed::Shape);
    kept_as("{}", Malformed::NoAccessToken);
    kept_as(r#"{"access_token":null,"refresh_token":"null"}"#, Malformed::NoAccessToken);
    kept_as(r#"{"Access_Token":"a"}"#, Malformed::NoAccessToken);
    kept_as(r#"{"access_token":["a"]}"#, Malformed::AccessToken);
    kept_as(r#"{"access_token":"a","refresh_token":"r","refresh_token":"s"}"#, Malformed::DuplicateKey);
    kept_as(r#"{"access_token":"a","refresh_token":"r","refresh_\u0074oken":"s"}"#, Malformed::DuplicateKey);
    kept_as(r#"{"access_token":"a","authed_user":{"id":"1","id":"2"}}"#, Malformed::DuplicateKey);
    kept_as(r#"{"access_token":"a","token_type":"DPoP"}"#, Malformed::TokenType);
    let form = answered(&GENERIC, 200, FORM, "access_token=a&refresh_token=r&refresh_token=s");
    assert_eq!(form, kept(Malformed::DuplicateKey));
}

#[test]
fn i5_o8_a_refresh_token_beside_no_access_token_to_use_is_not_lost() {
    let long = "a".repeat(MAX_ACCESS_TOKEN + 1);
    for (rest, why) in [
        ("", Malformed::NoAccessToken),
        (r#","access_token":null"#, Malformed::NoAccessToken),
        (r#","access_token":17"#, Malformed::AccessToken),
        (r#","access_token":["a"]"#, Malformed::AccessToken),
        (r#","access_token":{"value":{"deep":{"deeper":"a"}}}"#, Malformed::AccessToken),
        (r#","access_token":"a\r\nx-admin: 1""#, Malformed::AccessToken),
        (r#","access_token":"tökén""#, Malformed::AccessToken),
        (&format!(r#","access_token":"{long}""#), Malformed::AccessToken),
        (r#","access_token":"a","token_type":"DPoP""#, Malformed::TokenType),
        (r#","access_token":"a","access_token":"b""#, Malformed::DuplicateKey),
        (r#","access_token":"a","scope":"x","sc\u006fpe":"y""#, Malformed::DuplicateKey),
        (r#","access_token":"a","x":{"y":1,"y":2}"#, Malformed::DuplicateKey),
    ] {
        assert_eq!(json(&GENERIC, 200, &format!(r#"{{"refresh_token":"r"{rest}}}"#)), alone("r", why), "{rest}");
    }
    let form = answered(&GENERIC, 201, FORM, "refresh_token=r&access_token=a&access_token=b");
    assert_eq!(form, alone("r", Malformed::DuplicateKey));
    let github = answered(&GITHUB, 200, FORM, "refresh_token=ghr_1&expires_in=1&token_type=bearer");
    assert_eq!(github, alone("ghr_1", Malformed::NoAccessToken));
    let person = r#"{"ok":true,"access_token":"xoxb-1","token_type":"bot","refresh_token":"xoxe-bot","authed_user":{"id":"U1","refresh_token":"xoxe-1"}}"#;
    assert_eq!(json(&SLACK, 200, person), alone("xoxe-1", Malformed::NoAccessToken));
    let refreshed = r#"{"ok":true,"token_type":"user","refresh_token":"xoxe-2"}"#;
    assert_eq!(json(&SLACK, 200, refreshed), alone("xoxe-2", Malformed::NoAccessToken));
}

#[test]
fn i5_o8_no_refresh_token_is_taken_that_is_anothers_or_that_an_error_names() {
    let twice = |body: &str| assert_eq!(json(&GENERIC, 200, body), kept(Malformed::DuplicateKey), "{body}");
    twice(r#"{"refresh_token":"r","refresh_\u0074oken":"r"}"#);
    twice(r#"{"refresh_token":"r","error":"invalid_grant","error":""}"#);
    twice(r#"{"refresh_token":"r","error":"invalid_grant","x":1,"x":2}"#);
    twice(r#"{"refresh_token":"r","ok":true,"ok":false}"#);
    assert_eq!(
        json(&GENERIC, 200, r#"{"refresh_token":"r","error":"invalid_grant"}"#),
        refused(RefusalCode::InvalidGrant)
    );
    assert_eq!(json(&GENERIC, 403, r#"{"refresh_token":"r"}"#), kept(Malformed::Status(403)));
    assert_eq!(json(&GENERIC, 400, r#"{"refresh_token":"r","x":1,"x":2}"#), kept(Malformed::Status(400)));
    assert_eq!(json(&GENERIC, 503, r#"{"refresh_token":"r"}"#), LATER);
    for bots in [
        r#"{"ok":true,"token_type":"bot","access_token":"xoxb-1","refresh_token":"xoxe-bot"}"#,
        r#"{"ok":true,"refresh_token":"xoxe-bot","authed_user":{"id":"U1"}}"#,
        r#"{"ok":true,"refresh_token":"xoxe-bot","authed_user":["U1"]}"#,
        r#"{"refresh_token":"xoxe-bot","authed_user":{"refresh_token":"a"},"authed_user":{"refresh_token":"b"}}"#,
        r#"{"refresh_token":"xoxe-bot","authed_user":{"refresh_token":"a","refresh_token":"b"}}"#,
    ] {
        assert!(matches!(json(&SLACK, 200, bots), Err(TokenEndpointError::Malformed(_))), "{bots}");
    }
}

#[test]
fn o8_scopes_are_told_or_not_told() {
    let scope = |profile, written: &str| {
        json(profile, 200, &format!(r#"{{"access_token":"a","scope":{written}}}"#)).expect("a token").scopes
    };
    let of = |scopes: &[&str]| Some(scopes.iter().map(|scope| (*scope).to_owned()).collect::<Vec<_>>());
    assert_eq!(scope(&GENERIC, r#""read write""#), of(&["read", "write"]));
    assert_eq!(scope(&GENERIC, r#""read""#), of(&["read"]));
    assert_eq!(scope(&GENERIC, r#"" read,write, read""#), of(&["read", "write"]));
    assert_eq!(scope(&GENERIC, r#"["read","write"]"#), of(&["read", "write"]));
    for untold in [r#""""#, r#"" ""#, "null", "[]", "17", "{}", r#"["read",7]"#, r#""réad""#, r#""a\u0000""#] {
        assert_eq!(scope(&GENERIC, untold), None, "{untold}");
    }
    assert_eq!(scope(&GENERIC, &format!(r#""{}""#, "x ".repeat(400))), of(&["x"]));
    let many: Vec<String> = (0..400).map(|n| n.to_string()).collect();
    assert_eq!(scope(&GENERIC, &format!(r#""{}""#, many.join(" "))), None);
    let email = "https://www.googleapis.com/auth/userinfo.email";
    assert_eq!(scope(&GOOGLE, &format!(r#""openid {email}""#)), of(&["openid", email]));
    // What it stands for besides is the profile's to say.
    assert!(GOOGLE.has_granted(&["openid", email].map(str::to_owned), "email"));
    assert_eq!(scope(&MICROSOFT, r#""https://graph.microsoft.com/User.Read""#), None);
}

#[test]
fn o8_github() {
    let body = "access_token=ghu_1&expires_in=28800&refresh_token=ghr_1&refresh_token_expires_in=15897600&scope=&token_type=bearer";
    assert_eq!(answered(&GITHUB, 200, FORM, body), Ok(stored("ghu_1").refresh("ghr_1").seconds(28_800)));
    let oauth_app = r#"{"access_token":"gho_1","scope":"repo,read:org","token_type":"bearer"}"#;
    assert_eq!(json(&GITHUB, 200, oauth_app), Ok(stored("gho_1").scopes(&["repo", "read:org"])));
    let error = |word: &str| json(&GITHUB, 200, &format!(r#"{{"error":"{word}","error_description":"x"}}"#));
    assert_eq!(error("bad_refresh_token"), refused(RefusalCode::InvalidGrant));
    assert_eq!(error("bad_verification_code"), refused(RefusalCode::InvalidGrant));
    assert_eq!(error("incorrect_client_credentials"), refused(RefusalCode::InvalidClient));
    assert_eq!(error("redirect_uri_mismatch"), refused(RefusalCode::InvalidRequest));
    let form = "error=bad_refresh_token&error_description=The+refresh+token+passed+is+incorrect+or+expired.";
    assert_eq!(answered(&GITHUB, 200, FORM, form), refused(RefusalCode::InvalidGrant));
    // Its words mean nothing elsewhere, and end no grant there.
    assert_eq!(json(&GENERIC, 200, r#"{"error":"bad_refresh_token"}"#), refused(RefusalCode::Unlisted));
}

#[test]
fn o8_slack() {
    let person = r#"{"id":"U1","scope":"chat:write,search:read","access_token":"xoxe.xoxp-1","token_type":"user","refresh_token":"xoxe-1","expires_in":43200}"#;
    let theirs = || {
        Ok(stored("xoxe.xoxp-1")
            .refresh("xoxe-1")
            .seconds(43_200)
            .scopes(&["chat:write", "search:read"])
            .account("T1/U1"))
    };
    let alone = format!(r#"{{"ok":true,"app_id":"A1","authed_user":{person},"team":{{"id":"T1","name":"n"}}}}"#);
    assert_eq!(json(&SLACK, 200, &alone), theirs());
    // Beside a bot's token: no part of the one is ever mixed into the other.
    let both = format!(
        r#"{{"ok":true,"access_token":"xoxb-1","token_type":"bot","refresh_token":"xoxe-bot","expires_in":1,"scope":"commands","authed_user":{person},"team":{{"id":"T1"}}}}"#
    );
    assert_eq!(json(&SLACK, 200, &both), theirs());
    let without_rotation = r#"{"ok":true,"access_token":"xoxb-1","refresh_token":"xoxe-bot","expires_in":1,"authed_user":{"id":"U1","access_token":"xoxp-1"}}"#;
    assert_eq!(json(&SLACK, 200, without_rotation), Ok(stored("xoxp-1").account("U1")));
    let refreshed = r#"{"ok":true,"access_token":"xoxe.xoxp-2","expires_in":43200,"refresh_token":"xoxe-2","token_type":"user","user_id":"U1","team":{"id":"T1"}}"#;
    let renewed = || Ok(stored("xoxe.xoxp-2").refresh("xoxe-2").seconds(43_200).account("T1/U1"));
    assert_eq!(json(&SLACK, 200, refreshed), renewed());
    assert_eq!(json(&SLACK_USER, 200, refreshed), renewed());
    let bot = r#"{"ok":true,"access_token":"xoxb-1","token_type":"bot","authed_user":{"id":"U1"},"team":{"id":"T1"}}"#;
    assert_eq!(json(&SLACK, 200, bot), kept(Malformed::TokenType));
    let broken = r#"{"ok":true,"access_token":"xoxb-1","authed_user":{"access_token":7}}"#;
    assert_eq!(json(&SLACK, 200, broken), kept(Malformed::AccessToken));
    let error = |word: &str| json(&SLACK, 200, &format!(r#"{{"ok":false,"error":"{word}"}}"#));
    assert_eq!(error("invalid_refresh_token"), refused(RefusalCode::InvalidGrant));
    assert_eq!(error("token_revoked"), refused(RefusalCode::InvalidGrant));
    assert_eq!(error("bad_client_secret"), refused(RefusalCode::InvalidClient));
    assert_eq!(error("ratelimited"), LATER);
    assert_eq!(error("something_new"), refused(RefusalCode::Unlisted));
    let both_ways = r#"{"ok":false,"access_token":"a","refresh_token":"r"}"#;
    assert_eq!(json(&SLACK, 200, both_ways), refused(RefusalCode::Unlisted));
}

#[test]
fn o8_atlassian_says_unauthorized_client_of_a_dead_refresh_token() {
    let body = r#"{"error":"unauthorized_client","error_description":"refresh_token is invalid"}"#;
    assert_eq!(json(&ATLASSIAN, 403, body), refused(RefusalCode::InvalidGrant));
    assert_eq!(json(&ATLASSIAN, 403, r#"{"error":"invalid_grant"}"#), refused(RefusalCode::InvalidGrant));
    assert_eq!(json(&ATLASSIAN, 401, r#"{"error":"access_denied"}"#), refused(RefusalCode::InvalidClient));
    assert_eq!(json(&GENERIC, 403, body), refused(RefusalCode::UnauthorizedClient));
    assert_eq!(answered(&ATLASSIAN, 403, "text/html", "<html>"), kept(Malformed::Status(403)));
}

#[test]
fn o8_notion_salesforce_and_google() {
    let notion = r#"{"access_token":"ntn_1","token_type":"bearer","refresh_token":"nrt_1","bot_id":"b","workspace_id":"w","owner":{"type":"user","user":{"object":"user","id":"u","person":{"email":"a@example.com"}}}}"#;
    assert_eq!(json(&NOTION, 200, notion), Ok(stored("ntn_1").refresh("nrt_1").account("w/u")));
    let salesforce = r#"{"access_token":"00D!1","instance_url":"https://acme.my.salesforce.com","id":"https://login.salesforce.com/id/00D/005","token_type":"Bearer","issued_at":"1278448832702","scope":"refresh_token api","signature":"s"}"#;
    let account = "https://login.salesforce.com/id/00D/005";
    assert_eq!(
        json(&SALESFORCE, 200, salesforce),
        Ok(stored("00D!1").scopes(&["refresh_token", "api"]).account(account))
    );
    // {"iss":"https://accounts.google.com","sub":"1100"}
    let google = r#"{"access_token":"ya29.1","expires_in":3599,"scope":"openid","token_type":"Bearer","id_token":"e30.eyJpc3MiOiJodHRwczovL2FjY291bnRzLmdvb2dsZS5jb20iLCJzdWIiOiIxMTAwIn0.c2ln"}"#;
    assert_eq!(json(&GOOGLE, 200, google), Ok(stored("ya29.1").seconds(3599).scopes(&["openid"]).account("1100")));
    for id_token in ["", "e30", "e30..", "e30.e30.x", "e30.!!.x", "e30.eyJzdWIiOjF9.x", "null"] {
        let body = format!(r#"{{"access_token":"a","id_token":"{id_token}"}}"#);
        assert_eq!(json(&GOOGLE, 200, &body), Ok(stored("a")), "{id_token}");
    }
}

#[test]
fn o8_an_account_is_short_and_visible_or_not_told() {
    let account =
        |id: &str| json(&SALESFORCE, 200, &format!(r#"{{"access_token":"a","id":{id}}}"#)).expect("a token").account;
    assert_eq!(account(r#""x""#), Some("x".to_owned()));
    for untold in [r#""""#, r#""a b""#, r#""a\nb""#, r#""é""#, "7", "null", "{}", &format!(r#""{}""#, "x".repeat(600))]
    {
        assert_eq!(account(untold), None, "{untold}");
    }
}

#[test]
fn l7_an_outage_says_nothing_of_the_grant() {
    for status in [408, 429, 500, 502, 503, 504] {
        for body in [r#"{"error":"invalid_grant"}"#, r#"{"access_token":"a","refresh_token":"r"}"#, "<html>", ""] {
            assert_eq!(json(&GENERIC, status, body), LATER, "{status} {body}");
        }
    }
    for (error, fault) in [
        (TokenEndpointError::Transient { retry_after: None }, Fault::Provider),
        (TokenEndpointError::Malformed(Malformed::Shape), Fault::Provider),
        (TokenEndpointError::Malformed(Malformed::Status(403)), Fault::Provider),
        (TokenEndpointError::Refused { code: RefusalCode::Unlisted }, Fault::Client),
        (TokenEndpointError::Refused { code: RefusalCode::InvalidClient }, Fault::Client),
        (TokenEndpointError::Refused { code: RefusalCode::UnauthorizedClient }, Fault::Client),
        (TokenEndpointError::Refused { code: RefusalCode::InvalidGrant }, Fault::Grant),
    ] {
        assert_eq!(error.fault(), fault, "{error}");
    }
}
