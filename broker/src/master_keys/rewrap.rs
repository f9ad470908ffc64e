//! Moving records from other master keys to the current one, while everything goes on.
//!
//! Nothing remembers how far it came: what is left is what does not begin with the current key's header. So it may end at
//! any moment, however it ends, and begins again where it was. A field is swapped only if it is still, byte for byte, what
//! was read; who committed a later one meanwhile has won. A key that cannot be used now keeps what needs it, and nothing else.

use futures::StreamExt as _;
use futures::stream;

use super::{MasterKeyError, MasterKeys};
use crate::audit::{Actor, Event};
use crate::causes;
use crate::model::Tenant;
use crate::store::{SealedColumn, SealedField, Swap};
use crate::vault::{KeyId, Record, RecordKind, VaultError};

/// Fields that are swapped in one transaction: few enough that nobody else waits long for the store.
const BATCH: u32 = 64;

/// Requests to a key service at once.
const AT_ONCE: usize = 8;

/// How many fields that stay are named.
const NAMED: usize = 100;

/// How far a re-wrap is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Fields that were swapped.
    pub done: u64,
    /// Fields that were not under the current key when it began.
    pub total: u64,
    /// Fields that stay as they are, at most [`NAMED`] of them.
    pub left: Vec<Left>,
    /// Keys that cannot be used now, and so keep what they have wrapped.
    pub away: Vec<Away>,
}

/// A field that could not be re-wrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Names the record and the field.
    pub what: String,
    /// Why.
    pub why: String,
}

/// A master key, other than the current one, that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Away {
    /// Which.
    pub key: KeyId,
    /// Fields that stay under it.
    pub fields: u64,
    /// Why.
    pub why: String,
}

/// How a look through one column ended.
enum Ended {
    /// With its last field.
    Through,
    /// Where the key was found to be away.
    Away(VaultError),
    /// Nobody listens any more.
    Unheard,
}

impl MasterKeys {
    /// Wraps every data key by the current master key that another one has wrapped. Tells its progress after each batch,
    /// and ends early when `tell` answers `false`.
    ///
    /// # Errors
    /// If the current key or the store cannot be used; what was done until then stays done.
    pub async fn rewrap(
        &self,
        actor: Actor,
        mut tell: impl FnMut(&Progress) -> bool + Send,
    ) -> Result<Progress, MasterKeyError> {
        let _alone = self.0.changing.try_lock().map_err(|_| MasterKeyError::UnderWay)?;
        let mut progress = Progress::default();
        for header in self.others().await? {
            progress.total += self.0.parts.store.count_sealed(&header).await?;
        }
        // Again, as long as it does any good: who had asked for a data key before the rotation may have sealed since.
        loop {
            let before = progress.done;
            progress.left.clear();
            progress.away.clear();
            for header in self.others().await? {
                if !self.header(&header, &mut progress, &mut tell).await? {
                    return Ok(progress);
                }
            }
            if progress.done == before {
                break;
            }
        }
        let key = self.0.parts.vault.key_id().to_string();
        self.0.parts.audit.record(Event::key_rewrapped(actor, &key, progress.done)).await?;
        Ok(progress)
    }

    /// How fields begin that are not under the current key.
    async fn others(&self) -> Result<Vec<Vec<u8>>, MasterKeyError> {
        let current = self.0.parts.vault.key_id().header();
        let headers = self.0.parts.store.seal_headers().await?;
        Ok(headers.into_iter().filter(|header| header != &current).collect())
    }

    /// Everything that begins so; answers whether to go on.
    async fn header(
        &self,
        header: &[u8],
        progress: &mut Progress,
        tell: &mut (impl FnMut(&Progress) -> bool + Send),
    ) -> Result<bool, MasterKeyError> {
        for column in SealedColumn::ALL {
            match self.column(*column, header, progress, tell).await? {
                Ended::Through => {}
                Ended::Unheard => return Ok(false),
                Ended::Away(error) => {
                    let VaultError::MasterKey { key, .. } = error else { return Err(error.into()) };
                    // Without the current one nothing moves, from whichever key.
                    if key == self.0.parts.vault.key_id() {
                        return Err(error.into());
                    }
                    let why = causes::told(&error);
                    tracing::warn!(%key, error = %why, "what this master key has wrapped stays under it for now");
                    progress.away.push(Away { key, fields: self.0.parts.store.count_sealed(header).await?, why });
                    break;
                }
            }
        }
        Ok(true)
    }

    async fn column(
        &self,
        column: SealedColumn,
        header: &[u8],
        progress: &mut Progress,
        tell: &mut (impl FnMut(&Progress) -> bool + Send),
    ) -> Result<Ended, MasterKeyError> {
        let store = &self.0.parts.store;
        let mut after = String::new();
        loop {
            let page = store.sealed_fields(column, header, &after, BATCH).await?;
            let unreadable = page.corrupt.iter().map(|error| {
                let what = format!("{} {}", column.table(), error.record().unwrap_or_default());
                Left { what, why: causes::told(error) }
            });
            progress.left.extend(unreadable.take(NAMED.saturating_sub(progress.left.len())));
            let Some(last) = page.records.last() else { return Ok(Ended::Through) };
            after.clone_from(&last.record);
            let mut swaps = Vec::with_capacity(page.records.len());
            let mut wrapped = stream::iter(page.records).map(|field| self.wrap(field)).buffered(AT_ONCE);
            let mut away = None;
            while let Some(wrapped) = wrapped.next().await {
                match wrapped {
                    Ok(Ok(swap)) => swaps.push(swap),
                    Ok(Err(left)) if progress.left.len() < NAMED => progress.left.push(left),
                    Ok(Err(_)) => {}
                    Err(error) => {
                        away = Some(error);
                        break;
                    }
                }
            }
            progress.done += store.swap_sealed(&swaps).await?;
            // Who commits meanwhile makes more of them than were counted.
            progress.total = progress.total.max(progress.done);
            if !tell(progress) {
                return Ok(Ended::Unheard);
            }
            if let Some(error) = away {
                return Ok(Ended::Away(error));
            }
        }
    }

    /// One field under the current key; or why it stays as it is, which is nobody else's trouble.
    async fn wrap(&self, field: SealedField) -> Result<Result<Swap, Left>, VaultError> {
        let (kind, id) = record_of(&self.0.parts.tenant, &field);
        let record = Record { kind, id: &id };
        match self.0.parts.vault.rewrap(record, field.column.name(), &field.sealed).await {
            Ok(new) => Ok(Ok(Swap { old: field, new })),
            Err(error @ VaultError::MasterKey { .. }) => Err(error),
            Err(
                error @ (VaultError::NotAuthentic { .. }
                | VaultError::OtherMasterKey { .. }
                | VaultError::Unreadable { .. }),
            ) => {
                let what = format!("{} {}: {}", kind.name(), field.record, field.column.name());
                Ok(Err(Left { what, why: causes::told(&error) }))
            }
        }
    }
}

/// The record that a field's data key was asked for.
fn record_of(tenant: &Tenant, field: &SealedField) -> (RecordKind, String) {
    match field.column {
        SealedColumn::AccessToken | SealedColumn::RefreshToken | SealedColumn::Spare => {
            (RecordKind::Grant, field.record.clone())
        }
        SealedColumn::ConsentState | SealedColumn::ConsentVerifier | SealedColumn::ConsentHeld => {
            (RecordKind::Consent, field.record.clone())
        }
        SealedColumn::SignInSecrets => (RecordKind::SignIn, field.record.clone()),
        SealedColumn::Secret => (RecordKind::Secret, format!("{}:{}", tenant.0, field.record)),
        SealedColumn::Key => (RecordKind::Key, field.record.clone()),
    }
}
