//! Fingerprints of what is released: the records of releases name a token by its fingerprint, so that whoever finds a
//! token somewhere finds its releases, and a record without the key tells nothing about any token (I9).

use crate::clock::Clock;
use crate::keys::hex;
use crate::model::Generation;
use crate::secret::Secret;
use crate::store::{Store, StoreError, StoredKey};
use crate::vault::{Place, RecordKind, Vault, VaultError};

/// Purpose under which the key is stored, and its id: there is one. It is never replaced, or a token that is found later
/// would no more be found in the records.
const PURPOSE: &str = "token-fingerprint";

/// Bytes that are kept: too many for two tokens to share one by chance.
const LENGTH: usize = 16;

/// Why no fingerprints can be made.
#[derive(Debug, thiserror::Error)]
pub enum FingerprintError {
    /// The store does not answer.
    #[error("the key of the audit's fingerprints cannot be read or stored")]
    Store(#[from] StoreError),
    /// The vault does not open or seal it.
    #[error("the key of the audit's fingerprints cannot be opened or sealed")]
    Vault(#[from] VaultError),
}

/// Makes fingerprints, with a key that never leaves the vault and this process.
pub struct Fingerprints(Secret);

/// HMAC-SHA256 of a token under the deployment's key, cut to 128 bits, in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprints {
    /// Opens the key, or makes it.
    ///
    /// # Errors
    /// If the store or the vault fails.
    pub async fn open(store: &dyn Store, vault: &Vault, clock: &dyn Clock) -> Result<Self, FingerprintError> {
        let mut keys = store.keys(PURPOSE).await?;
        if keys.is_empty() {
            let value = vault.data_key(&PLACE).await?.seal(&PLACE, &Secret::random::<32>());
            let key = StoredKey { id: PURPOSE.into(), purpose: PURPOSE.into(), created_at: clock.now(), value };
            match store.add_key(&key).await {
                // Another broker was first, and its key is the one.
                Ok(()) | Err(StoreError::Conflict) => keys = store.keys(PURPOSE).await?,
                Err(error) => return Err(error.into()),
            }
        }
        let key = keys.first().ok_or(StoreError::Conflict)?;
        Ok(Self::with_key(vault.open(&PLACE, &key.value).await?))
    }

    pub(crate) fn with_key(key: Secret) -> Self {
        Self(key)
    }

    /// The fingerprint of a token or another secret value, without scheme or white space around it.
    pub fn of(&self, token: &[u8]) -> Fingerprint {
        // Exposed to key the MAC.
        let mac = hmac_sha256::HMAC::mac(token, self.0.expose());
        Fingerprint(hex(&mac[..LENGTH]))
    }
}

impl Fingerprint {
    /// As it stands in the records.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const PLACE: Place<'static> =
    Place { kind: RecordKind::Key, record: PURPOSE, field: "value", generation: Generation(1) };

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::model::Tenant;
    use crate::store::sqlite::SqliteStore;
    use crate::store::sqlite::tests::open_in;

    async fn deployment(dir: &Path) -> (Arc<SqliteStore>, Vault) {
        let vault = Vault::open_or_create(dir.join("key/master.key"), &Tenant("t".into())).unwrap();
        (Arc::new(open_in(dir).await), vault)
    }

    #[tokio::test]
    async fn a6_a_token_has_one_fingerprint_for_ever_in_its_deployment_and_another_elsewhere() {
        let (here, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (store, vault) = deployment(here.path()).await;
        let first = Fingerprints::open(&*store, &vault, &SystemClock).await.unwrap();
        let after_a_start = Fingerprints::open(&*store, &vault, &SystemClock).await.unwrap();
        assert_eq!(first.of(b"token"), after_a_start.of(b"token"));
        assert_ne!(first.of(b"token"), first.of(b"token2"));
        let (store, vault) = deployment(elsewhere.path()).await;
        let other = Fingerprints::open(&*store, &vault, &SystemClock).await.unwrap();
        assert_ne!(first.of(b"token"), other.of(b"token"), "no key: anybody could compute it");
    }

    #[tokio::test]
    async fn a6_two_brokers_that_start_at_once_agree_on_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let (store, vault) = deployment(dir.path()).await;
        let open = || Fingerprints::open(&*store, &vault, &SystemClock);
        let (one, two) = tokio::try_join!(open(), open()).unwrap();
        assert_eq!(one.of(b"token"), two.of(b"token"));
    }

    #[tokio::test]
    async fn i4_the_key_is_sealed_in_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let (store, vault) = deployment(dir.path()).await;
        let key = Fingerprints::open(&*store, &vault, &SystemClock).await.unwrap().0;
        let stored = &store.keys(PURPOSE).await.unwrap()[0].value.0;
        assert!(!stored.windows(32).any(|bytes| bytes == key.expose()));
    }
}
