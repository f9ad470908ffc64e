//! Times that other brokers have written, by clocks that may be wrong (threats L10).
//!
//! What one of them ordered to wait for lasts no longer than it was meant to, counted from when it was first seen here: a
//! clock that is ahead stops nothing for hours. And where asking too early could end a grant, it lasts no shorter, unless
//! it is over by more than clocks are apart.

use std::time::Duration;

use moka::sync::Cache;

use super::due::MAX_PAUSE;
use crate::clock::UnixTime;

/// How far the clocks of two brokers may be apart.
pub(super) const MAX_SKEW: Duration = Duration::from_secs(5 * 60);

/// What was first seen when; this much of it is remembered, and for this long.
const REMEMBERED: u64 = 100_000;
const REMEMBERED_FOR: Duration = Duration::from_secs(60 * 60);

/// A span of time by the clock of whoever wrote it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from: UnixTime,
    pub(super) until: UnixTime,
}

/// When spans were first seen, by our clock.
pub(super) struct FirstSeen(Cache<String, UnixTime>);

impl Default for FirstSeen {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(REMEMBERED).time_to_live(REMEMBERED_FOR).build())
    }
}

impl FirstSeen {
    /// How much is left, at most: by its own words, or counted from when it was first seen.
    pub(super) fn at_most(&self, of: &str, span: Span, now: UnixTime) -> Duration {
        span.until.since(now).min(self.counted(of, span, now))
    }

    /// How much may be left by a clock that is as far ahead of the writer's as clocks may be.
    pub(super) fn at_least(&self, of: &str, span: Span, now: UnixTime) -> Duration {
        match now >= span.until.after(MAX_SKEW) {
            true => Duration::ZERO,
            false => self.counted(of, span, now),
        }
    }

    fn counted(&self, of: &str, span: Span, now: UnixTime) -> Duration {
        let lasts = span.until.since(span.from).min(MAX_PAUSE);
        let name = format!("{of}/{}/{}", span.from.0, span.until.0);
        let mut seen = self.0.get_with(name.clone(), || now);
        if now < seen {
            // Our own clock was set back: it is counted from here.
            self.0.insert(name, now);
            seen = now;
        }
        seen.after(lasts).since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixTime = UnixTime(1_800_000_000_000);
    const MINUTE: Duration = Duration::from_secs(60);

    fn ahead(by: Duration) -> Span {
        let from = START.after(by);
        Span { from, until: from.after(MINUTE) }
    }

    #[test]
    fn l10_a_clock_that_is_hours_ahead_stops_nothing_for_longer_than_was_meant() {
        let seen = FirstSeen::default();
        let span = ahead(60 * MINUTE);
        assert_eq!(seen.at_most("g", span, START), MINUTE);
        assert_eq!(seen.at_most("g", span, START.after(MINUTE / 2)), MINUTE / 2, "it runs down");
        assert_eq!(seen.at_most("g", span, START.after(MINUTE)), Duration::ZERO);
        assert_eq!(seen.at_least("g", span, START.after(MINUTE)), Duration::ZERO);
        assert_eq!(seen.at_most("other", span, START.after(MINUTE)), MINUTE);
    }

    #[test]
    fn l10_a_clock_that_is_minutes_behind_makes_nobody_ask_too_early_where_that_matters() {
        let seen = FirstSeen::default();
        let now = START.after(4 * MINUTE);
        let span = ahead(Duration::ZERO);
        assert_eq!(seen.at_most("g", span, now), Duration::ZERO, "it looks as if it were over");
        assert_eq!(seen.at_least("g", span, now), MINUTE);
        assert_eq!(seen.at_least("g", span, now.after(MINUTE)), Duration::ZERO);
        assert_eq!(seen.at_least("h", span, span.until.after(MAX_SKEW)), Duration::ZERO, "no clock is so far behind");
    }

    #[test]
    fn a_span_without_end_ends_all_the_same() {
        let seen = FirstSeen::default();
        let span = Span { from: UnixTime(0), until: UnixTime(u64::MAX) };
        assert_eq!(seen.at_most("g", span, START), MAX_PAUSE);
        assert_eq!(seen.at_least("g", span, START.after(MAX_PAUSE)), Duration::ZERO);
    }

    #[test]
    fn l10_a_clock_that_is_set_back_begins_to_count_again() {
        let seen = FirstSeen::default();
        let span = ahead(Duration::ZERO);
        let late = START.after(2 * MINUTE);
        assert_eq!(seen.at_least("g", span, late), MINUTE);
        assert_eq!(seen.at_least("g", span, START), MINUTE, "not three");
        assert_eq!(seen.at_least("g", span, START.after(MINUTE)), Duration::ZERO);
    }
}
