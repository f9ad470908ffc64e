//! Renewal in the background: a grant in use is renewed when it is due, whether or not anybody asks just then.
//!
//! First what is used at this broker, most lately used first. Then, of each provider client, what has been due for longest
//! in the store: used at another broker or before a restart, or begun by a broker that died over it. A provider's budget
//! bounds both, so that many tokens of one moment are not as many requests at once; what an intent excludes is excluded
//! here as well. A grant that nobody has used for a while is left to expire, and is renewed by its next use.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::source::authority;
use super::{RefreshError, Refresher, Source};
use crate::keys::{Key, Purpose};
use crate::model::{ProviderClient, Servers};
use crate::store::{StoreError, StoredGrant};

/// How often due grants are looked for.
const TICK: Duration = Duration::from_secs(1);

/// Grants in use here that are renewed at one tick.
const AT_ONCE: usize = 256;

/// Grants of one client that are looked at, at one tick.
const PER_CLIENT: u32 = 64;

/// How long a due grant that cannot be read is not looked at again.
const CORRUPT_AGAIN: Duration = Duration::from_secs(10 * 60);

/// How often uses are noted in the store, and how many at once.
const NOTED_EVERY: u32 = 15;
const NOTED_AT_ONCE: usize = 1_000;

impl Refresher {
    /// Renews due grants until `stop`.
    pub async fn run(self, servers: watch::Receiver<Arc<Servers>>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for tick in 1u32.. {
            if stop.run_until_cancelled(ticks.tick()).await.is_none() {
                return;
            }
            self.renew_due();
            let clients = servers.borrow().provider_clients();
            if let Err(error) = self.renew_stored(&clients).await {
                tracing::warn!(%error, "what is due in the store cannot be read");
            }
            if tick.is_multiple_of(NOTED_EVERY)
                && let Err(error) = self.note_uses().await
            {
                tracing::warn!(%error, "which grants are in use is not noted");
            }
            if let Err(error) = self.0.replay_all().await {
                tracing::warn!(%error, "renewed tokens stay in the spool");
            }
        }
    }

    /// Starts the renewal of grants that are in use here and due, most lately used first; answers how many.
    pub fn renew_due(&self) -> usize {
        let inner = &self.0;
        let now = inner.clock.now();
        // Evicts what is too old now, so that it is zeroized now.
        inner.opened.run_pending_tasks();
        inner.backoffs.forget(now);
        let may = |key: &Key, source: &Source| {
            inner.backoffs.now(key, now).is_none()
                && !inner.flights.under_way(key)
                && inner.providers.room(&source.authority()) > 0
        };
        let due = inner.recent.take_due(now, AT_ONCE, may);
        let mut started = 0;
        for (key, used) in due {
            if inner.providers.room(&used.source.authority()) == 0 {
                inner.recent.put_back(key, used);
                continue;
            }
            let Some(flight) = inner.start(&key, &used.source, used.generation) else { return started };
            started += 1;
            let inner = Arc::clone(inner);
            tokio::spawn(async move {
                match flight.landed().await {
                    // Its holder comes back to it, if they agree again.
                    Some(Ok(_) | Err(RefreshError::NeedsConsent { .. })) => {}
                    Some(Err(_)) | None => inner.recent.put_back(key, used),
                }
            });
        }
        started
    }

    /// Starts the renewal of what the store says is due, of clients that servers have, as far as providers have room;
    /// answers how many.
    pub async fn renew_stored(&self, clients: &[Arc<ProviderClient>]) -> Result<usize, RefreshError> {
        let inner = &self.0;
        let (mut started, mut oldest) = (0, Duration::ZERO);
        for client in clients {
            let now = inner.clock.now();
            // One at least, to know how long it has waited.
            let room = inner.providers.room(&authority(&client.token_url)).min(PER_CLIENT);
            let due = inner.store.due_grants(&client.id, now, room.max(1)).await.map_err(RefreshError::store)?;
            let mut idle = Vec::new();
            let corrupt: Vec<String> = due.corrupt.iter().filter_map(StoreError::record).collect();
            if !corrupt.is_empty() {
                // Whoever lists grants is told which.
                tracing::error!(ids = corrupt.join(" "), "due grants cannot be read");
                inner.store.put_off(&corrupt, now.after(CORRUPT_AGAIN)).await.map_err(RefreshError::store)?;
            }
            for stored in due.records {
                if !self.is_wanted(&stored) {
                    idle.push(stored);
                    continue;
                }
                oldest = oldest.max(stored.due_at.map_or(Duration::ZERO, |due_at| now.since(due_at)));
                if self.start_stored(stored, client) {
                    started += 1;
                }
            }
            if !idle.is_empty() {
                inner.store.leave_idle(&idle).await.map_err(RefreshError::store)?;
            }
        }
        metrics::gauge!("sallyport_refresh_oldest_due_seconds").set(oldest.as_secs_f64());
        Ok(started)
    }

    /// Whether somebody may call with it soon, or has begun to refresh it and never ended.
    fn is_wanted(&self, stored: &StoredGrant) -> bool {
        let inner = &self.0;
        stored.intent.is_some()
            || stored.used_at.is_some_and(|used_at| inner.clock.now() < used_at.after(inner.limits.idle))
    }

    fn start_stored(&self, stored: StoredGrant, client: &Arc<ProviderClient>) -> bool {
        let inner = &self.0;
        let provider = authority(&client.token_url);
        let key = Key::of_grant(&inner.tenant, Purpose::Grant, &stored.key);
        let now = inner.clock.now();
        if inner.providers.room(&provider) == 0
            || inner.flights.under_way(&key)
            || inner.backoffs.at(&key, stored.generation, now).is_some()
        {
            return false;
        }
        inner.start_refresh(&key, client, &stored.key, stored.generation, false).is_some()
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
