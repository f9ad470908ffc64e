//! The embedded store: one SQLite file that only its owner may read.
//!
//! Every commit is on disk before it is answered (`synchronous=FULL`), and what is deleted is overwritten
//! (`secure_delete`). One connection writes, a few read; another process with the same file is waited for, 2 s.

mod audit;
mod consents;
mod grants;
mod invalidations;
mod keys;
mod manifests;
mod open;
mod principals;
mod reports;
mod secrets;
mod sign_ins;
mod tokens;

use async_trait::async_trait;
use sqlx::{Sqlite, SqlitePool, Transaction};

pub use open::OpenError;

use super::{
    AuditEntry, ConsentAttempt, GrantCommit, Intent, Invalidation, Recorded, ReportNumber, Sealed, Standing, Store,
    StoreError, StoredAudit, StoredConsent, StoredGrant, StoredKey, StoredManifest, StoredSecret, StoredSession,
    StoredSignIn, StoredToken,
};
use crate::clock::UnixTime;
use crate::model::{Generation, GrantKey, Identity, Principal, PrincipalId, PrincipalKind};

/// A store in a SQLite file.
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Begins a transaction that holds the write lock from its start: it never fails at its end because somebody
    /// else wrote meanwhile.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Closes the connections; whatever was answered is durable without this.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error() {
            // A row that must not be there is, or one that must be there is gone.
            Some(e) if e.is_unique_violation() || e.is_foreign_key_violation() => Self::Conflict,
            Some(_) | None => Self::Unavailable(Box::new(error)),
        }
    }
}

/// SQLite counts to 2^63 - 1; the far end of time or numbers is as good as further.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64, table: &'static str, id: &str) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::Corrupt { table, id: id.to_owned(), why: "a number is negative" })
}

fn hash(bytes: Vec<u8>, table: &'static str, id: &str) -> Result<[u8; 32], StoreError> {
    let corrupt = |_| StoreError::Corrupt { table, id: id.to_owned(), why: "a hash is not 32 bytes long" };
    bytes.try_into().map_err(corrupt)
}

/// A compare-and-swap changed one row, or somebody else was first.
fn one(rows: u64) -> Result<(), StoreError> {
    match rows {
        1 => Ok(()),
        _ => Err(StoreError::Conflict),
    }
}

fn to_json(texts: &[String]) -> String {
    serde_json::Value::from(texts).to_string()
}

fn texts(json: &str, table: &'static str, id: &str) -> Result<Vec<String>, StoreError> {
    let corrupt = |_| StoreError::Corrupt { table, id: id.to_owned(), why: "a list is not one" };
    serde_json::from_str(json).map_err(corrupt)
}

#[async_trait]
impl Store for SqliteStore {
    async fn ready(&self) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE probe SET count = count + 1 WHERE id = 1").execute(&mut *tx).await?;
        tx.commit().await?;
        sqlx::query("SELECT count FROM probe").fetch_one(&self.readers).await?;
        Ok(())
    }

    async fn principal(&self, identity: &Identity) -> Result<Option<Principal>, StoreError> {
        principals::of_identity(&mut *self.readers.acquire().await?, identity).await
    }

    async fn ensure_principal(
        &self,
        kind: &PrincipalKind,
        identity: Option<&Identity>,
        now: UnixTime,
    ) -> Result<Principal, StoreError> {
        let mut tx = self.begin().await?;
        let principal = principals::ensure(&mut tx, kind, identity, now).await?;
        tx.commit().await?;
        Ok(principal)
    }

    async fn principal_named(&self, kind: &PrincipalKind) -> Result<Option<Principal>, StoreError> {
        principals::named(&mut *self.readers.acquire().await?, kind).await
    }

    async fn principal_by_id(&self, id: &PrincipalId) -> Result<Option<Principal>, StoreError> {
        principals::by_id(&mut *self.readers.acquire().await?, id).await
    }

    async fn manifests(&self) -> Result<(u64, Vec<StoredManifest>), StoreError> {
        // A transaction, so that revision and manifests are of the same moment.
        manifests::all(&mut *self.readers.begin().await?).await
    }

    async fn put_manifests(
        &self,
        expected: u64,
        manifests: &[StoredManifest],
        actor: &str,
        now: UnixTime,
    ) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        let revision = manifests::put(&mut tx, expected, manifests, actor, now).await?;
        tx.commit().await?;
        Ok(revision)
    }

    async fn secret(&self, group: &str, key: &str) -> Result<Option<StoredSecret>, StoreError> {
        secrets::find(&mut *self.readers.acquire().await?, group, key).await
    }

    async fn put_secret(&self, secret: &StoredSecret, owners: &[String], now: UnixTime) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        secrets::put(&mut tx, secret, owners, now).await?;
        Ok(tx.commit().await?)
    }

    async fn secret_owners(&self, group: &str) -> Result<Option<Vec<String>>, StoreError> {
        secrets::owners(&mut *self.readers.begin().await?, group).await
    }

    async fn secrets(&self) -> Result<Vec<(String, String)>, StoreError> {
        secrets::names(&mut *self.readers.acquire().await?).await
    }

    async fn grant(&self, key: &GrantKey) -> Result<Option<StoredGrant>, StoreError> {
        grants::find(&mut *self.readers.acquire().await?, key).await
    }

    async fn grant_by_id(&self, id: &str) -> Result<Option<StoredGrant>, StoreError> {
        grants::by_id(&mut *self.readers.acquire().await?, id).await
    }

    async fn grants(&self, holder: Option<&PrincipalId>) -> Result<Vec<StoredGrant>, StoreError> {
        grants::all(&mut *self.readers.acquire().await?, holder).await
    }

    async fn commit_grant(&self, grant: &GrantCommit) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        grants::commit(&mut tx, grant, grants::Replacing::Any).await?;
        Ok(tx.commit().await?)
    }

    async fn commit_refresh(&self, grant: &GrantCommit) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        grants::commit(&mut tx, grant, grants::Replacing::Live).await?;
        Ok(tx.commit().await?)
    }

    async fn take_intent(
        &self,
        id: &str,
        generation: Generation,
        intent: &Intent,
        instead_of: Option<&Intent>,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        grants::take_intent(&mut tx, id, generation, intent, instead_of).await?;
        Ok(tx.commit().await?)
    }

    async fn clear_intent(&self, id: &str, generation: Generation, intent: &Intent) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let was = grants::clear_intent(&mut tx, id, generation, intent).await?;
        tx.commit().await?;
        Ok(was)
    }

    async fn dangling_intents(&self, before: UnixTime, broker: &str) -> Result<Vec<StoredGrant>, StoreError> {
        grants::dangling(&mut *self.readers.acquire().await?, before, broker).await
    }

    async fn keep_spare(&self, id: &str, generation: Generation, spare: &Sealed) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        grants::keep_spare(&mut tx, id, generation, spare).await?;
        Ok(tx.commit().await?)
    }

    async fn drop_spare(&self, id: &str, generation: Generation) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        grants::drop_spare(&mut tx, id, generation).await?;
        Ok(tx.commit().await?)
    }

    async fn end_refreshes(&self, id: &str, generation: Generation, reason: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        grants::end_refreshes(&mut tx, id, generation, reason).await?;
        Ok(tx.commit().await?)
    }

    async fn end_grant(
        &self,
        id: &str,
        generation: Generation,
        standing: &Standing,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        grants::end(&mut tx, id, generation, standing, now).await?;
        Ok(tx.commit().await?)
    }

    async fn invalidations(&self, after: u64, limit: u32) -> Result<Vec<Invalidation>, StoreError> {
        invalidations::after(&mut *self.readers.acquire().await?, after, limit).await
    }

    async fn ensure_consent(&self, consent: &StoredConsent) -> Result<StoredConsent, StoreError> {
        let mut tx = self.begin().await?;
        let stored = consents::ensure(&mut tx, consent).await?;
        tx.commit().await?;
        Ok(stored)
    }

    async fn consent(&self, id: &str) -> Result<Option<StoredConsent>, StoreError> {
        consents::find(&mut *self.readers.acquire().await?, id).await
    }

    async fn renew_consent(&self, id: &str, expires_at: UnixTime) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        consents::renew(&mut tx, id, expires_at).await?;
        Ok(tx.commit().await?)
    }

    async fn begin_consent(&self, id: &str, attempt: &ConsentAttempt) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        consents::begin(&mut tx, id, attempt).await?;
        Ok(tx.commit().await?)
    }

    async fn take_code(&self, id: &str, attempt: u32) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        consents::take_code(&mut tx, id, attempt).await?;
        Ok(tx.commit().await?)
    }

    async fn hold_tokens(&self, id: &str, attempt: u32, held: &Sealed) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        consents::hold(&mut tx, id, attempt, held).await?;
        Ok(tx.commit().await?)
    }

    async fn finish_consent(&self, id: &str, attempt: u32, outcome: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        consents::finish(&mut tx, id, attempt, outcome).await?;
        Ok(tx.commit().await?)
    }

    async fn abandoned_consents(&self, before: UnixTime) -> Result<Vec<StoredConsent>, StoreError> {
        consents::abandoned(&mut *self.readers.acquire().await?, before).await
    }

    async fn add_session(&self, session: &StoredSession) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sign_ins::add_session(&mut tx, session).await?;
        Ok(tx.commit().await?)
    }

    async fn session(&self, hash: &[u8; 32], now: UnixTime) -> Result<Option<StoredSession>, StoreError> {
        sign_ins::session(&mut *self.readers.acquire().await?, hash, now).await
    }

    async fn end_session(&self, hash: &[u8; 32]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sign_ins::end_session(&mut tx, hash).await?;
        Ok(tx.commit().await?)
    }

    async fn add_sign_in(&self, sign_in: &StoredSignIn) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sign_ins::add(&mut tx, sign_in).await?;
        Ok(tx.commit().await?)
    }

    async fn sign_in(&self, id: &str, now: UnixTime) -> Result<Option<StoredSignIn>, StoreError> {
        sign_ins::find(&mut *self.readers.acquire().await?, id, now).await
    }

    async fn confirm_sign_in(&self, id: &str, principal: &PrincipalId, code: &[u8; 32]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sign_ins::confirm(&mut tx, id, principal, code).await?;
        Ok(tx.commit().await?)
    }

    async fn use_sign_in(&self, id: &str, now: UnixTime) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sign_ins::take(&mut tx, id, now).await?;
        Ok(tx.commit().await?)
    }

    async fn drop_expired(&self, before: UnixTime) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        consents::drop_expired(&mut tx, before).await?;
        invalidations::drop_old(&mut tx, before).await?;
        sign_ins::drop_expired(&mut tx, before).await?;
        Ok(tx.commit().await?)
    }

    async fn add_token(&self, token: &StoredToken) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        tokens::add(&mut tx, token).await?;
        Ok(tx.commit().await?)
    }

    async fn token(&self, id: &str) -> Result<Option<StoredToken>, StoreError> {
        tokens::find(&mut *self.readers.acquire().await?, id).await
    }

    async fn tokens(&self, now: UnixTime) -> Result<Vec<StoredToken>, StoreError> {
        tokens::live(&mut *self.readers.acquire().await?, now).await
    }

    async fn revoked_tokens(&self, now: UnixTime) -> Result<Vec<StoredToken>, StoreError> {
        tokens::revoked(&mut *self.readers.acquire().await?, now).await
    }

    async fn revoke_token(&self, id: &str, now: UnixTime) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let there = tokens::revoke(&mut tx, id, now).await?;
        tx.commit().await?;
        Ok(there)
    }

    async fn keys(&self, purpose: &str) -> Result<Vec<StoredKey>, StoreError> {
        keys::of_purpose(&mut *self.readers.acquire().await?, purpose).await
    }

    async fn add_key(&self, key: &StoredKey) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        keys::add(&mut tx, key).await?;
        Ok(tx.commit().await?)
    }

    async fn drop_keys(&self, purpose: &str, before: UnixTime) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        keys::drop(&mut tx, purpose, before).await?;
        Ok(tx.commit().await?)
    }

    async fn append_audit(&self, entries: &[AuditEntry]) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        let last = audit::append(&mut tx, entries).await?;
        tx.commit().await?;
        Ok(last)
    }

    async fn audit(
        &self,
        after: u64,
        actor: &str,
        server: &str,
        event: &str,
        limit: u32,
    ) -> Result<Vec<StoredAudit>, StoreError> {
        audit::query(&mut *self.readers.acquire().await?, after, actor, server, event, limit).await
    }

    async fn record_calls(
        &self,
        number: &ReportNumber,
        entries: &[AuditEntry],
        gap: &(dyn Fn(u64, u64) -> AuditEntry + Send + Sync),
    ) -> Result<Recorded, StoreError> {
        let mut tx = self.begin().await?;
        let recorded = reports::number(&mut tx, number).await?;
        match recorded {
            Recorded::Repeated => {}
            Recorded::Stored => {
                audit::append(&mut tx, entries).await?;
            }
            Recorded::Gap(first, last) => {
                audit::append(&mut tx, &[gap(first, last)]).await?;
                audit::append(&mut tx, entries).await?;
            }
        }
        tx.commit().await?;
        Ok(recorded)
    }
}

#[cfg(test)]
pub(crate) mod tests;

#[cfg(test)]
pub(crate) use tests::open_in;
