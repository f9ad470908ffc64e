//! Which grants' providers are left alone for now, and why.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::RefreshError;
use super::due::{Chance, pause};
use crate::clock::UnixTime;
use crate::keys::Key;

/// A failure this old counts no more: the next one starts again at the first pause.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10 * 60);

/// Pauses, by grant.
#[derive(Default)]
pub(super) struct Backoffs(Mutex<HashMap<Key, Backoff>>);

struct Backoff {
    failures: u32,
    until: UnixTime,
    why: RefreshError,
}

impl Backoffs {
    /// Why the provider of this grant may not be asked now, and for how long.
    pub(super) fn now(&self, key: &Key, now: UnixTime) -> Option<RefreshError> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let backoff = all.get(key)?;
        (now < backoff.until).then(|| backoff.why.clone().retry_in(backoff.until.since(now)))
    }

    /// Counts one failure more; answers why, with the pause that follows.
    pub(super) fn failed(
        &self,
        key: &Key,
        why: RefreshError,
        retry_after: Option<Duration>,
        now: UnixTime,
    ) -> RefreshError {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = match all.get(key) {
            Some(old) if now < old.until.after(FORGOTTEN_AFTER) => old.failures.saturating_add(1),
            Some(_) | None => 1,
        };
        let refused = matches!(why, RefreshError::Refused { .. });
        let pause = pause(failures, refused, retry_after, Chance::draw());
        all.insert(key.clone(), Backoff { failures, until: now.after(pause), why: why.clone() });
        why.retry_in(pause)
    }

    /// The provider gave a token.
    pub(super) fn succeeded(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Leaves nobody alone any more: an operator has changed something.
    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Drops what counts no more.
    pub(super) fn forget(&self, now: UnixTime) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, backoff| now < backoff.until.after(FORGOTTEN_AFTER));
    }
}
