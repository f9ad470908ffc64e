//! One renewal of a client-credentials grant: re-read, data key, intent, provider, commit, and only then an answer (I5).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ask::Registered;
use super::backoff::Failure;
use super::commit::Committed;
use super::dangling::LOOK;
use super::due::{Chance, DEFAULT_LIFETIME, refresh_after};
use super::intent::Right;
use super::providers::{Admitted, Begun};
use super::refresh::{MAX_TURNS, Turn, count};
use super::source::{authority, host};
use super::{Inner, Moment, OpenedToken, RefreshError};
use crate::audit::Event;
use crate::keys::{self, Key};
use crate::model::{ClientCredentials, Generation, GrantKey};
use crate::oauth::profile::{GENERIC, Rotation};
use crate::oauth::{self, Given, Grant, Token, TokenEndpointError, TokenRequest};
use crate::store::{GrantCommit, Intent, Material, Standing, StoreError, StoredGrant};
use crate::vault::{DataKey, Place, Record};

/// What a renewal came to.
#[derive(Clone)]
pub(super) struct Renewed {
    pub(super) token: Arc<OpenedToken>,
    /// Spent at the token endpoint; zero if somebody else had been there.
    pub(super) at_token_endpoint: Duration,
}

impl Renewed {
    pub(super) fn by_somebody_else(token: Arc<OpenedToken>) -> Self {
        Self { token, at_token_endpoint: Duration::ZERO }
    }
}

/// The renewal of the token that a client has for itself.
struct Renewal {
    inner: Arc<Inner>,
    key: Key,
    client: Arc<ClientCredentials>,
    grant: GrantKey,
    id: String,
    host: String,
    /// Its place in the provider's budget.
    begun: Begun,
}

/// Obtains a token of a later generation than `beyond`. Runs detached: nobody's patience ends it.
pub(super) async fn renew(
    inner: Arc<Inner>,
    key: Key,
    client: Arc<ClientCredentials>,
    beyond: Generation,
    begun: Begun,
) -> Result<Renewed, RefreshError> {
    let grant = keys::service_grant(&client);
    let (id, host) = (keys::grant_id(&inner.tenant, &grant), host(&client.token_url));
    let renewal = Renewal { inner, key, client, grant, id, host, begun };
    for _ in 0..MAX_TURNS {
        match renewal.turn(beyond).await? {
            Turn::Renewed(renewed) => return Ok(renewed),
            Turn::Again => {}
        }
    }
    Err(RefreshError::Lost)
}

impl Renewal {
    async fn turn(&self, beyond: Generation) -> Result<Turn, RefreshError> {
        let Self { inner, key, client, grant, id, .. } = self;
        let read = inner.moment();
        let stored = inner.store.grant(grant).await.map_err(RefreshError::store)?;
        if let Some(stored) = &stored
            && stored.generation > beyond
            && let Some(token) = inner.open_live(stored).await?
        {
            inner.keep(key, &token, read);
            return Ok(Turn::Renewed(Renewed::by_somebody_else(token)));
        }
        let now = inner.clock.now();
        let paused = match &stored {
            Some(stored) => inner.paused(key, stored, &self.host, now, false),
            // There is no record to write a pause beside: each broker knows of its own.
            None => inner.backoffs.now(key, now),
        };
        if let Some(why) = paused {
            return Err(why);
        }
        let attempt = match &stored {
            Some(stored) => match inner.right_to(stored, Rotation::NonRotating, now) {
                Right::Free(attempt) => attempt,
                Right::Taken => return inner.wait_for_another_broker(stored, &self.host).await,
                Right::Spent => return Err(RefreshError::Lost),
            },
            None => 1,
        };
        // Before the provider is called: what it answers can then be kept whatever becomes of the key service.
        let data_key = inner.vault.data_key(Record::grant(id)).await.map_err(RefreshError::vault)?;
        let registered = Registered::of_service(&*inner.secrets, client).await?;
        let admitted = inner.providers.admit(&authority(&client.token_url)).await;
        let admitted =
            admitted.map_err(|retry_after| RefreshError::Provider { host: self.host.clone(), retry_after })?;
        // One that was shredded is as good as none: what is obtained now takes its place.
        let is_first = stored.as_ref().is_none_or(|stored| stored.standing != Standing::Live);
        let intent = match stored.as_ref().filter(|_| !is_first) {
            None => self.take_first().await?,
            Some(stored) => self.take(stored, attempt).await?,
        };
        let Some(intent) = intent else { return Ok(Turn::Again) };
        // Somebody may have had the right, and have ended, since that was looked at.
        if is_first && inner.store.grant(grant).await.map_err(RefreshError::store)? != stored {
            self.clear_first(&intent).await;
            return Ok(Turn::Again);
        }
        let turn = self.ask(stored, &intent, &registered, admitted, data_key, read).await;
        if is_first {
            self.clear_first(&intent).await;
        }
        turn
    }

    async fn clear_first(&self, intent: &Intent) {
        if let Err(error) = self.inner.store.clear_first_intent(&self.id, intent).await {
            tracing::warn!(grant = self.id, %error, "other brokers wait until the right to ask is over");
        }
    }

    async fn ask(
        &self,
        stored: Option<StoredGrant>,
        intent: &Intent,
        registered: &Registered,
        admitted: Admitted,
        data_key: DataKey,
        read: Moment,
    ) -> Result<Turn, RefreshError> {
        let Self { inner, key, client, id, .. } = self;
        let (started, issued_at) = (Instant::now(), intent.started_at);
        self.begun.sends();
        let answer = ask(inner, client, registered).await;
        admitted.told(&answer);
        let at_token_endpoint = started.elapsed();
        metrics::histogram!("sallyport_token_endpoint_seconds", "profile" => GENERIC.name)
            .record(at_token_endpoint.as_secs_f64());
        let token = match answer {
            Ok(token) => token,
            Err(error) => return Err(self.failed(stored, intent, error, at_token_endpoint).await),
        };
        let generation = Generation(stored.map_or(0, |stored| stored.generation.0).saturating_add(1));
        let expires_at = issued_at.after(token.expires_in.unwrap_or(DEFAULT_LIFETIME));
        let material = Material {
            access_token: data_key.seal(&Place::access_token(id, generation), &token.access_token),
            refresh_token: None,
            issued_at,
            expires_at,
            refresh_after: refresh_after(issued_at, expires_at, Chance::draw()),
        };
        let record = self.record(generation, material);
        let token = match inner.commit(&record).await.map_err(RefreshError::store)? {
            Committed::Ours => Arc::new(OpenedToken::of_commit(token.access_token, &record)),
            // What the winner stored is what every broker serves; ours is let go of, and deletes nothing.
            Committed::Theirs(winner) => inner.open_live(&winner).await?.ok_or(RefreshError::Lost)?,
        };
        inner.backoffs.succeeded(key);
        inner.keep(key, &token, read);
        metrics::counter!("sallyport_tokens_renewed_total").increment(1);
        count(&GENERIC, "done", "");
        let done = Event::refresh_done(&token.grant, token.generation, keys::SERVICE_HOLDER, at_token_endpoint);
        inner.remember(done).await;
        Ok(Turn::Renewed(Renewed { token, at_token_endpoint }))
    }

    /// Takes the right to ask; nothing if somebody else was first.
    async fn take(&self, stored: &StoredGrant, attempt: u32) -> Result<Option<Intent>, RefreshError> {
        let intent = self.intent(attempt);
        let (instead_of, paused) = (stored.intent.as_ref(), stored.pause.as_ref());
        match self.inner.store.take_intent(&self.id, stored.generation, &intent, instead_of, paused).await {
            Ok(()) => Ok(Some(intent)),
            Err(StoreError::Conflict) => Ok(None),
            Err(error) => Err(RefreshError::store(error)),
        }
    }

    /// The same where there is no live record yet: waits as long as another broker is at it; nothing once there is one.
    async fn take_first(&self) -> Result<Option<Intent>, RefreshError> {
        let Self { inner, grant, id, host, .. } = self;
        let patience = Instant::now() + inner.limits.provider + inner.limits.commit;
        while Instant::now() < patience {
            let intent = self.intent(1);
            let taken = inner.store.take_first_intent(id, &intent, inner.owner.broker(), inner.clock.now()).await;
            if taken.map_err(RefreshError::store)? {
                return Ok(Some(intent));
            }
            tokio::time::sleep(LOOK).await;
            let now = inner.store.grant(grant).await.map_err(RefreshError::store)?;
            if now.is_some_and(|now| now.standing == Standing::Live) {
                return Ok(None);
            }
        }
        Err(RefreshError::Overdue { host: host.clone() })
    }

    fn intent(&self, attempt: u32) -> Intent {
        let Inner { limits, owner, clock, .. } = &*self.inner;
        // By our clock, before the request leaves: the token expires at the provider no earlier than we believe.
        owner.intent(attempt, clock.now(), limits.provider + limits.commit)
    }

    /// Whatever the provider did, another request does no harm: the right is given back, beside a pause.
    async fn failed(
        &self,
        stored: Option<StoredGrant>,
        intent: &Intent,
        error: TokenEndpointError,
        took: Duration,
    ) -> RefreshError {
        let inner = &self.inner;
        let generation = stored.as_ref().map_or(Generation(0), |stored| stored.generation);
        let failed = Event::refresh_failed(&self.id, generation, keys::SERVICE_HOLDER, error.code(), took);
        tracing::warn!(host = self.host, %error, "no token");
        count(&GENERIC, "failed", error.code());
        let (why, retry_after) = RefreshError::of_provider(self.host.clone(), error);
        // Of an earlier attempt, whose broker never came to an end, the outcome is no better known.
        let attempt = intent.attempt.saturating_sub(1);
        let failure = Failure { generation, why, retry_after, attempt, last_attempt_in: None, may_be_astray: false };
        let before = stored.and_then(|stored| stored.pause);
        let (why, pause) = inner.backoffs.failed(&self.key, failure, before.as_ref(), inner.clock.now());
        if let Err(error) = inner.store.clear_intent(&self.id, generation, intent, &pause).await {
            tracing::error!(grant = self.id, %error, "other brokers are not told to leave a provider alone");
        }
        inner.remember(failed).await;
        why
    }

    fn record(&self, generation: Generation, material: Material) -> GrantCommit {
        GrantCommit {
            id: self.id.clone(),
            key: self.grant.clone(),
            generation,
            material,
            scopes: Vec::new(),
            auth_revisions: Vec::new(),
            account: None,
            consented_at: None,
            consented_by: None,
            invalidates: None,
        }
    }
}

async fn ask(inner: &Inner, client: &ClientCredentials, registered: &Registered) -> Result<Token, TokenEndpointError> {
    let request = TokenRequest {
        token_url: &client.token_url,
        client: registered.client(),
        grant: Grant::ClientCredentials { scopes: &client.scopes },
        resource: client.resource.as_deref(),
        additional_params: &client.additional_params,
        profile: &GENERIC,
    };
    metrics::counter!("sallyport_token_requests_total").increment(1);
    let given = oauth::request_token(&*inner.endpoint, &request, inner.limits.provider).await;
    // A refresh token is of no use here (RFC 6749 §4.4.3): the client asks anew by itself.
    given.and_then(Given::token)
}
