//! Refresh tokens that do not open now, and may open later.

use super::people::People;
use super::*;
use crate::oauth::profile::GENERIC;
use crate::store::{Sealed, Standing};

/// A person's grant that has expired, and whose refresh token does not open; and the one that would.
async fn unreadable() -> (People, Sealed) {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    let sealed = people.stored().await.material.unwrap().refresh_token.unwrap();
    people.fixture.clock.advance(HOUR);
    people.fixture.store.tamper("UPDATE grants SET refresh_token = access_token").await;
    assert_eq!(people.reason().await, ConsentReason::Unreadable);
    (people, sealed)
}

impl People {
    async fn puts_back(&self, sealed: &Sealed) {
        let hex: String = sealed.0.iter().map(|byte| format!("{byte:02x}")).collect();
        let sql = format!("UPDATE grants SET refresh_token = X'{hex}'");
        // The store tampers with literals only; a test leaks one.
        self.fixture.store.tamper(sql.leak()).await;
    }
}

#[tokio::test]
async fn i5_a_refresh_token_that_does_not_open_is_kept_and_goes_on_when_it_does() {
    let (people, sealed) = unreadable().await;
    let aside = people.stored().await;
    assert_eq!(aside.standing, ConsentReason::Unreadable.as_standing());
    assert!(aside.material.is_some_and(|material| material.refresh_token.is_some()), "nothing is destroyed");
    assert!(people.fixture.held.ended.lock().unwrap().is_empty(), "and nothing has ended");
    people.puts_back(&sealed).await;
    assert_eq!(people.reason().await, ConsentReason::Unreadable, "it is tried once a minute at most");
    people.fixture.clock.advance(Duration::from_secs(61));
    assert_eq!(people.token(Need::Live).await.unwrap(), "canary-token-1");
    assert_eq!(people.sent(), ["canary-refresh-0"]);
    let stored = people.stored().await;
    assert_eq!((stored.generation, stored.standing), (Generation(2), Standing::Live));
    let rows = people.fixture.store.audit(0, "", "", "refresh.failed", 10).await.unwrap();
    assert!(rows.len() == 1 && rows[0].entry.json.contains("unreadable"), "{rows:?}");
}

#[tokio::test]
async fn an_operator_who_has_brought_the_key_back_waits_for_nothing() {
    let (people, sealed) = unreadable().await;
    people.puts_back(&sealed).await;
    let client = Arc::clone(&people.client);
    people.fixture.refresher.by_hand(&people.stored().await, client, true).await.unwrap();
    assert_eq!(people.stored().await.generation, Generation(2));
}

#[tokio::test]
async fn what_is_agreed_to_meanwhile_replaces_what_does_not_open() {
    let (people, _) = unreadable().await;
    people.agrees(Some("canary-refresh-9")).await;
    assert_eq!(people.token(Need::Live).await.unwrap(), "canary-agreed");
    let stored = people.stored().await;
    assert_eq!((stored.generation, stored.standing), (Generation(2), Standing::Live));
    assert_eq!(people.fixture.provider.count(), 0);
}

#[tokio::test]
async fn i5_a_spare_whose_key_is_not_to_be_had_now_is_kept_with_its_grant() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    let stored = people.stored().await;
    // Sealed under a master key that is not held here.
    let elsewhere = people.fixture.dir.path().join("elsewhere").join("master.key");
    let elsewhere = Vault::open_or_create(elsewhere, &Tenant("t".into())).unwrap();
    let pair = Pair::new(&elsewhere, &stored.id).await.unwrap();
    let spare = Secret::new("canary-refresh-spare");
    let (_, spare) = pair.seal(&stored.id, Generation(2), &Secret::new("unused"), Some(&spare));
    people.fixture.store.keep_spare(&stored.id, Generation(1), Generation(2), &spare.unwrap()).await.unwrap();
    people.fixture.provider.is_strict("canary-refresh-spare");
    people.fixture.clock.advance(HOUR);
    let error = people.token(Need::Live).await.unwrap_err();
    assert!(matches!(error, RefreshError::Vault(_)), "{error:?}");
    let left = people.stored().await;
    assert_eq!((left.standing, left.intent), (Standing::Live, None));
    assert!(left.spare.is_some() && left.material.is_some_and(|material| material.refresh_token.is_some()));
}
