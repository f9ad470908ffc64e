//! What our own provider imitates, at the real one: consent by its pages, and refresh tokens that work once.

use e2e::{Browser, Idp, provider::challenge, run};
use serde_json::Value;
use url::Url;

use crate::browser::{CALLBACK, VERIFIER, browser, parameter};

const CLIENT: [(&str, &str); 2] = [("client_id", "gate"), ("client_secret", "secret-of-the-gate")];

async fn idp() -> (Idp, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let idp = Idp::start(directory.path()).await;
    idp.register_for_people("gate", "secret-of-the-gate", &[CALLBACK]).await;
    (idp, directory)
}

fn asking(idp: &Idp, scope: &str) -> Url {
    let challenge = challenge(VERIFIER);
    let parameters = [
        ("response_type", "code"),
        ("client_id", "gate"),
        ("redirect_uri", CALLBACK),
        ("scope", scope),
        ("state", "state-1"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    Url::parse_with_params(&idp.authorization_url(), parameters).unwrap()
}

async fn ask(idp: &Idp, form: &[(&str, &str)]) -> Value {
    let form: Vec<_> = form.iter().chain(&CLIENT).collect();
    browser().post(&idp.token_endpoint).form(&form).send().await.unwrap().json().await.unwrap()
}

async fn tokens(idp: &Idp, scope: &str) -> Value {
    let back = idp.consent(&Browser::default(), &asking(idp, scope), "alice").await;
    assert_eq!(parameter(&back, "iss").as_deref(), Some(idp.issuer.as_str()), "{back}");
    let code = parameter(&back, "code").unwrap();
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    ask(idp, &form).await
}

#[test]
fn at_the_real_provider_a_second_use_of_a_refresh_token_kills_the_grant() {
    run(async {
        let (idp, _directory) = idp().await;
        let first = tokens(&idp, "mcp:tools").await;
        let refresh = async |of: &Value| {
            let token = of["refresh_token"].as_str().unwrap();
            ask(&idp, &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
        };
        let second = refresh(&first).await;
        assert_ne!(first["refresh_token"], second["refresh_token"]);
        assert_eq!(idp.grants_revoked().await, 0);
        assert_eq!(refresh(&first).await["error"], "invalid_grant");
        assert_eq!(refresh(&second).await["error"], "invalid_grant");
        assert_eq!((idp.grants_revoked().await, idp.token_requests("gate").await), (1, 4));
    });
}

#[test]
fn at_the_real_provider_sign_in_yields_an_id_token_and_consent_is_asked_for_once() {
    run(async {
        let (idp, _directory) = idp().await;
        assert!(tokens(&idp, "openid email").await["id_token"].is_string());
        let person = Browser::default();
        let url = asking(&idp, "mcp:tools");
        idp.consent(&person, &url, "alice").await;
        let again = person.follow(person.get(&url).await).await;
        assert!(again.location().is_some_and(|back| back.as_str().starts_with(CALLBACK)), "{again:?}");
    });
}
