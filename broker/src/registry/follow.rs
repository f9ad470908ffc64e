//! What another broker was given comes into force here: manifests, and values of secrets.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{Registry, RegistryError, generations, revised, servers_of, stored};
use crate::coordination::Looks;
use crate::snapshot::{Read, Reads};
use crate::store::PolicyRevision;

impl Registry {
    /// Looks whenever it is time, until `stop`.
    pub async fn follow(self: Arc<Self>, mut looks: Looks, reads: Reads, stop: CancellationToken) {
        let mut in_force = None;
        reads.read(Read::Policy);
        while stop.run_until_cancelled(looks.next()).await.is_some() {
            match self.look(in_force).await {
                Ok(now) => {
                    in_force = Some(now);
                    reads.read(Read::Policy);
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "what other brokers were given cannot be read; what was in force stays so");
                }
            }
        }
    }

    /// Reads everything anew if anything differs from what was read last.
    pub(super) async fn look(&self, in_force: Option<PolicyRevision>) -> Result<PolicyRevision, RegistryError> {
        let now = self.store.policy_revision().await?;
        if in_force == Some(now) {
            return Ok(now);
        }
        // An apply of our own is either stored and in force, or begins with what is read here.
        let _applying = self.applying.lock().await;
        let now = self.store.policy_revision().await?;
        let (revision, manifests) = match stored(self.store.as_ref(), &self.tenant).await {
            Err(error @ (RegistryError::Stored { .. } | RegistryError::NotJson { .. })) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(
                    error,
                    "another broker was given what this version cannot read; what was in force stays so"
                );
                // Once: it does not get better by being read again.
                return Ok(now);
            }
            read => read?,
        };
        let generations = generations(self.store.as_ref()).await?;
        let becomes = revised(&servers_of(revision, &manifests), &generations);
        self.servers.send_if_modified(|servers| {
            // At the start it is what was loaded. A value of a secret changes no server, and still is news to who failed by it.
            let is_news = in_force.is_some_and(|before| before.secrets != now.secrets) || **servers != becomes;
            if is_news {
                *servers = Arc::new(becomes);
            }
            is_news
        });
        Ok(now)
    }
}
