//! Links: looked at by anybody, used up by nobody, and begun again with one click.

use e2e::{Browser, run};

use crate::Notes;

#[test]
fn a_link_preview_learns_nothing_and_uses_nothing_up() {
    run(async {
        let notes = Notes::open().await;
        let (alice, link) = notes.caller("alice").await;
        for _ in 0..3 {
            let preview = Browser::default().get(&link).await;
            assert!(preview.status == 200 && preview.link("Sign in").is_some(), "{preview:?}");
            assert!(!preview.text.contains(&notes.server.name) && !preview.text.contains("alice"), "{preview:?}");
            assert_eq!(alice.get(&link).await.status, 200);
        }
        assert!(notes.provider.authorizations().is_empty());
        assert!(notes.world.connect(&alice, &link).await.text.contains("is connected"));
    });
}

#[test]
fn a_retry_of_the_agent_shows_the_same_link() {
    run(async {
        let notes = Notes::open().await;
        let (alice, link) = notes.caller("alice").await;
        assert_eq!(notes.world.consent_link(&alice, &notes.server).await, link);
    });
}

#[test]
fn an_expired_link_begins_again_with_one_click() {
    run(async {
        let notes = Notes::open().await;
        let (alice, link) = notes.caller("alice").await;
        let id = link.path().rsplit('/').next().unwrap_or_default();
        let mut database = notes.world.broker.database().await;
        assert_eq!(database.execute("UPDATE consents SET expires_at = 1 WHERE id = $1", &[id]).await, 1);
        let page = alice.get(&link).await;
        assert!(page.status == 200 && page.text.contains("This link has expired."), "{page:?}");
        let page = alice.go_on(alice.press(&page, "Start again").await).await;
        assert!(page.text.contains("is connected") && notes.is_connected(&alice).await, "{page:?}");
    });
}

#[test]
fn a_person_who_says_no_can_begin_again() {
    run(async {
        let notes = Notes::open().await;
        let (alice, link) = notes.caller("alice").await;
        notes.provider.decide(e2e::provider::Decision::deny());
        let page = notes.world.connect(&alice, &link).await;
        assert!(page.text.contains("Not connected"), "{page:?}");
        notes.assert_nothing_stored(&[&alice]).await;
        notes.provider.decide(e2e::provider::Decision::Approve);
        assert!(notes.world.connect(&alice, &link).await.text.contains("is connected"));
    });
}
