//! What the HTTP listener asks the running parts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::shared_clock::{WORTH_A_WORD, apart};
use crate::causes;
use crate::clock::{Clock, SystemClock, UnixTime};
use crate::coordination::Coordination;
use crate::http::{Missing, PublicKeys, Readiness};
use crate::issuers::Issuers;
use crate::issuers::own::OwnIssuer;
use crate::refresher::{LeftAlone, Refresher, Spool};
use crate::snapshot::{Read, Reads};
use crate::store::{Store, StoreError};
use crate::vault::{AwayKey, Vault};

/// How long an answer of the store holds. Asking it is a write to disk, and anybody who reaches the listener may ask.
const STORE_AGE: Duration = Duration::from_secs(1);

/// What is asked.
pub(super) struct Parts {
    /// For people; no secret.
    pub(super) store_at: String,
    pub(super) store: Arc<dyn Store>,
    pub(super) issuers: Arc<Issuers>,
    pub(super) coordination: Coordination,
    pub(super) refresher: Refresher,
    pub(super) vault: Vault,
    pub(super) spool: Spool,
    pub(super) reads: Reads,
    pub(super) clock: Arc<dyn Clock>,
}

/// Ready when the store answers and every issuer's keys were had once. The master key is there, or nothing would run.
pub(super) struct Broker {
    store: Arc<dyn Store>,
    issuers: Arc<Issuers>,
    coordination: Coordination,
    refresher: Refresher,
    /// Where the store is, for people.
    store_at: String,
    vault: Vault,
    spool: Spool,
    reads: Reads,
    /// By which tokens are judged.
    clock: Arc<dyn Clock>,
    /// What the store lacked when it was last asked. Held while it is asked: who comes meanwhile waits for the answer.
    asked: Mutex<Option<(Instant, Option<Missing>)>>,
}

impl Broker {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { store_at, store, issuers, coordination, refresher, vault, spool, reads, clock } = parts;
        Self { store, issuers, coordination, refresher, store_at, vault, spool, reads, clock, asked: Mutex::default() }
    }

    async fn store(&self) -> Option<Missing> {
        let mut asked = self.asked.lock().await;
        if let Some((at, missing)) = asked.as_ref()
            && at.elapsed() < STORE_AGE
        {
            return missing.clone();
        }
        let error = self.store.ready().await.err();
        let missing = error.map(|error| store_is_away(&self.store_at, &error));
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
        let away = self.vault.away().into_iter().map(key_is_away);
        let spool = waits_in(&self.spool).into_iter().chain(unreadable_in(&self.spool));
        let clocks = clocks(SystemClock.now(), self.clock.now());
        let unread = self.reads.overdue().into_iter().map(unread);
        redis
            .into_iter()
            .chain(away)
            .chain(spool)
            .chain(clocks)
            .chain(unread)
            .chain(self.refresher.left_alone().into_iter().map(told))
            .collect()
    }
}

fn key_is_away(key: AwayKey) -> Missing {
    Missing {
        what: "key".to_owned(),
        why: format!(
            "{}, master key {}, cannot be used since {} s: {}. Tokens that are open in memory are served for five minutes at most; \
             nothing else is opened, and nothing is renewed",
            key.kept,
            key.id,
            key.since.as_secs(),
            key.why
        ),
    }
}

fn unread((what, since): (Read, Duration)) -> Missing {
    Missing {
        what: "snapshot".to_owned(),
        why: format!(
            "{} were not read from the store for {} s: proxies are not told that they are up to date, serve from what they have \
             for `snapshot.max_staleness`, and then refuse",
            what.name(),
            since.as_secs()
        ),
    }
}

fn waits_in(spool: &Spool) -> Option<Missing> {
    (!spool.is_empty()).then(|| Missing {
        what: "spool".to_owned(),
        why: format!(
            "{} pairs of renewed tokens wait for the store, and are nowhere else than in {}; the store is asked every second",
            spool.len(),
            spool.directory().display()
        ),
    })
}

fn unreadable_in(spool: &Spool) -> Option<Missing> {
    let names = spool.unreadable();
    (!names.is_empty()).then(|| Missing {
        what: "spool".to_owned(),
        why: format!(
            "{} files in {} are not readable, so that the tokens in them reach no store and are nowhere else: {}. Keep them; a \
             newer version of the broker may have written them",
            names.len(),
            spool.directory().display(),
            names.join(", ")
        ),
    })
}

fn clocks(machine: UnixTime, tokens: UnixTime) -> Option<Missing> {
    let off = apart(machine, tokens);
    (off > WORTH_A_WORD).then(|| Missing {
        what: "clock".to_owned(),
        why: format!(
            "the database's clock, by which tokens are judged, is {} s {} this machine's, by which certificates and signatures \
             for AWS are; `sallyport doctor` says which of them is wrong",
            off.as_secs(),
            if tokens < machine { "behind" } else { "ahead of" }
        ),
    })
}

fn store_is_away(store_at: &str, error: &StoreError) -> Missing {
    Missing {
        what: "store".to_owned(),
        why: format!(
            "{store_at}: {}. Proxies go on with what they have cached; nothing new is released, and what a provider gives \
             meanwhile waits in the spool",
            causes::told(error)
        ),
    }
}

/// The broker's own issuer, as others verify it.
pub(super) struct OwnKeys(pub(super) Arc<OwnIssuer>);

impl PublicKeys for OwnKeys {
    fn jwks(&self) -> serde_json::Value {
        self.0.public_jwks().clone()
    }
}

#[cfg(test)]
mod tests;
