//! What one transaction of all brokers holds at a time.

use crate::keys;
use crate::model::{GrantKey, Identity};

/// Held from where it is taken to the end of the transaction. A transaction takes one at most, and before it writes, so
/// that no two wait for each other.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lock<'a> {
    /// The end of the audit chain, and the numbers of reports.
    Audit,
    /// The consents in progress for one grant.
    Consents(&'a GrantKey),
    /// What is dropped because it is old: rows of many, in no order.
    Expired,
    /// The first key of a purpose.
    FirstKey(&'a str),
    /// Whose an identity is.
    Identity(&'a Identity),
    /// The tables themselves.
    Tables,
}

impl Lock<'_> {
    /// What a database knows it by.
    pub(super) fn number(self) -> i64 {
        match self {
            Self::Audit => keys::lock_number(&[b"audit"]),
            Self::Consents(grant) => {
                keys::lock_number(&[b"consents", grant.provider_client.as_bytes(), grant.holder.as_bytes()])
            }
            Self::Expired => keys::lock_number(&[b"expired"]),
            Self::FirstKey(purpose) => keys::lock_number(&[b"first key", purpose.as_bytes()]),
            Self::Identity(identity) => {
                keys::lock_number(&[b"identity", identity.issuer.as_bytes(), identity.subject.as_bytes()])
            }
            Self::Tables => keys::lock_number(&[b"tables"]),
        }
    }
}
