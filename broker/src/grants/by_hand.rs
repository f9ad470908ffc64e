//! Refreshing a grant because an operator asks for it.

use super::{Grants, host, provider_client};
use crate::audit::{Actor, AuditError, Event};
use crate::model::PrincipalId;
use crate::refresher::{ByHand, RefreshError};
use crate::store::StoredGrant;

/// Why a refresh was not even asked for, or what became of it.
#[derive(Debug, thiserror::Error)]
pub enum ByHandError {
    /// No server has this provider client any more.
    #[error("no server has the provider client of this grant any more")]
    NoClient,
    /// Who asked for it could not be recorded.
    #[error("the audit is not available")]
    Audit(#[from] AuditError),
    /// It was asked for, and did not come about.
    #[error(transparent)]
    Refresh(#[from] RefreshError),
}

impl Grants {
    /// Refreshes a grant now, if it is due, or by force; who asked for it is recorded first. Answers the provider's host too.
    ///
    /// # Errors
    /// [`ByHandError`].
    pub async fn refresh(
        &self,
        grant: &StoredGrant,
        force: bool,
        actor: Actor,
    ) -> Result<(String, ByHand), ByHandError> {
        let client = provider_client(&self.0.servers.borrow(), &grant.key.provider_client);
        let client = client.ok_or(ByHandError::NoClient)?;
        let holder = PrincipalId(grant.key.holder.clone());
        let reason = if force { "by_force" } else { "if_due" };
        self.0.audit.record(Event::refresh_asked(actor, holder, &grant.id, grant.generation, reason)).await?;
        let host = host(&client);
        let done = self.0.refresher.by_hand(grant, client, force).await?;
        Ok((host, done))
    }
}
