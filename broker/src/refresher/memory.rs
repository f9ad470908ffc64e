//! Opened tokens in memory, and when what was read may be kept there.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use moka::ops::compute::Op;

use super::{Inner, Need, OpenedToken, RefreshError, Source};
use crate::keys::{Key, Purpose};
use crate::model::Generation;
use crate::store::StoredGrant;

/// A point in time, before the store was read: what was read then is kept only if nothing was forgotten since.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment(u64);

impl Inner {
    /// A token that lives and may be served to this server: from memory, else from the store.
    pub(super) async fn held(
        self: &Arc<Self>,
        key: &Key,
        source: &Source,
        need: Need,
    ) -> Result<Option<Arc<OpenedToken>>, RefreshError> {
        if let Some(token) = self.opened.get(key)
            && self.clock.now() < token.expires_at
            && !need.is_past(token.generation)
            && source.covered_by(&token.agreed).is_ok()
        {
            return Ok(Some(token));
        }
        let read = self.moment();
        let stored = self.store.grant(&source.grant()).await.map_err(RefreshError::store)?;
        source.usable(stored.as_ref())?;
        let Some(stored) = stored else { return Ok(None) };
        // Somebody has begun to end it.
        if source.refresh_kills_access_token() && stored.intent.is_some() {
            return Ok(None);
        }
        self.open_once(key, stored, read).await
    }

    /// Opens a stored token once for all who want it at the same time, and keeps it: each time asks a key service.
    async fn open_once(
        self: &Arc<Self>,
        key: &Key,
        stored: StoredGrant,
        read: Moment,
    ) -> Result<Option<Arc<OpenedToken>>, RefreshError> {
        let generation = stored.generation.0.to_be_bytes();
        let this_one = Key::new(&self.tenant, Purpose::Grant, &[stored.id.as_bytes(), &generation]);
        let (inner, key) = (Arc::clone(self), key.clone());
        let opening = || async move {
            let token = inner.open_live(&stored).await?;
            if let Some(token) = &token {
                inner.keep(&key, token, read);
            }
            Ok(token)
        };
        match self.opening.join(&this_one, opening) {
            Some(flight) => flight.landed().await.unwrap_or(Err(RefreshError::Lost)),
            None => Err(RefreshError::Draining),
        }
    }

    pub(super) fn moment(&self) -> Moment {
        Moment(self.forgotten.load(Ordering::SeqCst))
    }

    /// Keeps a token that was read at a moment, unless a later one is kept already.
    pub(super) fn keep(&self, key: &Key, token: &Arc<OpenedToken>, read: Moment) {
        self.opened.entry_by_ref(key).and_compute_with(|kept| match kept {
            Some(kept) if kept.value().generation > token.generation => Op::Nop,
            Some(_) | None => Op::Put(Arc::clone(token)),
        });
        // Looked at last: who forgets comes either before this, or after what is kept here.
        if self.moment() != read {
            self.opened.invalidate(key);
        }
    }

    pub(super) fn forget(&self, key: &Key) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.opened.invalidate(key);
    }

    /// Drops what is in memory of a grant up to this generation, which nobody uses any more.
    pub(super) fn forget_up_to(&self, key: &Key, generation: Generation) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.opened.entry_by_ref(key).and_compute_with(|kept| match kept {
            Some(kept) if kept.value().generation <= generation => Op::Remove,
            Some(_) | None => Op::Nop,
        });
        self.recent.forget(key, generation);
    }
}
