//! An answer with a refresh token and no access token to use: the one is kept before the other is missed (I5). The old
//! access token goes on with it, if it lives.

use std::sync::Arc;
use std::time::Duration;

use super::ask::Took;
use super::backoff::Failure;
use super::commit::Committed;
use super::refresh::{Ready, Refresh, Turn};
use super::source::host;
use super::{OpenedToken, RefreshError};
use crate::audit::Event;
use crate::failpoint::{self, Point};
use crate::model::Generation;
use crate::oauth::token_response::Malformed;
use crate::secret::Secret;
use crate::store::{GrantCommit, Material};

impl Refresh {
    /// Stores the refresh token; then the provider is left alone for a while, and asked again with it.
    pub(super) async fn store_alone(
        &self,
        ready: Ready,
        refresh_token: Secret,
        why: Malformed,
        took: Took,
    ) -> Result<Turn, RefreshError> {
        let inner = &self.inner;
        let host = host(&self.client.token_url);
        tracing::warn!(host, grant = ready.id, %why, "a refresh gave a refresh token, and no access token to use");
        let account = ready.stored.account.clone().unwrap_or_default();
        let paused = ready.stored.pause.clone();
        let record = self.with_the_old_access_token(ready, &refresh_token).await;
        failpoint::reached(Point::BeforeCommit);
        match self.persist(&record, took).await? {
            Committed::Ours => {}
            Committed::Theirs(_) => return Ok(Turn::Again),
        }
        failpoint::reached(Point::AfterCommit);
        // What is open there is a generation behind.
        inner.forget(&self.key);
        self.count("failed", "refresh_token_alone");
        let failed = Event::refresh_failed(&record.id, record.generation, &account, "refresh_token_alone", took.time);
        inner.remember(failed).await;
        let why = RefreshError::Provider { host, retry_after: Duration::ZERO };
        let failure = Failure {
            // The one that is stored now: what ends the one before it does not end the pause.
            generation: record.generation,
            why,
            retry_after: None,
            attempt: 0,
            last_attempt_in: None,
            may_be_astray: false,
        };
        let (why, pause) = inner.backoffs.failed(&self.key, failure, paused.as_ref(), inner.clock.now());
        // Beside the new generation, with no intent: one that is lost here costs a request, and no token.
        inner.write_pause(&record.id, record.generation, None, &pause).await;
        Err(why)
    }

    async fn with_the_old_access_token(&self, ready: Ready, refresh_token: &Secret) -> GrantCommit {
        let old = self.old_access_token(&ready).await;
        let Ready { stored, material, pair, .. } = ready;
        let generation = Generation(stored.generation.0.saturating_add(1));
        // There is none that lives: in its place is nothing, which never lived, whatever a clock says.
        let (nothing, over) = (Secret::new(""), material.issued_at);
        let (access_token, expires_at) = match &old {
            Some(old) => (&old.access_token, old.expires_at),
            None => (&nothing, over),
        };
        let (access_token, refresh_token) = pair.seal(&stored.id, generation, access_token, Some(refresh_token));
        let material = Material { access_token, refresh_token, expires_at, ..material };
        let scopes = stored.scopes.clone();
        self.successor(stored, generation, material, scopes)
    }

    /// The access token there is, if it lives and the refresh has not killed it. One that does not open holds up nothing.
    async fn old_access_token(&self, ready: &Ready) -> Option<Arc<OpenedToken>> {
        if self.client.profile.refresh_kills_access_token {
            return None;
        }
        let inner = &self.inner;
        let open = inner.opened.get(&self.key).filter(|token| token.generation == ready.stored.generation);
        match open {
            Some(token) => Some(token).filter(|token| inner.clock.now() < token.expires_at),
            None => inner.open_live(&ready.stored).await.ok().flatten(),
        }
    }
}
