//! Why a field was not sealed or opened.

use std::fmt;

use super::envelope::{EnvelopeError, KeyId};
use super::master::{KeyError, MasterKey};
use super::place::Record;

/// Why a field was not sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// It was changed, or belongs elsewhere.
    #[error("{kind} {record}: {field} does not open: it was changed, or moved here from another record")]
    NotAuthentic {
        /// Kind of the record.
        kind: &'static str,
        /// Id of the record.
        record: String,
        /// Which field.
        field: &'static str,
    },
    /// It was sealed under a master key that is not held.
    #[error(
        "{kind} {record}: {field} needs master key {needed}, and what is held is {held}; put back the key it was sealed with"
    )]
    OtherMasterKey {
        /// Kind of the record.
        kind: &'static str,
        /// Id of the record.
        record: String,
        /// Which field.
        field: &'static str,
        /// The key it was sealed under.
        needed: KeyId,
        /// The keys there are.
        held: KeyIds,
    },
    /// A master key is not to be had now.
    #[error(
        "master key {key} ({kept}) cannot be used now; tokens that are open in memory are served for minutes more, \
         nothing is renewed meanwhile, and no other key takes its place"
    )]
    MasterKey {
        /// Which key.
        key: KeyId,
        /// Where it is kept.
        kept: String,
        /// What is wrong with it.
        #[source]
        source: KeyError,
    },
    /// It is no sealed field at all.
    #[error("{kind} {record}: {field} is not readable")]
    Unreadable {
        /// Kind of the record.
        kind: &'static str,
        /// Id of the record.
        record: String,
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        #[source]
        source: EnvelopeError,
    },
}

/// Ids of master keys; shown with commas between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyIds(pub Vec<KeyId>);

impl fmt::Display for KeyIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&ids.join(", "))
    }
}

impl VaultError {
    /// A code for metrics.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::NotAuthentic { .. } => "not_authentic",
            Self::OtherMasterKey { .. } => "other_master_key",
            Self::MasterKey { source, .. } => source.code(),
            Self::Unreadable { .. } => "unreadable",
        }
    }

    pub(super) fn not_authentic(record: Record<'_>, field: &'static str) -> Self {
        Self::NotAuthentic { kind: record.kind.name(), record: record.id.to_owned(), field }
    }

    pub(super) fn other_master_key(record: Record<'_>, field: &'static str, needed: KeyId, held: KeyIds) -> Self {
        Self::OtherMasterKey { kind: record.kind.name(), record: record.id.to_owned(), field, needed, held }
    }

    pub(super) fn of_key(key: &dyn MasterKey, source: KeyError) -> Self {
        Self::MasterKey { key: key.id(), kept: key.kept().to_owned(), source }
    }

    pub(super) fn unreadable(record: Record<'_>, field: &'static str, source: EnvelopeError) -> Self {
        Self::Unreadable { kind: record.kind.name(), record: record.id.to_owned(), field, source }
    }
}
