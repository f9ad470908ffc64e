//! Following the chain: finds the first record that was changed, moved, put in or taken out.
//!
//! A chain cut off at its end looks whole from within; only a head that was written down elsewhere shows that.

use crate::store::{Store, StoreError, StoredAudit, chain};

/// Records read at a time.
const PAGE: u32 = 1000;

/// How far a chain was followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainHead {
    /// The last record's sequence; 0 before the first.
    pub sequence: u64,
    /// The last record's hash.
    pub hash: [u8; 32],
}

/// What is wrong with a chain, and where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Another record stands where one belongs.
    #[error("audit record {sequence} is missing")]
    Missing {
        /// The first that is missing.
        sequence: u64,
    },
    /// It was changed after it was written.
    #[error("audit record {sequence} was changed")]
    Changed {
        /// Which.
        sequence: u64,
    },
    /// It does not follow the one before it: that one was replaced, or this one comes from elsewhere.
    #[error("audit record {sequence} does not follow the one before it")]
    Unlinked {
        /// Which.
        sequence: u64,
    },
}

impl ChainError {
    /// The record at which the chain breaks.
    pub fn sequence(&self) -> u64 {
        match self {
            Self::Missing { sequence } | Self::Changed { sequence } | Self::Unlinked { sequence } => *sequence,
        }
    }
}

/// Why a chain was not verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is broken.
    #[error(transparent)]
    Broken(#[from] ChainError),
    /// It could not be read.
    #[error("the audit cannot be read")]
    Store(#[from] StoreError),
}

impl ChainHead {
    /// Before the first record.
    pub const START: Self = Self { sequence: 0, hash: chain::GENESIS };

    /// The head after `record`, which must be the next.
    pub fn follow(self, record: &StoredAudit) -> Result<Self, ChainError> {
        let sequence = self.sequence + 1;
        if record.sequence != sequence {
            return Err(ChainError::Missing { sequence });
        }
        if record.previous != self.hash {
            return Err(ChainError::Unlinked { sequence });
        }
        if record.hash != chain::link(&record.previous, sequence, &record.entry) {
            return Err(ChainError::Changed { sequence });
        }
        Ok(Self { sequence, hash: record.hash })
    }
}

/// Follows the whole chain of a store; answers its head.
pub async fn verify_chain(store: &dyn Store) -> Result<ChainHead, VerifyError> {
    let mut head = ChainHead::START;
    loop {
        let page = store.audit(head.sequence, "", "", "", PAGE).await?;
        if page.is_empty() {
            return Ok(head);
        }
        head = page.iter().try_fold(head, |head, record| head.follow(record))?;
    }
}
