//! Renewal in the background: a grant in use is renewed when it is due, whether or not anybody asks just then.
//!
//! What is due is known from its use at this broker, or found in the store: used at another broker or before a restart, or
//! begun by a broker that died over it. Most lately used comes first, at whichever broker that was; the store knows it to
//! within a sixth of [`Limits::idle`](super::Limits::idle). A provider's budget, which all brokers share, bounds how many
//! begin, so that many tokens of one moment are not as many requests at once; what an intent excludes is excluded here as
//! well. A grant that nobody has used for a while is left to expire, and is renewed by its next use.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::flight::Flight;
use super::providers::AskedBy;
use super::recent::{Known, Used};
use super::source::authority;
use super::{Inner, Landed, RefreshError, Refresher, Source};
use crate::clock::UnixTime;
use crate::keys::{Key, Purpose};
use crate::model::{ProviderClient, Servers};
use crate::store::{StoreError, StoredGrant};

/// How often due grants are looked for.
const TICK: Duration = Duration::from_secs(1);

/// Grants of one provider, in use here, and of one client in the store, that are looked at, at one tick.
const OF_EACH: u32 = 64;

/// How long a due grant that cannot be read is not looked at again.
const CORRUPT_AGAIN: Duration = Duration::from_secs(10 * 60);

/// How long a due grant is not looked at again whose keys or secrets are away: it must not take the place of others.
const AWAY_AGAIN: Duration = Duration::from_secs(60);

/// How often uses are noted in the store, and how many at once.
const NOTED_EVERY: u32 = 15;
const NOTED_AT_ONCE: usize = 1_000;

/// A grant that is due.
struct Due {
    key: Key,
    /// Of its provider.
    host: String,
    used_at: UnixTime,
    /// As the store has it; nothing where it is known by its use here.
    found: Option<(StoredGrant, Arc<ProviderClient>)>,
}

impl Refresher {
    /// Renews due grants, and takes to the store what waits for it, until `stop`.
    pub async fn run(self, servers: watch::Receiver<Arc<Servers>>, stop: CancellationToken) {
        tokio::join!(self.replay(stop.clone()), self.schedule(servers, stop));
    }

    async fn schedule(&self, servers: watch::Receiver<Arc<Servers>>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for tick in 1u32.. {
            if stop.run_until_cancelled(ticks.tick()).await.is_none() {
                return;
            }
            let clients = servers.borrow().provider_clients();
            if let Err(error) = self.renew_due(&clients).await {
                tracing::warn!(%error, "what is due cannot be looked for in the store");
            }
            if tick.is_multiple_of(NOTED_EVERY)
                && let Err(error) = self.note_uses().await
            {
                tracing::warn!(%error, "which grants are in use is not noted");
            }
        }
    }

    /// Starts the renewal of what is due: what is in use here, and what the store says of clients that servers have; as far
    /// as providers have room. Answers how many were started.
    pub async fn renew_due(&self, clients: &[Arc<ProviderClient>]) -> Result<usize, RefreshError> {
        let inner = &self.0;
        let now = inner.clock.now();
        // Evicts what is too old now, so that it is zeroized now.
        inner.opened.run_pending_tasks();
        inner.backoffs.forget(now);
        let mut due = self.in_use(now).await?;
        let known: HashSet<Key> = due.iter().map(|due| due.key.clone()).collect();
        let mut oldest = Duration::ZERO;
        for client in clients {
            match self.in_store(client, now).await {
                Ok((found, waits)) => {
                    due.extend(found.into_iter().filter(|found| !known.contains(&found.key)));
                    oldest = oldest.max(waits);
                }
                Err(error @ RefreshError::Store(_)) if inner.store.ready().await.is_err() => return Err(error),
                // Of this client only: it holds up no other.
                Err(error) => tracing::error!(client = client.id, %error, "what is due of a client cannot be read"),
            }
        }
        metrics::gauge!("sallyport_refresh_oldest_due_seconds").set(oldest.as_secs_f64());
        due.sort_by_key(|due| std::cmp::Reverse(due.used_at));
        self.allow(&due, clients).await?;
        Ok(due.into_iter().map(|due| self.begin(due)).filter(|begun| *begun).count())
    }

    /// What is due of what is in use here, and was renewed by nobody else.
    async fn in_use(&self, now: UnixTime) -> Result<Vec<Due>, RefreshError> {
        let inner = &self.0;
        let may = |key: &Key, source: &Source| {
            inner.backoffs.now(key, now).is_none()
                && !inner.flights.under_way(key)
                && inner.providers.free(&source.authority()) > 0
        };
        let mut due = Vec::new();
        for Known { key, grant, generation, host, last } in inner.recent.due(now, OF_EACH as usize, may) {
            match inner.store.grant(&grant).await {
                // Who uses it next is given that one.
                Ok(Some(stored)) if stored.generation > generation => drop(inner.recent.take(&key, now)),
                Ok(_) | Err(StoreError::Corrupt { .. }) => due.push(Due { used_at: last, host, key, found: None }),
                Err(error) => return Err(RefreshError::store(error)),
            }
        }
        Ok(due)
    }

    /// What the store says is due of one client, and for how long the oldest of all of that has waited.
    async fn in_store(
        &self,
        client: &Arc<ProviderClient>,
        now: UnixTime,
    ) -> Result<(Vec<Due>, Duration), RefreshError> {
        let inner = &self.0;
        let host = authority(&client.token_url);
        let room = inner.providers.free(&host).min(OF_EACH);
        let read = inner.store.due_grants(&client.id, now, room).await.map_err(RefreshError::store)?;
        let corrupt: Vec<String> = read.corrupt.iter().filter_map(StoreError::record).collect();
        if !corrupt.is_empty() {
            // Whoever lists grants is told which.
            tracing::error!(ids = corrupt.join(" "), "due grants cannot be read");
            inner.store.put_off(&corrupt, now.after(CORRUPT_AGAIN)).await.map_err(RefreshError::store)?;
        }
        let (wanted, idle): (Vec<_>, Vec<_>) = read.records.into_iter().partition(|stored| self.is_wanted(stored));
        if !idle.is_empty() {
            inner.store.leave_idle(&idle).await.map_err(RefreshError::store)?;
        }
        let used_since = now.before(inner.limits.idle);
        let oldest = inner.store.oldest_due(&client.id, now, used_since).await.map_err(RefreshError::store)?;
        let due = wanted.into_iter().filter_map(|stored| {
            let key = Key::of_grant(&inner.tenant, Purpose::Grant, &stored.key);
            let waits = inner.flights.under_way(&key) || inner.backoffs.at(&key, stored.generation, now).is_some();
            // What somebody has begun and never ended goes before everything.
            let used_at = if stored.intent.is_some() { UnixTime(u64::MAX) } else { stored.used_at? };
            (!waits).then(|| Due { used_at, host: host.clone(), key, found: Some((stored, Arc::clone(client))) })
        });
        Ok((due.collect(), oldest.map_or(Duration::ZERO, |oldest| now.since(oldest))))
    }

    /// Whether somebody may call with it soon, or has begun to refresh it and never ended.
    fn is_wanted(&self, stored: &StoredGrant) -> bool {
        let inner = &self.0;
        stored.intent.is_some()
            || stored.used_at.is_some_and(|used_at| inner.clock.now() < used_at.after(inner.limits.idle))
    }

    /// Says to each provider how much of this may begin: as all brokers together have room, at once and by the second.
    async fn allow(&self, due: &[Due], clients: &[Arc<ProviderClient>]) -> Result<(), RefreshError> {
        let inner = &self.0;
        // Of those without, what was asked is told.
        let mut wanted: BTreeMap<String, u32> = inner.providers.owing().into_iter().map(|host| (host, 0)).collect();
        for due in due {
            *wanted.entry(due.host.clone()).or_default() += 1;
        }
        let begun = match due.is_empty() {
            true => BTreeMap::new(),
            false => inner.store.under_refresh(inner.clock.now()).await.map_err(RefreshError::store)?,
        };
        for (host, wanted) in wanted {
            let of_host = clients.iter().filter(|client| authority(&client.token_url) == host);
            let begun: u32 = of_host.filter_map(|client| begun.get(&client.id)).sum();
            let free = inner.limits.budget.at_once.saturating_sub(begun).min(inner.providers.free(&host));
            let allowed = inner.take_of_budget(&host, wanted.min(free)).await?;
            inner.providers.allow(&host, allowed);
        }
        Ok(())
    }

    fn begin(&self, due: Due) -> bool {
        let inner = &self.0;
        let Due { key, host, found, .. } = due;
        if !inner.providers.has_room(&host) || inner.flights.under_way(&key) {
            return false;
        }
        let (flight, used, id) = match found {
            Some((stored, client)) => {
                let (grant, beyond) = (&stored.key, stored.generation);
                let flight = inner.start_refresh(&key, &client, grant, beyond, false, AskedBy::Schedule);
                (flight, None, Some(stored.id))
            }
            None => {
                let Some(used) = inner.recent.take(&key, inner.clock.now()) else { return false };
                let flight = inner.start(&key, &used.source, used.generation, AskedBy::Schedule);
                let id = used.person().map(str::to_owned);
                (flight, Some(used), id)
            }
        };
        let Some(flight) = flight else { return false };
        tokio::spawn(Arc::clone(inner).look_after(key, flight, used, id));
        true
    }

    /// Notes in the store which grants were used since that was noted last.
    pub async fn note_uses(&self) -> Result<usize, RefreshError> {
        let inner = &self.0;
        if inner.limits.idle.is_zero() {
            return Ok(0);
        }
        let now = inner.clock.now();
        let ids = inner.recent.take_unnoted(now, inner.limits.idle / 6, NOTED_AT_ONCE);
        // Few at a time: who waits for a row of theirs to be committed to waits for all of them.
        for ids in ids.chunks(32) {
            inner.store.mark_used(ids, now).await.map_err(RefreshError::store)?;
        }
        Ok(ids.len())
    }
}

impl Inner {
    /// What follows when a refresh that nobody waits for has ended. `id`: of a person's grant.
    async fn look_after(self: Arc<Self>, key: Key, flight: Flight<Landed>, used: Option<Used>, id: Option<String>) {
        let error = match flight.landed().await {
            // Its holder comes back to it, if they agree again.
            Some(Ok(_) | Err(RefreshError::NeedsConsent { .. })) => return,
            Some(Err(error)) => Some(error),
            None => None,
        };
        if let (Some(RefreshError::Vault(_) | RefreshError::Secret(_)), Some(id)) = (error, id) {
            let until = self.clock.now().after(AWAY_AGAIN);
            if let Err(error) = self.store.put_off(&[id], until).await {
                tracing::warn!(%error, "a grant whose keys are away is looked at again at once");
            }
            return;
        }
        if let Some(used) = used {
            self.recent.put_back(key, used);
        }
    }
}
