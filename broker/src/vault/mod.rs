//! The vault: envelope encryption of one field of one record at a time (I4). It knows no SQL.
//!
//! Several master keys may be held at once: the current one wraps what is written, the others only unwrap what they have
//! wrapped before. Whoever can write the store is not trusted: a field that was changed, cut or moved to another record
//! does not open. What this cannot see is a whole record put back to an older state that was once stored there.

mod aws_credentials;
mod aws_kms;
mod envelope;
mod error;
mod key_file;
mod keyring;
mod local;
mod master;
mod place;
mod service_errors;
mod transit;
mod watched;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};

pub use aws_kms::AwsKmsKey;
pub use envelope::{EnvelopeError, HEADER, KeyId};
pub use error::{KeyIds, VaultError};
pub use key_file::{KeyFile, KeyFileError};
pub use keyring::{HeldKey, KeySource, NewKeyFile, OpenError, RotateError};
pub use master::{Cause, KeyError};
pub use place::{Place, Record, RecordKind};
pub use transit::{TokenSource, TransitKey};
pub use watched::AwayKey;

use crate::model::Tenant;
use crate::secret::Secret;
use crate::store::Sealed;
use envelope::{Envelope, NONCE};
use keyring::Keyring;
use master::Bound;

/// Seals and opens fields of one tenant's records.
#[derive(Clone)]
pub struct Vault(Arc<Inner>);

struct Inner {
    tenant: Tenant,
    keyring: RwLock<Arc<Keyring>>,
}

/// A fresh key for one write, already wrapped. It lives until it has sealed one field, and is then zeroized.
pub struct DataKey {
    key: Secret,
    wrapped: Vec<u8>,
    master: KeyId,
    record: (RecordKind, String),
    vault: Arc<Inner>,
}

impl Vault {
    /// Opens the vault with the key in the file, and those it has replaced; makes the file if there is none.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn open_or_create(key_file: impl Into<KeyFile>, tenant: &Tenant) -> Result<Self, KeyFileError> {
        let key_file = key_file.into();
        key_file.create_if_missing()?;
        Self::open_existing(key_file, tenant)
    }

    /// Opens the vault with the key in the file, which must be there: for a store that already holds sealed records.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn open_existing(key_file: impl Into<KeyFile>, tenant: &Tenant) -> Result<Self, KeyFileError> {
        Ok(Self::of_keyring(Keyring::of_file(key_file.into())?, tenant))
    }

    /// Opens the vault with all of these master keys, of which the first is the current one; those in files must be there.
    /// `ca_pem` replaces the system's certificate authorities, for key services.
    ///
    /// # Errors
    /// [`OpenError`] of the first that cannot be used.
    pub async fn with_keys(sources: Vec<KeySource>, tenant: &Tenant, ca_pem: Option<&[u8]>) -> Result<Self, OpenError> {
        Ok(Self::of_keyring(Keyring::of_sources(sources, ca_pem).await?, tenant))
    }

    fn of_keyring(keyring: Keyring, tenant: &Tenant) -> Self {
        Self(Arc::new(Inner { tenant: tenant.clone(), keyring: RwLock::new(Arc::new(keyring)) }))
    }

    /// Which master key wraps now.
    pub fn key_id(&self) -> KeyId {
        self.0.keyring().current().id()
    }

    /// A fresh data key for a record, wrapped. Asked for before a provider is called, so that what it answers can be kept
    /// (I5).
    ///
    /// # Errors
    /// If the master key is not to be had now. There is no other to fall back on.
    pub async fn data_key<'a>(&self, record: impl Into<Record<'a>>) -> Result<DataKey, VaultError> {
        let (inner, record) = (&self.0, record.into());
        let keyring = inner.keyring();
        let master = keyring.current();
        let fresh = master.fresh(inner.bound(record)).await.and_then(|(key, wrapped)| {
            // Exposed to be measured: what cannot be sealed with, or not be read again, is found out before a provider is
            // called.
            let is_key = key.expose().len() == 32;
            let wrapped = envelope::of_wrappable_length(wrapped)?;
            is_key
                .then_some((key, wrapped))
                .ok_or_else(|| KeyError::Failed("it answered with a key of another length".into()))
        });
        let (key, wrapped) = fresh.map_err(|source| VaultError::of_key(&**master, source))?;
        metrics::counter!("sallyport_vault_wraps_total").increment(1);
        let record = (record.kind, record.id.to_owned());
        Ok(DataKey { key, wrapped, master: master.id(), record, vault: Arc::clone(inner) })
    }

    /// Opens what was sealed for this very place.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn open(&self, place: &Place<'_>, sealed: &Sealed) -> Result<Secret, VaultError> {
        let began = Instant::now();
        let opened = self.open_untimed(place, sealed).await;
        let outcome = opened.as_ref().map_or_else(VaultError::code, |_| "done");
        metrics::histogram!("sallyport_vault_open_seconds", "outcome" => outcome).record(began.elapsed().as_secs_f64());
        opened
    }

    async fn open_untimed(&self, place: &Place<'_>, sealed: &Sealed) -> Result<Secret, VaultError> {
        let (inner, record) = (&self.0, Record::from(place));
        let envelope = parse(record, place.field, sealed)?;
        let key = inner.unwrap(record, place.field, &envelope).await?;
        let payload = Payload { msg: envelope.ciphertext, aad: &place.aad(&inner.tenant) };
        let opened = cipher(&key).decrypt(&Nonce::from(*envelope.nonce), payload);
        opened.map(Secret::new).map_err(|_| VaultError::not_authentic(record, place.field))
    }

    /// The same field with its data key wrapped by the current master key: neither opened nor sealed anew.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn rewrap(&self, record: Record<'_>, field: &'static str, sealed: &Sealed) -> Result<Sealed, VaultError> {
        let (inner, keyring) = (&self.0, self.0.keyring());
        let envelope = parse(record, field, sealed)?;
        let key = inner.unwrap(record, field, &envelope).await?;
        let master = keyring.current();
        let wrapped = master.wrap(inner.bound(record), &key).await.and_then(envelope::of_wrappable_length);
        let wrapped = wrapped.map_err(|source| VaultError::of_key(&**master, source))?;
        Ok(Sealed(Envelope { key_id: master.id(), wrapped: &wrapped, ..envelope }.to_bytes()))
    }

    /// Has a master key that is held wrap and unwrap a data key that nothing is sealed by; answers how long that took.
    ///
    /// # Errors
    /// If the key is not to be had now.
    pub async fn try_out(&self, id: KeyId) -> Result<Duration, VaultError> {
        let (inner, keyring, record) = (&self.0, self.0.keyring(), Record { kind: RecordKind::Key, id: "try-out" });
        let master = keyring.find(id);
        let master = master.ok_or_else(|| VaultError::other_master_key(record, "key", id, keyring.ids()))?;
        let begun = Instant::now();
        let tried = async {
            let (_, wrapped) = master.fresh(inner.bound(record)).await?;
            master.unwrap(inner.bound(record), &wrapped).await
        };
        tried.await.map(|_| begun.elapsed()).map_err(|source| VaultError::of_key(&**master, source))
    }

    /// Every master key there is, the current one first.
    pub fn keys(&self) -> Vec<HeldKey> {
        self.0.keyring().told()
    }

    /// Puts a new key in the place of the current key file, durably; what it replaces stays beside it, to unwrap. Nothing
    /// is wrapped by the new key before [`Vault::adopt`].
    ///
    /// # Errors
    /// [`RotateError`]; the current key is the old one then, and its file is there.
    pub fn replace_key_file(&self) -> Result<NewKeyFile, RotateError> {
        self.0.keyring().replace_file()
    }

    /// Wraps by the new key from now on.
    pub fn adopt(&self, new: &NewKeyFile) {
        let mut keyring = self.0.keyring.write().unwrap_or_else(PoisonError::into_inner);
        *keyring = Arc::new(keyring.led_by(new));
    }
}

impl Inner {
    fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.keyring.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn bound<'a>(&'a self, record: Record<'a>) -> Bound<'a> {
        Bound { tenant: &self.tenant, record }
    }

    async fn unwrap(
        &self,
        record: Record<'_>,
        field: &'static str,
        envelope: &Envelope<'_>,
    ) -> Result<Secret, VaultError> {
        let keyring = self.keyring();
        let master = keyring.find(envelope.key_id);
        let master =
            master.ok_or_else(|| VaultError::other_master_key(record, field, envelope.key_id, keyring.ids()))?;
        match master.unwrap(self.bound(record), envelope.wrapped).await {
            // Exposed to be measured: only one of ours has been authenticated.
            Ok(key) if key.expose().len() == 32 => Ok(key),
            Ok(_) | Err(KeyError::NotOurs) => Err(VaultError::not_authentic(record, field)),
            Err(source) => Err(VaultError::of_key(&**master, source)),
        }
    }
}

impl DataKey {
    /// Seals `secret` so that it opens at `place` only.
    ///
    /// # Panics
    /// If it was asked for another record: what it sealed would never open again.
    pub fn seal(self, place: &Place<'_>, secret: &Secret) -> Sealed {
        assert_eq!(
            (self.record.0, self.record.1.as_str()),
            (place.kind, place.record),
            "a data key seals its own record"
        );
        let nonce: [u8; NONCE] = random();
        // Exposed to be encrypted.
        let payload = Payload { msg: secret.expose(), aad: &place.aad(&self.vault.tenant) };
        let ciphertext =
            cipher(&self.key).encrypt(&Nonce::from(nonce), payload).expect("a secret is far below AES-GCM's 64 GiB");
        let key_id = self.master;
        Sealed(Envelope { key_id, wrapped: &self.wrapped, nonce: &nonce, ciphertext: &ciphertext }.to_bytes())
    }
}

fn parse<'a>(record: Record<'_>, field: &'static str, sealed: &'a Sealed) -> Result<Envelope<'a>, VaultError> {
    Envelope::parse(&sealed.0).map_err(|source| VaultError::unreadable(record, field, source))
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
