//! What every page carries: no frame, no script, no cache, no referrer.

use e2e::{Browser, Page, run};
use url::Url;

use crate::Notes;

const PATHS: [&str; 9] = [
    "/connect/0",
    "/connections",
    "/connections/status?server=a/b",
    "/oauth/callback/0?state=a",
    "/signin",
    "/signin?to=connections",
    "/signin/callback?state=a&code=b",
    "/signin/link/0",
    "/signin/return/0?code=a",
];

#[track_caller]
fn assert_guarded(page: &Page) {
    let is = |name: &str| page.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let policy = is("content-security-policy");
    for directive in ["default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", "form-action 'self'"] {
        assert!(policy.split("; ").any(|one| one == directive), "{directive}: {page:?}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("script-src"), "{page:?}");
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        assert_eq!(is(name), value, "{name}: {page:?}");
    }
    assert!(!page.text.contains("<script"), "{page:?}");
}

#[test]
fn o7_every_page_is_guarded_and_none_of_them_sets_a_cookie() {
    run(async {
        let notes = Notes::open().await;
        let (alice, link) = notes.caller("alice").await;
        let (bob, stranger) = (notes.caller("bob").await.0, Browser::default());
        let at = |path: &str| Url::parse(&notes.world.public_url).and_then(|url| url.join(path)).expect("a URL");
        let begun = alice.press(&alice.get(&link).await, "Connect").await;
        let there = begun.location().expect("a way to the provider");
        let answered = alice.get(&there).await.location().expect("a way back");
        let connected = alice.go_on(alice.get(&answered).await).await;
        assert!(connected.text.contains("is connected"), "{connected:?}");
        let forged = alice.post(&link, &[("csrf", "guessed")]).await;
        assert_eq!(forged.status, 403, "{forged:?}");
        let mut pages = vec![begun, connected, forged];
        for who in [&alice, &bob, &stranger] {
            pages.push(who.get(&link).await);
            pages.push(who.get(&answered).await);
            for path in PATHS {
                pages.push(who.get(&at(path)).await);
            }
        }
        for page in &pages {
            assert_guarded(page);
            assert!(!page.headers.contains_key("set-cookie"), "{page:?}");
        }
    });
}
