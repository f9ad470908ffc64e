//! What a person has connected, and how they end it.

use e2e::{
    Browser, Chromium, Page,
    provider::{Endpoint, Fault},
    run,
};

use crate::Notes;

#[test]
fn o13_disconnecting_revokes_at_the_provider_and_the_next_call_leads_to_consent_again() {
    run(async {
        let notes = Notes::open().await;
        let (alice, link) = notes.caller("alice").await;
        notes.world.connect(&alice, &link).await;
        assert!(notes.is_connected(&alice).await);
        let window = Chromium::person().await;
        window.sits_down_as(&alice, &notes.world.public_url).await;
        window.opens(&format!("{}/connections", notes.world.public_url)).await;
        window.sees(&notes.server.name).await;
        window.presses("Disconnect").await;
        window.sees("was told, and has ended the access.").await;
        assert!(notes.provider.live_access_tokens().is_empty() && !notes.provider.revocations().is_empty());
        assert_ne!(notes.world.consent_link(&alice, &notes.server).await, link);
        window.leaves().await;
    });
}

#[test]
fn nobody_ends_another_persons_connection() {
    run(async {
        let notes = Notes::open().await;
        let (alice, link) = notes.caller("alice").await;
        let (bob, own) = notes.caller("bob").await;
        for (person, link) in [(&alice, &link), (&bob, &own)] {
            notes.world.connect(person, link).await;
        }
        let connections = format!("{}/connections", notes.world.public_url).parse().expect("a URL");
        let theirs = alice.get(&connections).await;
        let mut page = bob.get(&connections).await;
        let (from, to) = (disconnect(&page.text), disconnect(&theirs.text));
        page.text = page.text.replace(&from, &to);
        let refused = bob.press(&page, "Disconnect").await;
        assert!(refused.status == 403 || refused.status == 404, "{refused:?}");
        assert!(notes.provider.revocations().is_empty());
        assert!(notes.is_connected(&alice).await && notes.is_connected(&bob).await);
    });
}

async fn disconnects(notes: &Notes, person: &Browser) -> Page {
    let connections = format!("{}/connections", notes.world.public_url).parse().expect("a URL");
    person.press(&person.get(&connections).await, "Disconnect").await
}

#[test]
fn o13_disconnecting_ends_the_token_at_a_github_of_ones_own_and_no_other() {
    run(async {
        let notes = Notes::at_github().await;
        let ((alice, link), (bob, own)) = (notes.caller("alice").await, notes.caller("bob").await);
        for (person, link) in [(&alice, &link), (&bob, &own)] {
            notes.world.connect(person, link).await;
            assert!(notes.is_connected(person).await);
        }
        let [hers, his] = &notes.provider.issued()[..] else { panic!("{:?}", notes.provider.issued()) };
        let page = disconnects(&notes, &alice).await;
        assert!(page.text.contains("was told, and has ended the access."), "{page:?}");
        assert_eq!(notes.provider.revocations(), std::slice::from_ref(hers));
        assert!(!notes.provider.is_live(hers) && notes.provider.is_live(his));
        assert!(!notes.is_connected(&alice).await && notes.is_connected(&bob).await);
    });
}

#[test]
fn o13_a_github_that_does_not_end_a_token_is_named_with_where_to_end_it() {
    run(async {
        let notes = Notes::at_github().await;
        for (login, fault) in
            [("alice", Fault::status(503)), ("bob", Fault::status(404)), ("carol", Fault::status(422))]
        {
            let (person, link) = notes.caller(login).await;
            notes.world.connect(&person, &link).await;
            notes.provider.fail_next(Endpoint::Revoke, 1, &fault);
            let page = disconnects(&notes, &person).await;
            assert!(page.text.contains("could not be told") && page.text.contains("github.com/settings"), "{page:?}");
            assert!(!notes.is_connected(&person).await, "it is gone here all the same");
        }
        assert!(notes.provider.revocations().is_empty());
    });
}

/// The path of the page's first button that ends something.
fn disconnect(page: &str) -> String {
    let (before, _) = page.split_once("/disconnect\"").expect("something is connected");
    before.rsplit('"').next().unwrap_or_default().to_owned()
}
