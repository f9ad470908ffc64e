//! One renewal: re-read, data key, provider, commit, and only then an answer (I5).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::due::{Chance, DEFAULT_LIFETIME, refresh_after};
use super::{Inner, OpenedToken, RefreshError};
use crate::audit::Event;
use crate::keys::{self, Key};
use crate::model::{ClientCredentials, Generation, GrantKey};
use crate::oauth::profile::GENERIC;
use crate::oauth::{self, Client, Grant, Token, TokenEndpointError, TokenRequest};
use crate::store::{GrantCommit, Material, Sealed, StoreError, StoredGrant};
use crate::vault::{DataKey, Place, RecordKind, VaultError};

/// First pause between two attempts to commit; doubles up to [`COMMIT_PAUSE_MAX`].
const COMMIT_PAUSE: Duration = Duration::from_millis(20);
const COMMIT_PAUSE_MAX: Duration = Duration::from_millis(500);

/// What a renewal came to.
#[derive(Clone)]
pub(super) struct Renewed {
    pub(super) token: Arc<OpenedToken>,
    /// Spent at the token endpoint; zero if somebody else had been there.
    pub(super) at_token_endpoint: Duration,
}

/// The place of a grant's access token.
pub(super) fn place(record: &str, generation: Generation) -> Place<'_> {
    Place { kind: RecordKind::Grant, record, field: "access_token", generation }
}

/// Obtains a token of a later generation than `beyond`. Runs detached: nobody's patience ends it.
pub(super) async fn renew(
    inner: Arc<Inner>,
    key: Key,
    grant: GrantKey,
    client: Arc<ClientCredentials>,
    beyond: Generation,
) -> Result<Renewed, RefreshError> {
    let stored = inner.store.grant(&grant).await.map_err(RefreshError::store)?;
    if let Some(stored) = &stored
        && stored.generation > beyond
        && let Some(token) = inner.open_live(stored).await?
    {
        inner.opened.insert(key, Arc::clone(&token));
        return Ok(Renewed { token, at_token_endpoint: Duration::ZERO });
    }
    if let Some(why) = inner.backoffs.now(&key, inner.clock.now()) {
        return Err(why);
    }
    // Before the provider is called: what it answers can then be kept whatever becomes of the key service.
    let data_key = inner.vault.data_key().await.map_err(RefreshError::vault)?;
    let id = keys::grant_id(&inner.tenant, &grant);
    let generation = Generation(stored.map_or(0, |stored| stored.generation.0).saturating_add(1));

    let started = Instant::now();
    // By our clock, before the request leaves: the token expires at the provider no earlier than we believe.
    let issued_at = inner.clock.now();
    let answer = ask(&inner, &client).await?;
    let at_token_endpoint = started.elapsed();
    let token = match answer {
        Ok(token) => token,
        Err(error) => {
            let held = Generation(generation.0.saturating_sub(1));
            let failed = Event::refresh_failed(&id, held, keys::SERVICE_HOLDER, error.code(), at_token_endpoint);
            let why = inner.provider_failed(&key, &client, error);
            inner.remember(failed).await;
            return Err(why);
        }
    };

    let expires_at = issued_at.after(token.expires_in.unwrap_or(DEFAULT_LIFETIME));
    let renewed = OpenedToken {
        access_token: token.access_token,
        grant: id,
        generation,
        issued_at,
        expires_at,
        refresh_after: refresh_after(issued_at, expires_at, Chance::draw()),
    };
    let sealed = seal(data_key, &renewed);
    let stored = match commit(&inner, &grant, &renewed, sealed).await? {
        Committed::Ours => None,
        Committed::Theirs(winner) => Some(winner),
    };
    inner.backoffs.succeeded(&key);
    let token = match stored {
        None => Arc::new(renewed),
        // What the winner stored is what every broker serves; ours is let go of, and deletes nothing.
        Some(winner) => inner.open_live(&winner).await?.ok_or(RefreshError::Lost)?,
    };
    inner.opened.insert(key, Arc::clone(&token));
    metrics::counter!("sallyport_tokens_renewed_total").increment(1);
    let done = Event::refresh_done(&token.grant, token.generation, keys::SERVICE_HOLDER, at_token_endpoint);
    inner.remember(done).await;
    Ok(Renewed { token, at_token_endpoint })
}

/// One request; the outer error is ours, the inner one the provider's.
async fn ask(inner: &Inner, client: &ClientCredentials) -> Result<Result<Token, TokenEndpointError>, RefreshError> {
    let client_id = inner.secrets.resolve(&client.client_id).await?.value;
    let client_secret = inner.secrets.resolve(&client.client_secret).await?.value;
    let request = TokenRequest {
        token_url: &client.token_url,
        client: Client { id: &client_id, secret: Some(&client_secret), authentication: client.client_authentication },
        grant: Grant::ClientCredentials { scopes: &client.scopes },
        resource: client.resource.as_deref(),
        additional_params: &client.additional_params,
        profile: &GENERIC,
    };
    metrics::counter!("sallyport_token_requests_total").increment(1);
    Ok(oauth::request_token(&*inner.endpoint, &request, inner.limits.provider).await)
}

fn seal(data_key: DataKey, token: &OpenedToken) -> Sealed {
    data_key.seal(&place(&token.grant, token.generation), &token.access_token)
}

enum Committed {
    Ours,
    Theirs(Box<StoredGrant>),
}

/// Commits, again and again while the store is down, until the deadline: the token is in memory only until then.
async fn commit(
    inner: &Inner,
    grant: &GrantKey,
    token: &OpenedToken,
    access_token: Sealed,
) -> Result<Committed, RefreshError> {
    let record = GrantCommit {
        id: token.grant.clone(),
        key: grant.clone(),
        generation: token.generation,
        material: Material {
            access_token,
            refresh_token: None,
            issued_at: token.issued_at,
            expires_at: token.expires_at,
            refresh_after: token.refresh_after,
        },
        scopes: Vec::new(),
        auth_revisions: Vec::new(),
        account: None,
        consented_at: None,
    };
    let deadline = Instant::now() + inner.limits.commit;
    let mut pause = COMMIT_PAUSE;
    loop {
        let error = match inner.store.commit_grant(&record).await {
            Ok(()) => return Ok(Committed::Ours),
            // Somebody else was first, or an earlier attempt of ours arrived without our learning it.
            Err(StoreError::Conflict) => match inner.store.grant(grant).await {
                Ok(Some(winner)) if winner.material.as_ref() == Some(&record.material) => return Ok(Committed::Ours),
                Ok(Some(winner)) => return Ok(Committed::Theirs(Box::new(winner))),
                Ok(None) => StoreError::Conflict,
                Err(error) => error,
            },
            Err(error) => error,
        };
        if Instant::now() + pause > deadline {
            return Err(RefreshError::store(error));
        }
        tracing::warn!(grant = token.grant, %error, "a renewed token waits for the store");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(COMMIT_PAUSE_MAX);
    }
}

impl Inner {
    /// Opens a stored token if it has not expired. One that does not open is as good as none, but is told loudly.
    pub(super) async fn open_live(&self, stored: &StoredGrant) -> Result<Option<Arc<OpenedToken>>, RefreshError> {
        let Some(material) = stored.material.as_ref().filter(|material| self.clock.now() < material.expires_at) else {
            return Ok(None);
        };
        // The id is made from whom it was asked for: what was sealed for somebody else does not open here.
        let id = keys::grant_id(&self.tenant, &stored.key);
        match self.vault.open(&place(&id, stored.generation), &material.access_token).await {
            Ok(access_token) => Ok(Some(Arc::new(OpenedToken {
                access_token,
                grant: id,
                generation: stored.generation,
                issued_at: material.issued_at,
                expires_at: material.expires_at,
                refresh_after: material.refresh_after,
            }))),
            Err(error @ (VaultError::NotAuthentic { .. } | VaultError::Unreadable { .. })) => {
                tracing::error!(%error, "a stored token was tampered with; it will be replaced");
                Ok(None)
            }
            Err(error @ VaultError::OtherMasterKey { .. }) => Err(RefreshError::vault(error)),
        }
    }

    /// Records a renewal. What is released is recorded again by whoever releases it, so this one may fail.
    async fn remember(&self, event: Event) {
        if let Err(error) = self.audit.record(event).await {
            tracing::error!(%error, "a renewal was not recorded");
        }
    }

    fn provider_failed(&self, key: &Key, client: &ClientCredentials, error: TokenEndpointError) -> RefreshError {
        let host = host(client);
        tracing::warn!(host, %error, "no token");
        let (why, retry_after) = match error {
            TokenEndpointError::Refused { code } => (RefreshError::Refused { host, code }, None),
            TokenEndpointError::Transient { retry_after } => {
                (RefreshError::Provider { host, retry_after: Duration::ZERO }, retry_after)
            }
            TokenEndpointError::Malformed(_) => (RefreshError::Provider { host, retry_after: Duration::ZERO }, None),
        };
        self.backoffs.failed(key, why, retry_after, self.clock.now())
    }
}

/// The provider's host, for people.
pub(super) fn host(client: &ClientCredentials) -> String {
    client.token_url.host_str().unwrap_or("the provider").to_owned()
}
