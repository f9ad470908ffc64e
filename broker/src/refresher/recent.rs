//! Which grants are in use, and which of those are due.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{OpenedToken, Source};
use crate::clock::UnixTime;
use crate::keys::Key;
use crate::model::{Generation, GrantKey};

/// Grants remembered at most; one that is not is renewed on the request that finds it due.
const MAX_GRANTS: usize = 100_000;

/// Grants in use. A grant is here once it has been used since its token was issued, so that one nobody uses is renewed
/// once at most and then left to expire.
#[derive(Default)]
pub(super) struct Recent(Mutex<HashMap<Key, Used>>);

/// One grant in use. Not its token: that stays in memory for as long as the cache of opened tokens says, and no longer (V8).
pub(super) struct Used {
    pub(super) source: Source,
    pub(super) generation: Generation,
    /// Id of the grant.
    id: String,
    refresh_after: UnixTime,
    expires_at: UnixTime,
    last: UnixTime,
    /// When a use of it was noted in the store last.
    noted: UnixTime,
}

/// One of them that is due.
pub(super) struct Known {
    pub(super) key: Key,
    pub(super) grant: GrantKey,
    pub(super) generation: Generation,
    /// Of its provider.
    pub(super) host: String,
    /// When it was used last.
    pub(super) last: UnixTime,
}

impl Used {
    /// Id of the grant, if it is a person's.
    pub(super) fn person(&self) -> Option<&str> {
        matches!(self.source, Source::Person { .. }).then_some(self.id.as_str())
    }
}

impl Recent {
    /// Remembers a use.
    pub(super) fn used(&self, key: &Key, source: &Source, token: &OpenedToken, now: UnixTime) {
        let OpenedToken { generation, refresh_after, expires_at, .. } = *token;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = all.get_mut(key) {
            used.last = now;
            if used.generation != generation {
                used.source = source.clone();
            }
            // Also of one generation, whose life may have been learnt since.
            (used.generation, used.refresh_after, used.expires_at) = (generation, refresh_after, expires_at);
        } else if all.len() < MAX_GRANTS {
            let (source, id) = (source.clone(), token.grant.clone());
            let used = Used { source, generation, id, refresh_after, expires_at, last: now, noted: UnixTime(0) };
            all.insert(key.clone(), used);
        }
    }

    /// Drops a grant whose generations, up to this one, nobody uses any more.
    pub(super) fn forget(&self, key: &Key, generation: Generation) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(key).is_some_and(|used| used.generation <= generation) {
            all.remove(key);
        }
    }

    /// What is due and may be renewed, most lately used first, at most so many of each provider; drops what has expired.
    pub(super) fn due(&self, now: UnixTime, of_each: usize, may: impl Fn(&Key, &Source) -> bool) -> Vec<Known> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, used| now < used.expires_at);
        let due = all.iter().filter(|(key, used)| used.refresh_after <= now && may(key, &used.source));
        let mut due: Vec<_> = due.map(|(key, used)| (used.last, key, used)).collect();
        due.sort_unstable_by_key(|(last, key, _)| (Reverse(*last), *key));
        let mut counts = HashMap::<String, usize>::new();
        let known = due.into_iter().filter_map(|(last, key, used)| {
            let host = used.source.authority();
            let count = counts.entry(host.clone()).or_default();
            *count += 1;
            let grant = used.source.grant();
            (*count <= of_each).then(|| Known { last, key: key.clone(), grant, generation: used.generation, host })
        });
        known.collect()
    }

    /// Takes a grant out to be renewed, if it is due still: somebody may have renewed it since that was looked at.
    pub(super) fn take(&self, key: &Key, now: UnixTime) -> Option<Used> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(key).is_some_and(|used| used.refresh_after <= now).then(|| all.remove(key)).flatten()
    }

    /// People's grants with a use since one was noted, which is `every` ago; at most `limit`. They count as noted.
    pub(super) fn take_unnoted(&self, now: UnixTime, every: Duration, limit: usize) -> Vec<String> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_unnoted = |used: &Used| used.last > used.noted && now.since(used.noted) >= every;
        let people = all.values_mut().filter(|used| used.person().is_some());
        let unnoted = people.filter(|used| is_unnoted(used)).take(limit);
        let ids = unnoted.map(|used| {
            used.noted = now;
            used.id.clone()
        });
        ids.collect()
    }

    /// Puts back what was taken out and could not be renewed, unless it has been used since.
    pub(super) fn put_back(&self, key: Key, used: Used) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_insert(used);
    }
}
