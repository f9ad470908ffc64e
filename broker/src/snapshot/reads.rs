//! Whether this broker still hears what other brokers do: a proxy that is told "nothing is new" by a broker that cannot
//! know would go on with what was revoked, for as long as it is told so (I11).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How old what was read last may be for proxies to be told that they are up to date.
const LIMIT: Duration = Duration::from_secs(2);

/// What is read from the store again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// Revoked tokens.
    Revocations,
    /// Manifests and secrets.
    Policy,
    /// Ends of grants.
    Ended,
}

const ALL: [Read; 3] = [Read::Revocations, Read::Policy, Read::Ended];

/// When each was read last; what nobody here follows is not waited for. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Reads(Arc<Mutex<[Option<Instant>; ALL.len()]>>);

impl Reads {
    /// It was read now, or begins to be followed, just after it was read first.
    pub fn read(&self, what: Read) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[what as usize] = Some(Instant::now());
    }

    /// It was read last so long ago.
    #[cfg(test)]
    pub(super) fn read_before(&self, what: Read, ago: Duration) {
        self.0.lock().unwrap()[what as usize] = Instant::now().checked_sub(ago);
    }

    /// What was not read for too long, and for how long.
    pub fn overdue(&self) -> Vec<(Read, Duration)> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ages = ALL.into_iter().zip(last.iter()).filter_map(|(what, at)| Some((what, (*at)?.elapsed())));
        ages.filter(|(_, age)| LIMIT < *age).collect()
    }

    /// Whether proxies may be told that they are up to date.
    pub(super) fn are_fresh(&self) -> bool {
        self.overdue().is_empty()
    }
}

impl Read {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Revocations => "revoked tokens",
            Self::Policy => "manifests and secrets",
            Self::Ended => "ends of grants",
        }
    }
}
