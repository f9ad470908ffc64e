//! Looking at Redis, for operators.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::link::{Link, WITHOUT, words};
use super::{Coordination, PATIENCE};

/// What was found of Redis. Holds no secret (I9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    /// Where it is, for people.
    pub at: String,
    /// How long it takes to take a lease and give it back, or why that cannot be done.
    pub took: Result<Duration, String>,
    /// What becomes of brokers that do without.
    pub without: &'static str,
}

impl Coordination {
    /// Does once what brokers do there, over a connection of its own; `None` where there is no Redis. Takes seconds where it
    /// does not answer.
    pub async fn examine(&self) -> Option<Examined> {
        let link = self.0.link.as_ref()?;
        Some(Examined { at: link.address.to_string(), took: link.examine().await, without: WITHOUT })
    }
}

impl Link {
    /// Reaches it anew, whatever is known of it, and takes and gives back a lease of its own; answers how long that took.
    async fn examine(&self) -> Result<Duration, String> {
        let apart = Self::new(Arc::clone(&self.address), self.channel().to_owned());
        let (mut connection, _notices) = apart.reach().await?;
        let (entry, begun) = (apart.probed(), Instant::now());
        for asked in [entry.take(), entry.release(&apart)] {
            match tokio::time::timeout(PATIENCE, connection.ask::<redis::Value>(&asked)).await {
                Ok(answer) => answer.map_err(|error| words(&error))?,
                Err(_) => return Err(format!("no answer within {} ms", PATIENCE.as_millis())),
            };
        }
        Ok(begun.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use redis_counterpart::{Link as Way, Mode, Redis, USER};

    use super::*;
    use crate::coordination::tests::{Joined, RIGHTS, address_of};

    #[tokio::test(flavor = "multi_thread")]
    async fn tells_where_it_is_whether_it_lends_and_why_not_without_any_secret() {
        let mut redis = Redis::build().user(RIGHTS).start();
        let way = Way::to(redis.port()).await;
        let joined = Joined::through(address_of(&redis.url_by(way.port()))).await;
        let examine = || async { joined.coordination.examine().await.unwrap() };
        let found = examine().await;
        assert_eq!((found.at, found.took.is_ok()), (format!("Redis at 127.0.0.1:{}", way.port()), true));
        assert!(redis.cli(&["keys", "sallyport:lease:*"]).is_empty());
        // Late both ways: it would answer who waits longer than brokers do.
        way.set(Mode::Slow(PATIENCE * 3 / 5));
        assert_eq!(examine().await.took.unwrap_err(), "no answer within 250 ms", "brokers skip it");
        way.set(Mode::Open);
        redis.cli(&["acl", "setuser", USER, "-set"]);
        assert!(examine().await.took.unwrap_err().contains("NOPERM"));
        redis.kill();
        let found = examine().await;
        assert!(found.without.starts_with("Everything works"));
        assert!(!format!("{found:?}").contains("p%40ss") && !format!("{found:?}").contains("p@ss"), "{found:?}");
        assert!(found.took.is_err());
    }

    #[tokio::test]
    async fn there_is_nothing_to_look_at_in_one_process() {
        assert_eq!(Coordination::in_process(crate::model::Tenant("t".into())).examine().await, None);
    }
}
