//! Leases: one broker at a time is at a grant, as far as that can be had for little.
//!
//! `SET key owner NX PX`, with an owner drawn for each; renewed while it is held; given back by compare-and-delete. Every key
//! has a time to live from its first moment on, and is a hash of the length-prefixed parts of what it stands for (I6).

use std::time::Duration;

use redis::{Cmd, cmd};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Coordination;
use super::link::Link;
use super::notice::Notice;
use crate::keys::{Key, Purpose, hex};
use crate::model::GrantKey;
use crate::secret::Secret;

/// How long a lease lives whose holder does not renew it.
pub(super) const TTL: Duration = Duration::from_secs(5);

/// Between two renewals.
const RENEWAL: Duration = Duration::from_millis(1500);

/// Ours still? Then for another while.
const RENEW: &str =
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end return 0";

/// Ours still? Then nobody's. Whoever waits is told either way.
const RELEASE: &str = "local ours = redis.call('get', KEYS[1]) == ARGV[1] \
    if ours then redis.call('del', KEYS[1]) end \
    redis.call('publish', ARGV[2], ARGV[3]) \
    if ours then return 1 end return 0";

/// A lease that is held until it is dropped.
pub struct Lease {
    _until: DropGuard,
}

/// What came of asking for one.
pub enum Leased {
    /// It is ours.
    Ours(Lease),
    /// Another broker has it.
    Theirs,
    /// There are none to be had: the intent in the store does without.
    Unavailable,
}

/// As it stands in Redis.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) owner: String,
}

impl Entry {
    pub(super) fn new(lease: &Key) -> Self {
        // Random, so that nobody gives back what is another's; no secret.
        Self { key: format!("sallyport:lease:{}", lease.to_hex()), owner: hex(Secret::random::<16>().expose()) }
    }

    pub(super) fn take(&self) -> Cmd {
        let mut set = cmd("SET");
        set.arg(&self.key).arg(&self.owner).arg("NX").arg("PX").arg(millis(TTL));
        set
    }

    pub(super) fn renew(&self) -> Cmd {
        let mut eval = cmd("EVAL");
        eval.arg(RENEW).arg(1).arg(&self.key).arg(&self.owner).arg(millis(TTL));
        eval
    }

    pub(super) fn release(&self, link: &Link) -> Cmd {
        let mut eval = cmd("EVAL");
        eval.arg(RELEASE).arg(1).arg(&self.key).arg(&self.owner).arg(link.channel());
        eval.arg(Notice::of_release(link.sender(), &self.key));
        eval
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Coordination {
    /// Asks for the lease of a grant.
    pub async fn lease(&self, grant: &GrantKey) -> Leased {
        let Some(link) = &self.0.link else { return Leased::Unavailable };
        let entry = Entry::new(&Key::of_grant(&self.0.tenant, Purpose::Lease, grant));
        let leased = match link.ask::<Option<String>>(&entry.take()).await {
            Some(Some(_)) => Leased::Ours(self.hold(entry)),
            Some(None) => Leased::Theirs,
            None => Leased::Unavailable,
        };
        let outcome = match leased {
            Leased::Ours(_) => "taken",
            Leased::Theirs => "held_by_another",
            Leased::Unavailable => "skipped",
        };
        metrics::counter!("sallyport_leases_total", "outcome" => outcome).increment(1);
        leased
    }

    /// Waits until somebody gives the lease of a grant back, or for so long.
    pub async fn given_back(&self, waiting: &mut Waiting, at_most: Duration) {
        let told = async {
            loop {
                match waiting.released.recv().await {
                    Ok(key) if key == waiting.key => return,
                    Ok(_) => {}
                    // Some were missed: it may be among them.
                    Err(_) => return,
                }
            }
        };
        // Nobody has told: whoever waits looks for itself.
        let _ = tokio::time::timeout(at_most, told).await;
    }

    /// Hears of every release of this grant's lease from here on.
    pub fn waiting(&self, grant: &GrantKey) -> Waiting {
        let key = Entry::new(&Key::of_grant(&self.0.tenant, Purpose::Lease, grant)).key;
        Waiting { key, released: self.released() }
    }

    /// Renews it until it is dropped, then gives it back.
    fn hold(&self, entry: Entry) -> Lease {
        let dropped = CancellationToken::new();
        let until = dropped.clone().drop_guard();
        let coordination = self.clone();
        self.0.leases.spawn(async move {
            let Some(link) = &coordination.0.link else { return };
            while dropped.run_until_cancelled(tokio::time::sleep(RENEWAL)).await.is_some() {
                if link.ask::<u64>(&entry.renew()).await == Some(0) {
                    // Emptied, or so late that another has it. The intent in the store excludes that one.
                    metrics::counter!("sallyport_leases_total", "outcome" => "lost").increment(1);
                    dropped.cancelled().await;
                }
            }
            // Without an answer it ends by itself, after its time to live.
            let _ = link.ask::<u64>(&entry.release(link)).await;
        });
        Lease { _until: until }
    }
}

/// Somebody who waits for a lease.
pub struct Waiting {
    key: String,
    released: tokio::sync::broadcast::Receiver<String>,
}
