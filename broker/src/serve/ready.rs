//! What the HTTP listener asks the running parts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::coordination::Coordination;
use crate::http::{Missing, PublicKeys, Readiness};
use crate::issuers::Issuers;
use crate::issuers::own::OwnIssuer;
use crate::refresher::{LeftAlone, Refresher};
use crate::store::Store;

/// How long an answer of the store holds. Asking it is a write to disk, and anybody who reaches the listener may ask.
const STORE_AGE: Duration = Duration::from_secs(1);

/// Ready when the store answers and every issuer's keys were had once. The master key is there, or nothing would run.
pub(super) struct Broker {
    store: Arc<dyn Store>,
    issuers: Arc<Issuers>,
    coordination: Coordination,
    refresher: Refresher,
    /// What the store lacked when it was last asked. Held while it is asked: who comes meanwhile waits for the answer.
    asked: Mutex<Option<(Instant, Option<Missing>)>>,
}

impl Broker {
    pub(super) fn new(
        store: Arc<dyn Store>,
        issuers: Arc<Issuers>,
        coordination: Coordination,
        refresher: Refresher,
    ) -> Self {
        Self { store, issuers, coordination, refresher, asked: Mutex::default() }
    }

    async fn store(&self) -> Option<Missing> {
        let mut asked = self.asked.lock().await;
        if let Some((at, missing)) = asked.as_ref()
            && at.elapsed() < STORE_AGE
        {
            return missing.clone();
        }
        let error = self.store.ready().await.err();
        let missing = error.map(|error| Missing { what: "store".into(), why: error.to_string() });
        *asked = Some((Instant::now(), missing.clone()));
        missing
    }
}

#[async_trait]
impl Readiness for Broker {
    async fn missing(&self) -> Vec<Missing> {
        let store = self.store().await;
        let why = "its keys were never fetched; the log says why";
        let issuers = self.issuers.waiting_for().into_iter();
        let issuers = issuers.map(|issuer| Missing { what: issuer.to_owned(), why: why.to_owned() });
        store.into_iter().chain(issuers).collect()
    }

    fn degraded(&self) -> Vec<Missing> {
        let redis = self.coordination.degraded().map(|why| Missing { what: "redis".to_owned(), why });
        let told = |provider: LeftAlone| Missing {
            why: format!(
                "failed {} times in a row, and is asked again at {}; tokens serve until they expire",
                provider.failures,
                provider.until.to_rfc3339()
            ),
            what: format!("token endpoint {}", provider.host),
        };
        redis.into_iter().chain(self.refresher.left_alone().into_iter().map(told)).collect()
    }
}

/// The broker's own issuer, as others verify it.
pub(super) struct OwnKeys(pub(super) Arc<OwnIssuer>);

impl PublicKeys for OwnKeys {
    fn jwks(&self) -> serde_json::Value {
        self.0.public_jwks().clone()
    }
}
