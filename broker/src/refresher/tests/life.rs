//! Tokens whose provider tells no life.

use super::people::People;
use super::*;
use crate::oauth::profile::GENERIC;
use crate::oauth::token_response::MAX_EXPIRES_IN;

/// A pair without a life, and what an introspection says: both requests come to one place.
fn untold(active: bool, iat: Option<u64>) -> String {
    let (now, iat) = (START.0 / 1000 + 3600, iat.map_or(String::new(), |iat| format!(r#""iat":{iat},"#)));
    format!(
        r#"{{"access_token":"canary-token-NUMBER","refresh_token":"canary-refresh-NUMBER",{iat}"active":{active},"exp":{}}}"#,
        now + 600
    )
}

impl People {
    async fn refreshed(answer: &str) -> Self {
        let mut people = Self::at(&GENERIC).await;
        let url = people.client.token_url.join("/introspect").unwrap();
        Arc::get_mut(&mut people.client).unwrap().introspection_url = Some(url);
        let mut agreed = people.next_generation("canary-agreed", Some("canary-refresh-0")).await;
        agreed.material.expires_at = agreed.material.issued_at.after(MAX_EXPIRES_IN);
        people.fixture.store.commit_grant(&agreed).await.unwrap();
        people.fixture.clock.advance(HOUR);
        people.fixture.provider.answers(200, answer);
        assert_eq!(people.token(Need::LaterThan(Generation(1))).await.unwrap(), "canary-token-1");
        people.fixture.provider.until_asked(2).await;
        people
    }
}

#[tokio::test]
async fn l2_a_life_that_is_not_told_is_asked_for_where_there_is_somebody_to_ask() {
    for iat in [None, Some(START.0 / 1000 + 3600)] {
        let people = People::refreshed(&untold(true, iat)).await;
        let expires_at = people.fixture.clock.now().after(Duration::from_secs(600));
        let served = loop {
            let served = people.fixture.refresher.token(&people.alice(), Need::Live).await.unwrap();
            if served.token.expires_at == expires_at {
                break served;
            }
            tokio::task::yield_now().await;
        };
        let seen = people.fixture.provider.seen();
        assert!(seen[1].contains("token=canary-token-1&token_type_hint=access_token"), "{seen:?}");
        assert_eq!(people.stored().await.material.unwrap().expires_at, expires_at);
        let due = served.token.refresh_after.since(served.token.issued_at).as_secs_f64() / 600.0;
        assert!((0.799..0.851).contains(&due), "{due}");
    }
}

#[tokio::test]
async fn an_introspection_that_says_no_changes_nothing() {
    let people = People::refreshed(&untold(false, None)).await;
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    let material = people.stored().await.material.unwrap();
    assert_eq!(material.expires_at.since(material.issued_at), MAX_EXPIRES_IN);
    assert_eq!(people.token(Need::Live).await.unwrap(), "canary-token-1", "its upstream decides");
}
