//! The life of a token whose provider told none: asked for where the manifest names an introspection endpoint. The token is
//! stored by then, and served meanwhile; whoever cannot be asked is believed to be its profile's.

use std::sync::Arc;
use std::time::Duration;

use super::ask::Registered;
use super::due::{Chance, refresh_after};
use super::{Inner, RefreshError, Refresher};
use crate::keys::{Key, Purpose};
use crate::model::{GrantKey, ProviderClient};
use crate::oauth::introspection;
use crate::oauth::token_response::MAX_EXPIRES_IN;

/// One request.
const PROVIDER: Duration = Duration::from_secs(5);

impl Refresher {
    /// Asks how long the token of a grant lives, if nobody has told and there is somebody to ask. Detached: nobody waits.
    pub fn learn_life(&self, grant: &GrantKey, client: &Arc<ProviderClient>) {
        self.0.learn_life(grant, client);
    }
}

impl Inner {
    pub(super) fn learn_life(self: &Arc<Self>, grant: &GrantKey, client: &Arc<ProviderClient>) {
        if client.introspection_url.is_none() {
            return;
        }
        let (inner, grant, client) = (Arc::clone(self), grant.clone(), Arc::clone(client));
        tokio::spawn(async move {
            if let Err(error) = inner.learn(&grant, &client).await {
                tracing::warn!(%error, "how long a token lives was not learned");
            }
        });
    }

    async fn learn(&self, grant: &GrantKey, client: &ProviderClient) -> Result<(), RefreshError> {
        let Some(url) = &client.introspection_url else { return Ok(()) };
        let Some(stored) = self.store.grant(grant).await.map_err(RefreshError::store)? else { return Ok(()) };
        let Some(material) = &stored.material else { return Ok(()) };
        if material.expires_at.since(material.issued_at) < MAX_EXPIRES_IN {
            return Ok(());
        }
        let Some(token) = self.open_live(&stored).await? else { return Ok(()) };
        let registered = Registered::resolve(&*self.secrets, client).await?;
        let (issued_at, access_token) = (material.issued_at, &token.access_token);
        let asked =
            introspection::expires_at(&*self.endpoint, url, registered.client(), access_token, issued_at, PROVIDER);
        let Some(expires_at) = asked.await.filter(|expires_at| *expires_at < material.expires_at) else {
            return Ok(());
        };
        let due = refresh_after(issued_at, expires_at, Chance::draw());
        self.store.set_life(&stored.id, stored.generation, expires_at, due).await.map_err(RefreshError::store)?;
        // What is in memory believes that it lives for a year.
        self.forget(&Key::of_grant(&self.tenant, Purpose::Grant, grant));
        Ok(())
    }
}
