//! What the token and revocation endpoints refuse.

use std::time::Duration;

use e2e::{
    Provider,
    provider::{Client, ClientAuthentication, Outcome, Revoked},
    run,
};

use crate::browser::{
    CALLBACK, VERIFIER, ask, asking_with, browser, code, consented, family, open, parameter, redeem, redeem_with,
    refresh, refreshing,
};

#[test]
fn refuses_a_verifier_that_does_not_match_and_burns_the_code() {
    run(async {
        let provider = Provider::start().await;
        let short = &VERIFIER[..42];
        let wrong = [VERIFIER.replace('a', "b"), short.to_owned(), format!("{VERIFIER} ")];
        for verifier in wrong {
            let code = code(&provider).await;
            redeem_with(&provider, &code, CALLBACK, &verifier).await.assert_refused("invalid_grant");
            redeem(&provider, &code).await.assert_refused("invalid_grant");
        }
        redeem_with(&provider, &code(&provider).await, CALLBACK, "").await.assert_refused("invalid_request");
        assert_eq!(provider.families(), []);
    });
}

#[test]
fn a_code_works_once_and_its_second_use_takes_the_tokens_back() {
    run(async {
        let provider = Provider::start().await;
        let code = code(&provider).await;
        let first = redeem(&provider, &code).await;
        redeem(&provider, &code).await.assert_refused("invalid_grant");
        assert_eq!(family(&provider).revoked, Some(Revoked::CodeReplay));
        assert!(!provider.is_live(&first.text("access_token")));
        refresh(&provider, &first.text("refresh_token")).await.assert_refused("invalid_grant");
    });
}

#[test]
fn refuses_a_code_that_is_old_or_unknown_or_for_another_redirect_uri() {
    run(async {
        let provider = Provider::start().await;
        let elsewhere = format!("{CALLBACK}1");
        redeem_with(&provider, &code(&provider).await, &elsewhere, VERIFIER).await.assert_refused("invalid_grant");
        redeem(&provider, "no-such-code").await.assert_refused("invalid_grant");
        let code = code(&provider).await;
        provider.advance(Duration::from_secs(60));
        redeem(&provider, &code).await.assert_refused("invalid_grant");
        assert_eq!(provider.issued(), [""; 0]);
    });
}

#[test]
fn refuses_another_clients_code_and_refresh_token() {
    run(async {
        let provider = Provider::start().await;
        provider.register(public("app"));
        let (_, token) = consented(&provider).await;
        let code = code(&provider).await;
        let redeeming = [
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        for form in [redeeming.as_slice(), &refreshing(&token)] {
            let form: Vec<_> = form.iter().chain(&[("client_id", "app")]).collect();
            let answer = browser().post(provider.token_url()).form(&form).send().await.unwrap();
            assert_eq!(answer.json::<serde_json::Value>().await.unwrap()["error"], "invalid_grant", "{form:?}");
        }
    });
}

#[test]
fn refuses_clients_that_do_not_prove_who_they_are_in_their_way() {
    run(async {
        let provider = Provider::start().await;
        provider.register(public("app"));
        provider.register(Client {
            authentication: vec![ClientAuthentication::Basic],
            secret: "s".into(),
            ..public("basic")
        });
        let granting = [("grant_type", "client_credentials")];
        let post = |extra: &[(&'static str, &'static str)]| {
            browser().post(provider.token_url()).form(&granting.iter().chain(extra).copied().collect::<Vec<_>>())
        };
        let cases = [
            ("nobody", post(&[]), 400),
            ("a stranger", post(&[("client_id", "stranger")]), 401),
            ("no secret", post(&[("client_id", "gate")]), 401),
            ("a wrong secret", post(&[("client_id", "gate"), ("client_secret", "wrong")]), 401),
            ("a public client with a secret", post(&[("client_id", "app"), ("client_secret", "s")]), 401),
            ("in the body instead of the header", post(&[("client_id", "basic"), ("client_secret", "s")]), 401),
            ("both ways at once", post(&[("client_secret", "s")]).basic_auth("basic", Some("s")), 400),
            ("a wrong secret in the header", post(&[]).basic_auth("basic", Some("wrong")), 401),
            ("the right header", post(&[]).basic_auth("basic", Some("s")), 200),
            ("a public client", post(&[("client_id", "app")]), 200),
        ];
        for (what, request, status) in cases {
            assert_eq!(request.send().await.unwrap().status(), status, "{what}");
        }
        let by: Vec<_> = provider.token_requests().iter().filter_map(|request| request.authentication).collect();
        assert_eq!(by, [ClientAuthentication::Basic, ClientAuthentication::None]);
    });
}

#[test]
fn refuses_unknown_grants_and_parameters_given_twice() {
    run(async {
        let provider = Provider::start().await;
        ask(&provider, &[("grant_type", "password")]).await.assert_refused("unsupported_grant_type");
        ask(&provider, &[("scope", "a")]).await.assert_refused("invalid_request");
        let twice = [("grant_type", "client_credentials"), ("scope", "a"), ("scope", "b")];
        ask(&provider, &twice).await.assert_refused("invalid_request");
        assert!(provider.token_requests().iter().all(|request| matches!(request.outcome, Outcome::Refused(_))));
    });
}

#[test]
fn client_credentials_speak_for_the_client_and_have_no_refresh_token() {
    run(async {
        let provider = Provider::start().await;
        let answer = ask(&provider, &[("grant_type", "client_credentials"), ("scope", "a")]).await;
        assert_eq!(answer.body.get("refresh_token"), None);
        assert_eq!(provider.issued_for("a"), [answer.text("access_token")]);
        assert_eq!(provider.holder_of(&answer.text("access_token")), Some(provider.client_id.clone()));
    });
}

#[test]
fn a_refresh_token_that_is_given_back_takes_its_family_along_an_access_token_goes_alone() {
    run(async {
        let provider = Provider::start().await;
        let (access, token) = consented(&provider).await;
        let renewed = refresh(&provider, &token).await;
        let give_back = async |token: &str, client: &str, secret: &str| {
            let form = [("token", token), ("client_id", client), ("client_secret", secret)];
            browser().post(provider.revocation_url()).form(&form).send().await.unwrap().status().as_u16()
        };
        let (id, secret) = (provider.client_id.as_str(), provider.client_secret.as_str());
        assert_eq!(give_back(&access, id, "wrong").await, 401);
        assert!(provider.is_live(&access) && provider.revocations().is_empty());
        assert_eq!(give_back(&access, id, secret).await, 200);
        assert!(!provider.is_live(&access) && provider.is_live(&renewed.text("access_token")));
        assert_eq!(give_back(&renewed.text("refresh_token"), id, secret).await, 200);
        assert_eq!((family(&provider).revoked, provider.live_access_tokens().len()), (Some(Revoked::Client), 0));
        assert_eq!(provider.revocations(), [access, renewed.text("refresh_token")]);
    });
}

#[test]
fn a_registered_redirect_uri_is_the_only_one() {
    run(async {
        let provider = Provider::start().await;
        provider.register(Client { redirect_uris: vec![CALLBACK.into()], ..public("app") });
        let mut asking = asking_with(&provider, "client_id", Some("app"));
        let (_, location) = open(&provider, &asking).await;
        assert!(parameter(&location.unwrap(), "code").is_some());
        asking.retain(|(name, _)| name != "redirect_uri");
        asking.push(("redirect_uri".into(), format!("{CALLBACK}/x")));
        assert_eq!(open(&provider, &asking).await, (400, None));
    });
}

fn public(id: &str) -> Client {
    let authentication = vec![ClientAuthentication::None];
    Client { id: id.to_owned(), secret: String::new(), authentication, redirect_uris: Vec::new() }
}
