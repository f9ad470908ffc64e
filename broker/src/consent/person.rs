//! Who may finish a consent: whom it was made for, or an owner of the virtual account it was made for.

use super::{Inner, Refused};
use crate::model::{PrincipalId, PrincipalKind};
use crate::signin::Session;

/// As what a person consents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// For themselves.
    Holder,
    /// For a virtual account: everybody who uses it will act as them.
    Owner {
        /// Its name.
        account: String,
    },
}

impl Role {
    pub(super) fn account(self) -> Option<String> {
        match self {
            Self::Holder => None,
            Self::Owner { account } => Some(account),
        }
    }
}

impl Inner {
    /// Whether this is who may act for `holder`.
    pub(super) async fn role(&self, session: &Session, holder: &PrincipalId) -> Result<Role, Refused> {
        if session.principal == *holder {
            return Ok(Role::Holder);
        }
        let account = match self.store.principal_by_id(holder).await?.map(|principal| principal.kind) {
            Some(PrincipalKind::VirtualAccount { name }) => name,
            Some(PrincipalKind::External | PrincipalKind::User { .. }) | None => return Err(Refused::WrongPerson),
        };
        let subject = self.subject(&session.principal).await?.ok_or(Refused::WrongPerson)?;
        match self.servers().virtual_accounts.get(&account) {
            Some(named) if named.owners.contains(&subject) => Ok(Role::Owner { account }),
            Some(_) | None => Err(Refused::WrongPerson),
        }
    }

    /// Refuses a link that nobody could use: a virtual account's without owners.
    pub(super) async fn has_consenter(&self, holder: &PrincipalId) -> Result<(), Refused> {
        match self.store.principal_by_id(holder).await?.map(|principal| principal.kind) {
            Some(PrincipalKind::External | PrincipalKind::User { .. }) => Ok(()),
            Some(PrincipalKind::VirtualAccount { name }) => match self.servers().virtual_accounts.get(&name) {
                Some(account) if !account.owners.is_empty() => Ok(()),
                Some(_) | None => Err(Refused::NoOwner),
            },
            None => Err(Refused::NotFound),
        }
    }

    /// The name by which policy knows a person, if it does by one.
    pub(super) async fn subject(&self, principal: &PrincipalId) -> Result<Option<String>, Refused> {
        match self.store.principal_by_id(principal).await?.map(|principal| principal.kind) {
            Some(PrincipalKind::User { email }) => Ok(Some(format!("user:{email}"))),
            Some(PrincipalKind::External | PrincipalKind::VirtualAccount { .. }) | None => Ok(None),
        }
    }
}
