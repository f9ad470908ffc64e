//! Which clock is wrong, by what others told of the time: this machine's, or the database's that brokers share.

use std::time::Duration;

use super::Finding;
use crate::clock::{Clock, SystemClock, UnixTime};
use crate::store::Store;

/// A clock may differ by as much before it is worth a look; `Date` has whole seconds.
const NOTICED: Duration = Duration::from_secs(10);

/// Tokens are taken for so long after they expire, and no longer: beyond it, good ones are refused.
const LEEWAY: Duration = Duration::from_secs(60);

/// AWS takes requests with signatures that are so old, or so new.
const SIGNATURES: Duration = Duration::from_secs(5 * 60);

/// How far a clock elsewhere is ahead of one of ours, in milliseconds.
type Skew = i64;

/// What somebody told of the time, and what ours said then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    there: UnixTime,
    here: Here,
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
struct Here {
    machine: UnixTime,
    /// By which tokens are judged.
    tokens: UnixTime,
}

/// The clocks that a broker goes by.
pub(super) struct Clocks<'a> {
    machine: &'a dyn Clock,
    tokens: &'a dyn Clock,
    /// The machine that has the second one; without it, they are the same clock.
    shared_at: Option<&'a str>,
}

impl<'a> Clocks<'a> {
    /// Of a broker over this store, which is there, for people.
    pub(super) fn of(store: &dyn Store, store_at: &'a str, tokens: &'a dyn Clock) -> Self {
        match store.is_shared() {
            true => Self { machine: &SystemClock, tokens, shared_at: Some(store_at) },
            false => Self::of_machine(tokens),
        }
    }

    /// Of a broker that shares none.
    pub(super) fn of_machine(clock: &'a dyn Clock) -> Self {
        Self { machine: clock, tokens: clock, shared_at: None }
    }

    /// What they say now, beside what somebody else has told.
    pub(super) fn beside(&self, there: UnixTime) -> Told {
        Told { there, here: self.now() }
    }

    fn now(&self) -> Here {
        Here { machine: self.machine.now(), tokens: self.tokens.now() }
    }

    /// One finding for each.
    pub(super) fn findings(&self, told: &[Told]) -> Vec<Finding> {
        let skews = |ours: fn(&Here) -> UnixTime| told.iter().map(move |told| difference(told.there, ours(&told.here)));
        let Some(store_at) = self.shared_at else {
            let remedy = "set this machine's clock, and keep it so (NTP): tokens are judged by it";
            return vec![judged("clock", "this machine's clock", skews(|here| here.machine).collect(), LEEWAY, remedy)];
        };
        let machine = judged(
            "clock",
            "this machine's clock",
            skews(|here| here.machine).collect(),
            SIGNATURES,
            "set this machine's clock, and keep it so (NTP): certificates and signatures for AWS are judged by it",
        );
        let remedy =
            format!("set the clock of the machine of {store_at}, and keep it so (NTP): tokens are judged by it");
        let database = "the database's clock, which all its brokers go by,";
        let database = judged("database's clock", database, skews(|here| here.tokens).collect(), LEEWAY, &remedy);
        match told {
            [] => vec![apart(self.now()), machine],
            _ => vec![machine, database],
        }
    }
}

/// By each other, where nobody else tells.
fn apart(Here { machine, tokens }: Here) -> Finding {
    const CHECK: &str = "database's clock";
    let off = machine.since(tokens).max(tokens.since(machine));
    let told = format!("{:.1} s apart from this machine's", off.as_secs_f64());
    match off > NOTICED {
        true => {
            Finding::warning(CHECK, told, "compare both by hand, `timedatectl` on each machine, and set the wrong one")
        }
        false => Finding::good(CHECK, told),
    }
}

fn difference(there: UnixTime, here: UnixTime) -> Skew {
    i64::try_from(there.0).unwrap_or(i64::MAX).saturating_sub_unsigned(here.0)
}

/// By the one in the middle: a single wrong clock elsewhere does not accuse ours.
fn judged(check: &str, whose: &str, mut skews: Vec<Skew>, bad: Duration, remedy: &str) -> Finding {
    skews.sort_unstable();
    let Some(&skew) = skews.get(skews.len() / 2) else {
        let told = "nobody told the time to compare with";
        return Finding::warning(check, told, "compare this machine's clock by hand: `timedatectl`");
    };
    let (off, asked) = (Duration::from_millis(skew.unsigned_abs()), skews.len());
    let side = if skew > 0 { "behind" } else { "ahead of" };
    let told = format!("{whose} is {:.1} s {side} the {asked} that told the time", off.as_secs_f64());
    match off {
        _ if off > bad => Finding::bad(check, told, remedy),
        _ if off > NOTICED => Finding::warning(check, told, remedy),
        _ => Finding::good(check, format!("within {} s of the {asked} that told the time", NOTICED.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::FixedClock;
    use crate::doctor::Verdict;

    const NOW: UnixTime = UnixTime(1_800_000_000_000);

    fn off_by(milliseconds: i64) -> UnixTime {
        UnixTime(NOW.0.saturating_add_signed(milliseconds))
    }

    #[test]
    fn a_clock_is_judged_by_most_of_those_that_told_the_time() {
        for (skews, verdict, told) in [
            (vec![], Verdict::Warning, "nobody told"),
            (vec![400, -900, 300], Verdict::Good, "within 10 s of the 3"),
            (vec![0, 200, 86_400_000], Verdict::Good, "within"),
            (vec![30_000, 31_000, 0], Verdict::Warning, "30.0 s behind"),
            (vec![-3_600_000, -3_600_500, 9], Verdict::Bad, "3600.0 s ahead of"),
        ] {
            let clock = FixedClock::at(NOW);
            let clocks = Clocks::of_machine(&clock);
            let heard: Vec<_> = skews.iter().map(|skew| clocks.beside(off_by(*skew))).collect();
            let [finding] = &clocks.findings(&heard)[..] else { panic!("one clock") };
            assert_eq!(finding.verdict(), verdict, "{skews:?}");
            assert!(finding.told.contains(told), "{}", finding.told);
        }
    }

    #[test]
    fn l10_of_two_clocks_the_one_that_is_wrong_is_named_and_it_is_said_whose_to_set() {
        const MINUTES: i64 = 60_000;
        for (machine_off, database_off, [machine, database]) in [
            (0, 0, [Verdict::Good, Verdict::Good]),
            (0, -5 * MINUTES, [Verdict::Good, Verdict::Bad]),
            (0, 30_000, [Verdict::Good, Verdict::Warning]),
            (4 * MINUTES, 0, [Verdict::Warning, Verdict::Good]),
            (-6 * MINUTES, 0, [Verdict::Bad, Verdict::Good]),
            (6 * MINUTES, 6 * MINUTES, [Verdict::Bad, Verdict::Bad]),
        ] {
            let (ours, shared) = (FixedClock::at(off_by(machine_off)), FixedClock::at(off_by(database_off)));
            let clocks = Clocks { machine: &ours, tokens: &shared, shared_at: Some("postgres at db.example.com") };
            let findings = clocks.findings(&[clocks.beside(NOW), clocks.beside(off_by(300))]);
            let [first, second] = &findings[..] else { panic!("{findings:?}") };
            assert_eq!((&*first.check, first.verdict()), ("clock", machine), "{first:?}");
            assert_eq!((&*second.check, second.verdict()), ("database's clock", database), "{second:?}");
            let remedies = [(first, "set this machine's clock"), (second, "machine of postgres at db.example.com")];
            for (finding, remedy) in remedies {
                assert!(finding.remedy().is_none_or(|said| said.contains(remedy)), "{finding:?}");
            }
        }
    }

    #[test]
    fn where_nobody_tells_the_time_two_clocks_are_compared_with_each_other() {
        for (off, verdict) in [(300_000, Verdict::Warning), (9_000, Verdict::Good)] {
            let (ours, shared) = (FixedClock::at(NOW), FixedClock::at(off_by(off)));
            let clocks = Clocks { machine: &ours, tokens: &shared, shared_at: Some("there") };
            assert_eq!(clocks.findings(&[])[0].verdict(), verdict, "{off}");
        }
    }
}
