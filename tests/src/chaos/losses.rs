//! Which answers may have been lost. Each loss has its own misfortune: that somebody else lost an answer excuses nobody.

use std::fmt;

use super::history::{Fault, Grant, History, Outage, Refresh};

/// Until a pair that was read is durable: in the store or, where the store does not take it at once, in the spool.
const STORED_WITHIN_MS: u64 = 1_000;
/// A request may be read by the provider so much later than it was sent, even by a broker that is gone then.
const READ_LATE_MS: u64 = 200;
/// What a broker has begun is its own for so long: others take it over then.
const TAKEN_OVER_AFTER_MS: u64 = 20_000;
/// A store that is back takes commits after so much.
const STORE_BEGINS_MS: u64 = 2_000;

/// Refreshes that something befell while they were under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Struck {
    /// Their provider withheld the answer.
    pub withheld: usize,
    /// A broker, perhaps another one, was killed or frozen for long.
    pub broker_gone: usize,
}

impl Struck {
    /// All that this history has.
    pub(crate) fn of(history: &History) -> Self {
        let mut struck = Self::default();
        for refresh in history.grants.iter().flat_map(|grant| &grant.refreshes) {
            match cause(refresh, history) {
                Some(Cause::Withheld) => struck.withheld += 1,
                Some(Cause::BrokerGone) => struck.broker_gone += 1,
                Some(Cause::Spooled) | None => {}
            }
        }
        struck
    }

    /// Both.
    pub fn total(self) -> usize {
        self.withheld + self.broker_gone
    }
}

/// Why an answer may have been lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The provider withheld it.
    Withheld,
    /// A broker was killed, or frozen for long, before it was durable.
    BrokerGone,
    /// It waited in a broker's spool until others had to take the refresh over.
    Spooled,
}

/// The answers to one of its refresh tokens that may have been lost, where those are more than it bears: when each was asked
/// for, and why. None, if it could have lived on.
pub(super) fn losses(grant: &Grant, history: &History) -> Vec<(u64, Cause)> {
    let Some(bears) = grant.bears else { return Vec::new() };
    // Who presents a later one has heard the answer to every one before it.
    let last = grant.uses.iter().rposition(|uses| *uses > 0);
    let of_it = grant.refreshes.iter().filter(|refresh| Some(refresh.token) == last);
    let lost: Vec<_> = of_it.filter_map(|refresh| Some((refresh.at, cause(refresh, history)?))).collect();
    if lost.len() > bears { lost } else { Vec::new() }
}

fn cause(refresh: &Refresh, history: &History) -> Option<Cause> {
    let outlast = |fault: &Fault| history.outages.iter().any(|outage| outlasts(fault, outage, refresh));
    if refresh.withheld {
        Some(Cause::Withheld)
    } else if history.faults.iter().any(|fault| strikes(fault, refresh)) {
        Some(Cause::BrokerGone)
    } else if history.faults.iter().any(outlast) {
        Some(Cause::Spooled)
    } else {
        None
    }
}

/// Whether it came between the request and when its answer was durable. Which broker had sent it nobody knows.
fn strikes(fault: &Fault, refresh: &Refresh) -> bool {
    refresh.at <= fault.at + READ_LATE_MS && fault.at <= refresh.answered + STORED_WITHIN_MS
}

/// Whether the pair waited in the spool of a broker that came back too late, or to a store that did: others had to take the
/// refresh over before.
fn outlasts(fault: &Fault, outage: &Outage, refresh: &Refresh) -> bool {
    let was_away = outage.from <= refresh.answered + STORED_WITHIN_MS && refresh.answered <= outage.to;
    let waited = refresh.answered <= fault.at && fault.at <= outage.to + STORE_BEGINS_MS;
    was_away && waited && fault.until.max(outage.to) > refresh.at + TAKEN_OVER_AFTER_MS
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Withheld => "the provider withheld it",
            Self::BrokerGone => "a broker was gone",
            Self::Spooled => "it waited in a spool for too long",
        })
    }
}
