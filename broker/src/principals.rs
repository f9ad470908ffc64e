//! Whose an identity is.

use crate::audit::Actor;
use crate::clock::UnixTime;
use crate::model::{Identity, PrincipalId, PrincipalKind};
use crate::store::{Store, StoreError};

/// Somebody whose verified address is that of a principal which another subject of the same issuer is: the same person
/// with a new account, or somebody else who was given the address. Only an operator can tell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "another account of {} has the address {email} here; an operator must decide whose it is, see `sallyport identities --help`",
    .identity.issuer
)]
pub struct Contested {
    /// Who came.
    pub identity: Identity,
    /// The address.
    pub email: String,
    /// Whose it is until an operator decides.
    pub owner: PrincipalId,
}

impl Contested {
    /// Who came, for records.
    pub fn actor(&self) -> Actor {
        let Identity { issuer, subject } = self.identity.clone();
        Actor { issuer, subject, client_id: None }
    }
}

/// Why an identity is nobody's.
#[derive(Debug, thiserror::Error)]
pub enum NoPrincipal {
    /// For an operator to decide.
    #[error(transparent)]
    Contested(Contested),
    /// The store does not answer.
    #[error(transparent)]
    Store(StoreError),
}

/// The principal of an identity, made if it is new. `email` is there only for an address that a login issuer has
/// verified: nobody else is merged by e-mail. Whoever came before it was known gets the name with it, if it is free.
///
/// # Errors
/// [`NoPrincipal`].
pub async fn of(
    store: &dyn Store,
    identity: &Identity,
    email: Option<&str>,
    now: UnixTime,
) -> Result<PrincipalId, NoPrincipal> {
    // Most are known, and by name where they have one: only somebody new takes the store's one writer.
    let known = store.principal(identity).await.map_err(NoPrincipal::Store)?;
    if let Some(known) = &known
        && (email.is_none() || known.kind != PrincipalKind::External)
    {
        return Ok(known.id.clone());
    }
    let kind = match email {
        Some(email) => PrincipalKind::User { email: email.to_owned() },
        None => PrincipalKind::External,
    };
    match store.ensure_principal(&kind, Some(identity), now).await {
        Ok(principal) => Ok(principal.id),
        Err(StoreError::OtherSubject(owner)) => {
            let email = email.unwrap_or_default().to_owned();
            Err(NoPrincipal::Contested(Contested { identity: identity.clone(), email, owner }))
        }
        Err(error) => match (error, known) {
            // Somebody else got the name at this moment; who has none is who they were.
            (StoreError::Conflict, Some(known)) => Ok(known.id),
            (error, _) => Err(NoPrincipal::Store(error)),
        },
    }
}
