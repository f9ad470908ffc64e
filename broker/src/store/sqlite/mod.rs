//! The embedded store: one SQLite file that only its owner may read.
//!
//! Every commit is on disk before it is answered (`synchronous=FULL`), and what is deleted is overwritten
//! (`secure_delete`). One connection writes, a few read; another process with the same file is waited for, 2 s.

mod audit;
mod grants;
mod keys;
mod manifests;
mod open;
mod principals;
mod reports;
mod secrets;
mod tokens;

use async_trait::async_trait;
use sqlx::{Sqlite, SqlitePool, Transaction};

pub use open::OpenError;

use super::{
    AuditEntry, Recorded, ReportNumber, Store, StoreError, StoredAudit, StoredGrant, StoredKey, StoredManifest,
    StoredSecret, StoredToken,
};
use crate::clock::UnixTime;
use crate::model::{GrantKey, Identity, Principal, PrincipalId, PrincipalKind};

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

    async fn commit_grant(&self, grant: &StoredGrant) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        grants::commit(&mut tx, grant).await?;
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
