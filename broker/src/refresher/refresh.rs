//! One refresh of a person's grant: re-read, data keys, intent, provider, commit, and only then an answer (I5).

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::ask::{Asked, Registered, Took};
use super::commit::Committed;
use super::due::{self, Chance};
use super::intent::Right;
use super::pause::has_ended;
use super::providers::{Admitted, Begun};
use super::renewal::Renewed;
use super::seal::Pair;
use super::source::{authority, has_a_token, host};
use super::{ConsentReason, Inner, Moment, OpenedToken, RefreshError};
use crate::audit::Event;
use crate::coordination::News;
use crate::failpoint::{self, Point};
use crate::keys::{self, Key};
use crate::model::{Generation, GrantKey, ProviderClient};
use crate::oauth::profile::{Profile, Rotation};
use crate::oauth::{Given, Token};
use crate::secret::Secret;
use crate::store::{GrantCommit, Intent, Material, Pause, Standing, StoreError, StoredGrant};

/// How long a pair is in memory only while the store is at its commit.
const SPOOLED_AFTER: Duration = Duration::from_millis(100);

/// Turns taken at most: each that comes to nothing is one that somebody else has won.
pub(super) const MAX_TURNS: usize = 8;

/// The refresh of one grant.
pub(super) struct Refresh {
    pub(super) inner: Arc<Inner>,
    pub(super) key: Key,
    pub(super) client: Arc<ProviderClient>,
    pub(super) grant: GrantKey,
    /// An operator says so: pauses are over, but the one before a last attempt.
    pub(super) by_force: bool,
    /// Its place in the provider's budget.
    pub(super) begun: Begun,
}

/// What one turn came to.
pub(super) enum Turn {
    /// A token.
    Renewed(Renewed),
    /// The grant is not as it was read: it has to be read again.
    Again,
}

/// Everything that asking takes, made before anybody is asked.
pub(super) struct Ready {
    pub(super) id: String,
    /// As read.
    pub(super) stored: StoredGrant,
    /// Its tokens.
    pub(super) material: Material,
    pub(super) intent: Intent,
    pub(super) registered: Registered,
    pub(super) refresh_token: Secret,
    pub(super) pair: Pair,
    /// When it was read.
    pub(super) read: Moment,
}

impl Refresh {
    /// Obtains a token of a later generation than `beyond`. Runs detached: nobody's patience ends it.
    pub(super) async fn run(self, beyond: Generation) -> Result<Renewed, RefreshError> {
        for _ in 0..MAX_TURNS {
            match self.turn(beyond).await? {
                Turn::Renewed(renewed) => return Ok(renewed),
                Turn::Again => {}
            }
        }
        Err(RefreshError::Lost)
    }

    async fn turn(&self, beyond: Generation) -> Result<Turn, RefreshError> {
        let inner = &self.inner;
        let id = keys::grant_id(&inner.tenant, &self.grant);
        // What waits there is newer than what is stored.
        inner.replay(&id).await?;
        let read = inner.moment();
        let stored =
            inner.store.grant(&self.grant).await.map_err(RefreshError::store)?.ok_or(ConsentReason::Missing)?;
        has_a_token(&stored)?;
        if stored.generation > beyond
            && let Some(token) = self.servable(&stored, read).await?
        {
            return Ok(Turn::Renewed(Renewed::by_somebody_else(token)));
        }
        let now = inner.clock.now();
        let material = stored.material.clone().ok_or(ConsentReason::Unreadable)?;
        if let Standing::NeedsConsent(reason) = &stored.standing {
            return match (ConsentReason::of_standing(reason), &material.refresh_token) {
                (ConsentReason::Unreadable, Some(_)) => self.read_again(&stored).await,
                (reason, _) => self.nothing_later(&stored, &material, reason).await,
            };
        }
        let host = host(&self.client.token_url);
        if let Some(why) = inner.paused(&self.key, &stored, &host, now, self.by_force) {
            return Err(why);
        }
        if material.refresh_token.is_none() {
            return self.without_refresh_token(&stored, &material).await;
        }
        let attempt = match inner.right_to(&stored, self.client.rotation, now) {
            Right::Free(attempt) => attempt,
            Right::Taken => return inner.wait_for_another_broker(&stored, &host).await,
            Right::Spent => return self.spent(&stored).await,
        };
        let Some(stored) = self.settled(stored).await? else { return Ok(Turn::Again) };
        // Before anything is begun: what waits for its turn here holds nobody else up.
        let admitted = inner.providers.admit(&authority(&self.client.token_url)).await;
        let admitted = admitted.map_err(|retry_after| RefreshError::Provider { host, retry_after })?;
        if inner.flights.is_draining() {
            // What is begun now would be cut off with this process, its answer on the way.
            return Err(RefreshError::Draining);
        }
        match self.take(stored.clone(), material, attempt, read).await {
            Ok(Some(ready)) => self.ask(ready, admitted).await,
            Ok(None) => Ok(Turn::Again),
            // Nothing renews it as it is: who looks at it is told so, not only who calls with it.
            Err(RefreshError::NeedsConsent { reason: ConsentReason::Unreadable }) => self.set_aside(&stored).await,
            Err(error) => Err(error),
        }
    }

    /// A stored token that may still be used: where a refresh kills it, not once somebody has begun one.
    async fn servable(&self, stored: &StoredGrant, read: Moment) -> Result<Option<Arc<OpenedToken>>, RefreshError> {
        if self.client.profile.refresh_kills_access_token && stored.intent.is_some() {
            return Ok(None);
        }
        let token = self.inner.open_live(stored).await?;
        if let Some(token) = &token {
            self.inner.keep(&self.key, token, read);
        }
        Ok(token)
    }

    /// Makes everything ready that can fail, then takes the right; `None` if somebody else was first.
    async fn take(
        &self,
        stored: StoredGrant,
        material: Material,
        attempt: u32,
        read: Moment,
    ) -> Result<Option<Ready>, RefreshError> {
        let inner = &self.inner;
        let id = stored.id.clone();
        let registered = Registered::resolve(&*inner.secrets, &self.client).await?;
        let refresh_token = self.open_next(&stored).await?;
        // Before the provider is called: what it answers can then be kept whatever becomes of the key service.
        let pair = Pair::new(&inner.vault, &id).await?;
        let takes = inner.limits.provider + inner.limits.commit;
        let intent = inner.owner.intent(attempt, inner.clock.now(), takes);
        let (instead_of, paused) = (stored.intent.as_ref(), stored.pause.as_ref());
        match inner.store.take_intent(&id, stored.generation, &intent, instead_of, paused).await {
            Ok(()) => {}
            Err(StoreError::Conflict) => return Ok(None),
            Err(error) => {
                // It may be there all the same.
                inner.unsent.remember(&id, &intent);
                return Err(RefreshError::store(error));
            }
        }
        failpoint::reached(Point::IntentTaken);
        Ok(Some(Ready { id, stored, material, intent, registered, refresh_token, pair, read }))
    }

    /// Whether another broker began with a refresh token that works once, and may have its successor.
    fn may_be_stored_yet(&self, stored: &StoredGrant) -> bool {
        let Inner { owner, unsettled, .. } = &*self.inner;
        let may = |intent: &Intent| match owner.is_of_this_broker(intent) {
            true => unsettled.has(&stored.id, intent),
            false => !has_ended(stored, intent),
        };
        match self.client.rotation {
            Rotation::NonRotating | Rotation::OldValid => false,
            Rotation::Grace(_) | Rotation::Strict => stored.intent.as_ref().is_some_and(may),
        }
    }

    /// Gives whoever began before the time to store what it may have; the grant if it has not. A store that was away, or
    /// took nothing, for longer than an intent lasts is no sign that its broker has died. To ask again would have the
    /// provider take the second request for theft, and end what is about to be stored.
    ///
    /// Meanwhile the right is ours, as the same attempt: nobody is asked by it, whatever becomes of us.
    async fn settled(&self, stored: StoredGrant) -> Result<Option<StoredGrant>, RefreshError> {
        let inner = &self.inner;
        let Some(theirs) = stored.intent.clone().filter(|_| self.may_be_stored_yet(&stored)) else {
            return Ok(Some(stored));
        };
        let (id, settle) = (&stored.id, inner.limits.settle);
        let ours = inner.owner.intent(theirs.attempt, inner.clock.now(), settle);
        inner.unsettled.remember(id, &ours);
        match inner.store.take_intent(id, stored.generation, &ours, Some(&theirs), stored.pause.as_ref()).await {
            Ok(()) => {}
            Err(StoreError::Conflict) => return Ok(None),
            Err(error) => return Err(RefreshError::store(error)),
        }
        tokio::time::sleep(settle).await;
        let now = inner.store.grant(&self.grant).await.map_err(RefreshError::store)?;
        let now = now.filter(|now| now.generation == stored.generation && now.intent.as_ref() == Some(&ours));
        if now.is_some() {
            inner.unsettled.forget(id);
        }
        Ok(now)
    }

    async fn ask(&self, ready: Ready, admitted: Admitted) -> Result<Turn, RefreshError> {
        let inner = &self.inner;
        if self.client.profile.refresh_kills_access_token {
            inner.opened.invalidate(&self.key);
            inner.holds.refreshing(&ready.id, ready.stored.generation, ready.intent.deadline);
            inner.coordination.tell(News::Refreshing);
        }
        failpoint::reached(Point::BeforeSend);
        if inner.flights.is_draining() {
            self.give_back(&ready, &as_it_was(&ready)).await;
            return Err(RefreshError::Draining);
        }
        // So that the answer is stored before anybody else may ask.
        let left = ready.intent.deadline.since(inner.clock.now()).saturating_sub(inner.limits.commit);
        let limit = left.min(inner.limits.provider);
        if limit < inner.limits.provider / 4 {
            // We were held up for so long that no time is left for an answer. As it was, if nobody has asked meanwhile.
            self.give_back(&ready, &as_it_was(&ready)).await;
            return Ok(Turn::Again);
        }
        self.begun.sends();
        let Asked { result, took } = inner.ask(&self.client, &ready.registered, &ready.refresh_token, limit).await;
        failpoint::reached(Point::ReplyRead);
        admitted.told(&result);
        match result {
            Ok(given) => self.store(ready, given, took).await,
            Err(error) => self.failed(ready, error, took.time).await,
        }
    }

    /// Stores what the provider gave; only then is it seen by anybody.
    pub(super) async fn store(&self, ready: Ready, given: Given, took: Took) -> Result<Turn, RefreshError> {
        let inner = &self.inner;
        let token = match given {
            Given::Token(token) => token,
            Given::RefreshTokenAlone { refresh_token, why } => {
                return self.store_alone(ready, refresh_token, why, took).await;
            }
        };
        let (read, agreed) = (ready.read, ready.stored.scopes.clone());
        let (record, token) = self.next_generation(ready, token);
        failpoint::reached(Point::BeforeCommit);
        match self.persist(&record, took).await? {
            Committed::Ours => {}
            Committed::Theirs(_) => return Ok(Turn::Again),
        }
        failpoint::reached(Point::AfterCommit);
        inner.backoffs.succeeded(&self.key);
        let token = Arc::new(token);
        inner.keep(&self.key, &token, read);
        self.count("done", "");
        metrics::counter!("sallyport_tokens_renewed_total").increment(1);
        let account = token.account.as_deref().unwrap_or_default();
        inner.remember(Event::refresh_done(&token.grant, token.generation, account, took.time)).await;
        let lost: Vec<String> = agreed.into_iter().filter(|scope| !token.agreed.scopes.contains(scope)).collect();
        if !lost.is_empty() {
            tracing::warn!(grant = token.grant, scopes = lost.len(), "a refresh gave fewer scopes than were agreed to");
            inner.remember(Event::grant_narrowed(&token.grant, token.generation, account, &lost)).await;
        }
        inner.learn_life(&self.grant, &self.client);
        failpoint::reached(Point::BeforeRelease);
        Ok(Turn::Renewed(Renewed { token, at_token_endpoint: took.time }))
    }

    /// Commits. What the store does not take at once is in the spool while that is tried again, and stays there if the
    /// store never does: whatever becomes of this process then, be the store gone or hanging. Of a commit that lost, the
    /// refresh token is kept beside the winner's.
    pub(super) async fn persist(&self, record: &GrantCommit, took: Took) -> Result<Committed, RefreshError> {
        let inner = &self.inner;
        let mut committing = pin!(inner.commit_once(record));
        let (first, mut is_spooled) = match timeout(SPOOLED_AFTER, &mut committing).await {
            Ok(first) => (first, false),
            Err(_) => {
                tracing::warn!(grant = record.id, "a renewed token goes to the spool: the store has not answered yet");
                inner.spool.put(record.clone()).await;
                (committing.await, true)
            }
        };
        let settled = match self.settle(record, first).await {
            Ok(committed) => Ok(committed),
            Err(error) => {
                if !is_spooled {
                    tracing::warn!(grant = record.id, %error, "a renewed token goes to the spool while it waits for the store");
                    inner.spool.put(record.clone()).await;
                    is_spooled = true;
                }
                self.settle(record, inner.commit(record).await).await
            }
        };
        if is_spooled && settled.is_ok() {
            inner.spool.settled(record).await;
        }
        match &settled {
            Ok(Committed::Ours) => {
                metrics::histogram!("sallyport_refresh_commit_seconds")
                    .record(took.answered_at.elapsed().as_secs_f64());
                // The benchmark takes this line's time for that of the commit.
                tracing::debug!(grant = record.id, "a renewed token is durable");
            }
            Ok(Committed::Theirs(_)) => {}
            Err(error) => {
                tracing::error!(grant = record.id, %error, "a renewed token stays in the spool: the store is not available");
            }
        }
        settled
    }

    async fn settle(
        &self,
        record: &GrantCommit,
        committed: Result<Committed, StoreError>,
    ) -> Result<Committed, RefreshError> {
        let committed = committed.map_err(RefreshError::store)?;
        if let Committed::Theirs(winner) = &committed {
            self.inner.lose(record, winner).await?;
        }
        Ok(committed)
    }

    /// The next generation: what the provider gave, and what it did not change.
    fn next_generation(&self, ready: Ready, token: Token) -> (GrantCommit, OpenedToken) {
        let Ready { stored, material, intent, refresh_token, pair, .. } = ready;
        let generation = Generation(stored.generation.0.saturating_add(1));
        let life_before = material.expires_at.since(material.issued_at);
        // By our clock, before the request left: the token expires at the provider no earlier than we believe.
        let times =
            due::times(self.client.profile, token.expires_in, Some(life_before), intent.started_at, Chance::draw());
        // None given: the old one stays (RFC 6749 §6).
        let refresh_token = token.refresh_token.unwrap_or(refresh_token);
        let scopes = match token.scopes {
            // Narrowed, perhaps; a refresh never widens what a person agreed to.
            Some(listed) => {
                stored.scopes.iter().filter(|scope| self.client.profile.has_granted(&listed, scope)).cloned().collect()
            }
            None => stored.scopes.clone(),
        };
        let (access, refresh) = pair.seal(&stored.id, generation, &token.access_token, Some(&refresh_token));
        let material = Material {
            access_token: access,
            refresh_token: refresh,
            issued_at: intent.started_at,
            expires_at: times.expires_at,
            refresh_after: times.refresh_after,
        };
        let record = self.successor(stored, generation, material, scopes);
        let token = OpenedToken::of_commit(token.access_token, &record);
        (record, token)
    }

    pub(super) fn successor(
        &self,
        stored: StoredGrant,
        generation: Generation,
        material: Material,
        scopes: Vec<String>,
    ) -> GrantCommit {
        GrantCommit {
            id: stored.id,
            key: self.grant.clone(),
            generation,
            material,
            scopes,
            auth_revisions: stored.auth_revisions,
            account: stored.account,
            consented_at: stored.consented_at,
            consented_by: stored.consented_by,
            invalidates: self.client.profile.refresh_kills_access_token.then(|| self.inner.clock.now()),
        }
    }

    pub(super) fn count(&self, outcome: &'static str, cause: &'static str) {
        count(self.client.profile, outcome, cause);
    }
}

/// The pause there was, or one that is over and says of no attempt more than there were.
fn as_it_was(ready: &Ready) -> Pause {
    let none = || Pause { attempt: ready.intent.attempt.saturating_sub(1), ..Pause::over(ready.intent.started_at) };
    ready.stored.pause.clone().unwrap_or_else(none)
}

/// Counts what a refresh came to, and why.
pub(super) fn count(profile: &Profile, outcome: &'static str, cause: &'static str) {
    let labels = [("profile", profile.name), ("outcome", outcome), ("cause", cause)];
    metrics::counter!("sallyport_refreshes_total", &labels).increment(1);
}
