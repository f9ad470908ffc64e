//! Whoever finishes is who started: a link, a form or an answer in another person's browser comes to nothing.

use e2e::{Chromium, audit_records, run};

use crate::Notes;

/// How often this was recorded of a server.
async fn refusals(notes: &Notes, reason: &str) -> usize {
    let records = audit_records(&notes.world.broker.admin).await;
    let is_one = |record: &&serde_json::Value| {
        record["event"] == "consent.refused" && record["server"] == notes.server.name && record["reason"] == reason
    };
    records.iter().filter(is_one).count()
}

#[test]
fn o2_a_second_person_opening_the_link_stores_nothing_and_is_recorded() {
    run(async {
        let notes = Notes::open().await;
        let (alice, link) = notes.caller("alice").await;
        let (bob, _) = notes.caller("bob").await;
        let window = Chromium::person().await;
        window.sits_down_as(&bob, &notes.world.public_url).await;
        window.opens(link.as_str()).await;
        window.sees("This was not made for you, and nothing was stored.").await;
        let page = window.looks().await;
        let forms = page.elements.iter().filter(|element| *element == "form").count();
        assert!(page.status == 403 && forms == 1, "one, to sign out: {page:?}");
        notes.assert_nothing_stored(&[&alice, &bob]).await;
        assert_eq!(refusals(&notes, "wrong_person").await, 1);
        window.leaves().await;
    });
}

#[test]
fn o2_a_form_of_ones_own_sent_to_another_persons_link_is_refused() {
    run(async {
        let notes = Notes::open().await;
        let (alice, link) = notes.caller("alice").await;
        let (bob, own) = notes.caller("bob").await;
        let mut page = bob.get(&own).await;
        page.text = page.text.replace(own.path(), link.path());
        assert_eq!(bob.press(&page, "Connect").await.status, 403);
        assert!(notes.provider.authorizations().is_empty());
        notes.assert_nothing_stored(&[&alice, &bob]).await;
        assert_eq!(refusals(&notes, "wrong_person").await, 1);
    });
}

#[test]
fn o2_an_answer_in_another_persons_browser_redeems_no_code() {
    run(async {
        let notes = Notes::open().await;
        let (alice, link) = notes.caller("alice").await;
        let (bob, _) = notes.caller("bob").await;
        let there = alice.press(&alice.get(&link).await, "Connect").await.location().expect("a way to the provider");
        let stranger = e2e::Browser::of("bob");
        for (who, reason) in [(&bob, "wrong_person"), (&stranger, "signed_out")] {
            let page = who.go_on(who.get(&there).await).await;
            assert_eq!(page.status, 403, "{page:?}");
            assert_eq!(refusals(&notes, reason).await, 1, "{reason}");
        }
        notes.assert_nothing_stored(&[&alice, &bob]).await;
    });
}

#[test]
fn o1_an_answer_in_another_session_of_the_same_person_redeems_no_code() {
    run(async {
        let notes = Notes::open().await;
        let (alice, link) = notes.caller("alice").await;
        let there = alice.press(&alice.get(&link).await, "Connect").await.location().expect("a way to the provider");
        notes.world.sign_in(&alice).await;
        assert_eq!(alice.go_on(alice.get(&there).await).await.status, 400);
        notes.assert_nothing_stored(&[&alice]).await;
    });
}
