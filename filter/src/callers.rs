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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::world::{self, NOW_MS};

    fn hash(byte: u8) -> TokenHash {
        [byte; 32]
    }

    #[test]
    fn a_caller_is_known_by_its_own_hash_alone() {
        let mut callers = Callers::new(4, 10_000);
        callers.insert(hash(1), world::shared_caller(&world::alice()), NOW_MS);
        assert_eq!(callers.get(&hash(1), NOW_MS).unwrap().subject(), "alice");
        for at in 0..32 {
            let mut other = hash(1);
            other[at] = 2;
            assert!(callers.get(&other, NOW_MS).is_none(), "byte {at}");
        }
    }

    #[test]
    fn nobody_is_remembered_beyond_the_token_s_expiry() {
        let mut callers = Callers::new(4, u64::MAX);
        let token = world::token_of("k1", json!({"exp": NOW_MS / 1_000 + 5}));
        callers.insert(hash(1), world::shared_caller(&token), NOW_MS);
        assert!(callers.get(&hash(1), NOW_MS + 4_999).is_some());
        assert!(callers.get(&hash(1), NOW_MS + 5_000).is_none());
    }

    #[test]
    fn i11_nobody_is_remembered_beyond_the_cache_s_age() {
        let mut callers = Callers::new(4, 10_000);
        callers.insert(hash(1), world::shared_caller(&world::alice()), NOW_MS);
        callers.insert(hash(2), world::shared_caller(&world::alice()), NOW_MS + 1);
        assert!(callers.get(&hash(1), NOW_MS + 9_999).is_some());
        assert!(callers.get(&hash(1), NOW_MS + 10_000).is_none(), "being used prolongs nothing");
    }

    #[test]
    fn j13_clearing_forgets_everybody_in_both_generations() {
        let mut callers = Callers::new(4, 10_000);
        let caller = world::shared_caller(&world::alice());
        (0..4).for_each(|byte| callers.insert(hash(byte), Arc::clone(&caller), NOW_MS));
        callers.clear();
        assert!((0..4).all(|byte| callers.get(&hash(byte), NOW_MS).is_none()));
    }

    #[test]
    fn it_stays_within_its_bounds() {
        let mut callers = Callers::new(10, 10_000);
        let caller = world::shared_caller(&world::alice());
        for byte in 0..200 {
            callers.insert(hash(byte), Arc::clone(&caller), NOW_MS);
            assert!(callers.get(&hash(0), NOW_MS).is_some(), "used all the time");
            assert!(callers.recent.len() + callers.older.len() <= 10);
        }
    }
}
