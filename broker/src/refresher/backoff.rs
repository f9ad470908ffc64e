//! Which grants' providers are left alone for now, and why.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::RefreshError;
use super::due::{Chance, pause};
use crate::clock::UnixTime;
use crate::keys::Key;
use crate::model::Generation;

/// A failure this old counts no more: the next one starts again at the first pause.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10 * 60);

/// Pauses, by grant.
#[derive(Default)]
pub(super) struct Backoffs(Mutex<HashMap<Key, Backoff>>);

struct Backoff {
    /// The generation whose successor was asked for last.
    generation: Generation,
    failures: u32,
    until: UnixTime,
    why: RefreshError,
    /// The next request is the last one there may be.
    is_before_the_last: bool,
    /// An answer may have gone astray: a gateway that answered in the provider's place does not know what it did.
    may_be_astray: bool,
}

/// A request that gave no token.
pub(super) struct Failure {
    /// The generation whose successor was asked for.
    pub(super) generation: Generation,
    pub(super) why: RefreshError,
    pub(super) retry_after: Option<Duration>,
    /// How long the last request there may be waits, if that is the next one.
    pub(super) last_attempt_in: Option<Duration>,
    /// Whether the provider may have acted although somebody said that it has not.
    pub(super) may_be_astray: bool,
}

impl Backoffs {
    /// Why the provider of this grant may not be asked now, and for how long.
    pub(super) fn now(&self, key: &Key, now: UnixTime) -> Option<RefreshError> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let backoff = all.get(key)?;
        (now < backoff.until).then(|| backoff.why.clone().retry_in(backoff.until.since(now)))
    }

    /// Counts one failure more; answers why, with the pause that follows.
    pub(super) fn failed(&self, key: &Key, failure: Failure, now: UnixTime) -> RefreshError {
        let Failure { generation, why, retry_after, last_attempt_in, may_be_astray } = failure;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let was_astray = all.get(key).is_some_and(|old| old.generation == generation && old.may_be_astray);
        let failures = match all.get(key) {
            Some(old) if now < old.until.after(FORGOTTEN_AFTER) => old.failures.saturating_add(1),
            Some(_) | None => 1,
        };
        let refused = matches!(why, RefreshError::Refused { .. });
        let pause = pause(failures, refused, retry_after.max(last_attempt_in), Chance::draw());
        let backoff = Backoff {
            generation,
            failures,
            until: now.after(pause),
            why: why.clone(),
            is_before_the_last: last_attempt_in.is_some(),
            may_be_astray: may_be_astray || was_astray,
        };
        all.insert(key.clone(), backoff);
        why.retry_in(pause)
    }

    /// The provider gave a token.
    pub(super) fn succeeded(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Whether an answer to an earlier request for the successor of this generation may have gone astray.
    pub(super) fn may_be_astray(&self, key: &Key, generation: Generation) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(key).is_some_and(|backoff| backoff.generation == generation && backoff.may_be_astray)
    }

    /// The grant has gone on from this generation, or ended: what failed before counts no more.
    pub(super) fn forget_up_to(&self, key: &Key, generation: Generation) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(key).is_some_and(|backoff| backoff.generation <= generation) {
            all.remove(key);
        }
    }

    /// Ends the pauses, since an operator has changed something; but not those before a last attempt, which what was
    /// changed may have nothing to do with.
    pub(super) fn clear(&self, now: UnixTime) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for backoff in all.values_mut().filter(|backoff| !backoff.is_before_the_last) {
            backoff.failures = 0;
            backoff.until = backoff.until.min(now);
        }
    }

    /// Drops what counts no more.
    pub(super) fn forget(&self, now: UnixTime) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, backoff| now < backoff.until.after(FORGOTTEN_AFTER));
    }
}
