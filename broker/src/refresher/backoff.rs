//! Which grants' providers are left alone for now, and why.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::RefreshError;
use super::due::{Chance, pause};
use crate::clock::UnixTime;
use crate::keys::Key;
use crate::model::Generation;
use crate::store::Pause;

/// A failure this old counts no more: the next one starts again at the first pause.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10 * 60);

/// The code of a pause after a provider failed, and not for what it was asked.
const UNAVAILABLE: &str = "unavailable";

/// Pauses, by grant.
#[derive(Default)]
pub(super) struct Backoffs {
    by_grant: Mutex<HashMap<Key, Backoff>>,
    /// When an operator changed something last: pauses that began before then, but those before a last attempt, are over.
    reconsidered_at: AtomicU64,
}

struct Backoff {
    /// The generation whose successor was asked for last.
    generation: Generation,
    /// By our clock.
    pause: Pause,
    why: RefreshError,
}

/// A request that gave no token.
pub(super) struct Failure {
    /// The generation whose successor was asked for.
    pub(super) generation: Generation,
    pub(super) why: RefreshError,
    pub(super) retry_after: Option<Duration>,
    /// The attempt whose outcome is not known; 0 if it is.
    pub(super) attempt: u32,
    /// How long the last request there may be waits, if that is the next one.
    pub(super) last_attempt_in: Option<Duration>,
    /// Whether the provider may have acted although somebody said that it has not.
    pub(super) may_be_astray: bool,
}

impl Backoff {
    fn clear(&mut self, now: UnixTime) {
        if !self.pause.is_before_the_last {
            self.pause.failures = 0;
            self.pause.until = self.pause.until.min(now);
        }
    }
}

impl Backoffs {
    /// Why the provider of this grant may not be asked now, and for how long.
    pub(super) fn now(&self, key: &Key, now: UnixTime) -> Option<RefreshError> {
        self.at(key, Generation(0), now)
    }

    /// As [`Backoffs::now`], of a grant that is at this generation.
    pub(super) fn at(&self, key: &Key, generation: Generation, now: UnixTime) -> Option<RefreshError> {
        let all = self.all();
        let Backoff { pause, why, .. } = all.get(key).filter(|backoff| backoff.generation >= generation)?;
        (now < pause.until).then(|| why.clone().retry_in(pause.until.since(now)))
    }

    /// Counts one failure more, after those that the store knows of; answers why, and the pause that follows.
    pub(super) fn failed(
        &self,
        key: &Key,
        failure: Failure,
        stored: Option<&Pause>,
        now: UnixTime,
    ) -> (RefreshError, Pause) {
        let Failure { generation, why, retry_after, attempt, last_attempt_in, may_be_astray } = failure;
        let mut all = self.all();
        let known = all.get(key);
        let was_astray = stored.is_some_and(|pause| pause.may_be_astray)
            || known.is_some_and(|old| old.generation == generation && old.pause.may_be_astray);
        let counts = |pause: &&Pause| now < pause.until.after(FORGOTTEN_AFTER);
        let before = known.map(|old| &old.pause).into_iter().chain(stored).filter(counts);
        let failures = before.map(|pause| pause.failures).max().unwrap_or(0).saturating_add(1);
        let code = match &why {
            RefreshError::Refused { code, .. } => Some(code.name()),
            _ => None,
        };
        let lasts = pause(failures, code.is_some(), retry_after.max(last_attempt_in), Chance::draw());
        let pause = Pause {
            failures,
            from: now,
            until: now.after(lasts),
            attempt,
            is_before_the_last: last_attempt_in.is_some(),
            may_be_astray: may_be_astray || was_astray,
            spare_is_next: stored.is_some_and(|pause| pause.spare_is_next),
            why: code.unwrap_or(UNAVAILABLE).to_owned(),
        };
        all.insert(key.clone(), Backoff { generation, pause: pause.clone(), why: why.clone() });
        (why.retry_in(lasts), pause)
    }

    /// Takes over what another broker has written, or an earlier start of this one, in terms of our clock.
    pub(super) fn adopt(&self, key: &Key, generation: Generation, pause: Pause, why: RefreshError) {
        self.all().insert(key.clone(), Backoff { generation, pause, why });
    }

    /// The provider gave a token.
    pub(super) fn succeeded(&self, key: &Key) {
        self.all().remove(key);
    }

    /// Whether an answer to an earlier request for the successor of this generation may have gone astray.
    pub(super) fn may_be_astray(&self, key: &Key, generation: Generation) -> bool {
        let all = self.all();
        all.get(key).is_some_and(|backoff| backoff.generation == generation && backoff.pause.may_be_astray)
    }

    /// The grant has gone on from this generation, or ended: what failed before counts no more.
    pub(super) fn forget_up_to(&self, key: &Key, generation: Generation) {
        let mut all = self.all();
        if all.get(key).is_some_and(|backoff| backoff.generation <= generation) {
            all.remove(key);
        }
    }

    /// Ends the pauses, since an operator has changed something; but not those before a last attempt, which what was
    /// changed may have nothing to do with.
    pub(super) fn clear(&self, now: UnixTime) {
        self.reconsidered_at.fetch_max(now.0, Ordering::SeqCst);
        self.all().values_mut().for_each(|backoff| backoff.clear(now));
    }

    /// Ends the pause of one grant, unless it is one before a last attempt.
    pub(super) fn clear_one(&self, key: &Key, now: UnixTime) {
        if let Some(backoff) = self.all().get_mut(key) {
            backoff.clear(now);
        }
    }

    /// Whether a pause that is stored was ended by [`Backoffs::clear`].
    pub(super) fn is_reconsidered(&self, pause: &Pause) -> bool {
        !pause.is_before_the_last && pause.from.0 <= self.reconsidered_at.load(Ordering::SeqCst)
    }

    /// Drops what counts no more.
    pub(super) fn forget(&self, now: UnixTime) {
        self.all().retain(|_, backoff| now < backoff.pause.until.after(FORGOTTEN_AFTER));
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Key, Backoff>> {
        self.by_grant.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
