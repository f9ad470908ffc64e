//! Pauses as the store keeps them: whoever finds one there leaves the provider alone as long as whoever wrote it would
//! have, after a restart and at every broker.

use std::time::Duration;

use super::others::Span;
use super::{Inner, RefreshError};
use crate::clock::UnixTime;
use crate::keys::Key;
use crate::model::Generation;
use crate::oauth::RefusalCode;
use crate::store::{Intent, Pause, StoredGrant};

impl Inner {
    /// Why the provider of this grant may not be asked now, by what this broker knows or the store says.
    pub(super) fn paused(
        &self,
        key: &Key,
        stored: &StoredGrant,
        host: &str,
        now: UnixTime,
        by_force: bool,
    ) -> Option<RefreshError> {
        if by_force {
            self.backoffs.clear_one(key, now);
        }
        if let Some(why) = self.backoffs.at(key, stored.generation, now) {
            return Some(why);
        }
        let is_over = |pause: &Pause| self.backoffs.is_reconsidered(pause) || (by_force && !pause.is_before_the_last);
        let pause = stored.pause.as_ref().filter(|pause| !is_over(pause))?;
        let left = self.left_of(stored, pause, now);
        if left.is_zero() {
            return None;
        }
        let why = why(pause, host);
        self.backoffs.adopt(key, stored.generation, Pause { until: now.after(left), ..pause.clone() }, why.clone());
        Some(why.retry_in(left))
    }

    fn left_of(&self, stored: &StoredGrant, pause: &Pause, now: UnixTime) -> Duration {
        let span = Span { from: pause.from, until: pause.until };
        let left = self.others.at_most(&stored.id, span, now);
        // Its writer keeps the intent, whose outcome is not known.
        let is_ours = stored.intent.as_ref().is_none_or(|intent| self.owner.is_of_this_broker(intent));
        if !pause.is_before_the_last || is_ours {
            return left;
        }
        // Still in time, if the access token lives.
        let expires_at = stored.material.as_ref().map_or(now, |material| material.expires_at);
        left.max(self.others.at_least(&stored.id, span, now).min(expires_at.since(now) / 2))
    }

    /// Writes a pause down beside this intent, or beside none. If that cannot be done, this broker knows of it all the
    /// same.
    pub(super) async fn write_pause(
        &self,
        grant: &str,
        generation: Generation,
        beside: Option<&Intent>,
        pause: &Pause,
    ) {
        match self.store.pause(grant, generation, beside, pause).await {
            // It has ended or gone on meanwhile.
            Ok(true | false) => {}
            Err(error) => tracing::error!(grant, %error, "other brokers are not told to leave a provider alone"),
        }
    }

    /// How long another broker may still be at what it has begun.
    pub(super) fn left_of_intent(&self, stored: &StoredGrant, intent: &Intent, now: UnixTime) -> Duration {
        if has_ended(stored, intent) {
            return Duration::ZERO;
        }
        self.others.at_least(&stored.id, Span { from: intent.started_at, until: intent.deadline }, now)
    }
}

/// Whether whoever took this intent has said itself that it is at an end, and has nothing.
pub(super) fn has_ended(stored: &StoredGrant, intent: &Intent) -> bool {
    stored.pause.as_ref().is_some_and(|pause| pause.attempt == intent.attempt)
}

fn why(pause: &Pause, host: &str) -> RefreshError {
    let host = host.to_owned();
    match RefusalCode::named(&pause.why) {
        Some(code) => RefreshError::Refused { host, code },
        None => RefreshError::Provider { host, retry_after: Duration::ZERO },
    }
}
