//! What others have begun: other brokers are waited for, what earlier starts of this one have left is taken up again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;

use super::intent::Right;
use super::providers::AskedBy;
use super::refresh::Turn;
use super::{Inner, RefreshError, Refresher};
use crate::clock::UnixTime;
use crate::keys::{Key, Purpose};
use crate::model::ProviderClient;
use crate::oauth::profile::Rotation;
use crate::store::{Intent, StoredGrant};

/// How often a grant that another broker refreshes is looked at.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// Grants recovered at the same time.
const AT_ONCE: usize = 8;

impl Refresher {
    /// Takes to the store what waits in the spool, then ends what was begun and never ended; answers how many grants were
    /// taken up. Grants of clients that no server has any more are left as they are.
    pub async fn recover(&self, clients: &[Arc<ProviderClient>]) -> Result<usize, RefreshError> {
        let inner = &self.0;
        inner.replay_all().await?;
        let clients: HashMap<&str, &Arc<ProviderClient>> =
            clients.iter().map(|client| (client.id.as_str(), client)).collect();
        let dangling = inner.store.dangling_intents(inner.clock.now(), inner.owner.broker()).await;
        let dangling = dangling.map_err(RefreshError::store)?;
        let known: Vec<_> = dangling
            .readable()
            .into_iter()
            .filter_map(|stored| clients.get(stored.key.provider_client.as_str()).map(|client| (stored, *client)))
            .collect();
        let count = known.len();
        futures::stream::iter(known)
            .for_each_concurrent(AT_ONCE, |(stored, client)| inner.recover(stored, Arc::clone(client)))
            .await;
        Ok(count)
    }
}

impl Inner {
    async fn recover(self: &Arc<Self>, stored: StoredGrant, client: Arc<ProviderClient>) {
        let key = Key::of_grant(&self.tenant, Purpose::Grant, &stored.key);
        let (grant, beyond) = (&stored.key, stored.generation);
        let Some(flight) = self.start_refresh(&key, &client, grant, beyond, false, AskedBy::Caller) else { return };
        match flight.landed().await {
            Some(Ok(_)) => tracing::info!(grant = stored.id, "a refresh that was cut off is done"),
            Some(Err(error)) => tracing::warn!(grant = stored.id, %error, "a refresh that was cut off is not done"),
            None => tracing::error!(grant = stored.id, "a refresh that was cut off was lost"),
        }
    }
}

impl Inner {
    /// What may be done now with a grant as it was read.
    pub(super) fn right_to(&self, stored: &StoredGrant, rotation: Rotation, now: UnixTime) -> Right {
        if let Some(intent) = stored.intent.as_ref().filter(|intent| self.unsent.has(&stored.id, intent)) {
            return Right::Free(intent.attempt);
        }
        let left = |intent: &Intent| self.left_of_intent(stored, intent, now);
        self.owner.right(stored.intent.as_ref(), rotation, left)
    }

    /// Another broker is at it. What it stores, or that it gave up, is in the store. `host`: of the provider.
    pub(super) async fn wait_for_another_broker(&self, stored: &StoredGrant, host: &str) -> Result<Turn, RefreshError> {
        let since = Instant::now();
        let patience = since + self.limits.provider + self.limits.commit;
        let waited =
            || metrics::histogram!("sallyport_refresh_lock_wait_seconds").record(since.elapsed().as_secs_f64());
        while Instant::now() < patience {
            tokio::time::sleep(LOOK).await;
            let now = self.store.grant(&stored.key).await.map_err(RefreshError::store)?;
            let left = |intent| self.left_of_intent(stored, intent, self.clock.now());
            let is_over = stored.intent.as_ref().is_none_or(|intent| left(intent).is_zero());
            if is_over || now.as_ref() != Some(stored) {
                waited();
                return Ok(Turn::Again);
            }
        }
        waited();
        Err(RefreshError::Overdue { host: host.to_owned() })
    }
}
