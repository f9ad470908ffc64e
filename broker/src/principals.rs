//! Whose an identity is.

use crate::clock::UnixTime;
use crate::model::{Identity, PrincipalId, PrincipalKind};
use crate::store::{Store, StoreError};

/// The principal of an identity, made if it is new. `email` is there only for an address that a login issuer has
/// verified: nobody else is merged by e-mail.
///
/// # Errors
/// If the store does not answer.
pub async fn of(
    store: &dyn Store,
    identity: &Identity,
    email: Option<&str>,
    now: UnixTime,
) -> Result<PrincipalId, StoreError> {
    // Most are known: only somebody new takes the store's one writer.
    if let Some(known) = store.principal(identity).await? {
        return Ok(known.id);
    }
    let kind = match email {
        Some(email) => PrincipalKind::User { email: email.to_owned() },
        None => PrincipalKind::External,
    };
    Ok(store.ensure_principal(&kind, Some(identity), now).await?.id)
}
