//! A master key in this process's memory: AES-256-GCM, kept out of swap where the system allows it.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use async_trait::async_trait;

use super::envelope::{KeyId, NONCE};
use super::master::{Bound, KeyError, MasterKey};
use super::{cipher, key_file, place, random};
use crate::harden;
use crate::secret::Secret;

static NOT_LOCKED: Once = Once::new();

/// A master key that was read from a file.
pub(super) struct LocalKey {
    id: KeyId,
    kept: String,
    /// At an address of its own that never changes: that is what is locked.
    cipher: Box<Aes256Gcm>,
    wraps: AtomicU64,
}

impl LocalKey {
    /// `kept` says where, for people.
    pub(super) fn new(key: &Secret, kept: String) -> Self {
        let cipher = Box::new(cipher(key));
        if let Err(error) = harden::keep_out_of_swap(&*cipher) {
            NOT_LOCKED.call_once(|| {
                tracing::warn!(%error, "master keys may be swapped to disk: raise the limit for locked memory (LimitMEMLOCK in systemd), or encrypt the swap");
            });
        }
        Self { id: key_file::key_id(key), kept, cipher, wraps: AtomicU64::new(0) }
    }
}

#[async_trait]
impl MasterKey for LocalKey {
    fn id(&self) -> KeyId {
        self.id
    }

    fn kept(&self) -> &str {
        &self.kept
    }

    fn wraps(&self) -> Option<u64> {
        Some(self.wraps.load(Ordering::Relaxed))
    }

    async fn wrap(&self, bound: Bound<'_>, key: &Secret) -> Result<Vec<u8>, KeyError> {
        self.wraps.fetch_add(1, Ordering::Relaxed);
        let nonce: [u8; NONCE] = random();
        // Exposed to be wrapped.
        let payload = Payload { msg: key.expose(), aad: &place::wrapping(bound.tenant, self.id) };
        let ciphertext =
            self.cipher.encrypt(&Nonce::from(nonce), payload).expect("32 bytes are within AES-GCM's limit");
        Ok([&nonce[..], &ciphertext].concat())
    }

    async fn unwrap(&self, bound: Bound<'_>, wrapped: &[u8]) -> Result<Secret, KeyError> {
        let (nonce, wrapped) = wrapped.split_first_chunk::<NONCE>().ok_or(KeyError::NotOurs)?;
        let payload = Payload { msg: wrapped, aad: &place::wrapping(bound.tenant, self.id) };
        self.cipher.decrypt(&Nonce::from(*nonce), payload).map(Secret::new).map_err(|_| KeyError::NotOurs)
    }
}
