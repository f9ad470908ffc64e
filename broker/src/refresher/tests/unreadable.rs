//! Refresh tokens that do not open now, and may open later.

use super::people::People;
use super::provider::PAIR;
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
    async fn puts_back(&self, column: &str, sealed: &Sealed) {
        let hex: String = sealed.0.iter().map(|byte| format!("{byte:02x}")).collect();
        let sql = format!("UPDATE grants SET {column} = X'{hex}'");
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
    people.puts_back("refresh_token", &sealed).await;
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
    people.puts_back("refresh_token", &sealed).await;
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

/// Alice's refresh token is refused, and that of the spare is under a master key that is not held here.
async fn under_another_key() -> People {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    let elsewhere = people.fixture.dir.path().join("elsewhere").join("master.key");
    let elsewhere = Vault::open_or_create(elsewhere, &Tenant("t".into())).unwrap();
    people.keeps_spare(&elsewhere, "canary-refresh-spare").await;
    people.fixture.provider.is_strict("canary-refresh-spare");
    people
}

#[tokio::test]
async fn i5_while_the_key_of_a_spare_is_away_the_refused_token_is_not_sent_again() {
    let people = under_another_key().await;
    let spare = people.spare(&people.fixture.vault, "canary-refresh-spare").await;
    for _ in 0..5 {
        people.fixture.clock.advance(HOUR);
        assert_eq!(people.reason().await, ConsentReason::Unreadable);
        let left = people.stored().await;
        assert_eq!((left.standing, left.intent), (ConsentReason::Unreadable.as_standing(), None));
        assert!(left.spare.is_some() && left.material.is_some_and(|material| material.refresh_token.is_some()));
    }
    assert_eq!(people.sent(), ["canary-refresh-0"]);
    people.puts_back("spare", &spare).await;
    people.fixture.clock.advance(HOUR);
    assert_eq!(people.token(Need::Live).await.unwrap(), "canary-token-2");
    assert_eq!(people.sent(), ["canary-refresh-0", "canary-refresh-spare"]);
}

#[tokio::test]
async fn i5_while_the_old_token_lives_nobody_is_asked_for_consent_because_of_a_spare_whose_key_is_away() {
    let people = under_another_key().await;
    people.fixture.clock.advance(HOUR.mul_f64(0.86));
    for _ in 0..5 {
        people.fixture.clock.advance(HOUR.mul_f64(0.02));
        assert_eq!(people.token(Need::Live).await.unwrap(), "canary-agreed");
        people.until_idle().await;
    }
    assert_eq!((people.sent(), people.stored().await.standing), (vec!["canary-refresh-0".to_owned()], Standing::Live));
}

#[tokio::test]
async fn i5_a_spare_that_could_not_be_sent_is_what_is_sent_next() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.keeps_spare(&people.fixture.vault, "canary-refresh-spare").await;
    people.fixture.provider.is_strict("canary-refresh-spare");
    people.fixture.provider.answers(503, "");
    people.fixture.clock.advance(HOUR);
    people.token(Need::Live).await.unwrap_err();
    people.fixture.provider.answers(200, PAIR);
    people.fixture.clock.advance(HOUR);
    assert_eq!(people.token(Need::Live).await.unwrap(), "canary-token-3");
    assert_eq!(people.sent(), ["canary-refresh-0", "canary-refresh-spare", "canary-refresh-spare"]);
}

#[tokio::test]
async fn a_spare_that_does_not_open_beside_a_refused_token_asks_for_consent_and_goes_on_when_it_opens() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.keeps_spare(&people.fixture.vault, "canary-refresh-spare").await;
    people.fixture.provider.is_strict("canary-refresh-spare");
    people.fixture.store.tamper("UPDATE grants SET spare = access_token").await;
    for _ in 0..5 {
        people.fixture.clock.advance(HOUR);
        assert_eq!(people.reason().await, ConsentReason::Unreadable);
        assert_eq!(people.stored().await.standing, ConsentReason::Unreadable.as_standing());
    }
    assert_eq!(people.sent(), ["canary-refresh-0"]);
}

#[tokio::test]
async fn i5_a_spare_is_sent_before_a_grant_is_lost_to_answers_that_never_came() {
    let people = People::impatient(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.keeps_spare(&people.fixture.vault, "canary-refresh-spare").await;
    people.fixture.provider.hangs(true);
    for _ in 0..2 {
        people.fixture.clock.advance(HOUR);
        people.token(Need::Live).await.unwrap_err();
    }
    people.fixture.provider.hangs(false);
    people.fixture.provider.is_strict("canary-refresh-spare");
    people.fixture.clock.advance(HOUR);
    assert_eq!(people.token(Need::Live).await.unwrap(), "canary-token-3");
    assert_eq!(people.sent(), ["canary-refresh-0", "canary-refresh-0", "canary-refresh-spare"]);
}
