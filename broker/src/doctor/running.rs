//! What only the broker that runs can tell: its store, its keys, and whom it reaches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use url::Url;

use super::clocks::Clocks;
use super::reach::{self, Place};
use super::{Finding, keys, own_keys, redis};
use crate::causes;
use crate::clock::Clock;
use crate::coordination::Coordination;
use crate::fetch::Fetcher;
use crate::issuers::Issuers;
use crate::master_keys::MasterKeys;
use crate::model::{Auth, Servers};
use crate::refresher::Spool;
use crate::store::Store;
use crate::vault::Vault;

/// A commit that takes longer is worth a look: each release waits for one.
const SLOW_COMMIT: Duration = Duration::from_millis(100);

/// What [`Running`] looks at.
pub struct Parts {
    /// Where the store is, for people.
    pub store_at: String,
    /// The store.
    pub store: Arc<dyn Store>,
    /// The vault.
    pub vault: Vault,
    /// Master keys, and what needs each.
    pub master_keys: MasterKeys,
    /// Where renewed tokens wait for the store.
    pub spool: Spool,
    /// The client for providers.
    pub fetcher: Fetcher,
    /// Identity providers.
    pub issuers: Arc<Issuers>,
    /// What is registered.
    pub servers: watch::Receiver<Arc<Servers>>,
    /// What brokers spare each other work by.
    pub coordination: Coordination,
    /// Time, as tokens are judged by it.
    pub clock: Arc<dyn Clock>,
}

/// Looks at the parts of a broker while it runs.
pub struct Running {
    parts: Parts,
}

impl Running {
    /// Over these parts.
    pub fn new(parts: Parts) -> Self {
        Self { parts }
    }

    /// Everything that was found, good findings too. Takes a few seconds where somebody does not answer.
    pub async fn findings(&self) -> Vec<Finding> {
        let Parts { store_at, store: db, vault, master_keys, fetcher, coordination, clock, .. } = &self.parts;
        let clocks = Clocks::of(&**db, store_at, &**clock);
        let (store, redis, keys, own_keys, reached) = tokio::join!(
            self.store(),
            redis::finding(coordination),
            keys::findings(vault, master_keys),
            own_keys::findings(&**db, vault),
            reach::findings(fetcher, &clocks, self.places())
        );
        std::iter::once(store)
            .chain(self.spool())
            .chain(redis)
            .chain(keys)
            .chain(own_keys)
            .chain(self.issuers())
            .chain(reached)
            .collect()
    }

    /// A commit that changes nothing.
    async fn store(&self) -> Finding {
        let (at, begun) = (&self.parts.store_at, Instant::now());
        let done = self.parts.store.ready().await;
        let took = begun.elapsed();
        match done {
            Ok(()) if took > SLOW_COMMIT => {
                let told = format!("{at} took {} ms for a commit", took.as_millis());
                Finding::warning(
                    "store",
                    told,
                    "every release waits for a commit: see what its disk, or the way there, is busy with",
                )
            }
            Ok(()) => Finding::good("store", format!("{at} commits in {} ms", took.as_millis())),
            Err(error) => {
                let told = format!("{at} does not answer: {}", causes::told(&error));
                Finding::bad(
                    "store",
                    told,
                    "nothing new is released until it does; renewed tokens wait in data_dir/spool, so keep that",
                )
            }
        }
    }

    /// What only its owner reads, and what nobody can.
    fn spool(&self) -> Vec<Finding> {
        const CHECK: &str = "spool";
        let (spool, unreadable) = (&self.parts.spool, self.parts.spool.unreadable());
        let directory = spool.directory().display();
        let mut findings = Vec::new();
        if !unreadable.is_empty() {
            let told = format!("{directory} has files that this version does not read: {}", unreadable.join(", "));
            let remedy = "each has tokens that are nowhere else: start the version that wrote them, or put them back from before \
                          they were damaged; remove one only if its holder is to agree anew";
            findings.push(Finding::bad(CHECK, told, remedy));
        }
        if !spool.is_empty() {
            let told = format!("{} pairs of renewed tokens wait in {directory} for the store", spool.len());
            findings.push(Finding::warning(CHECK, told, "mend the store, and keep that directory until then"));
        }
        findings
            .is_empty()
            .then(|| Finding::good(CHECK, "nothing waits for the store"))
            .into_iter()
            .chain(findings)
            .collect()
    }

    /// Those whose keys were never had: their callers are refused.
    fn issuers(&self) -> Vec<Finding> {
        let waiting = self.parts.issuers.waiting_for().into_iter();
        waiting
            .map(|issuer| {
                let told = "its keys were never fetched, so that no token of it is taken";
                Finding::bad(
                    format!("issuer {issuer}"),
                    told,
                    "the broker's log says why; mend it, the keys are fetched again by themselves",
                )
            })
            .collect()
    }

    /// Each token endpoint and each issuer once.
    fn places(&self) -> Vec<Place> {
        let servers = self.parts.servers.borrow().clone();
        let mut urls: BTreeMap<Url, String> = BTreeMap::new();
        for (name, server) in &servers.by_name {
            let url = match &server.auth {
                Auth::AuthorizationCode(auth) => &auth.client.token_url,
                Auth::ClientCredentials(auth) => &auth.token_url,
                Auth::Header(_) | Auth::None | Auth::Passthrough { .. } => continue,
            };
            urls.entry(url.clone()).or_insert_with(|| format!("provider of {name}"));
        }
        let providers = urls.into_iter().map(|(url, check)| Place { check, url });
        let issuers = self.parts.issuers.places().into_iter();
        issuers.map(|(issuer, url)| Place { check: format!("issuer {issuer}"), url }).chain(providers).collect()
    }
}
