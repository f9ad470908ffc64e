//! Callers that this worker has verified, by the SHA-256 of their token.

use std::collections::HashMap;
use std::sync::Arc;

use sallyport_caller::Caller;

/// SHA-256 of a token: the whole token, signature included (threats: a shared prefix must not collide).
pub type TokenHash = [u8; 32];

struct Entry {
    caller: Arc<Caller>,
    /// Unix milliseconds.
    forget_at_ms: u64,
}

/// Verified callers: two generations of a bounded map, so that what is not used goes without a search.
pub struct Callers {
    recent: HashMap<TokenHash, Entry>,
    older: HashMap<TokenHash, Entry>,
    half: usize,
    max_age_ms: u64,
}

impl Callers {
    /// Holds at most `entries`, each for at most `max_age_ms` and never beyond its token's `exp`.
    pub fn new(entries: usize, max_age_ms: u64) -> Self {
        Self { recent: HashMap::new(), older: HashMap::new(), half: entries.div_ceil(2).max(1), max_age_ms }
    }

    /// The caller of a token that was verified before.
    pub fn get(&mut self, hash: &TokenHash, now_ms: u64) -> Option<Arc<Caller>> {
        if let Some(entry) = self.recent.get(hash) {
            return (now_ms < entry.forget_at_ms).then(|| Arc::clone(&entry.caller));
        }
        let entry = self.older.remove(hash).filter(|entry| now_ms < entry.forget_at_ms)?;
        let caller = Arc::clone(&entry.caller);
        self.put(*hash, entry);
        Some(caller)
    }

    /// Remembers a caller that was verified at `now_ms`.
    pub fn insert(&mut self, hash: TokenHash, caller: Arc<Caller>, now_ms: u64) {
        let forget_at_ms = caller.expires_at_ms().min(now_ms.saturating_add(self.max_age_ms));
        self.put(hash, Entry { caller, forget_at_ms });
    }

    /// Drops everybody: keys or revocations have changed, and a key that is gone vouches for nobody (J13).
    pub fn clear(&mut self) {
        self.recent.clear();
        self.older.clear();
    }

    fn put(&mut self, hash: TokenHash, entry: Entry) {
        if self.recent.len() >= self.half {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(hash, entry);
    }
}
