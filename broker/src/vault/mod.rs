//! The vault: envelope encryption of one field of one record at a time (I4). It knows no SQL.
//!
//! Whoever can write the store is not trusted: a field that was changed, cut or moved to another record does not open.
//! What this cannot see is a whole record put back to an older state that was once stored there.

mod envelope;
mod key_file;
mod place;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};

pub use envelope::{EnvelopeError, KeyId};
pub use key_file::{KeyFile, KeyFileError};
pub use place::{Place, RecordKind};

use crate::model::Tenant;
use crate::secret::Secret;
use crate::store::Sealed;
use envelope::{Envelope, NONCE};

/// Half of the 2^32 random nonces that one AES-GCM key may use (NIST SP 800-38D §8.3).
const WRAPS_ALARM: u64 = 1 << 31;

/// Seals and opens fields of one tenant's records under one master key.
#[derive(Clone)]
pub struct Vault(Arc<Inner>);

struct Inner {
    tenant: Tenant,
    master: Aes256Gcm,
    key_id: KeyId,
    wraps: AtomicU64,
}

/// Why a field was not sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// It was changed, or belongs elsewhere.
    #[error("{kind} {record}: {field} does not open: it was changed, or moved here from another record")]
    NotAuthentic {
        /// Kind of the record.
        kind: &'static str,
        /// Id of the record.
        record: String,
        /// Which field.
        field: &'static str,
    },
    /// It was sealed under another master key.
    #[error(
        "{kind} {record}: {field} needs master key {needed}, but the key file holds {held}; put back the key file it was sealed with"
    )]
    OtherMasterKey {
        /// Kind of the record.
        kind: &'static str,
        /// Id of the record.
        record: String,
        /// Which field.
        field: &'static str,
        /// The key it was sealed under.
        needed: KeyId,
        /// The key there is.
        held: KeyId,
    },
    /// It is no sealed field at all.
    #[error("{kind} {record}: {field} is not readable")]
    Unreadable {
        /// Kind of the record.
        kind: &'static str,
        /// Id of the record.
        record: String,
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        #[source]
        source: EnvelopeError,
    },
}

/// A fresh key for one write, already wrapped. It lives until it has sealed one field, and is then zeroized.
pub struct DataKey {
    key: Secret,
    wrapped: Vec<u8>,
    vault: Arc<Inner>,
}

impl Vault {
    /// Opens the vault with the key in the file; makes the file if there is none.
    pub fn open_or_create(key_file: impl Into<KeyFile>, tenant: &Tenant) -> Result<Self, KeyFileError> {
        Ok(Self::with_master_key(&key_file.into().read_or_create()?, tenant))
    }

    /// Opens the vault with the key in the file, which must be there: for a store that already holds sealed records.
    pub fn open_existing(key_file: impl Into<KeyFile>, tenant: &Tenant) -> Result<Self, KeyFileError> {
        Ok(Self::with_master_key(&key_file.into().read()?, tenant))
    }

    fn with_master_key(key: &Secret, tenant: &Tenant) -> Self {
        Self(Arc::new(Inner {
            tenant: tenant.clone(),
            master: cipher(key),
            key_id: key_file::key_id(key),
            wraps: AtomicU64::new(0),
        }))
    }

    /// Which master key this is.
    pub fn key_id(&self) -> KeyId {
        self.0.key_id
    }

    /// A fresh data key, wrapped. Asked for before a provider is called, so that what it answers can be kept (I5).
    pub async fn data_key(&self) -> Result<DataKey, VaultError> {
        let inner = &self.0;
        let count = inner.wraps.fetch_add(1, Ordering::Relaxed) + 1;
        metrics::counter!("sallyport_vault_wraps_total").increment(1);
        if count == WRAPS_ALARM {
            tracing::error!(key_id = %inner.key_id, "the master key has wrapped 2^31 data keys; rotate it");
        }
        let key = Secret::random::<32>();
        let nonce: [u8; NONCE] = random();
        // Exposed to be wrapped.
        let payload = Payload { msg: key.expose(), aad: &place::wrapping(&inner.tenant, inner.key_id) };
        let ciphertext =
            inner.master.encrypt(&Nonce::from(nonce), payload).expect("32 bytes are within AES-GCM's limit");
        let wrapped = [&nonce[..], &ciphertext].concat();
        Ok(DataKey { key, wrapped, vault: Arc::clone(inner) })
    }

    /// Opens what was sealed for this very place.
    pub async fn open(&self, place: &Place<'_>, sealed: &Sealed) -> Result<Secret, VaultError> {
        let inner = &self.0;
        let envelope = Envelope::parse(&sealed.0).map_err(|source| VaultError::Unreadable {
            kind: place.kind.name(),
            record: place.record.to_owned(),
            field: place.field,
            source,
        })?;
        if envelope.key_id != inner.key_id {
            return Err(VaultError::OtherMasterKey {
                kind: place.kind.name(),
                record: place.record.to_owned(),
                field: place.field,
                needed: envelope.key_id,
                held: inner.key_id,
            });
        }
        inner.unwrap_and_open(place, &envelope).ok_or_else(|| VaultError::NotAuthentic {
            kind: place.kind.name(),
            record: place.record.to_owned(),
            field: place.field,
        })
    }
}

impl Inner {
    fn unwrap_and_open(&self, place: &Place<'_>, envelope: &Envelope<'_>) -> Option<Secret> {
        let (nonce, wrapped) = envelope.wrapped.split_first_chunk::<NONCE>()?;
        let payload = Payload { msg: wrapped, aad: &place::wrapping(&self.tenant, envelope.key_id) };
        let key = Secret::new(self.master.decrypt(&Nonce::from(*nonce), payload).ok()?);
        // Exposed to find out whether it is a data key: only one of ours has been authenticated above.
        if key.expose().len() != 32 {
            return None;
        }
        let payload = Payload { msg: envelope.ciphertext, aad: &place.aad(&self.tenant) };
        cipher(&key).decrypt(&Nonce::from(*envelope.nonce), payload).ok().map(Secret::new)
    }
}

impl DataKey {
    /// Seals `secret` so that it opens at `place` only.
    pub fn seal(self, place: &Place<'_>, secret: &Secret) -> Sealed {
        let nonce: [u8; NONCE] = random();
        // Exposed to be encrypted.
        let payload = Payload { msg: secret.expose(), aad: &place.aad(&self.vault.tenant) };
        let ciphertext =
            cipher(&self.key).encrypt(&Nonce::from(nonce), payload).expect("a secret is far below AES-GCM's 64 GiB");
        let key_id = self.vault.key_id;
        Sealed(Envelope { key_id, wrapped: &self.wrapped, nonce: &nonce, ciphertext: &ciphertext }.to_bytes())
    }
}

fn cipher(key: &Secret) -> Aes256Gcm {
    // Exposed to key the cipher, which zeroizes its schedule when dropped.
    Aes256Gcm::new_from_slice(key.expose()).expect("data keys and master keys are 32 bytes")
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

#[cfg(test)]
mod tests;
