//! What the authorization endpoint answers, honestly and not.

use e2e::{
    Provider,
    provider::{Decision, Iss, StateSent},
    run,
};
use url::Url;

use crate::browser::{CALLBACK, asking, asking_with, browser, consented, open, parameter};

#[test]
fn refuses_a_request_without_s256() {
    run(async {
        let provider = Provider::start().await;
        let flaws = [
            ("code_challenge", None),
            ("code_challenge", Some("short")),
            ("code_challenge_method", None),
            ("code_challenge_method", Some("plain")),
            ("response_type", Some("token")),
        ];
        for (name, value) in flaws {
            let (_, location) = open(&provider, &asking_with(&provider, name, value)).await;
            let location = location.unwrap();
            assert_eq!(parameter(&location, "error").as_deref(), Some("invalid_request"), "{name}: {value:?}");
            assert_eq!(parameter(&location, "code"), None, "{name}: {value:?}");
        }
        assert_eq!(provider.codes(), [""; 0]);
    });
}

#[test]
fn redirects_nowhere_for_an_unknown_client_or_without_a_redirect_uri() {
    run(async {
        let provider = Provider::start().await;
        for (name, value) in [("client_id", Some("stranger")), ("redirect_uri", None), ("redirect_uri", Some("x"))] {
            assert_eq!(open(&provider, &asking_with(&provider, name, value)).await, (400, None), "{name}: {value:?}");
        }
    });
}

#[test]
fn an_approval_comes_back_with_code_state_and_issuer_and_is_remembered() {
    run(async {
        let provider = Provider::start().await;
        let (status, location) = open(&provider, &asking(&provider)).await;
        let location = location.unwrap();
        assert!(status == 303 && location.as_str().starts_with(CALLBACK), "{status} {location}");
        assert_eq!(parameter(&location, "code"), provider.codes().pop());
        assert_eq!(parameter(&location, "state").as_deref(), Some("state-1"));
        assert_eq!(parameter(&location, "iss"), Some(provider.issuer.clone()));
        assert_eq!(provider.authorizations()[0].get("redirect_uri"), Some(CALLBACK));
    });
}

#[test]
fn lies_about_issuer_and_state_as_it_is_told() {
    run(async {
        let provider = Provider::start().await;
        let seen = async || {
            let location = open(&provider, &asking(&provider)).await.1.unwrap();
            (parameter(&location, "iss"), parameter(&location, "state"))
        };
        provider.send_iss(Iss::Other("https://evil.example".into()));
        provider.send_state(StateSent::Missing);
        assert_eq!(seen().await, (Some("https://evil.example".into()), None));
        provider.send_iss(Iss::Withheld);
        provider.send_state(StateSent::Other("someone-elses".into()));
        assert_eq!(seen().await, (None, Some("someone-elses".into())));
    });
}

#[test]
fn metadata_announce_the_issuer_parameter_unless_it_is_absent_and_can_be_made_worse() {
    run(async {
        let provider = Provider::start().await;
        let metadata = async || {
            let url = format!("{}/.well-known/oauth-authorization-server", provider.issuer);
            reqwest::get(url).await.unwrap().json::<serde_json::Value>().await.unwrap()
        };
        let announced = "authorization_response_iss_parameter_supported";
        let usual = metadata().await;
        assert_eq!((&usual["issuer"], &usual[announced]), (&provider.issuer.as_str().into(), &true.into()));
        provider.send_iss(Iss::Absent);
        provider.metadata(serde_json::json!({"code_challenge_methods_supported": null}));
        let worse = metadata().await;
        assert_eq!((&worse[announced], worse.get("code_challenge_methods_supported")), (&false.into(), None));
    });
}

#[test]
fn hostile_error_text_arrives_as_it_was_set() {
    run(async {
        let provider = Provider::start().await;
        let text = "<script>alert(1)</script>\r\n\"'&";
        provider.decide(Decision::Refuse { error: "access_denied".into(), description: text.into() });
        let location = open(&provider, &asking(&provider)).await.1.unwrap();
        assert_eq!(parameter(&location, "error_description").as_deref(), Some(text));
        assert_eq!(provider.codes(), [""; 0]);
    });
}

#[test]
fn a_bounce_carries_the_flows_state_and_challenge_to_the_other_server() {
    run(async {
        let (evil, honest) = (Provider::start().await, Provider::start().await);
        let url = Url::parse_with_params(&honest.authorization_url(), [("client_id", "victim")]).unwrap();
        evil.decide(Decision::Bounce { url });
        let location = open(&evil, &asking(&evil)).await.1.unwrap();
        assert!(location.as_str().starts_with(&honest.authorization_url()), "{location}");
        assert_eq!(parameter(&location, "client_id").as_deref(), Some("victim"));
        assert_eq!(parameter(&location, "state").as_deref(), Some("state-1"));
        assert_eq!(evil.codes(), [""; 0]);
    });
}

#[test]
fn the_page_waits_for_a_button_and_escapes_what_it_shows() {
    run(async {
        let provider = Provider::start().await;
        provider.decide(Decision::Ask);
        let asking = asking_with(&provider, "scope", Some("<b>all</b>"));
        let url = Url::parse_with_params(&provider.authorization_url(), &asking).unwrap();
        let page = browser().get(url.clone()).send().await.unwrap().text().await.unwrap();
        assert!(page.contains("value=\"approve\"") && page.contains("&lt;b&gt;all"), "{page}");
        assert_eq!(provider.codes(), [""; 0]);
        for (button, parameter) in [("deny", "error=access_denied"), ("approve", "code=")] {
            let answer = browser().post(url.clone()).form(&[("decision", button)]).send().await.unwrap();
            let location = answer.headers()["location"].to_str().unwrap();
            assert!(location.contains(parameter), "{button}: {location}");
        }
        assert_eq!(provider.authorizations().len(), 1);
    });
}

#[test]
fn approves_as_the_person_set_or_as_the_browsers_own() {
    run(async {
        let provider = Provider::start().await;
        provider.approve_as("bob");
        let (access, _) = consented(&provider).await;
        assert_eq!(provider.holder_of(&access).as_deref(), Some("bob"));
        let url = Url::parse_with_params(&provider.authorization_url(), asking(&provider)).unwrap();
        let answer = browser().get(url).header("cookie", "a=b; account=carol").send().await.unwrap();
        let location = Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap();
        crate::browser::redeem(&provider, &parameter(&location, "code").unwrap()).await.text("access_token");
        assert!(provider.family_of("carol").is_some());
    });
}
