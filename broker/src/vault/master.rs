//! What a master key can do, wherever it is kept: in a file here, or in a key service.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;

use super::envelope::KeyId;
use super::place::Record;
use super::watched::AwayKey;
use crate::model::Tenant;
use crate::secret::Secret;

/// What a wrapped data key is bound to, as far as its master key can bind it.
#[derive(Clone, Copy)]
pub(super) struct Bound<'a> {
    pub(super) tenant: &'a Tenant,
    pub(super) record: Record<'a>,
}

/// Wraps and unwraps data keys. Nothing here tries one key after the other: records name the key they need.
#[async_trait]
pub(super) trait MasterKey: Send + Sync + 'static {
    /// What records name it by.
    fn id(&self) -> KeyId;

    /// Where it is kept, for people.
    fn kept(&self) -> &str;

    /// How many data keys it has wrapped since this process began, where that is ours to count.
    fn wraps(&self) -> Option<u64>;

    /// Which version of it wraps, where its keeper tells, as far as it has been used.
    fn version(&self) -> Option<u32> {
        None
    }

    /// Since when it cannot be used, and why, where somebody else keeps it.
    fn away(&self) -> Option<AwayKey> {
        None
    }

    /// How long ago it was used last, where somebody else keeps it.
    fn unused_for(&self) -> Option<Duration> {
        None
    }

    /// A fresh data key, and it wrapped.
    async fn fresh(&self, bound: Bound<'_>) -> Result<(Secret, Vec<u8>), KeyError> {
        let key = Secret::random::<32>();
        let wrapped = self.wrap(bound, &key).await?;
        Ok((key, wrapped))
    }

    /// Wraps a data key that another master key has wrapped before.
    async fn wrap(&self, bound: Bound<'_>, key: &Secret) -> Result<Vec<u8>, KeyError>;

    /// The data key again.
    async fn unwrap(&self, bound: Bound<'_>, wrapped: &[u8]) -> Result<Secret, KeyError>;
}

/// What a key service said, or what kept us from asking it.
pub type Cause = Box<dyn Error + Send + Sync>;

/// Why a master key did not wrap or unwrap. Only [`KeyError::NotOurs`] is about the record; all else is about the key,
/// and there is no other key to fall back on.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It has not wrapped this, or not for this record.
    #[error("it has not wrapped this, or not for this record")]
    NotOurs,
    /// The key service does not let us.
    #[error("the key service denies its use; see what its policy allows this broker")]
    Denied(#[source] Cause),
    /// The key is disabled, about to be deleted, or gone.
    #[error("the key is disabled, about to be deleted, or not there; enable it, or name the right one")]
    Disabled(#[source] Cause),
    /// Too many requests.
    #[error("the key service has had too many requests; it was asked again as long as there was time")]
    Throttled(#[source] Cause),
    /// No answer in time.
    #[error("the key service does not answer in time")]
    TimedOut,
    /// No connection, or no credentials for it.
    #[error("the key service cannot be reached")]
    Unreachable(#[source] Cause),
    /// Any other answer.
    #[error("the key service failed")]
    Failed(#[source] Cause),
}

impl KeyError {
    /// A code for metrics.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::NotOurs => "not_ours",
            Self::Denied(_) => "denied",
            Self::Disabled(_) => "disabled",
            Self::Throttled(_) => "throttled",
            Self::TimedOut => "timed_out",
            Self::Unreachable(_) => "unreachable",
            Self::Failed(_) => "failed",
        }
    }
}
