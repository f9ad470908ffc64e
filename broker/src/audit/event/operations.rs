//! What operators do: manifests, keys, the store, secrets, tokens.

use super::{Actor, Call, Event, EventName, Outcome, PolicyDecision};
use crate::model::{Generation, PrincipalId};

impl Event {
    /// Manifests became revision `revision`.
    pub fn manifest_apply(actor: Actor, revision: u64, names: &[String]) -> Self {
        Self {
            actor: Some(actor),
            call: Call { target: names.join(" "), ..Call::default() },
            policy: Some(PolicyDecision { version: revision, rule: "apply".to_owned() }),
            ..Self::new(EventName::ManifestApply, Outcome::Success)
        }
    }

    /// The master key was replaced by this one.
    pub fn key_rotated(actor: Actor, key: &str) -> Self {
        Self {
            actor: Some(actor),
            call: Call { target: key.to_owned(), ..Call::default() },
            ..Self::new(EventName::KeyRotated, Outcome::Success)
        }
    }

    /// So many stored secrets were moved to this master key.
    pub fn key_rewrapped(actor: Actor, key: &str, fields: u64) -> Self {
        Self {
            actor: Some(actor),
            call: Call { target: key.to_owned(), ..Call::default() },
            reason: Some(format!("{fields} fields")),
            ..Self::new(EventName::KeyRewrapped, Outcome::Success)
        }
    }

    /// What is sealed for this principal, or for the whole tenant, is being destroyed: so many fields.
    pub fn key_shredding(actor: Actor, whose: Option<PrincipalId>, fields: u64) -> Self {
        Self::shred(EventName::KeyShredding, actor, whose, fields)
    }

    /// It is gone.
    pub fn key_shredded(actor: Actor, whose: Option<PrincipalId>, fields: u64) -> Self {
        Self::shred(EventName::KeyShredded, actor, whose, fields)
    }

    fn shred(name: EventName, actor: Actor, whose: Option<PrincipalId>, fields: u64) -> Self {
        let target = if whose.is_none() { "tenant".to_owned() } else { String::new() };
        Self {
            actor: Some(actor),
            on_behalf_of: whose,
            call: Call { target, ..Call::default() },
            reason: Some(format!("{fields} fields")),
            ..Self::new(name, Outcome::Success)
        }
    }

    /// Everything was moved here: so many records from this store.
    pub fn store_migrated(actor: Actor, source: &str, records: u64) -> Self {
        Self {
            actor: Some(actor),
            call: Call { target: source.to_owned(), ..Call::default() },
            reason: Some(format!("{records} records")),
            ..Self::new(EventName::StoreMigrated, Outcome::Success)
        }
    }

    /// The store was put back from a backup whose audit ended here.
    pub fn store_restored(actor: Actor, sequence: u64) -> Self {
        Self {
            actor: Some(actor),
            reason: Some(format!("audit up to {sequence}")),
            ..Self::new(EventName::StoreRestored, Outcome::Success)
        }
    }

    /// A secret of the broker's own got a value; `reference` is its name.
    pub fn secret_set(actor: Actor, reference: &str, generation: Generation) -> Self {
        Self {
            actor: Some(actor),
            call: Call { target: reference.to_owned(), ..Call::default() },
            generation: Some(generation),
            ..Self::new(EventName::SecretSet, Outcome::Success)
        }
    }

    /// The broker issued a token with this `jti` for a principal.
    pub fn token_issue(actor: Actor, principal: PrincipalId, id: &str) -> Self {
        Self {
            actor: Some(actor),
            on_behalf_of: Some(principal),
            call: Call { target: id.to_owned(), ..Call::default() },
            ..Self::new(EventName::TokenIssue, Outcome::Success)
        }
    }

    /// The token with this `jti` was revoked.
    pub fn token_revoke(actor: Actor, id: &str) -> Self {
        Self {
            actor: Some(actor),
            call: Call { target: id.to_owned(), ..Call::default() },
            ..Self::new(EventName::TokenRevoke, Outcome::Success)
        }
    }
}
