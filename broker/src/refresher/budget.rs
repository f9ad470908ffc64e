//! How often a provider is asked for what nobody waits for: the store counts it, for all brokers together.
//!
//! What is counted is one moment, until which the budget is spent (a virtual schedule: each request moves it by its share of
//! a second). It is compared and swapped, so of brokers that look at once none counts what another has spent.

use super::{Inner, RefreshError};
use crate::clock::UnixTime;

/// Microseconds in a second.
const SECOND: u64 = 1_000_000;

/// How often a broker looks again that others were quicker than; then its turn is the next tick.
const TRIES: usize = 5;

/// Moves the moment until which a budget of so many requests a second is spent: by what was asked and is `owed`, and by as
/// much of what is `wanted` as is left. Answers it, and how much that is. No more than a second's worth is saved up, and no
/// more is made up for.
fn spend(spent_until: u64, now: UnixTime, per_second: u32, owed: u32, wanted: u32) -> (u64, u32) {
    let each = (SECOND / u64::from(per_second)).max(1);
    let (now, full) = (now.0.saturating_mul(1_000), each * u64::from(per_second));
    let from = spent_until.max(now.saturating_sub(full)).saturating_add(each * u64::from(owed)).min(now + full);
    let granted = u32::try_from(now.saturating_sub(from) / each).unwrap_or(u32::MAX).min(wanted);
    (from + each * u64::from(granted), granted)
}

impl Inner {
    /// Takes of the budget of a provider what may begin now, at most `wanted`, and what was asked here since. What was taken
    /// before and not needed comes first.
    pub(super) async fn take_of_budget(&self, host: &str, wanted: u32) -> Result<u32, RefreshError> {
        let (owed, unused) = self.providers.take_owed(host);
        let paid = unused.min(owed + wanted);
        let (owed, wanted, there) = match paid.checked_sub(owed) {
            Some(there) => (0, wanted - there, there),
            None => (owed - paid, wanted, 0),
        };
        if (owed, wanted) == (0, 0) {
            return Ok(there);
        }
        let taken = self.spend(host, owed, wanted).await;
        if !matches!(taken, Ok(Some(_))) {
            self.providers.owe(host, (owed, there));
            taken?;
            return Ok(0);
        }
        Ok(taken?.unwrap_or(0) + there)
    }

    /// Nothing, where others were quicker each time.
    async fn spend(&self, host: &str, owed: u32, wanted: u32) -> Result<Option<u32>, RefreshError> {
        let per_second = self.limits.budget.per_second;
        for _ in 0..TRIES {
            let from = self.store.spent_until(host).await.map_err(RefreshError::store)?;
            let (until, granted) = spend(from.unwrap_or(0), self.clock.now(), per_second, owed, wanted);
            if self.store.spend(host, from, until).await.map_err(RefreshError::store)? {
                return Ok(Some(granted));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixTime = UnixTime(1_800_000_000_000);

    fn later(millis: u64) -> UnixTime {
        UnixTime(START.0 + millis)
    }

    #[test]
    fn no_more_begins_in_a_second_than_allowed_whoever_looks_and_however_often() {
        for per_second in [1, 3, 7, 20, 10_000] {
            let (mut spent, mut begun) = (0, 0);
            // Three brokers, ten times a second each, for ten seconds.
            for look in 0..=300 {
                let (until, granted) = spend(spent, later(look * 10_000 / 300), per_second, 0, u32::MAX);
                (spent, begun) = (until, begun + granted);
            }
            // A second's worth is there at the start.
            let most = 11 * per_second;
            assert!((most..=most + 1).contains(&begun), "{begun} of {most}");
        }
    }

    #[test]
    fn no_more_than_wanted_is_taken_and_a_second_is_saved_up_at_most() {
        let (until, granted) = spend(0, START, 20, 0, 5);
        assert_eq!(granted, 5);
        assert_eq!(spend(until, START, 20, 0, 100).1, 15);
        assert_eq!(spend(until, later(3_600_000), 20, 0, 100).1, 20);
    }

    #[test]
    fn what_callers_had_is_made_up_for_by_a_second_at_most() {
        let (until, granted) = spend(0, START, 20, 20, 100);
        assert_eq!(granted, 0);
        assert_eq!(spend(until, later(500), 20, 0, 100).1, 10);
        let (until, granted) = spend(0, START, 20, u32::MAX, 100);
        assert_eq!(granted, 0);
        assert_eq!(spend(until, later(1_000), 20, 0, 100).1, 0);
        assert_eq!(spend(until, later(2_000), 20, 0, 100).1, 20);
    }

    #[test]
    fn l10_what_a_clock_that_was_ahead_has_spent_holds_up_for_a_second() {
        let (until, granted) = spend(u64::MAX, START, 20, 0, 100);
        assert_eq!(granted, 0);
        assert_eq!(spend(until, later(2_000), 20, 0, 100).1, 20);
    }
}
