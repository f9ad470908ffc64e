//! The snapshot: what every proxy of this broker knows, in versions, with what changed from one to the next.

mod content;
mod delta;
mod holds;
mod reads;
mod scoped;
pub mod session_keys;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use sallyport_caller as caller;
use sallyport_proto::broker::{self, Heartbeat, Revocation, Snapshot, Update, revocation, update};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

pub use content::{Settings, key, resource};
pub use reads::{Read, Reads};
pub use session_keys::SessionKeyError;

use self::holds::Holds;
use crate::clock::{Clock, UnixTime};
use crate::model::{Generation, Server, ServerName, Servers};
use crate::peer::Scope;
use crate::refresher::Hold;
use crate::store::{Named, Store, StoreError};
use crate::vault::Vault;

#[cfg(test)]
mod tests;

/// How often a proxy hears from us at least (I11), and how often the store is asked for what other brokers did.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How many versions before the current one a proxy may have and still get a delta.
const DELTAS: usize = 2;

/// Why the first snapshot could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// No session keys.
    #[error(transparent)]
    SessionKeys(#[from] SessionKeyError),
    /// No revocations: serving without them would forget them.
    #[error("revocations cannot be read")]
    Revocations(#[source] StoreError),
}

/// What a [`Publisher`] is made of.
pub struct Parts {
    /// From the configuration.
    pub settings: Settings,
    /// Where revocations and session keys are.
    pub store: Arc<dyn Store>,
    /// Opens and seals session keys.
    pub vault: Vault,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Issuers with their keys.
    pub issuers: watch::Receiver<Arc<caller::Issuers>>,
    /// Servers and memberships.
    pub servers: watch::Receiver<Arc<Servers>>,
}

/// One version: as the proxies get it, and as the broker itself decides with.
pub struct Published {
    /// For the proxies.
    pub snapshot: Arc<Snapshot>,
    /// Issuers with their keys.
    pub issuers: Arc<caller::Issuers>,
    /// Servers and memberships.
    pub servers: Arc<Servers>,
    /// What tokens of issuers without login act as.
    pub external_identities: caller::ExternalIdentities,
    /// Who may use each server.
    pub policies: HashMap<ServerName, caller::Policy>,
    /// What is revoked.
    pub revocations: caller::Revocations,
    /// Versions before this one, newest first.
    earlier: Vec<Arc<Snapshot>>,
}

impl Published {
    /// What a proxy with this scope that holds `version` must be told: of other servers it hears nothing, nor of who is in
    /// which team but for theirs (I3).
    fn update_from(&self, version: u64, scope: &Scope) -> Update {
        let current = &self.snapshot;
        if version == current.version {
            return heartbeat(version);
        }
        let scoped = |snapshot| scoped::scoped(snapshot, scope);
        let known = self.earlier.iter().find(|earlier| earlier.version == version);
        let update = match known.and_then(|known| delta::between(&scoped(known), &scoped(current))) {
            Some(delta) => update::Update::Delta(delta),
            None => update::Update::Full(scoped(current).into_owned()),
        };
        Update { update: Some(update) }
    }
}

fn heartbeat(version: u64) -> Update {
    Update { update: Some(update::Update::Heartbeat(Heartbeat { version })) }
}

/// Publishes snapshots. Cheap to clone.
#[derive(Clone)]
pub struct Publisher(Arc<Inner>);

struct Inner {
    settings: Settings,
    store: Arc<dyn Store>,
    vault: Vault,
    clock: Arc<dyn Clock>,
    issuers: watch::Receiver<Arc<caller::Issuers>>,
    servers: watch::Receiver<Arc<Servers>>,
    published: watch::Sender<Arc<Published>>,
    wake: Notify,
    holds: Arc<Holds>,
    reads: Reads,
    opened: session_keys::Opened,
    named: Named,
}

/// What becomes of a revoked token whose record is corrupt.
const STAYS_REVOKED: &str = "the token stays revoked";

impl Publisher {
    /// Makes the first version.
    pub async fn start(parts: Parts) -> Result<Self, PublishError> {
        let Parts { settings, store, vault, clock, issuers, servers } = parts;
        let now = clock.now();
        let opened = session_keys::Opened::default();
        let session_keys = session_keys::current(&*store, &vault, &opened, now).await?;
        let tokens = store.revoked_tokens(content::not_long_expired(now)).await.map_err(PublishError::Revocations)?;
        let named = Named::default();
        named.name(&tokens, STAYS_REVOKED);
        let revocations = content::revocations(&settings.public_url, &tokens.records);
        let known_issuers = Arc::clone(&issuers.borrow());
        let known_servers = Arc::clone(&servers.borrow());
        let mut snapshot = content::snapshot(&settings, &known_issuers, &known_servers, revocations, session_keys);
        // Microseconds: a broker that starts again goes on above every version it gave before.
        snapshot.version = now.0.saturating_mul(1000);
        let published = watch::Sender::new(Arc::new(Published {
            policies: policies(&known_servers),
            external_identities: external_identities(&known_servers),
            revocations: as_caller_sees(&snapshot.revocations),
            snapshot: Arc::new(snapshot),
            issuers: known_issuers,
            servers: known_servers,
            earlier: Vec::new(),
        }));
        let (wake, holds) = (Notify::new(), Holds::new(Arc::clone(&clock)));
        let reads = Reads::default();
        Ok(Self(Arc::new(Inner {
            settings,
            store,
            vault,
            clock,
            issuers,
            servers,
            published,
            wake,
            holds,
            reads,
            opened,
            named,
        })))
    }

    /// The version in force.
    pub fn current(&self) -> Arc<Published> {
        Arc::clone(&self.0.published.borrow())
    }

    /// Sees every version from here on, or the latest of those missed.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Published>> {
        self.0.published.subscribe()
    }

    /// Where whoever follows other brokers says that they have read: proxies are told that they are up to date only then.
    pub fn reads(&self) -> Reads {
        self.0.reads.clone()
    }

    /// Has the store read again at once: a token was revoked.
    pub fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// Publishes what changes, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let (mut issuers, mut servers) = (self.0.issuers.clone(), self.0.servers.clone());
        issuers.mark_changed();
        self.0.reads.read(Read::Revocations);
        let mut ticks = tokio::time::interval(HEARTBEAT);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                // A source that is gone has nothing more to say; the others go on.
                Ok(()) = issuers.changed() => {}
                Ok(()) = servers.changed() => {}
                () = self.0.wake.notified() => {}
                _ = ticks.tick() => {}
            }
            self.publish().await;
        }
    }

    /// Makes a new version if anything differs from the one in force; answers the version then in force.
    pub async fn publish(&self) -> u64 {
        let inner = &self.0;
        let old = self.current();
        let revocations = match inner.store.revoked_tokens(content::not_long_expired(inner.clock.now())).await {
            Ok(tokens) => {
                inner.reads.read(Read::Revocations);
                inner.named.name(&tokens, STAYS_REVOKED);
                content::revocations(&inner.settings.public_url, &tokens.records)
            }
            Err(error) => {
                tracing::warn!(%error, "revocations cannot be read; those known stay in force");
                old.snapshot.revocations.clone()
            }
        };
        let session_keys =
            match session_keys::current(&*inner.store, &inner.vault, &inner.opened, inner.clock.now()).await {
                Ok(keys) => keys,
                Err(error) => {
                    tracing::warn!(%error, "session keys stay as they are");
                    old.snapshot.session_keys.clone().unwrap_or_default()
                }
            };
        let (issuers, servers) = (Arc::clone(&inner.issuers.borrow()), Arc::clone(&inner.servers.borrow()));
        let mut snapshot = content::snapshot(&inner.settings, &issuers, &servers, revocations, session_keys);
        let version = inner.clock.now().0.saturating_mul(1000);
        let mut in_force = 0;
        inner.published.send_if_modified(|published| {
            let last = &published.snapshot;
            snapshot.version = last.version;
            // `servers` may differ in what the snapshot does not say: the credential's own configuration.
            if snapshot == **last && (Arc::ptr_eq(&servers, &published.servers) || servers == published.servers) {
                in_force = last.version;
                return false;
            }
            snapshot.version = version.max(last.version.saturating_add(1));
            in_force = snapshot.version;
            let mut earlier = vec![Arc::clone(last)];
            earlier.extend(published.earlier.iter().take(DELTAS - 1).cloned());
            *published = Arc::new(Published {
                policies: policies(&servers),
                external_identities: external_identities(&servers),
                revocations: as_caller_sees(&snapshot.revocations),
                snapshot: Arc::new(std::mem::take(&mut snapshot)),
                issuers,
                servers,
                earlier,
            });
            true
        });
        in_force
    }

    /// What one proxy is sent: what it lacks at once, then every hold and every change, and a heartbeat each second. While the
    /// store cannot be read it is sent holds only, so that its `max_staleness` counts (I11). Ends with the publisher.
    pub fn updates(&self, version: u64, scope: Scope) -> impl Stream<Item = Update> + Send + use<> {
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut published, holds) = (self.0.published.subscribe(), self.0.holds.listen());
        published.mark_changed();
        let reads = self.reads();
        futures::stream::unfold(
            (published, holds, ticks, version, scope, reads),
            |(mut published, mut holds, mut ticks, held, scope, reads)| async move {
                let update = loop {
                    tokio::select! {
                        biased;
                        changed = published.changed(), if reads.are_fresh() => {
                            changed.ok()?;
                            break published.borrow_and_update().update_from(held, &scope);
                        }
                        hold = holds.next() => break Update { update: Some(update::Update::Hold(hold)) },
                        _ = ticks.tick() => if reads.are_fresh() && !published.has_changed().ok()? {
                            break heartbeat(held);
                        },
                    }
                };
                let held = version_of(&update).unwrap_or(held);
                Some((update, (published, holds, ticks, held, scope, reads)))
            },
        )
    }
}

impl Hold for Publisher {
    fn refreshing(&self, grant: &str, generation: Generation, until: UnixTime) {
        self.0.holds.refreshing(broker::Hold { grant: grant.to_owned(), generation: generation.0, until_ms: until.0 });
    }

    fn ended(&self, grant: &str, generation: Generation) {
        self.0.holds.ended(grant, generation.0);
    }
}

/// The version a proxy holds after an update.
fn version_of(update: &Update) -> Option<u64> {
    match update.update.as_ref()? {
        update::Update::Full(snapshot) => Some(snapshot.version),
        update::Update::Delta(delta) => Some(delta.to),
        update::Update::Heartbeat(heartbeat) => Some(heartbeat.version),
        update::Update::Hold(_) => None,
    }
}

fn policies(servers: &Servers) -> HashMap<ServerName, caller::Policy> {
    let policy = |server: &Server| caller::Policy::new(server.subjects.iter().map(String::as_str));
    servers.by_name.iter().map(|(name, server)| (name.clone(), policy(server))).collect()
}

fn external_identities(servers: &Servers) -> caller::ExternalIdentities {
    caller::ExternalIdentities::new(servers.external_identities.values().map(|identity| identity.rule.clone()))
}

fn as_caller_sees(revocations: &[Revocation]) -> caller::Revocations {
    let mut all = caller::Revocations::default();
    for revocation in revocations {
        match &revocation.what {
            Some(revocation::What::Token(token)) => all.revoke_token(&token.issuer, &token.jti),
            Some(revocation::What::Identity(identity)) => {
                all.revoke_subject(&identity.issuer, &identity.subject, revocation.issued_before_ms);
            }
            None => {}
        }
    }
    all
}

impl caller::Teams for Servers {
    fn teams_of(&self, subject: &str) -> &[String] {
        self.memberships.get(subject).map_or(&[], Vec::as_slice)
    }
}
