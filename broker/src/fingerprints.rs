//! Fingerprints of what is released: the records of releases name a token by its fingerprint, so that whoever finds a
//! token somewhere finds its releases, and a record without the key tells nothing about any token (I9).

use crate::clock::Clock;
use crate::keys::hex;
use crate::master_keys;
use crate::model::Generation;
use crate::secret::Secret;
use crate::store::{Store, StoreError, StoredKey};
use crate::vault::{Place, RecordKind, Vault, VaultError};

/// Purpose under which the key is stored, and its id: there is one. It is never replaced, or a token that is found later
/// would no more be found in the records.
pub(crate) const PURPOSE: &str = "token-fingerprint";

/// Bytes that are kept: too many for two tokens to share one by chance.
const LENGTH: usize = 16;

/// Why no fingerprints can be made.
#[derive(Debug, thiserror::Error)]
pub enum FingerprintError {
    /// The store does not answer.
    #[error("the key of the audit's fingerprints cannot be read or stored")]
    Store(#[from] StoreError),
    /// It was changed. Nobody makes another one unasked.
    #[error(
        "key {id} was changed in the store; put its record in table `keys` back from a backup, or delete it there: then a new \
         one is made, and no token that was released until now is found by its fingerprint any more"
    )]
    Damaged {
        /// Id of the record.
        id: &'static str,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
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
        let key = match own(store).await? {
            Some(key) => key,
            None => {
                let value = vault.data_key(&PLACE).await?.seal(&PLACE, &Secret::random::<32>());
                let key = StoredKey { id: PURPOSE.into(), purpose: PURPOSE.into(), created_at: clock.now(), value };
                match store.add_key(&key).await {
                    // Another broker was first, and its key is the one.
                    Ok(()) | Err(StoreError::Conflict) => own(store).await?.ok_or(StoreError::Conflict)?,
                    Err(error) => return Err(error.into()),
                }
            }
        };
        match vault.open(&PLACE, &key.value).await {
            Ok(key) => Ok(Self::with_key(key)),
            Err(error) if master_keys::is_damaged(store, &error).await? => {
                Err(FingerprintError::Damaged { id: PURPOSE, source: error.into() })
            }
            Err(error) => Err(error.into()),
        }
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

/// The one of that id; any other is nobody's.
async fn own(store: &dyn Store) -> Result<Option<StoredKey>, FingerprintError> {
    let mut found = store.keys(PURPOSE).await?;
    if let Some(at) = found.corrupt.iter().position(|error| error.record().as_deref() == Some(PURPOSE)) {
        return Err(FingerprintError::Damaged { id: PURPOSE, source: found.corrupt.swap_remove(at).into() });
    }
    Ok(found.readable().into_iter().find(|key| key.id == PURPOSE))
}

impl Fingerprint {
    /// As it stands in the records.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

pub(crate) const PLACE: Place<'static> =
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
        let stored = &store.keys(PURPOSE).await.unwrap().records[0].value.0;
        assert!(!stored.windows(32).any(|bytes| bytes == key.expose()));
    }

    #[tokio::test]
    async fn v3_a_key_that_was_changed_is_named_and_no_other_takes_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let (store, vault) = deployment(dir.path()).await;
        let first = Fingerprints::open(&*store, &vault, &SystemClock).await.unwrap();
        // One that somebody has put beside it.
        let mut other = store.keys(PURPOSE).await.unwrap().records.remove(0);
        (other.id, other.created_at) = ("another".into(), crate::clock::UnixTime(u64::MAX));
        store.add_key(&other).await.unwrap();
        let after = Fingerprints::open(&*store, &vault, &SystemClock).await.unwrap();
        assert_eq!(first.of(b"token"), after.of(b"token"));
        store.bend_key(PURPOSE, -1).await;
        let refused = Fingerprints::open(&*store, &vault, &SystemClock).await.err().unwrap();
        assert!(matches!(&refused, FingerprintError::Damaged { id: PURPOSE, .. }), "{refused}");
        store.tamper("UPDATE keys SET created_at = -1 WHERE id = 'token-fingerprint'").await;
        let refused = Fingerprints::open(&*store, &vault, &SystemClock).await.err().unwrap();
        assert!(matches!(&refused, FingerprintError::Damaged { .. }), "{refused}");
        assert!(refused.to_string().contains(PURPOSE) && refused.to_string().contains("backup"), "{refused}");
    }
}
