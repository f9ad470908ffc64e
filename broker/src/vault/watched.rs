//! What is known of master keys that a key service keeps: how long each use of one took, what came of it, and since when
//! it cannot be used.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::Vault;
use super::envelope::KeyId;
use super::master::{Bound, KeyError, MasterKey};
use crate::causes;
use crate::secret::Secret;

/// How often a key that cannot be used is tried.
const TRIED_EVERY: Duration = Duration::from_secs(5);

/// How long a key may go unused before it is tried, so that its absence is known before somebody needs it.
const UNUSED: Duration = Duration::from_secs(60);

/// A master key that cannot be used now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwayKey {
    /// What records name it by.
    pub id: KeyId,
    /// Where it is kept.
    pub kept: String,
    /// For how long, at least.
    pub since: Duration,
    /// Why; no secret.
    pub why: String,
}

/// A key in a key service, and what came of using it.
pub(super) struct Watched {
    key: Box<dyn MasterKey>,
    last: Mutex<Last>,
}

struct Last {
    used: Instant,
    /// Since when it cannot be used, and why.
    away: Option<(Instant, String)>,
}

impl Watched {
    pub(super) fn new(key: impl MasterKey) -> Self {
        Self { key: Box::new(key), last: Mutex::new(Last { used: Instant::now(), away: None }) }
    }

    /// Counts one use of the key with all its attempts.
    async fn uses<T>(
        &self,
        operation: &'static str,
        used: impl Future<Output = Result<T, KeyError>>,
    ) -> Result<T, KeyError> {
        let began = Instant::now();
        let result = used.await;
        let outcome = result.as_ref().map_or_else(KeyError::code, |_| "done");
        metrics::histogram!("sallyport_key_service_seconds", "operation" => operation, "outcome" => outcome)
            .record(began.elapsed().as_secs_f64());
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.used = Instant::now();
        last.away = match &result {
            // It has answered: what it was asked about is none of its own.
            Ok(_) | Err(KeyError::NotOurs) => None,
            Err(error) => {
                let since = last.away.take().map_or(began, |(since, _)| since);
                Some((since, causes::told(error)))
            }
        };
        let is_up = if last.away.is_none() { 1.0 } else { 0.0 };
        metrics::gauge!("sallyport_key_service_up", "key" => self.id().to_string()).set(is_up);
        result
    }
}

#[async_trait]
impl MasterKey for Watched {
    fn id(&self) -> KeyId {
        self.key.id()
    }

    fn kept(&self) -> &str {
        self.key.kept()
    }

    fn wraps(&self) -> Option<u64> {
        self.key.wraps()
    }

    fn version(&self) -> Option<u32> {
        self.key.version()
    }

    fn away(&self) -> Option<AwayKey> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, why) = last.away.as_ref()?;
        let (id, kept) = (self.id(), self.kept().to_owned());
        Some(AwayKey { id, kept, since: since.elapsed(), why: why.clone() })
    }

    fn unused_for(&self) -> Option<Duration> {
        Some(self.last.lock().unwrap_or_else(PoisonError::into_inner).used.elapsed())
    }

    async fn fresh(&self, bound: Bound<'_>) -> Result<(Secret, Vec<u8>), KeyError> {
        self.uses("fresh", self.key.fresh(bound)).await
    }

    async fn wrap(&self, bound: Bound<'_>, key: &Secret) -> Result<Vec<u8>, KeyError> {
        self.uses("wrap", self.key.wrap(bound, key)).await
    }

    async fn unwrap(&self, bound: Bound<'_>, wrapped: &[u8]) -> Result<Secret, KeyError> {
        self.uses("unwrap", self.key.unwrap(bound, wrapped)).await
    }
}

impl Vault {
    /// Master keys that cannot be used now, as far as is known: the last use of each failed.
    pub fn away(&self) -> Vec<AwayKey> {
        self.0.keyring().all().filter_map(|key| key.away()).collect()
    }

    /// Tries key services that are away, or that nobody has used for a while, until `stop`.
    pub async fn watch(self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(TRIED_EVERY)).await.is_some() {
            // What a try has not ended in time is tried again; nobody waits for it at the end.
            if stop.run_until_cancelled(self.try_doubtful(UNUSED)).await.is_none() {
                return;
            }
        }
    }

    /// Tries keys that are away, or that nobody has used for this long.
    pub(super) async fn try_doubtful(&self, unused: Duration) {
        let keyring = self.0.keyring();
        let doubtful = |key: &&Arc<dyn MasterKey>| {
            key.away().is_some() || key.unused_for().is_some_and(|unused_for| unused <= unused_for)
        };
        for key in keyring.all().filter(doubtful) {
            let was_away = key.away().is_some();
            match (self.try_out(key.id()).await, was_away) {
                (Ok(_), true) => tracing::info!(key = %key.id(), kept = key.kept(), "a master key can be used again"),
                (Err(error), false) => tracing::error!(error = causes::told(&error), "a master key cannot be used"),
                (Ok(_), false) | (Err(_), true) => {}
            }
        }
    }
}
