//! Tokens of grants: served while they live, renewed once, in time, and by one task for all who wait.
//!
//! A token is due at 80-85 % of its life. Whoever finds it due starts its renewal and goes on with the old one; only
//! who finds none that lives waits, and who would be left with one that the renewal kills. The renewal itself belongs to
//! nobody: it ends when it ends, and what the provider gave is stored before anybody sees it (I5).

mod alone;
mod ask;
mod backoff;
mod budget;
mod by_hand;
mod commit;
mod dangling;
pub mod due;
mod error;
mod failed;
pub mod flight;
mod intent;
mod lease;
mod life;
mod memory;
mod others;
mod parts;
mod pause;
mod providers;
mod recent;
mod refresh;
mod renewal;
mod schedule;
mod seal;
mod source;
mod spare;
mod spool;
mod token;
mod unreadable;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use moka::sync::Cache;
use tokio::sync::mpsc;

use self::backoff::Backoffs;
use self::flight::{Flight, Flights};
use self::intent::{Owner, Remembered};
use self::memory::Moment;
use self::others::FirstSeen;
use self::providers::{AskedBy, Providers};
use self::recent::Recent;
use self::refresh::Refresh;
use self::renewal::{Renewed, renew};
use crate::audit::{Audit, Event};
use crate::clock::Clock;
use crate::coordination::Coordination;
use crate::keys::{Key, Purpose};
use crate::model::{Generation, GrantKey, ProviderClient, Tenant};
use crate::oauth::TokenEndpoint;
use crate::store::{GrantCommit, Intent, Store};
use crate::vault::Vault;

pub use ask::Registered;
pub use by_hand::ByHand;
pub use error::{RefreshError, ResolveError};
pub use parts::{Hold, Limits, Parts, ResolveTemplate, Resolved, UsedSecret};
pub use providers::{Budget, LeftAlone};
pub use seal::Pair;
pub use source::{Agreed, ConsentReason, Source};
pub(crate) use spare::next_refresh_token;
pub use spool::Spool;
pub use token::{Need, OpenedToken, Served};

#[cfg(test)]
pub(crate) mod tests;

/// Serves and renews tokens. Cheap to clone.
#[derive(Clone)]
pub struct Refresher(Arc<Inner>);

type Landed = Result<Renewed, RefreshError>;

struct Inner {
    tenant: Tenant,
    store: Arc<dyn Store>,
    vault: Vault,
    endpoint: Arc<dyn TokenEndpoint>,
    secrets: Arc<dyn ResolveTemplate>,
    holds: Arc<dyn Hold>,
    unwanted: mpsc::UnboundedSender<GrantCommit>,
    spool: Spool,
    audit: Audit,
    clock: Arc<dyn Clock>,
    limits: Limits,
    coordination: Coordination,
    owner: Owner,
    opened: Cache<Key, Arc<OpenedToken>>,
    forgotten: AtomicU64,
    flights: Flights<Landed>,
    opening: Flights<Result<Option<Arc<OpenedToken>>, RefreshError>>,
    backoffs: Backoffs,
    others: FirstSeen,
    /// That the store may hold although nothing came of them: their commit, or that of giving them back, was not answered.
    /// They are no attempts, since nobody was asked.
    unsent: Remembered,
    /// That took another broker's place, which may be about to store what it has.
    unsettled: Remembered,
    providers: Arc<Providers>,
    recent: Recent,
}

impl Refresher {
    /// Starts with nothing in memory but what waits in the spool.
    pub fn new(parts: Parts) -> Self {
        let Parts { tenant, broker, store, vault, endpoint, secrets, holds, unwanted, spool, .. } = parts;
        let Parts { audit, clock, limits, coordination, .. } = parts;
        let providers = Providers::new(limits.budget, Arc::clone(&clock));
        let opened = Cache::builder().max_capacity(limits.opened).time_to_live(limits.opened_age).build();
        Self(Arc::new(Inner {
            tenant,
            store,
            vault,
            endpoint,
            secrets,
            holds,
            unwanted,
            spool,
            audit,
            clock,
            limits,
            coordination,
            owner: Owner::start(broker),
            opened,
            forgotten: AtomicU64::new(0),
            flights: Flights::default(),
            opening: Flights::default(),
            backoffs: Backoffs::default(),
            others: FirstSeen::default(),
            unsent: Remembered::default(),
            unsettled: Remembered::default(),
            providers,
            recent: Recent::default(),
        }))
    }

    /// The token of a server's grant.
    pub async fn token(&self, source: &Source, need: Need) -> Result<Served, RefreshError> {
        let inner = &self.0;
        let key = inner.key(&source.grant());
        let started = Instant::now();
        let kills = source.refresh_kills_access_token();
        let current = match kills && inner.flights.under_way(&key) {
            true => None,
            false => inner.held(&key, source, need).await?,
        };
        let store = started.elapsed();
        let now = inner.clock.now();
        let result = match (current, need) {
            (Some(token), Need::Live | Need::NotDue) if now < token.refresh_after => Ok(Served::as_it_is(token, store)),
            // Later, or one that was never given out: a forged report moves nothing.
            (Some(token), Need::LaterThan(refused)) if token.generation != refused => {
                Ok(Served::as_it_is(token, store))
            }
            (Some(token), Need::Live) if !kills => {
                // Nobody waits: a fifth of its life is left to try.
                let is_left_alone = inner.providers.left_alone_for(&source.authority()).is_some();
                if !is_left_alone && inner.backoffs.now(&key, now).is_none() {
                    let _ = inner.start(&key, source, token.generation, AskedBy::Caller);
                }
                Ok(Served::as_it_is(token, store))
            }
            (Some(token), Need::Live | Need::NotDue) => {
                match inner.wait(&key, source, token.generation).await {
                    Ok(renewed) => Ok(Served { store, ..renewed }),
                    // The old one, if it is still there and lives.
                    Err(error) => match inner.held(&key, source, need).await? {
                        Some(token) => Ok(Served::as_it_is(token, store)),
                        None => Err(error),
                    },
                }
            }
            (Some(token), Need::LaterThan(_)) => match inner.wait(&key, source, token.generation).await {
                Err(error @ RefreshError::NeedsConsent { .. }) => {
                    inner.end_what_is_left(&key, &source.grant(), token.generation).await?;
                    Err(error)
                }
                other => other,
            },
            (None, Need::Live | Need::NotDue | Need::LaterThan(_)) => inner.wait(&key, source, Generation(0)).await,
        };
        if let Ok(served) = &result {
            inner.recent.used(&key, source, &served.token, now);
        }
        result
    }

    /// The generation of a grant's stored token, if it has one.
    pub async fn generation(&self, source: &Source) -> Result<Option<Generation>, RefreshError> {
        let stored = self.0.store.grant(&source.grant()).await.map_err(RefreshError::store)?;
        source.usable(stored.as_ref())?;
        Ok(stored.map(|stored| stored.generation))
    }

    /// Drops what is in memory of a grant up to this generation: it was agreed to anew, or ended.
    pub fn forget(&self, grant: &GrantKey, generation: Generation) {
        let key = self.0.key(grant);
        self.0.forget_up_to(&key, generation);
        self.0.backoffs.forget_up_to(&key, generation);
    }

    /// Drops a grant's opened token: another broker may have had it ended.
    pub fn close(&self, grant: &GrantKey) {
        self.0.opened.invalidate(&self.0.key(grant));
    }

    /// Whether a grant's token is open in memory.
    #[cfg(test)]
    pub(crate) fn is_open(&self, grant: &GrantKey) -> bool {
        self.0.opened.contains_key(&self.0.key(grant))
    }

    /// Whether this broker took the right to refresh that this intent says.
    pub fn has_begun(&self, intent: &Intent) -> bool {
        self.0.owner.is_of_this_broker(intent)
    }

    /// Asks providers again at once that failed before, but where only one attempt is left: an operator has changed a
    /// manifest or a secret.
    pub fn reconsider(&self) {
        self.0.backoffs.clear(self.0.clock.now());
        self.0.providers.reconsider();
    }

    /// Providers that fail at everything and are left alone for now.
    pub fn left_alone(&self) -> Vec<LeftAlone> {
        self.0.providers.left_alone()
    }

    /// Starts no more renewals and waits for those under way; answers how many were left when `limit` had passed.
    pub async fn drain(&self, limit: Duration) -> usize {
        self.0.flights.drain(limit).await
    }
}

impl Inner {
    fn key(&self, grant: &GrantKey) -> Key {
        Key::of_grant(&self.tenant, Purpose::Grant, grant)
    }

    /// The renewal of this grant: the one under way, or a new one.
    fn start(self: &Arc<Self>, key: &Key, source: &Source, beyond: Generation, who: AskedBy) -> Option<Flight<Landed>> {
        match source {
            Source::Service(client) => self.flights.join(key, || {
                let begun = self.providers.begins(&source.authority(), who);
                let (inner, grant) = (Arc::clone(self), source.grant());
                let renewal = renew(Arc::clone(self), key.clone(), Arc::clone(client), beyond, begun);
                async move { inner.under_lease(&grant, beyond, renewal).await }
            }),
            Source::Person { client, .. } => {
                self.start_refresh(key, &client.client, &source.grant(), beyond, false, who)
            }
        }
    }

    /// The refresh of this person's grant: the one under way, or a new one.
    fn start_refresh(
        self: &Arc<Self>,
        key: &Key,
        client: &Arc<ProviderClient>,
        grant: &GrantKey,
        beyond: Generation,
        by_force: bool,
        who: AskedBy,
    ) -> Option<Flight<Landed>> {
        self.flights.join(key, || {
            let begun = self.providers.begins(&source::authority(&client.token_url), who);
            let (inner, grant, client) = (Arc::clone(self), grant.clone(), Arc::clone(client));
            let (key, of) = (key.clone(), grant.clone());
            let refresh = Refresh { inner: Arc::clone(self), key, client, grant, by_force, begun };
            async move { inner.under_lease(&of, beyond, refresh.run(beyond)).await }
        })
    }

    /// Waits for a token of a later generation than `beyond`, as long as a caller may.
    async fn wait(self: &Arc<Self>, key: &Key, source: &Source, beyond: Generation) -> Result<Served, RefreshError> {
        let started = Instant::now();
        let waiting = async {
            // A renewal under way may have begun for an older generation: its token may be the refused one.
            for _ in 0..3 {
                let flight = self.start(key, source, beyond, AskedBy::Caller).ok_or(RefreshError::Draining)?;
                let renewed = flight.landed().await.unwrap_or(Err(RefreshError::Lost))?;
                if renewed.token.generation > beyond && self.clock.now() < renewed.token.expires_at {
                    return Ok(renewed);
                }
            }
            Err(RefreshError::Lost)
        };
        let renewed = tokio::time::timeout(self.limits.wait, waiting)
            .await
            .unwrap_or_else(|_| Err(RefreshError::Overdue { host: source.host() }))?;
        // Of a refresh for another server, or narrowed by the provider.
        source.covered_by(&renewed.token.agreed)?;
        Ok(Served {
            renewed: !renewed.at_token_endpoint.is_zero(),
            store: Duration::ZERO,
            waited: started.elapsed().saturating_sub(renewed.at_token_endpoint),
            at_token_endpoint: renewed.at_token_endpoint,
            token: renewed.token,
        })
    }

    /// Records a renewal. What is released is recorded again by whoever releases it, so this one may fail.
    async fn remember(&self, event: Event) {
        if let Err(error) = self.audit.record(event).await {
            tracing::error!(%error, "a renewal was not recorded");
        }
    }
}
