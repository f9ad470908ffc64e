//! Who may ask a provider now: the durable right to refresh one generation of a grant.
//!
//! A lock cannot keep a second request from a provider; what is written down before the first one can. An intent that
//! outlives whoever took it tells that the provider may have acted without our learning it.

use std::time::Duration;

use moka::sync::Cache;

use crate::clock::UnixTime;
use crate::keys::hex;
use crate::oauth::profile::Rotation;
use crate::secret::Secret;
use crate::store::Intent;

/// From the end of a request and its commit to the intent's deadline.
const MARGIN: Duration = Duration::from_secs(2);

/// Requests with one refresh token whose outcome is not known, where the token may be used up by any of them. The second
/// finds out; a third could only be taken for theft.
const MAX_ATTEMPTS: u32 = 2;

/// One start of one broker.
pub(super) struct Owner {
    broker: String,
    start: String,
}

/// Intents of ours, one for each grant, of which more is known here than the store says.
pub(super) struct Remembered(Cache<String, Intent>);

/// So many are remembered, for so long; one that is not is what it is to other brokers.
const REMEMBERED: u64 = 10_000;
const REMEMBERED_FOR: Duration = Duration::from_secs(60 * 60);

impl Default for Remembered {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(REMEMBERED).time_to_live(REMEMBERED_FOR).build())
    }
}

impl Remembered {
    pub(super) fn remember(&self, grant: &str, intent: &Intent) {
        self.0.insert(grant.to_owned(), intent.clone());
    }

    pub(super) fn forget(&self, grant: &str) {
        self.0.invalidate(grant);
    }

    pub(super) fn has(&self, grant: &str, intent: &Intent) -> bool {
        self.0.get(grant).as_ref() == Some(intent)
    }
}

/// What the intent of a grant, or its absence, allows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// To ask, as this attempt.
    Free(u32),
    /// To wait: another broker is at it.
    Taken,
    /// Nothing: whoever asked may have used the refresh token up, twice.
    Spent,
}

impl Owner {
    /// A new start. What earlier ones have begun nobody will end: a data directory has one broker at a time.
    pub(super) fn start(broker: String) -> Self {
        // Random, so that no two starts are taken for one; no secret.
        Self { broker, start: hex(Secret::random::<8>().expose()) }
    }

    pub(super) fn broker(&self) -> &str {
        &self.broker
    }

    /// An intent for the attempt that begins now and may take this long.
    pub(super) fn intent(&self, attempt: u32, now: UnixTime, takes: Duration) -> Intent {
        let deadline = now.after(takes).after(MARGIN);
        Intent { owner: format!("{}/{}", self.broker, self.start), attempt, started_at: now, deadline }
    }

    /// Whether a start of this broker took it.
    pub(super) fn is_of_this_broker(&self, intent: &Intent) -> bool {
        intent.owner.rsplit_once('/').is_some_and(|(broker, _)| broker == self.broker)
    }

    /// What may be done now by the one flight of this grant in this broker: an intent of ours is none that is under way.
    /// `left`: how long another broker may still be at it.
    pub(super) fn right(
        &self,
        intent: Option<&Intent>,
        rotation: Rotation,
        left: impl Fn(&Intent) -> Duration,
    ) -> Right {
        let Some(intent) = intent else { return Right::Free(1) };
        if !self.is_of_this_broker(intent) && !left(intent).is_zero() {
            return Right::Taken;
        }
        match rotation {
            // The old refresh token stays: asking again changes nothing.
            Rotation::NonRotating | Rotation::OldValid => Right::Free(intent.attempt.saturating_add(1)),
            Rotation::Grace(_) | Rotation::Strict if intent.attempt < MAX_ATTEMPTS => Right::Free(intent.attempt + 1),
            Rotation::Grace(_) | Rotation::Strict => Right::Spent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_800_000_000_000);
    const TAKES: Duration = Duration::from_secs(18);
    const EVERY: [Rotation; 4] =
        [Rotation::NonRotating, Rotation::OldValid, Rotation::Grace(Duration::from_secs(30)), Rotation::Strict];

    fn owner(broker: &str) -> Owner {
        Owner::start(broker.to_owned())
    }

    const ITS_TIME: fn(&Intent) -> Duration = |intent| intent.deadline.since(intent.started_at);
    const NOTHING: fn(&Intent) -> Duration = |_| Duration::ZERO;

    #[test]
    fn another_brokers_intent_holds_as_long_as_something_is_left_of_it() {
        let intent = owner("b").intent(1, NOW, TAKES);
        assert!(intent.deadline > NOW.after(TAKES), "the commit must be over before anybody else asks");
        for rotation in EVERY {
            assert_eq!(owner("a").right(Some(&intent), rotation, ITS_TIME), Right::Taken);
            assert_eq!(owner("a").right(Some(&intent), rotation, NOTHING), Right::Free(2));
        }
    }

    #[test]
    fn what_an_earlier_start_began_is_taken_over_at_once() {
        let intent = owner("a").intent(1, NOW, TAKES);
        for rotation in EVERY {
            assert_eq!(owner("a").right(Some(&intent), rotation, ITS_TIME), Right::Free(2));
            assert_eq!(owner("ab").right(Some(&intent), rotation, ITS_TIME), Right::Taken);
        }
    }

    #[test]
    fn where_refresh_tokens_are_used_up_nobody_asks_a_third_time() {
        let intent = owner("a").intent(2, NOW, TAKES);
        let rights = EVERY.map(|rotation| owner("a").right(Some(&intent), rotation, ITS_TIME));
        assert_eq!(rights, [Right::Free(3), Right::Free(3), Right::Spent, Right::Spent]);
    }

    #[test]
    fn two_starts_of_one_broker_are_told_apart() {
        assert_ne!(owner("a").intent(1, NOW, TAKES).owner, owner("a").intent(1, NOW, TAKES).owner);
    }
}
