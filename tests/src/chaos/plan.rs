//! What goes wrong, and when: drawn from a seed, so that a run can be had again.

use std::{fmt, ops::Range, time::Duration};

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// One of the brokers.
    Broker(usize),
    /// The database that they share.
    Postgres,
    /// What they spare each other work by; a killed one comes back empty.
    Redis,
    /// A provider, by the number of its mode.
    Provider(usize),
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// SIGKILL, and a new start later.
    Kill,
    /// SIGSTOP, and SIGCONT later.
    Pause,
    /// SIGTERM, and a new start later.
    Restart,
    /// It does what it is asked for next, and its answer is lost.
    LoseAnswer,
}

/// One misfortune.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misfortune {
    /// Since the start.
    pub at: Duration,
    /// Until it is over.
    pub lasts: Duration,
    /// Whose.
    pub part: Part,
    /// Which.
    pub deed: Deed,
}

/// All of a run, in the order in which they come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan(pub Vec<Misfortune>);

/// `SplitMix64`: even, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn millis(&mut self, range: &Range<u64>) -> Duration {
        Duration::from_millis(range.start + self.roll() % (range.end - range.start))
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.roll() % all.len() as u64).expect("it is small")]
    }
}

/// Longer than the right to ask a provider holds against other brokers: they take over what was begun.
const LONG: Range<u64> = 24_000..40_000;
/// One in so many is that long.
const LONG_ONES: u64 = 6;

/// How one part fares: what may happen, how long that lasts, and how long it is left alone then, in milliseconds.
struct Lot {
    part: Part,
    deeds: &'static [Deed],
    lasts: Range<u64>,
    peace: Range<u64>,
}

impl Plan {
    /// For so many brokers and providers, and so long.
    pub fn of_seed(seed: u64, brokers: usize, providers: usize, time: Duration) -> Self {
        let broker = |number| Lot {
            part: Part::Broker(number),
            deeds: &[Deed::Kill, Deed::Pause, Deed::Restart],
            lasts: 300..4_000,
            peace: 3_000..9_000,
        };
        let postgres =
            Lot { part: Part::Postgres, deeds: &[Deed::Kill, Deed::Pause], lasts: 200..2_500, peace: 7_000..15_000 };
        let redis =
            Lot { part: Part::Redis, deeds: &[Deed::Kill, Deed::Pause], lasts: 200..4_000, peace: 4_000..9_000 };
        let provider = |number| Lot {
            part: Part::Provider(number),
            deeds: &[Deed::LoseAnswer],
            lasts: 1_000..1_001,
            // Where refresh tokens work once, each costs a grant: some are to see the end.
            peace: 20_000..60_000,
        };
        let lots = (0..brokers).map(broker).chain([postgres, redis]).chain((0..providers).map(provider));
        let mut dice = Dice(seed);
        let mut all = Vec::new();
        for Lot { part, deeds, lasts, peace } in lots {
            let mut at = dice.millis(&peace) / 3;
            while at < time {
                let (deed, mut lasts) = (dice.one_of(deeds), dice.millis(&lasts));
                let (is_long, long) = (dice.roll().is_multiple_of(LONG_ONES), dice.millis(&LONG));
                // None outlasts the run by more than a short one would.
                if is_long && !matches!(part, Part::Provider(_)) && at + long <= time {
                    lasts = long;
                }
                all.push(Misfortune { at, lasts, part, deed });
                at += lasts + dice.millis(&peace);
            }
        }
        all.sort_by_key(|misfortune| (misfortune.at, misfortune.part));
        Self(all)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broker(number) => write!(f, "broker {}", number + 1),
            Self::Postgres => f.write_str("Postgres"),
            Self::Redis => f.write_str("Redis"),
            Self::Provider(number) => write!(f, "provider {}", number + 1),
        }
    }
}

impl Deed {
    /// In a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "killed",
            Self::Pause => "paused",
            Self::Restart => "restarted",
            Self::LoseAnswer => "loses its answer",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_short_run_has_no_misfortune_that_outlasts_it() {
        let Plan(all) = Plan::of_seed(1, 3, 2, Duration::from_secs(16));
        assert!(all.iter().all(|misfortune| misfortune.lasts < Duration::from_secs(5)));
    }

    #[test]
    fn a_seed_is_one_plan_and_another_seed_another() {
        assert_eq!(Plan::of_seed(7, 3, 5, MINUTE), Plan::of_seed(7, 3, 5, MINUTE));
        assert_ne!(Plan::of_seed(7, 3, 5, MINUTE), Plan::of_seed(8, 3, 5, MINUTE));
    }

    #[test]
    fn every_part_meets_everything_and_nothing_twice_at_once() {
        let Plan(all) = Plan::of_seed(1, 3, 2, MINUTE * 10);
        let brokers = (0..3).map(Part::Broker);
        for part in brokers.chain([Part::Postgres, Part::Redis, Part::Provider(0), Part::Provider(1)]) {
            let own: Vec<_> = all.iter().filter(|misfortune| misfortune.part == part).collect();
            assert!(own.windows(2).all(|pair| pair[0].at + pair[0].lasts < pair[1].at), "{part}");
            let has = |deed| own.iter().any(|misfortune| misfortune.deed == deed);
            match part {
                Part::Broker(_) => assert!(has(Deed::Kill) && has(Deed::Pause) && has(Deed::Restart), "{part}"),
                Part::Postgres | Part::Redis => assert!(has(Deed::Kill) && has(Deed::Pause)),
                Part::Provider(_) => assert!(has(Deed::LoseAnswer)),
            }
            let outlasts_an_intent = |one: &Misfortune| one.lasts.as_millis() >= LONG.start.into();
            let is_provider = matches!(part, Part::Provider(_));
            assert_eq!(own.into_iter().any(outlasts_an_intent), !is_provider, "{part}");
        }
    }
}
