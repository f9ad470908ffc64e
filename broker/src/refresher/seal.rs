//! The two tokens of a grant, sealed each with a data key of its own (I4).

use std::sync::Arc;

use super::{ConsentReason, Inner, OpenedToken, RefreshError};
use crate::keys;
use crate::model::Generation;
use crate::secret::Secret;
use crate::store::{Sealed, StoredGrant};
use crate::vault::{DataKey, Place, Record, Vault, VaultError};

/// Data keys for one pair, wrapped before the provider is asked for it.
pub struct Pair {
    access: DataKey,
    refresh: DataKey,
}

impl Pair {
    /// Two fresh keys for the grant of this id.
    pub async fn new(vault: &Vault, id: &str) -> Result<Self, RefreshError> {
        let grant = Record::grant(id);
        let keys = futures::try_join!(vault.data_key(grant), vault.data_key(grant));
        let (access, refresh) = keys.map_err(RefreshError::vault)?;
        Ok(Self { access, refresh })
    }

    /// Seals a pair for one generation of one grant.
    pub fn seal(
        self,
        id: &str,
        generation: Generation,
        access: &Secret,
        refresh: Option<&Secret>,
    ) -> (Sealed, Option<Sealed>) {
        let access = self.access.seal(&Place::access_token(id, generation), access);
        let refresh = refresh.map(|token| self.refresh.seal(&Place::refresh_token(id, generation), token));
        (access, refresh)
    }
}

impl Inner {
    /// Opens a stored access token if it has not expired. One that does not open is as good as none, but is told loudly.
    pub(super) async fn open_live(&self, stored: &StoredGrant) -> Result<Option<Arc<OpenedToken>>, RefreshError> {
        let Some(material) = stored.material.as_ref().filter(|material| self.clock.now() < material.expires_at) else {
            return Ok(None);
        };
        // The id is made from whom it was asked for: what was sealed for somebody else does not open here.
        let id = keys::grant_id(&self.tenant, &stored.key);
        match self.vault.open(&Place::access_token(&id, stored.generation), &material.access_token).await {
            Ok(token) => Ok(Some(Arc::new(OpenedToken::of_stored(token, id, stored, material)))),
            Err(error @ (VaultError::NotAuthentic { .. } | VaultError::Unreadable { .. })) => {
                tracing::error!(%error, "a stored token does not open: it was tampered with, or its key service has not the key it had");
                Ok(None)
            }
            Err(error @ (VaultError::OtherMasterKey { .. } | VaultError::MasterKey { .. })) => {
                Err(RefreshError::vault(error))
            }
        }
    }

    /// Opens a refresh token, to ask with. Where it does not open, only its holder can give another.
    pub(super) async fn open_refresh_token(
        &self,
        stored: &StoredGrant,
        generation: Generation,
        sealed: &Sealed,
    ) -> Result<Secret, RefreshError> {
        // As above: by the row's own id, a row that is said to be somebody else's would open for them (V2).
        let id = keys::grant_id(&self.tenant, &stored.key);
        match self.vault.open(&Place::refresh_token(&id, generation), sealed).await {
            Ok(token) => Ok(token),
            Err(error @ (VaultError::NotAuthentic { .. } | VaultError::Unreadable { .. })) => {
                tracing::error!(%error, "a stored refresh token does not open: it was tampered with, or its key service has not the key it had");
                Err(ConsentReason::Unreadable.into())
            }
            Err(error @ (VaultError::OtherMasterKey { .. } | VaultError::MasterKey { .. })) => {
                Err(RefreshError::vault(error))
            }
        }
    }
}
