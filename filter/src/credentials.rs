//! Credentials of this worker: which ones it may still use, and which ones it is waiting for.

use std::collections::HashMap;
use std::rc::Rc;

use sallyport_caller::Allowed;

use crate::snapshot::{Server, Snapshot};

/// Names one caller's credential at one server, at one revision of it. Made by [`CredentialKey::of`] alone (I6).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CredentialKey(Rc<[u8]>);

impl CredentialKey {
    /// The key of tenant, issuer, subject, server and its revision, each with its length before it.
    pub fn of(snapshot: &Snapshot, allowed: &Allowed, server: &Server) -> Self {
        let parts = [&*snapshot.tenant, allowed.issuer(), allowed.subject(), &server.name, &server.revision];
        let mut key = Vec::with_capacity(parts.iter().map(|part| part.len().saturating_add(4)).sum());
        for part in parts {
            // A part is bounded far below u32 by the caps on tokens and manifests.
            key.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            key.extend_from_slice(part.as_bytes());
        }
        Self(key.into())
    }
}

/// What to set on a request in place of the inbound credential.
pub struct Credential {
    /// Names lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Names its release in audit.
    pub use_handle: Rc<str>,
    /// Where it came from, for [`crate::flow`] to tell the broker when an upstream refuses it.
    pub grant: String,
    /// Of that grant.
    pub generation: u64,
    /// Unix milliseconds; never used from then on.
    pub expires_at_ms: u64,
}

/// A cached credential, and when it is renewed.
struct Entry {
    credential: Rc<Credential>,
    /// Unix milliseconds; `None` while somebody renews it.
    refresh_after_ms: Option<u64>,
}

/// What the cache says of a key.
pub enum Cached {
    /// Use it.
    Hit(Rc<Credential>),
    /// Use it; and this once, have it renewed.
    Due(Rc<Credential>),
    /// Ask the broker.
    Miss,
}

/// Credentials by key: two generations of a bounded map, so that what is not used goes without a search.
pub struct Credentials {
    recent: HashMap<CredentialKey, Entry>,
    older: HashMap<CredentialKey, Entry>,
    half: usize,
    max_age_ms: u64,
}

impl Credentials {
    /// Holds at most `entries`, each for at most `max_age_ms`.
    pub fn new(entries: usize, max_age_ms: u64) -> Self {
        Self { recent: HashMap::new(), older: HashMap::new(), half: entries.div_ceil(2).max(1), max_age_ms }
    }

    /// Looks a credential up at `now_ms`.
    pub fn get(&mut self, key: &CredentialKey, now_ms: u64) -> Cached {
        if !self.recent.contains_key(key) {
            match self.older.remove(key) {
                Some(entry) => self.put(key.clone(), entry),
                None => return Cached::Miss,
            }
        }
        let Some(entry) = self.recent.get_mut(key) else { return Cached::Miss };
        if now_ms >= entry.credential.expires_at_ms {
            self.recent.remove(key);
            return Cached::Miss;
        }
        if entry.refresh_after_ms.is_some_and(|due| now_ms >= due) {
            entry.refresh_after_ms = None;
            return Cached::Due(Rc::clone(&entry.credential));
        }
        Cached::Hit(Rc::clone(&entry.credential))
    }

    /// Keeps a credential that was released at `now_ms` and is due for renewal at `refresh_after_ms`.
    pub fn insert(
        &mut self,
        key: CredentialKey,
        mut credential: Credential,
        refresh_after_ms: u64,
        now_ms: u64,
    ) -> Rc<Credential> {
        credential.expires_at_ms = credential.expires_at_ms.min(now_ms.saturating_add(self.max_age_ms));
        let credential = Rc::new(credential);
        self.older.remove(&key);
        self.put(key, Entry { credential: Rc::clone(&credential), refresh_after_ms: Some(refresh_after_ms) });
        credential
    }

    /// Renewal came to nothing: a request at `retry_ms` or later may try again.
    pub fn renewal_failed(&mut self, key: &CredentialKey, retry_ms: u64) {
        if let Some(entry) = self.recent.get_mut(key).or_else(|| self.older.get_mut(key)) {
            entry.refresh_after_ms = Some(retry_ms);
        }
    }

    /// Forgets every credential of one generation of a grant: it is about to stop working.
    pub fn hold(&mut self, grant: &str, generation: u64) {
        let other = |entry: &mut Entry| entry.credential.grant != grant || entry.credential.generation != generation;
        self.recent.retain(|_, entry| other(entry));
        self.older.retain(|_, entry| other(entry));
    }

    /// Forgets the credential of `key` if it is still the one released under `use_handle`: the upstream refused it.
    pub fn remove_released(&mut self, key: &CredentialKey, use_handle: &str) {
        let same = |entry: &Entry| &*entry.credential.use_handle == use_handle;
        if self.recent.get(key).or_else(|| self.older.get(key)).is_some_and(same) {
            self.recent.remove(key);
            self.older.remove(key);
        }
    }

    fn put(&mut self, key: CredentialKey, entry: Entry) {
        if self.recent.len() >= self.half {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(key, entry);
    }
}
