//! One renewal of a client-credentials grant: re-read, data key, provider, commit, and only then an answer (I5).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ask::Registered;
use super::backoff::Failure;
use super::commit::Committed;
use super::due::{Chance, DEFAULT_LIFETIME, refresh_after};
use super::refresh::count;
use super::source::{authority, host};
use super::{Inner, OpenedToken, RefreshError};
use crate::audit::Event;
use crate::keys::{self, Key};
use crate::model::{ClientCredentials, Generation};
use crate::oauth::profile::GENERIC;
use crate::oauth::{self, Given, Grant, Token, TokenEndpointError, TokenRequest};
use crate::store::{GrantCommit, Material};
use crate::vault::{Place, Record};

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

/// Obtains a token of a later generation than `beyond`. Runs detached: nobody's patience ends it.
pub(super) async fn renew(
    inner: Arc<Inner>,
    key: Key,
    client: Arc<ClientCredentials>,
    beyond: Generation,
) -> Result<Renewed, RefreshError> {
    let grant = keys::service_grant(&client);
    let read = inner.moment();
    let stored = inner.store.grant(&grant).await.map_err(RefreshError::store)?;
    if let Some(stored) = &stored
        && stored.generation > beyond
        && let Some(token) = inner.open_live(stored).await?
    {
        inner.keep(&key, &token, read);
        return Ok(Renewed::by_somebody_else(token));
    }
    let (host, now) = (host(&client.token_url), inner.clock.now());
    let paused = match &stored {
        Some(stored) => inner.paused(&key, stored, &host, now, false),
        // There is no record to write a pause beside: each broker knows of its own.
        None => inner.backoffs.now(&key, now),
    };
    if let Some(why) = paused {
        return Err(why);
    }
    // Before the provider is called: what it answers can then be kept whatever becomes of the key service.
    let id = keys::grant_id(&inner.tenant, &grant);
    let data_key = inner.vault.data_key(Record::grant(&id)).await.map_err(RefreshError::vault)?;
    let generation = Generation(stored.as_ref().map_or(0, |stored| stored.generation.0).saturating_add(1));

    let started = Instant::now();
    // By our clock, before the request leaves: the token expires at the provider no earlier than we believe.
    let issued_at = inner.clock.now();
    let admitted = inner.providers.admit(&authority(&client.token_url)).await;
    let admitted = admitted.map_err(|retry_after| RefreshError::Provider { host: host.clone(), retry_after })?;
    let answer = ask(&inner, &client).await?;
    admitted.told(&answer);
    let at_token_endpoint = started.elapsed();
    metrics::histogram!("sallyport_token_endpoint_seconds", "profile" => GENERIC.name)
        .record(at_token_endpoint.as_secs_f64());
    let token = match answer {
        Ok(token) => token,
        Err(error) => {
            let held = Generation(generation.0.saturating_sub(1));
            let failed = Event::refresh_failed(&id, held, keys::SERVICE_HOLDER, error.code(), at_token_endpoint);
            tracing::warn!(host, %error, "no token");
            count(&GENERIC, "failed", error.code());
            let (why, retry_after) = RefreshError::of_provider(host, error);
            let failure =
                Failure { generation: held, why, retry_after, attempt: 0, last_attempt_in: None, may_be_astray: false };
            let before = stored.and_then(|stored| stored.pause);
            let (why, pause) = inner.backoffs.failed(&key, failure, before.as_ref(), inner.clock.now());
            inner.write_pause(&id, held, &pause).await;
            inner.remember(failed).await;
            return Err(why);
        }
    };

    let expires_at = issued_at.after(token.expires_in.unwrap_or(DEFAULT_LIFETIME));
    let record = GrantCommit {
        material: Material {
            access_token: data_key.seal(&Place::access_token(&id, generation), &token.access_token),
            refresh_token: None,
            issued_at,
            expires_at,
            refresh_after: refresh_after(issued_at, expires_at, Chance::draw()),
        },
        id,
        key: grant,
        generation,
        scopes: Vec::new(),
        auth_revisions: Vec::new(),
        account: None,
        consented_at: None,
        consented_by: None,
        invalidates: None,
    };
    let token = match inner.commit(&record).await.map_err(RefreshError::store)? {
        Committed::Ours => Arc::new(OpenedToken::of_commit(token.access_token, &record)),
        // What the winner stored is what every broker serves; ours is let go of, and deletes nothing.
        Committed::Theirs(winner) => inner.open_live(&winner).await?.ok_or(RefreshError::Lost)?,
    };
    inner.backoffs.succeeded(&key);
    inner.keep(&key, &token, read);
    metrics::counter!("sallyport_tokens_renewed_total").increment(1);
    count(&GENERIC, "done", "");
    let done = Event::refresh_done(&token.grant, token.generation, keys::SERVICE_HOLDER, at_token_endpoint);
    inner.remember(done).await;
    Ok(Renewed { token, at_token_endpoint })
}

/// One request; the outer error is ours, the inner one the provider's.
async fn ask(inner: &Inner, client: &ClientCredentials) -> Result<Result<Token, TokenEndpointError>, RefreshError> {
    let registered = Registered::of_service(&*inner.secrets, client).await?;
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
    Ok(given.and_then(Given::token))
}
