//! Answers of providers: each is taken once, in the attempt it belongs to, and from the provider that was asked.

use e2e::{
    Browser,
    provider::{Decision, Iss, StateSent, challenge},
    run,
};
use futures::future::join_all;
use url::Url;

use crate::Notes;

/// Begins, and lets the provider answer; the answer is still to be delivered.
async fn answered(person: &Browser, link: &Url) -> Url {
    let begun = person.press(&person.get(link).await, "Connect").await;
    let there = begun.location().expect("a way to the provider");
    person.get(&there).await.location().expect("a way back")
}

fn with(url: &Url, name: &str, value: Option<&str>) -> Url {
    let kept: Vec<_> = url.query_pairs().into_owned().filter(|(given, _)| given != name).collect();
    let mut url = url.clone();
    url.query_pairs_mut().clear().extend_pairs(kept).extend_pairs(value.map(|value| (name, value)));
    url
}

#[test]
fn o1_an_answer_that_belongs_to_nothing_redeems_no_code() {
    run(async {
        let notes = Notes::open().await;
        let ((alice, link), (bob, own)) = (notes.caller("alice").await, notes.caller("bob").await);
        let back = answered(&alice, &link).await;
        let bobs = answered(&bob, &own).await;
        let state = |url: &Url| url.query_pairs().find(|(name, _)| name == "state").expect("a state").1.into_owned();
        let (id, _) = state(&back).split_once('.').map(|(id, rest)| (id.to_owned(), rest.to_owned())).expect("halves");
        let doubled = Url::parse(&format!("{back}&state={}", state(&back))).expect("a URL");
        for (flaw, url) in [
            ("no state", with(&back, "state", None)),
            ("an empty state", with(&back, "state", Some(""))),
            ("two states", doubled),
            ("half a state", with(&back, "state", Some(&id))),
            ("a guessed state", with(&back, "state", Some(&format!("{id}.{}", "0".repeat(32))))),
            ("another person's state", with(&back, "state", Some(&state(&bobs)))),
            ("a state of nobody", with(&back, "state", Some("nobody.nothing"))),
            ("neither code nor error", with(&back, "code", None)),
            ("both code and error", with(&back, "error", Some("access_denied"))),
            ("an endless code", with(&back, "code", Some(&"x".repeat(40_000)))),
        ] {
            let page = alice.go_on(alice.get(&url).await).await;
            assert!((400..500).contains(&page.status), "{flaw}: {page:?}");
        }
        notes.assert_nothing_stored(&[&alice, &bob]).await;
        assert!(alice.go_on(alice.get(&back).await).await.text.contains("is connected"), "the true one is still good");
    });
}

#[test]
fn o1_the_answer_to_an_attempt_that_was_begun_again_redeems_no_code() {
    run(async {
        let notes = Notes::open().await;
        let (alice, link) = notes.caller("alice").await;
        let first = answered(&alice, &link).await;
        let second = answered(&alice, &link).await;
        assert_eq!(alice.get(&first).await.status, 400);
        notes.assert_nothing_stored(&[&alice]).await;
        assert!(alice.go_on(alice.get(&second).await).await.text.contains("is connected"));
    });
}

#[test]
fn o3_an_answer_that_names_another_issuer_or_none_redeems_no_code() {
    run(async {
        let notes = Notes::open().await;
        let (alice, link) = notes.caller("alice").await;
        for iss in [Iss::Withheld, Iss::Absent, Iss::Other("https://evil.example".into()), Iss::Other(String::new())] {
            notes.provider.send_iss(iss.clone());
            let page = notes.world.connect(&alice, &link).await;
            assert!(page.status == 400 && !page.text.contains("evil"), "{iss:?}: {page:?}");
        }
        notes.assert_nothing_stored(&[&alice]).await;
        notes.provider.send_iss(Iss::Own);
        assert!(notes.world.connect(&alice, &link).await.text.contains("is connected"));
    });
}

#[test]
fn o3_a_code_of_an_honest_provider_never_reaches_an_evil_one_that_bounced_the_browser_there() {
    run(async {
        let (honest, evil) = (Notes::open().await, Notes::open().await);
        let (alice, link) = evil.caller("alice").await;
        let (bob, own) = honest.caller("bob").await;
        let mut callback = answered(&bob, &own).await;
        callback.set_query(None);
        let client = [("client_id", honest.provider.client_id.as_str()), ("redirect_uri", callback.as_str())];
        let url = Url::parse_with_params(&honest.provider.authorization_url(), client).expect("a URL");
        evil.provider.decide(Decision::Bounce { url });
        let page = evil.world.connect(&alice, &link).await;
        assert_eq!(page.status, 400, "{page:?}");
        assert_eq!(honest.provider.codes().len(), 2, "the honest provider gave its code");
        assert!(honest.provider.token_requests().is_empty());
        evil.assert_nothing_stored(&[&alice]).await;
    });
}

#[test]
fn o4_every_attempt_has_a_challenge_of_its_own_whose_verifier_only_the_token_endpoint_sees() {
    run(async {
        let notes = Notes::open().await;
        let (alice, link) = notes.caller("alice").await;
        let _abandoned = answered(&alice, &link).await;
        let back = answered(&alice, &link).await;
        alice.get(&back).await;
        let asked = notes.provider.authorizations();
        let challenges: Vec<_> = asked.iter().filter_map(|form| form.get("code_challenge")).collect();
        assert!(challenges.len() == 2 && challenges[0] != challenges[1], "{asked:?}");
        assert!(asked.iter().all(|form| form.get("code_challenge_method") == Some("S256")), "{asked:?}");
        let redeemed = notes.provider.token_requests();
        let verifier = redeemed[0].form.get("code_verifier").expect("a verifier");
        assert_eq!(challenge(verifier), challenges[1]);
        assert!(!back.as_str().contains(verifier) && !notes.world.broker.log().contains(verifier));
    });
}

#[test]
fn o6_twenty_parallel_callbacks_make_one_token_request_and_one_grant() {
    run(async {
        let notes = Notes::open().await;
        let (alice, link) = notes.caller("alice").await;
        let back = answered(&alice, &link).await;
        for page in join_all((0..20).map(|_| alice.get(&back))).await {
            let page = alice.go_on(page).await;
            assert!(page.text.contains("is connected"), "{page:?}");
        }
        assert_eq!((notes.provider.token_requests().len(), notes.provider.families().len()), (1, 1));
        assert!(notes.is_connected(&alice).await);
    });
}

#[test]
fn o1_a_provider_that_loses_or_changes_the_state_gets_nobody_connected() {
    run(async {
        let notes = Notes::open().await;
        let (alice, link) = notes.caller("alice").await;
        for state in [StateSent::Missing, StateSent::Other("someone-elses".into())] {
            notes.provider.send_state(state.clone());
            assert_eq!(notes.world.connect(&alice, &link).await.status, 400, "{state:?}");
        }
        notes.assert_nothing_stored(&[&alice]).await;
    });
}
