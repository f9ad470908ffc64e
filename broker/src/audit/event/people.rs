//! Who people are: sign-ins, identities, and what the pages refused.

use super::{Actor, Call, Event, EventName, Outcome};
use crate::model::{Identity, PrincipalId};
use crate::store::StoredIdentity;

impl Event {
    /// A person signed in, through what the actor says.
    pub fn signed_in(actor: Actor, request_id: &str) -> Self {
        Self {
            actor: Some(actor),
            call: Call { request_id: request_id.to_owned(), ..Call::default() },
            ..Self::new(EventName::SignInDone, Outcome::Success)
        }
    }

    /// A person signed out.
    pub fn signed_out(actor: Actor, request_id: &str) -> Self {
        Self { name: EventName::SignOut, ..Self::signed_in(actor, request_id) }
    }

    /// Nobody was signed in; `reason` is a code.
    pub fn sign_in_refused(actor: Option<Actor>, request_id: &str, reason: &str) -> Self {
        Self {
            reason: Some(reason.to_owned()),
            actor,
            call: Call { request_id: request_id.to_owned(), ..Call::default() },
            ..Self::new(EventName::SignInRefused, Outcome::Refused)
        }
    }

    /// Nobody was signed in: the address is `owner`'s, by another subject of the same issuer.
    pub fn sign_in_contested(actor: Actor, owner: PrincipalId, request_id: &str) -> Self {
        Self { on_behalf_of: Some(owner), ..Self::sign_in_refused(Some(actor), request_id, "identity_contested") }
    }

    /// An operator made an identity, `<issuer>#<subject>`, one of `principal`.
    pub fn identity_link(actor: Actor, principal: PrincipalId, identity: &Identity) -> Self {
        Self {
            actor: Some(actor),
            on_behalf_of: Some(principal),
            call: Call { target: format!("{}#{}", identity.issuer, identity.subject), ..Call::default() },
            ..Self::new(EventName::IdentityLink, Outcome::Success)
        }
    }

    /// An operator took the name of `principal` away; `identities` were its own.
    pub fn identity_release(actor: Actor, principal: PrincipalId, identities: &[StoredIdentity]) -> Self {
        let keys: Vec<_> =
            identities.iter().map(|of| format!("{}#{}", of.identity.issuer, of.identity.subject)).collect();
        Self {
            actor: Some(actor),
            on_behalf_of: Some(principal),
            call: Call { target: keys.join(" "), ..Call::default() },
            ..Self::new(EventName::IdentityRelease, Outcome::Success)
        }
    }

    /// An operator made a link by which `principal` can sign in once.
    pub fn sign_in_link(actor: Actor, principal: PrincipalId) -> Self {
        Self { actor: Some(actor), on_behalf_of: Some(principal), ..Self::new(EventName::SignInLink, Outcome::Success) }
    }

    /// A form was not taken, or a request led to no page; `reason` is a code.
    pub fn form_refused(actor: Option<Actor>, request_id: &str, reason: &str) -> Self {
        Self {
            reason: Some(reason.to_owned()),
            actor,
            call: Call { request_id: request_id.to_owned(), ..Call::default() },
            ..Self::new(EventName::PagesRefused, Outcome::Refused)
        }
    }

    /// So many requests of strangers were over budget, within a minute.
    pub fn pages_refused(count: u64) -> Self {
        Self {
            reason: Some("over_budget".to_owned()),
            count: Some(count),
            ..Self::new(EventName::PagesRefused, Outcome::Refused)
        }
    }
}
