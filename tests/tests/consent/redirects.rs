//! No page of ours sends a browser anywhere but to the provider that the manifest names.

use e2e::{Browser, World, run};
use url::Url;

use crate::{Notes, leads_away};

const ELSEWHERE: [&str; 15] = [
    "https://evil.example/",
    "//evil.example/",
    "/\\evil.example/",
    "\\\\evil.example\\",
    "/%09/evil.example/",
    "%2f%2fevil.example%2f",
    "https:evil.example",
    "https:/\\evil.example",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "https://gate@evil.example/",
    "https://evil.example%00.gate/",
    "https://evil\u{3002}example/",
    "\u{ff0f}\u{ff0f}evil.example/",
    "http://127.0.0.1:1@evil.example:80/",
];

#[test]
fn o5_sixty_ways_to_name_another_place_lead_nowhere() {
    run(async {
        let notes = Notes::open().await;
        let (alice, link) = notes.caller("alice").await;
        let gate = &notes.world.public_url;
        let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let mut tried = 0;
        for place in ELSEWHERE {
            let place = encoded(place);
            for path in [
                format!("{}?return_to={place}&next={place}&redirect_uri={place}", link.path()),
                format!("/connect/{place}"),
                format!("/signin?flow={place}"),
                format!("/signin?to={place}"),
                format!("/signin?flow={}&to={place}&return_to={place}", link.path().trim_start_matches("/connect/")),
                format!("/signin/link/{place}"),
                format!("/signin/return/{place}?code={place}"),
                format!("/signin/callback?state={place}&code=a&redirect_uri={place}"),
                format!("/connections?to={place}&return_to={place}"),
                format!("/oauth/callback/{place}?state={place}&code=a"),
            ] {
                let url = Url::parse(&format!("{gate}{path}")).expect("a URL");
                for who in [&alice, &Browser::default()] {
                    let page = who.get(&url).await;
                    assert_eq!(leads_away(&page, gate), None, "{path}: {page:?}");
                    assert!(!page.text.contains("evil.example"), "{path}: {page:?}");
                    tried += 1;
                }
            }
        }
        assert!(tried >= 60, "{tried}");
        notes.assert_nothing_stored(&[&alice]).await;
    });
}

#[test]
fn o5_forms_of_the_sign_in_that_name_another_place_lead_nowhere() {
    run(async {
        let world = World::build().sign_in().start().await;
        let gate = &world.public_url;
        let url = |path: &str| Url::parse(&format!("{gate}{path}")).expect("a URL");
        for place in ELSEWHERE {
            for path in ["/signin/oidc", "/signin/application", "/signin/link/0", "/signout"] {
                for field in ["to", "flow", "return_to"] {
                    let page = Browser::default().post(&url(path), &[(field, place)]).await;
                    assert_eq!(leads_away(&page, gate), None, "{path} {field}={place}: {page:?}");
                }
            }
        }
    });
}

#[test]
fn o5_the_only_way_out_is_the_providers_and_what_it_answers_leads_back() {
    run(async {
        let notes = Notes::open().await;
        let (alice, link) = notes.caller("alice").await;
        let begun = alice.press(&alice.get(&link).await, "Connect").await;
        let there = leads_away(&begun, &notes.world.public_url).expect("a way to the provider");
        assert!(there.as_str().starts_with(&notes.provider.authorization_url()), "{there}");
        let mut back = alice.get(&there).await.location().expect("a way back");
        for place in ELSEWHERE {
            back.query_pairs_mut().append_pair("return_to", place).append_pair("to", place);
        }
        assert_eq!(leads_away(&alice.get(&back).await, &notes.world.public_url), None);
    });
}
