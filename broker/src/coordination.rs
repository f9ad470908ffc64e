//! What brokers that share a store tell each other through Redis, so that they spare each other work and wait for less.
//!
//! Nothing depends on it. A *lease* keeps two brokers from contending for one intent, which excludes a second request by
//! itself; a *notice* says that the store has something new, which every broker looks for twice a second anyway. Neither
//! carries a secret, and nothing else is kept there: whoever writes to Redis can make brokers wait a while, or look at the
//! store, and whoever empties it nothing at all. Where it does not answer within [`PATIENCE`], it is left alone, and asked
//! again in the background.

mod address;
mod connect;
mod examine;
mod lease;
mod link;
mod notice;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::link::Link;
use crate::keys::{Key, Purpose};
use crate::model::Tenant;

pub use address::{Address, Login, Nodes, UrlFlaw};
pub use examine::Examined;
pub use lease::{Lease, Leased};
pub use notice::{Looks, News};

#[cfg(test)]
pub(crate) mod tests;

/// The longest that Redis holds anybody up, once: from then on it is skipped, until it answers again.
pub const PATIENCE: Duration = Duration::from_millis(250);

/// How long releases may take at the end of the process.
const ENDING: Duration = Duration::from_millis(500);

/// Coordination with other brokers. Cheap to clone.
#[derive(Clone)]
pub struct Coordination(Arc<Inner>);

struct Inner {
    tenant: Tenant,
    /// None: this broker is alone, or finds by the store what others do.
    link: Option<Link>,
    heard: notice::Heard,
    /// Leases until they are released.
    leases: TaskTracker,
}

impl Coordination {
    /// In this process only.
    pub fn in_process(tenant: Tenant) -> Self {
        Self::new(tenant, None)
    }

    /// Through Redis, once [`Coordination::run`] has reached it.
    pub fn through(address: Address, tenant: Tenant) -> Self {
        let channel = format!("sallyport:notices:{}", Key::new(&tenant, Purpose::Notices, &[]).to_hex());
        let link = Link::new(address, channel);
        Self::new(tenant, Some(link))
    }

    fn new(tenant: Tenant, link: Option<Link>) -> Self {
        Self(Arc::new(Inner { tenant, link, heard: notice::Heard::default(), leases: TaskTracker::new() }))
    }

    /// Keeps the link until `stop`; gives leases back that are held then.
    pub async fn run(self, stop: CancellationToken) {
        if let Some(link) = &self.0.link {
            link.run(&self.0.heard, &stop).await;
        }
    }

    /// Waits until the leases that were let go of are given back, as far as that is a matter of a moment.
    pub async fn end(&self) {
        self.0.leases.close();
        // Those that are left end by themselves.
        let _ = tokio::time::timeout(ENDING, self.0.leases.wait()).await;
    }

    /// Tells other brokers that there is something new in the store. Best effort: they find it all the same.
    pub fn tell(&self, news: News) {
        if let Some(link) = &self.0.link {
            link.tell(news);
        }
    }

    /// When to look at the store for this: whenever another broker says so, and without that every so often.
    pub fn looks(&self, news: News, every: Duration) -> Looks {
        Looks::new(self.0.heard.of(news), every)
    }

    /// Why Redis is skipped now, if it is; in words for operators, with where it is and what that means.
    pub fn degraded(&self) -> Option<String> {
        self.0.link.as_ref().and_then(Link::degraded)
    }

    fn released(&self) -> broadcast::Receiver<String> {
        self.0.heard.released()
    }

    #[cfg(test)]
    pub(crate) fn is_up(&self) -> bool {
        self.0.link.as_ref().is_some_and(Link::is_up)
    }
}

type Counter = watch::Receiver<u64>;
