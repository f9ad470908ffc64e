//! What must not be in a history.

use std::{collections::BTreeSet, fmt};

use super::{
    history::{Grant, History, Verdict},
    losses::losses,
};

/// What is in it, and must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Somebody was called for with a token that was not issued for them at that server.
    Foreign {
        /// Who.
        person: String,
        /// Where.
        server: String,
    },
    /// A token was used of whose release there is no record (I7).
    Unrecorded {
        /// For whom.
        person: String,
        /// Tokens used.
        used: usize,
        /// Tokens on record.
        recorded: usize,
    },
    /// One grant was released to several people, or for several servers that do not share it.
    Shared {
        /// The grant.
        grant: String,
    },
    /// Two tokens were released as one generation of one grant.
    Forked {
        /// The grant.
        grant: String,
        /// The generation.
        generation: u64,
    },
    /// The store had a later generation before.
    WentBack {
        /// Whose.
        person: String,
        /// What it had.
        from: u64,
        /// What it had then.
        to: u64,
    },
    /// Somebody is asked for consent, or refused for ever, whose grant could have lived on.
    Stranded {
        /// Who.
        person: String,
        /// What they are told.
        verdict: Verdict,
    },
    /// A refresh token was presented a third time where it works once.
    Insisted {
        /// Whose.
        person: String,
        /// How often.
        uses: usize,
    },
    /// The provider took us for a thief.
    EndedForReuse {
        /// Whose.
        person: String,
    },
    /// A chain of the audit is broken.
    Audit,
}

/// Everything in this history that must not be in it.
pub fn check(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    for grant in &history.grants {
        tokens(grant, &mut found);
        generations(grant, &mut found);
        end(grant, history, &mut found);
    }
    shared(history, &mut found);
    for ((grant, generation), tokens) in history.tokens_of_generations() {
        if tokens.len() > 1 {
            found.push(Violation::Forked { grant: grant.to_owned(), generation });
        }
    }
    if !history.audit_verifies {
        found.push(Violation::Audit);
    }
    found
}

fn tokens(grant: &Grant, found: &mut Vec<Violation>) {
    let Grant { person, server, .. } = grant;
    if grant.served.iter().any(|served| !grant.issued.contains(&served.token)) {
        found.push(Violation::Foreign { person: person.clone(), server: server.clone() });
    }
    let used = grant.served.iter().map(|served| &served.token).collect::<BTreeSet<_>>().len();
    let recorded = grant.releases.iter().map(|release| &release.fingerprint).collect::<BTreeSet<_>>().len();
    if used > recorded {
        found.push(Violation::Unrecorded { person: person.clone(), used, recorded });
    }
}

fn generations(grant: &Grant, found: &mut Vec<Violation>) {
    let back = grant.generations.windows(2).find(|pair| pair[1] < pair[0]);
    if let Some(pair) = back {
        found.push(Violation::WentBack { person: grant.person.clone(), from: pair[0], to: pair[1] });
    }
}

fn end(grant: &Grant, history: &History, found: &mut Vec<Violation>) {
    let person = || grant.person.clone();
    let may_be_lost = !losses(grant, history).is_empty();
    match grant.verdict {
        Verdict::Lives => {}
        Verdict::AsksForConsent if may_be_lost => {}
        verdict @ (Verdict::AsksForConsent | Verdict::Silent) => {
            found.push(Violation::Stranded { person: person(), verdict });
        }
    }
    let most = grant.uses.iter().copied().max().unwrap_or_default();
    if grant.bears == Some(0) && most > 2 {
        found.push(Violation::Insisted { person: person(), uses: most });
    }
    // The one attempt that finds out what became of a lost answer ends it there, and nothing else may.
    if grant.ended_for_reuse && !(grant.reuse_ends_it && may_be_lost) {
        found.push(Violation::EndedForReuse { person: person() });
    }
}

fn shared(history: &History, found: &mut Vec<Violation>) {
    let releases: BTreeSet<_> = history.grants.iter().flat_map(|grant| &grant.releases).collect();
    let whose: BTreeSet<_> =
        releases.iter().map(|release| (&release.grant, &release.subject, &release.server)).collect();
    let mut seen = BTreeSet::new();
    for (grant, ..) in whose {
        if !seen.insert(grant) {
            found.push(Violation::Shared { grant: grant.clone() });
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign { person, server } => {
                write!(f, "{person} was called for at {server} with a token of somebody else")
            }
            Self::Unrecorded { person, used, recorded } => {
                write!(f, "{person} was called for with {used} tokens, and {recorded} are on record")
            }
            Self::Shared { grant } => write!(f, "grant {grant} was released to more than its holder"),
            Self::Forked { grant, generation } => {
                write!(f, "generation {generation} of grant {grant} was two tokens")
            }
            Self::WentBack { person, from, to } => {
                write!(f, "the grant of {person} went back from generation {from} to {to}")
            }
            Self::Stranded { person, verdict } => write!(f, "{person} is stranded without need: {verdict:?}"),
            Self::Insisted { person, uses } => write!(f, "a refresh token of {person} was presented {uses} times"),
            Self::EndedForReuse { person } => write!(f, "the provider ended the grant of {person} for reuse"),
            Self::Audit => f.write_str("a chain of the audit is broken: see `sallyport audit verify`"),
        }
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
