//! What a run came to: a table for people, JSON for programs.

use std::{collections::BTreeMap, fmt};

use serde_json::{Value, json};

use super::{
    check::Violation,
    history::Verdict,
    losses::{Cause, Struck},
    plan::{Part, Plan},
};

/// In so many seconds a misfortune strikes a refresh, or people do not call.
const LONG_ENOUGH: u64 = 60;

/// What a run came to.
pub struct Report {
    /// What its plan was drawn from.
    pub seed: u64,
    /// How long things went wrong.
    pub seconds: u64,
    /// By kind of provider.
    pub rows: Vec<Row>,
    /// What happened, and how often.
    pub deeds: BTreeMap<String, usize>,
    /// When each came and went.
    pub happened: Vec<String>,
    /// What of it befell a refresh.
    pub struck: Struck,
    /// Who has to consent anew, and why that could not be helped.
    pub excuses: Vec<Excuse>,
    /// What must not have happened.
    pub violations: Vec<Violation>,
}

/// Somebody who has to consent anew.
#[derive(Clone, Debug)]
pub struct Excuse {
    /// Who.
    pub person: String,
    /// What becomes of refresh tokens at their provider.
    pub provider: &'static str,
    /// The answers to one refresh token that may have been lost: when each was asked for, in milliseconds, and why. None is
    /// no excuse.
    pub losses: Vec<(u64, Cause)>,
    /// What came of each use of their last refresh token.
    pub last_uses: Vec<String>,
}

/// The people at one kind of provider.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// What becomes of refresh tokens there.
    pub provider: &'static str,
    /// How many.
    pub people: usize,
    /// Their calls that were answered by the upstream.
    pub served: usize,
    /// Their calls that were told to come again.
    pub refused: usize,
    /// Tokens that the provider gave for refresh tokens.
    pub refreshed: usize,
    /// Whose calls succeed at the end.
    pub live: usize,
    /// Who has to consent anew.
    pub ask: usize,
    /// Who is refused for ever.
    pub silent: usize,
}

impl Row {
    pub(crate) fn ends(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Lives => self.live += 1,
            Verdict::AsksForConsent => self.ask += 1,
            Verdict::Silent => self.silent += 1,
        }
    }
}

/// How often each deed of a plan came, by part.
pub(crate) fn deeds(Plan(all): &Plan) -> BTreeMap<String, usize> {
    let mut deeds = BTreeMap::new();
    for misfortune in all {
        let part = match misfortune.part {
            Part::Broker(_) => "a broker".to_owned(),
            Part::Postgres => "Postgres".to_owned(),
            Part::Redis => "Redis".to_owned(),
            Part::Provider(_) => "a provider".to_owned(),
        };
        *deeds.entry(format!("{part} {}", misfortune.deed.name())).or_default() += 1;
    }
    deeds
}

impl Report {
    /// Nothing happened that must not, in a run that shows something.
    pub fn is_good(&self) -> bool {
        self.violations.is_empty() && !self.is_idle()
    }

    /// Nothing befell any refresh although there was time for it.
    fn is_idle(&self) -> bool {
        self.seconds >= LONG_ENOUGH && self.struck.total() == 0
    }

    /// All of it.
    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "provider": row.provider, "people": row.people, "served": row.served, "refused": row.refused,
                    "refreshed": row.refreshed, "live": row.live, "ask_for_consent": row.ask, "silent": row.silent,
                })
            })
            .collect();
        let excuses: Vec<String> = self.excuses.iter().map(ToString::to_string).collect();
        let violations: Vec<String> = self.violations.iter().map(ToString::to_string).collect();
        json!({
            "seed": self.seed, "seconds": self.seconds, "providers": rows, "misfortunes": self.deeds,
            "happened": self.happened,
            "struck": {"answers_withheld": self.struck.withheld, "brokers_gone_meanwhile": self.struck.broker_gone},
            "asked_for_consent": excuses, "good": self.is_good(), "violations": violations,
        })
    }
}

impl fmt::Display for Excuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is asked to consent anew ({})", self.person, self.provider)?;
        for (number, (at, cause)) in self.losses.iter().enumerate() {
            let (what, seconds) =
                (if number == 0 { ": of one refresh token the answer" } else { ", and" }, *at as f64 / 1000.0);
            write!(f, "{what} of {seconds:.1} s was lost, as {cause}")?;
        }
        write!(f, " [{}]", self.last_uses.join(", "))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<34} {:>6} {:>8} {:>8} {:>10} {:>6} {:>12} {:>7}",
            "refresh tokens at the provider",
            "people",
            "served",
            "refused",
            "refreshed",
            "live",
            "ask consent",
            "silent"
        )?;
        for row in &self.rows {
            writeln!(
                f,
                "{:<34} {:>6} {:>8} {:>8} {:>10} {:>6} {:>12} {:>7}",
                row.provider, row.people, row.served, row.refused, row.refreshed, row.live, row.ask, row.silent
            )?;
        }
        let deeds: Vec<String> = self.deeds.iter().map(|(deed, count)| format!("{deed} {count}×")).collect();
        writeln!(f, "\n{}", deeds.join(", "))?;
        let Struck { withheld, broker_gone } = self.struck;
        writeln!(
            f,
            "refreshes that something befell: {withheld} whose provider withheld the answer, {broker_gone} while a broker was killed or frozen for long"
        )?;
        for excuse in &self.excuses {
            writeln!(f, "{excuse}")?;
        }
        if self.is_idle() {
            writeln!(f, "NOTHING SHOWN: no misfortune befell a refresh")?;
        }
        for violation in &self.violations {
            writeln!(f, "VIOLATION: {violation}")?;
        }
        write!(f, "{} violations, seed {}, {} s", self.violations.len(), self.seed, self.seconds)
    }
}
