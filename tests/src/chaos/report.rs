//! What a run came to: a table for people, JSON for programs.

use std::{collections::BTreeMap, fmt};

use serde_json::{Value, json};

use super::{
    check::Violation,
    history::Verdict,
    plan::{Part, Plan},
};

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
    /// What must not have happened.
    pub violations: Vec<Violation>,
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
    /// Nothing happened that must not.
    pub fn is_good(&self) -> bool {
        self.violations.is_empty()
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
        let violations: Vec<String> = self.violations.iter().map(ToString::to_string).collect();
        json!({
            "seed": self.seed, "seconds": self.seconds, "providers": rows, "misfortunes": self.deeds,
            "violations": violations,
        })
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
        for violation in &self.violations {
            writeln!(f, "VIOLATION: {violation}")?;
        }
        write!(f, "{} violations, seed {}, {} s", self.violations.len(), self.seed, self.seconds)
    }
}
