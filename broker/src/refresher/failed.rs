//! What follows when a refresh gave no token: whose fault it is decides what is kept.

use std::time::Duration;

use super::refresh::{Ready, Refresh, Turn};
use super::source::host;
use super::{ConsentReason, RefreshError};
use crate::audit::Event;
use crate::oauth::profile::Rotation;
use crate::oauth::{RefusalCode, TokenEndpointError};
use crate::store::{Material, Spare, Standing, StoreError, StoredGrant};

impl Refresh {
    pub(super) async fn failed(
        &self,
        ready: Ready,
        error: TokenEndpointError,
        may_have_acted: bool,
        took: Duration,
    ) -> Result<Turn, RefreshError> {
        tracing::warn!(host = host(&self.client.token_url), grant = ready.id, %error, may_have_acted, "a grant was not refreshed");
        let account = ready.stored.account.as_deref().unwrap_or_default();
        let failed = Event::refresh_failed(&ready.id, ready.stored.generation, account, error.code(), took);
        self.inner.remember(failed).await;
        match error {
            TokenEndpointError::Refused { code: RefusalCode::InvalidGrant } => self.invalid_grant(ready).await,
            error => Err(self.leave(&ready, error, may_have_acted).await),
        }
    }

    /// Leaves the grant as it is, and the provider alone for a while.
    async fn leave(&self, ready: &Ready, error: TokenEndpointError, may_have_acted: bool) -> RefreshError {
        let host = host(&self.client.token_url);
        let (why, retry_after) = match error {
            TokenEndpointError::Refused { code } => (RefreshError::Refused { host, code }, None),
            TokenEndpointError::Transient { retry_after } => (unavailable(host), retry_after),
            TokenEndpointError::Malformed(_) => (unavailable(host), None),
        };
        self.count(if may_have_acted { "unknown" } else { "failed" });
        let last_attempt_in = match may_have_acted {
            true => self.before_the_last_attempt(ready),
            false => {
                self.give_back(ready).await;
                None
            }
        };
        self.inner.backoffs.failed(&self.key, why, retry_after.max(last_attempt_in), self.inner.clock.now())
    }

    /// Where a refresh token can be used up, only one more request may follow one whose answer never came: it waits, so
    /// that a provider that hangs for minutes costs no grant, as long as the old access token serves meanwhile.
    fn before_the_last_attempt(&self, ready: &Ready) -> Option<Duration> {
        let half = ready.material.expires_at.since(self.inner.clock.now()) / 2;
        match self.client.profile.rotation {
            Rotation::NonRotating | Rotation::OldValid => None,
            Rotation::Grace(_) | Rotation::Strict if self.client.profile.refresh_kills_access_token => None,
            Rotation::Grace(window) => Some(half.min(window / 2)),
            Rotation::Strict => Some(half),
        }
    }

    /// The provider has certainly not acted: the refresh token is as good as before, and so is the access token.
    async fn give_back(&self, ready: &Ready) {
        let inner = &self.inner;
        match inner.store.clear_intent(&ready.id, ready.stored.generation, &ready.intent).await {
            Ok(true) => {}
            // The grant has ended or gone on meanwhile: what holds its token now is not ours to lift.
            Ok(false) => return,
            Err(error) => {
                tracing::error!(grant = ready.id, %error, "an intent stays although nothing came of it");
                return;
            }
        }
        if self.client.profile.refresh_kills_access_token {
            inner.holds.hold(&ready.id, ready.stored.generation, inner.clock.now());
        }
    }

    /// The provider says that the grant is over: of the generation that was sent, and of no other (the loser of a race
    /// hears this of what the winner has replaced).
    async fn invalid_grant(&self, ready: Ready) -> Result<Turn, RefreshError> {
        let inner = &self.inner;
        let now = inner.store.grant(&self.grant).await.map_err(RefreshError::store)?;
        let unchanged = now.filter(|now| now.generation == ready.stored.generation && now.standing == Standing::Live);
        let Some(StoredGrant { spare, .. }) = unchanged else {
            self.count("lost");
            return Ok(Turn::Again);
        };
        match spare {
            Some(spare) => self.try_spare(ready, spare).await,
            None => self.end(&ready.stored, ConsentReason::InvalidGrant).await,
        }
    }

    /// The refresh token of a commit that lost: it may be the later one.
    async fn try_spare(&self, ready: Ready, spare: Spare) -> Result<Turn, RefreshError> {
        let inner = &self.inner;
        let opened = inner.open_refresh_token(&ready.id, spare.generation, &spare.refresh_token).await;
        let Ok(refresh_token) = opened else { return self.end(&ready.stored, ConsentReason::InvalidGrant).await };
        // A second request takes its own time.
        let takes = inner.limits.provider + inner.limits.commit;
        let intent = inner.owner.intent(ready.intent.attempt, inner.clock.now(), takes);
        match inner.store.take_intent(&ready.id, ready.stored.generation, &intent, Some(&ready.intent)).await {
            Ok(()) => {}
            Err(StoreError::Conflict) => return Ok(Turn::Again),
            Err(error) => return Err(RefreshError::store(error)),
        }
        let ready = Ready { intent, ..ready };
        let asked = inner.ask(&self.client, &ready.registered, &refresh_token).await;
        match asked.result {
            Ok(token) => self.store(Ready { refresh_token, ..ready }, token, asked.took, asked.answered_at).await,
            Err(TokenEndpointError::Refused { code: RefusalCode::InvalidGrant }) => {
                self.end(&ready.stored, ConsentReason::InvalidGrant).await
            }
            Err(error) => {
                if asked.may_have_acted {
                    // It was tried once, and a second time could be taken for theft.
                    let dropped = inner.store.drop_spare(&ready.id, spare.generation).await;
                    dropped.map_err(RefreshError::store)?;
                }
                Err(self.leave(&ready, error, asked.may_have_acted).await)
            }
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

    /// The provider may have used the refresh token up and never said so, twice. What is left is the access token, as long
    /// as it lives.
    pub(super) async fn spent(&self, stored: &StoredGrant, material: &Material) -> Result<Turn, RefreshError> {
        let now = self.inner.clock.now();
        if now < material.expires_at && !self.client.profile.refresh_kills_access_token {
            let retry_after = material.expires_at.since(now);
            return Err(RefreshError::Provider { host: host(&self.client.token_url), retry_after });
        }
        self.end(stored, ConsentReason::Lost).await
    }

    /// Ends the grant, if it is still the one that was read.
    pub(super) async fn end(&self, stored: &StoredGrant, reason: ConsentReason) -> Result<Turn, RefreshError> {
        let inner = &self.inner;
        match inner.store.end_grant(&stored.id, stored.generation, &reason.as_standing(), inner.clock.now()).await {
            Ok(()) => {}
            Err(StoreError::Conflict) => return Ok(Turn::Again),
            Err(error) => return Err(RefreshError::store(error)),
        }
        inner.forget(&self.key);
        self.count(reason.code());
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

fn unavailable(host: String) -> RefreshError {
    RefreshError::Provider { host, retry_after: Duration::ZERO }
}
