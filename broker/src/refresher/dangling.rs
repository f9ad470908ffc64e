//! What earlier starts of this broker have left unfinished, taken up again.

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt as _;

use super::refresh::Refresh;
use super::{Inner, RefreshError, Refresher};
use crate::keys::{Key, Purpose};
use crate::model::ProviderClient;
use crate::store::StoredGrant;

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
        let refresh = || {
            let refresh = Refresh { inner: Arc::clone(self), key: key.clone(), client, grant: stored.key };
            refresh.run(stored.generation)
        };
        let Some(flight) = self.flights.join(&key, refresh) else { return };
        match flight.landed().await {
            Some(Ok(_)) => tracing::info!(grant = stored.id, "a refresh that was cut off is done"),
            Some(Err(error)) => tracing::warn!(grant = stored.id, %error, "a refresh that was cut off is not done"),
            None => tracing::error!(grant = stored.id, "a refresh that was cut off was lost"),
        }
    }
}
