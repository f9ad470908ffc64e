//! Holds: told to every proxy at once, and, while they last, to each that comes back or was too slow to hear them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sallyport_proto::broker::Hold;
use tokio::sync::broadcast;

use crate::clock::{Clock, UnixTime};

/// Holds that a proxy may be behind before it is told all of them again.
const BEHIND: usize = 1024;

/// A proxy keeps a credential for an hour at most, whatever its configuration.
const CACHED: Duration = Duration::from_secs(60 * 60);

/// How often those that are over are dropped: not at each one, of which a start may bring many.
const TIDY: Duration = Duration::from_secs(1);

/// Every hold in force.
pub(super) struct Holds {
    clock: Arc<dyn Clock>,
    told: broadcast::Sender<Hold>,
    in_force: Mutex<InForce>,
}

#[derive(Default)]
struct InForce {
    by_grant: HashMap<String, OfGrant>,
    tidied_at: UnixTime,
}

#[derive(Default)]
struct OfGrant {
    /// Up to here nobody uses a generation any more.
    ended: Option<Hold>,
    /// A refresh may be ending this one.
    refreshing: Option<Hold>,
}

impl OfGrant {
    fn in_force(&self, now: UnixTime) -> impl Iterator<Item = &Hold> {
        [&self.ended, &self.refreshing].into_iter().flatten().filter(move |hold| now < UnixTime(hold.until_ms))
    }
}

impl Holds {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { clock, told: broadcast::Sender::new(BEHIND), in_force: Mutex::default() })
    }

    /// A refresh may end this generation, until then; a moment that has passed says that it has not. That of one that has
    /// ended otherwise changes nothing: it is not lifted (O13).
    pub(super) fn refreshing(&self, hold: Hold) {
        self.tell(hold, |of_grant, hold, now| {
            let has_ended = of_grant
                .ended
                .as_ref()
                .is_some_and(|ended| now < UnixTime(ended.until_ms) && hold.generation <= ended.generation);
            of_grant.refreshing = (!has_ended).then(|| hold.clone());
            !has_ended
        });
    }

    /// Nobody uses this generation of a grant any more, or one before it.
    pub(super) fn ended(&self, grant: &str, generation: u64) {
        let until_ms = self.clock.now().after(CACHED).0;
        self.tell(Hold { grant: grant.to_owned(), generation, until_ms }, |of_grant, hold, now| {
            if let Some(later) = of_grant.ended.as_ref().filter(|ended| now < UnixTime(ended.until_ms)) {
                hold.generation = hold.generation.max(later.generation);
            }
            // The end outlasts it: told after the end, it would be the last word to a proxy that comes back (O13).
            if of_grant.refreshing.as_ref().is_some_and(|refreshing| refreshing.generation <= hold.generation) {
                of_grant.refreshing = None;
            }
            of_grant.ended = Some(hold.clone());
            true
        });
    }

    fn tell(&self, mut hold: Hold, is_news: impl FnOnce(&mut OfGrant, &mut Hold, UnixTime) -> bool) {
        let now = self.clock.now();
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(in_force.tidied_at) >= TIDY {
            in_force.by_grant.retain(|_, of_grant| of_grant.in_force(now).next().is_some());
            in_force.tidied_at = now;
        }
        let of_grant = in_force.by_grant.entry(hold.grant.clone()).or_default();
        if is_news(of_grant, &mut hold, now) {
            // Nobody watches: whoever comes is told then. Under the lock, so that whoever comes now misses none.
            let _ = self.told.send(hold);
        }
    }

    /// What one proxy hears: first what is in force. A proxy that was away while a grant was revoked still holds its
    /// credential (O13).
    pub(super) fn listen(self: &Arc<Self>) -> Listener {
        let (first, told) = self.all();
        Listener { holds: Arc::clone(self), first, told }
    }

    fn all(&self) -> (VecDeque<Hold>, broadcast::Receiver<Hold>) {
        let now = self.clock.now();
        let in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        let first = in_force.by_grant.values().flat_map(|of_grant| of_grant.in_force(now)).cloned().collect();
        (first, self.told.subscribe())
    }
}

/// The holds that one proxy hears.
pub(super) struct Listener {
    holds: Arc<Holds>,
    first: VecDeque<Hold>,
    told: broadcast::Receiver<Hold>,
}

impl Listener {
    /// The next one; none is lost if nobody waits for it any more.
    pub(super) async fn next(&mut self) -> Hold {
        loop {
            if let Some(hold) = self.first.pop_front() {
                return hold;
            }
            match self.told.recv().await {
                Ok(hold) => return hold,
                Err(broadcast::error::RecvError::Lagged(_)) => (self.first, self.told) = self.holds.all(),
                // It lives as long as `holds`.
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}
