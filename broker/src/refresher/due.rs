//! When a token is due for renewal, and how long to leave a provider alone. Pure: chance is an argument.

use std::time::Duration;

use crate::clock::UnixTime;
use crate::oauth::profile::Profile;
use crate::oauth::token_response::MAX_EXPIRES_IN;

/// Life of a token whose endpoint names none. An hour is what most providers give; one that gives less answers 401,
/// which makes the filter reject the generation.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// Longest pause between two attempts at one grant, whatever a provider asks for.
pub const MAX_PAUSE: Duration = Duration::from_secs(5 * 60);

/// First pause after a provider failed.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// First pause after a provider refused the client: only an operator mends that.
const FIRST_PAUSE_REFUSED: Duration = Duration::from_secs(5);

/// A draw between 0 and `u16::MAX`, both included.
#[derive(Clone, Copy, Debug)]
pub struct Chance(pub u16);

impl Chance {
    /// From the operating system's generator; the middle if it has none to give, since this protects nothing.
    pub fn draw() -> Self {
        let mut bytes = [0x7f, 0xff];
        let _ = getrandom::fill(&mut bytes);
        Self(u16::from_be_bytes(bytes))
    }

    fn of(self, whole: Duration) -> Duration {
        whole.mul_f64(f64::from(self.0) / f64::from(u16::MAX))
    }
}

/// Between 80 % and 85 % of a token's life: spread, so that tokens that were issued together are not renewed together.
pub fn refresh_after(issued_at: UnixTime, expires_at: UnixTime, chance: Chance) -> UnixTime {
    let life = expires_at.since(issued_at);
    issued_at.after(life.mul_f64(0.80) + chance.of(life.mul_f64(0.05)))
}

/// When a token of a person ends, and when it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Never served after this.
    pub expires_at: UnixTime,
    /// From here on it is due.
    pub refresh_after: UnixTime,
}

/// The times of a token whose provider told this life, or none. One that has told a life before means the same again; of
/// one that never did, a token is renewed as the profile knows it, and served until its upstream refuses it.
pub fn times(
    profile: &Profile,
    told: Option<Duration>,
    before: Option<Duration>,
    issued_at: UnixTime,
    chance: Chance,
) -> Times {
    // Nothing that never lived tells of a life.
    match told.or(before.filter(|life| !life.is_zero() && *life < MAX_EXPIRES_IN)) {
        Some(life) => {
            let expires_at = issued_at.after(life);
            Times { expires_at, refresh_after: refresh_after(issued_at, expires_at, chance) }
        }
        None => Times {
            expires_at: issued_at.after(MAX_EXPIRES_IN),
            refresh_after: refresh_after(issued_at, issued_at.after(profile.default_lifetime), chance),
        },
    }
}

/// The pause after the `failures`th failure in a row: doubling, the upper half of it left to chance, not less than
/// the provider asked for, at most [`MAX_PAUSE`].
pub fn pause(failures: u32, refused: bool, retry_after: Option<Duration>, chance: Chance) -> Duration {
    let first = if refused { FIRST_PAUSE_REFUSED } else { FIRST_PAUSE };
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(MAX_PAUSE);
    let spread = doubled / 2 + chance.of(doubled / 2);
    let asked = retry_after.unwrap_or_default().min(MAX_PAUSE);
    spread.max(asked + chance.of(asked / 10)).min(MAX_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::profile::GENERIC;

    const EDGES: [Chance; 4] = [Chance(0), Chance(1), Chance(40_000), Chance(u16::MAX)];

    #[test]
    fn due_between_80_and_85_percent_of_its_life() {
        for seconds in [1, 60, 3600, 86_400, 365 * 86_400] {
            let issued = UnixTime(1_700_000_000_000);
            let expires = issued.after(Duration::from_secs(seconds));
            for chance in EDGES {
                let due = refresh_after(issued, expires, chance).since(issued).as_secs_f64() / seconds as f64;
                assert!((0.799..=0.8501).contains(&due), "{due}");
            }
        }
    }

    #[test]
    fn a_life_that_was_told_once_holds_for_answers_that_do_not_tell() {
        let (issued, hour) = (UnixTime(0), Duration::from_secs(3600));
        let untold = times(&GENERIC, None, None, issued, Chance(0));
        assert_eq!(untold.expires_at, issued.after(MAX_EXPIRES_IN));
        assert_eq!(untold.refresh_after, issued.after(GENERIC.default_lifetime.mul_f64(0.8)));
        let again = times(&GENERIC, None, Some(MAX_EXPIRES_IN), issued, Chance(0));
        assert_eq!(again, untold, "never told is not a life of a year");
        let told = times(&GENERIC, Some(hour), Some(MAX_EXPIRES_IN), issued, Chance(0));
        assert_eq!(told, times(&GENERIC, None, Some(hour), issued, Chance(0)));
        assert_eq!(told.expires_at, issued.after(hour));
        assert_eq!(untold, times(&GENERIC, None, Some(Duration::ZERO), issued, Chance(0)), "nothing had no life");
    }

    #[test]
    fn ten_thousand_tokens_of_one_moment_are_due_at_many() {
        let issued = UnixTime(0);
        let expires = UnixTime(3_600_000);
        let mut seconds: Vec<u64> =
            (0..10_000).map(|_| refresh_after(issued, expires, Chance::draw()).0 / 1000).collect();
        seconds.sort_unstable();
        let most = seconds.chunk_by(|a, b| a == b).map(<[u64]>::len).max().expect("some");
        assert!(most < 150, "{most} in one second");
    }

    #[test]
    fn pauses_grow_and_end_at_five_minutes() {
        for chance in EDGES {
            assert!(pause(1, false, None, chance) >= Duration::from_millis(500));
            assert!(pause(1, false, None, chance) <= Duration::from_secs(1));
            assert!(pause(4, false, None, chance) >= Duration::from_secs(4));
            assert!(pause(u32::MAX, true, None, chance) <= MAX_PAUSE);
            assert!(pause(1, true, None, chance) > pause(1, false, None, chance));
        }
    }

    #[test]
    fn honours_retry_after_up_to_the_cap() {
        for chance in EDGES {
            assert!(pause(1, false, Some(Duration::from_secs(30)), chance) >= Duration::from_secs(30));
            assert!(pause(1, false, Some(Duration::from_secs(30)), chance) <= Duration::from_secs(33));
            assert_eq!(pause(1, false, Some(Duration::from_secs(u64::MAX)), chance), MAX_PAUSE);
        }
    }
}
