//! Holds: told to every proxy at once, and, while they last, to each that comes back or was too slow to hear them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use sallyport_proto::broker::Hold;
use tokio::sync::broadcast;

use crate::clock::{Clock, UnixTime};

/// Holds that a proxy may be behind before it is told all of them again.
const BEHIND: usize = 1024;

/// Every hold in force.
pub(super) struct Holds {
    clock: Arc<dyn Clock>,
    told: broadcast::Sender<Hold>,
    /// By grant.
    in_force: Mutex<HashMap<String, Hold>>,
}

impl Holds {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { clock, told: broadcast::Sender::new(BEHIND), in_force: Mutex::default() })
    }

    /// One that ends now lifts what is there; any other only adds to it, so that a refresh under way does not cut short
    /// what a revocation holds (O13).
    pub(super) fn tell(&self, mut hold: Hold) {
        let now = self.clock.now();
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = in_force.get(&hold.grant)
            && now < UnixTime(hold.until_ms)
        {
            hold.generation = hold.generation.max(there.generation);
            hold.until_ms = hold.until_ms.max(there.until_ms);
        }
        in_force.insert(hold.grant.clone(), hold.clone());
        in_force.retain(|_, hold| now < UnixTime(hold.until_ms));
        // Nobody watches: whoever comes is told then. Under the lock, so that whoever comes now misses none.
        let _ = self.told.send(hold);
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
        let first = in_force.values().filter(|hold| now < UnixTime(hold.until_ms)).cloned().collect();
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
