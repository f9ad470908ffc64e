//! What the HTTP listener asks the running parts.

use std::sync::Arc;

use async_trait::async_trait;

use crate::http::{Missing, PublicKeys, Readiness};
use crate::issuers::Issuers;
use crate::issuers::own::OwnIssuer;
use crate::store::Store;

/// Ready when the store answers and every issuer's keys were had once. The master key is there, or nothing would run.
pub(super) struct Broker {
    pub(super) store: Arc<dyn Store>,
    pub(super) issuers: Arc<Issuers>,
}

#[async_trait]
impl Readiness for Broker {
    async fn missing(&self) -> Vec<Missing> {
        let store = self.store.ready().await.err();
        let store = store.map(|error| Missing { what: "store".into(), why: error.to_string() });
        let why = "its keys were never fetched; the log says why";
        let issuers = self.issuers.waiting_for().into_iter();
        let issuers = issuers.map(|issuer| Missing { what: issuer.to_owned(), why: why.to_owned() });
        store.into_iter().chain(issuers).collect()
    }
}

/// The broker's own issuer, as others verify it.
pub(super) struct OwnKeys(pub(super) Arc<OwnIssuer>);

impl PublicKeys for OwnKeys {
    fn jwks(&self) -> serde_json::Value {
        self.0.public_jwks().clone()
    }
}
