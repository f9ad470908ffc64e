//! A refresh that ends the old access token at once is felt at the proxies of every broker. Whoever refreshes holds its own
//! proxies back; each other broker reads from the store that somebody has begun, and holds back its own (I5).

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Grants;
use crate::clock::UnixTime;
use crate::coordination::News;
use crate::model::Generation;
use crate::store::StoreError;

/// How often the store is asked without being told to look.
const EVERY: Duration = Duration::from_millis(500);

/// How long proxies are held back by one word; said anew while the refresh is under way, or was cut off and has not been
/// taken up.
const HELD: Duration = Duration::from_secs(20);
const SAID_ANEW: Duration = Duration::from_secs(10);

/// What this broker's proxies are held back from: the generation, and until when.
type Held = HashMap<String, (Generation, UnixTime)>;

impl Grants {
    /// Holds back until `stop` what other brokers refresh: whenever one says so, and every so often.
    pub async fn follow_refreshes(self, stop: CancellationToken) {
        let mut looks = self.0.coordination.looks(News::Refreshing, EVERY);
        let mut held = Held::new();
        while stop.run_until_cancelled(looks.next()).await.is_some() {
            if let Err(error) = self.hold_back(&mut held).await {
                tracing::warn!(%error, "what other brokers refresh cannot be read");
            }
        }
    }

    pub(super) async fn hold_back(&self, held: &mut Held) -> Result<(), StoreError> {
        let mut begun = self.0.store.dangling_intents(UnixTime(u64::MAX), "").await?.records;
        // What this broker has begun it holds back itself, and says when that is over.
        begun.retain(|grant| {
            let is_ours = grant.intent.as_ref().is_some_and(|intent| self.0.refresher.has_begun(intent));
            if is_ours {
                held.remove(&grant.id);
            }
            !is_ours
        });
        let killing = if begun.is_empty() { HashSet::new() } else { self.killing_clients() };
        let now = self.0.clock.now();
        let mut still = Held::new();
        for grant in begun.iter().filter(|grant| killing.contains(&grant.key.provider_client)) {
            let before = held.remove(&grant.id).filter(|(generation, _)| *generation == grant.generation);
            let until = match before {
                Some((_, until)) if until.since(now) > SAID_ANEW => until,
                Some(_) | None => {
                    self.0.refresher.close(&grant.key);
                    let until = now.after(HELD);
                    self.0.holds.refreshing(&grant.id, grant.generation, until);
                    until
                }
            };
            still.insert(grant.id.clone(), (grant.generation, until));
        }
        // Given back; or over, which proxies hear of as well.
        for (id, (generation, _)) in held.drain() {
            self.0.holds.refreshing(&id, generation, now);
        }
        *held = still;
        Ok(())
    }

    /// Provider clients at which a refresh ends the old access token.
    fn killing_clients(&self) -> HashSet<String> {
        let clients = self.0.servers.borrow().provider_clients();
        let killing = clients.iter().filter(|client| client.profile.refresh_kills_access_token);
        killing.map(|client| client.id.clone()).collect()
    }
}
