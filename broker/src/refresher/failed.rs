//! What follows when a refresh gave no token: whose fault it is decides what is kept.

use std::time::Duration;

use super::backoff::Failure;
use super::refresh::{Ready, Refresh, Turn};
use super::source::host;
use super::spare::spare_in_turn;
use super::{ConsentReason, Inner, RefreshError};
use crate::audit::Event;
use crate::coordination::News;
use crate::keys::Key;
use crate::model::{Generation, GrantKey};
use crate::oauth::profile::Rotation;
use crate::oauth::{RefusalCode, TokenEndpointError};
use crate::store::{Material, Pause, Standing, StoreError, StoredGrant};

impl Refresh {
    pub(super) async fn failed(
        &self,
        ready: Ready,
        error: TokenEndpointError,
        took: Duration,
    ) -> Result<Turn, RefreshError> {
        let may_have_acted = error.may_have_acted();
        tracing::warn!(host = host(&self.client.token_url), grant = ready.id, %error, may_have_acted, "a grant was not refreshed");
        let account = ready.stored.account.as_deref().unwrap_or_default();
        let failed = Event::refresh_failed(&ready.id, ready.stored.generation, account, error.code(), took);
        self.inner.remember(failed).await;
        match error {
            TokenEndpointError::Refused { code: RefusalCode::InvalidGrant } => self.invalid_grant(ready).await,
            error => Err(self.leave(&ready, error).await),
        }
    }

    /// Leaves the grant as it is, and the provider alone for a while.
    async fn leave(&self, ready: &Ready, error: TokenEndpointError) -> RefreshError {
        let may_have_acted = error.may_have_acted();
        // No attempt that counts, since any overload says the same; but a gateway may say it of a provider that has acted.
        let may_be_astray = matches!(error, TokenEndpointError::Transient { .. });
        let cause = error.code();
        let (why, retry_after) = RefreshError::of_provider(host(&self.client.token_url), error);
        self.count(if may_have_acted { "unknown" } else { "failed" }, cause);
        // Of earlier ones the outcome is no better known after one that certainly came to nothing.
        let attempt = if may_have_acted { ready.intent.attempt } else { ready.intent.attempt.saturating_sub(1) };
        let last_attempt_in = if attempt > 0 { self.before_the_last_attempt(ready) } else { None };
        let generation = ready.stored.generation;
        let failure = Failure { generation, why, retry_after, attempt, last_attempt_in, may_be_astray };
        let now = self.inner.clock.now();
        let (why, pause) = self.inner.backoffs.failed(&self.key, failure, ready.stored.pause.as_ref(), now);
        match may_have_acted {
            // The intent stays, and with it goes how long the provider is left alone.
            true => self.inner.write_pause(&ready.id, generation, Some(&ready.intent), &pause).await,
            false => self.give_back(ready, &pause).await,
        }
        why
    }

    /// Where a refresh token can be used up, only one more request may follow one whose answer never came: it waits, so
    /// that a provider that hangs for minutes costs no grant, as long as the old access token serves meanwhile.
    fn before_the_last_attempt(&self, ready: &Ready) -> Option<Duration> {
        let half = ready.material.expires_at.since(self.inner.clock.now()) / 2;
        match self.client.rotation {
            Rotation::NonRotating | Rotation::OldValid => None,
            Rotation::Grace(_) | Rotation::Strict if self.client.profile.refresh_kills_access_token => None,
            Rotation::Grace(window) => Some(half.min(window / 2)),
            Rotation::Strict => Some(half),
        }
    }

    /// The provider has certainly not acted on this attempt: the refresh token is as good as before, and so, if it was the
    /// first, is the access token.
    pub(super) async fn give_back(&self, ready: &Ready, pause: &Pause) {
        let inner = &self.inner;
        match inner.store.clear_intent(&ready.id, ready.stored.generation, &ready.intent, pause).await {
            Ok(true) => {}
            // The grant has ended or gone on meanwhile: what holds its token now is not ours to lift.
            Ok(false) => return,
            Err(error) => {
                tracing::error!(grant = ready.id, %error, "an intent stays although nothing came of it");
                inner.unsent.remember(&ready.id, &ready.intent);
                return;
            }
        }
        if self.client.profile.refresh_kills_access_token && ready.intent.attempt == 1 {
            inner.holds.refreshing(&ready.id, ready.stored.generation, inner.clock.now());
            inner.coordination.tell(News::Refreshing);
        }
    }

    /// The provider says that the grant is over: of the generation that was sent, and of no other (the loser of a race
    /// hears this of what the winner has replaced). Whoever took the right over since may have been answered already: to
    /// end the grant is theirs alone.
    async fn invalid_grant(&self, ready: Ready) -> Result<Turn, RefreshError> {
        let inner = &self.inner;
        let now = inner.store.grant(&self.grant).await.map_err(RefreshError::store)?;
        let is_ours = |now: &StoredGrant| now.intent.as_ref() == Some(&ready.intent);
        let unchanged = now
            .filter(|now| now.generation == ready.stored.generation && now.standing == Standing::Live && is_ours(now));
        let Some(StoredGrant { spare, .. }) = unchanged else {
            self.count("lost", "invalid_grant");
            return Ok(Turn::Again);
        };
        match spare_in_turn(&ready.stored) {
            None if spare.is_some() => {
                self.go_on_with_spare(&ready.stored, &ready.intent, self.may_be_astray(&ready)).await
            }
            // It was the spare, or there is none.
            Some(_) | None => self.over(&ready).await,
        }
    }

    /// There is nothing to ask the provider with.
    pub(super) async fn without_refresh_token(
        &self,
        stored: &StoredGrant,
        material: &Material,
    ) -> Result<Turn, RefreshError> {
        match self.inner.clock.now() < material.expires_at {
            // It lives, and still somebody needs another: the upstream refused it.
            true => self.end(stored, ConsentReason::Rejected).await,
            false => self.end(stored, ConsentReason::Expired).await,
        }
    }

    /// To a first request, `invalid_grant` is the provider's word that the grant is over. To a later one, where a refresh
    /// token is used up, it may say only that the answer to an earlier one, and the next refresh token in it, went astray:
    /// it never came, or a gateway answered in its place.
    async fn over(&self, ready: &Ready) -> Result<Turn, RefreshError> {
        match self.may_be_astray(ready) {
            true => self.end_refreshes(&ready.stored, ConsentReason::InvalidGrant).await,
            false => self.end(&ready.stored, ConsentReason::InvalidGrant).await,
        }
    }

    fn may_be_astray(&self, ready: &Ready) -> bool {
        match self.client.rotation {
            Rotation::NonRotating | Rotation::OldValid => false,
            Rotation::Grace(_) | Rotation::Strict => {
                ready.intent.attempt > 1
                    || ready.stored.pause.as_ref().is_some_and(|pause| pause.may_be_astray)
                    || self.inner.backoffs.may_be_astray(&self.key, ready.stored.generation)
            }
        }
    }

    /// Its refreshes have ended already, and somebody wants a later token than what is left.
    pub(super) async fn nothing_later(
        &self,
        stored: &StoredGrant,
        material: &Material,
        reason: ConsentReason,
    ) -> Result<Turn, RefreshError> {
        // What is open in memory may be from before that: due, so that everybody who uses it would come here.
        self.inner.forget(&self.key);
        match self.inner.clock.now() < material.expires_at {
            true => Err(reason.into()),
            false => self.end(stored, reason).await,
        }
    }

    /// Ends the grant but for its access token, if it lives and no refresh can have killed it: nobody will be asked for
    /// another, and whoever has this one may use it until it expires.
    pub(super) async fn end_refreshes(
        &self,
        stored: &StoredGrant,
        reason: ConsentReason,
    ) -> Result<Turn, RefreshError> {
        let now = self.inner.clock.now();
        let lives = stored.material.as_ref().is_some_and(|material| now < material.expires_at);
        if !lives || self.client.profile.refresh_kills_access_token {
            return self.end(stored, reason).await;
        }
        let ended = self.inner.store.end_refreshes(&stored.id, stored.generation, reason.code()).await;
        self.ended(ended, stored, reason).await
    }

    /// Ends the grant, if it is still the one that was read.
    pub(super) async fn end(&self, stored: &StoredGrant, reason: ConsentReason) -> Result<Turn, RefreshError> {
        let now = self.inner.clock.now();
        let ended = self.inner.store.end_grant(&stored.id, stored.generation, &reason.as_standing(), now).await;
        if ended.is_ok() {
            self.inner.holds.ended(&stored.id, stored.generation);
            self.inner.coordination.tell(News::Ended);
        }
        self.ended(ended, stored, reason).await
    }

    async fn ended(
        &self,
        ended: Result<(), StoreError>,
        stored: &StoredGrant,
        reason: ConsentReason,
    ) -> Result<Turn, RefreshError> {
        let inner = &self.inner;
        match ended {
            Ok(()) => {}
            Err(StoreError::Conflict) => return Ok(Turn::Again),
            Err(error) => return Err(RefreshError::store(error)),
        }
        inner.forget(&self.key);
        self.count("needs_consent", reason.code());
        // Of what the provider said there is a record already.
        if reason != ConsentReason::InvalidGrant {
            let account = stored.account.as_deref().unwrap_or_default();
            let ended = Event::refresh_failed(&stored.id, stored.generation, account, reason.code(), Duration::ZERO);
            inner.remember(ended).await;
        }
        tracing::warn!(
            grant = stored.id,
            reason = reason.code(),
            "a grant has ended; its holder is asked to agree again"
        );
        Err(reason.into())
    }
}

impl Inner {
    /// An upstream has refused what is left of a grant whose refreshes have ended: nobody is served it any more.
    pub(super) async fn end_what_is_left(
        &self,
        key: &Key,
        grant: &GrantKey,
        refused: Generation,
    ) -> Result<(), RefreshError> {
        let Some(stored) = self.store.grant(grant).await.map_err(RefreshError::store)? else { return Ok(()) };
        if stored.generation != refused || stored.material.is_none() || stored.standing == Standing::Live {
            return Ok(());
        }
        // Set aside: it ends nothing, whoever is refused what is left of it.
        if stored.material.as_ref().is_some_and(|material| material.refresh_token.is_some()) {
            self.forget(key);
            return Ok(());
        }
        match self.store.end_grant(&stored.id, refused, &stored.standing, self.clock.now()).await {
            Ok(()) => {
                self.holds.ended(&stored.id, refused);
                self.coordination.tell(News::Ended);
            }
            Err(StoreError::Conflict) => {}
            Err(error) => return Err(RefreshError::store(error)),
        }
        self.forget(key);
        Ok(())
    }
}
