//! What every SQL store does: one text for all of them, compiled once for each.
//!
//! A back end includes this module and gives it its types, how a transaction begins, and how one of them keeps all others
//! out. The text is what SQLite and Postgres have in common: `$1`, `ON CONFLICT`, `RETURNING`, `IS NOT DISTINCT FROM`;
//! numbers are `i64`, flags 0 or 1.
//!
//! No statement relies on another one before it, unless a lock was taken: what two brokers may do at once is decided by
//! one statement that compares and swaps, or by a unique key. Where reading must come before writing, [`Lock`] says what
//! is held from then to the end of the transaction.

mod audit;
mod budgets;
mod columns;
mod consents;
mod copy;
mod due;
mod grants;
mod identities;
mod intents;
mod invalidations;
mod keys;
mod manifests;
mod principals;
mod reports;
mod sealed;
mod secrets;
mod shred;
mod sign_ins;
mod tokens;

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{Connection, Handle, Row, SHARED, Statement, lock, made, query};
use crate::clock::UnixTime;
use crate::model::{Generation, GrantKey, Identity, Principal, PrincipalId, PrincipalKind};
use crate::store::copy::{Record, Table, Value};
use crate::store::value::{one, signed, to_json, unsigned};
use crate::store::{
    AuditEntry, ConsentAttempt, Found, GrantCommit, Held, Intent, Invalidation, Lock, Pause, PolicyRevision, Recorded,
    Released, ReportNumber, RevokedToken, Sealed, SealedColumn, SealedField, Shredded, Standing, Store, StoreError,
    StoredAudit, StoredConsent, StoredGrant, StoredIdentity, StoredKey, StoredManifest, StoredMasterKey, StoredSecret,
    StoredSession, StoredSignIn, StoredToken, Swap,
};

/// One transaction that reads: all of it sees one moment.
macro_rules! reading {
    ($store:expr, |$db:ident| $work:expr) => {
        $store
            .bounded(async {
                let mut tx = $store.read().await?;
                let $db = &mut *tx;
                $work.await
            })
            .await
    };
}

/// One statement that reads, on the path of requests: it sees one moment by itself.
macro_rules! reading_once {
    ($store:expr, |$db:ident| $statement:expr) => {
        $store
            .bounded(async {
                let mut connection = $store.read_once().await?;
                let $db = &mut *connection;
                $statement.await
            })
            .await
    };
}

/// One transaction that writes: durable if the work went well, without a trace if not.
macro_rules! writing {
    ($store:expr, |$db:ident| $work:expr) => {
        $store
            .bounded(async {
                let mut tx = $store.write().await?;
                let $db = &mut *tx;
                let done = $work.await?;
                tx.commit().await?;
                Ok(done)
            })
            .await
    };
}

#[async_trait]
impl Store for Handle {
    async fn ready(&self) -> Result<(), StoreError> {
        writing!(self, |db| query("UPDATE probe SET count = count + 1 WHERE id = 1").execute(db))?;
        reading!(self, |db| probe(db))
    }

    async fn principal(&self, identity: &Identity) -> Result<Option<Principal>, StoreError> {
        reading_once!(self, |db| principals::of_identity(db, identity))
    }

    async fn ensure_principal(
        &self,
        kind: &PrincipalKind,
        identity: Option<&Identity>,
        now: UnixTime,
    ) -> Result<Principal, StoreError> {
        writing!(self, |db| principals::ensure(db, kind, identity, now))
    }

    async fn principal_named(&self, kind: &PrincipalKind) -> Result<Option<Principal>, StoreError> {
        reading!(self, |db| principals::named(db, kind))
    }

    async fn principal_by_id(&self, id: &PrincipalId) -> Result<Option<Principal>, StoreError> {
        reading!(self, |db| principals::by_id(db, id))
    }

    async fn identities(&self, principal: Option<&PrincipalId>) -> Result<Found<StoredIdentity>, StoreError> {
        reading!(self, |db| identities::all(db, principal))
    }

    async fn link_identity(&self, email: &str, identity: &Identity, now: UnixTime) -> Result<bool, StoreError> {
        writing!(self, |db| identities::link(db, email, identity, now))
    }

    async fn release_user(&self, email: &str, now: UnixTime) -> Result<Option<Released>, StoreError> {
        writing!(self, |db| identities::release(db, email, now))
    }

    async fn manifests(&self) -> Result<(u64, Vec<StoredManifest>), StoreError> {
        reading!(self, |db| manifests::all(db))
    }

    async fn policy_revision(&self) -> Result<PolicyRevision, StoreError> {
        reading!(self, |db| manifests::policy_revision(db))
    }

    async fn put_manifests(
        &self,
        expected: u64,
        manifests: &[StoredManifest],
        actor: &str,
        now: UnixTime,
    ) -> Result<u64, StoreError> {
        writing!(self, |db| manifests::put(db, expected, manifests, actor, now))
    }

    async fn secret(&self, group: &str, key: &str) -> Result<Option<StoredSecret>, StoreError> {
        reading!(self, |db| secrets::find(db, group, key))
    }

    async fn put_secret(&self, secret: &StoredSecret, owners: &[String], now: UnixTime) -> Result<(), StoreError> {
        writing!(self, |db| secrets::put(db, secret, owners, now))
    }

    async fn secret_owners(&self, group: &str) -> Result<Option<Vec<String>>, StoreError> {
        reading!(self, |db| secrets::owners(db, group))
    }

    async fn secrets(&self) -> Result<Found<(String, String)>, StoreError> {
        reading!(self, |db| secrets::names(db))
    }

    async fn grant(&self, key: &GrantKey) -> Result<Option<StoredGrant>, StoreError> {
        reading_once!(self, |db| grants::find(db, key))
    }

    async fn grant_by_id(&self, id: &str) -> Result<Option<StoredGrant>, StoreError> {
        reading!(self, |db| grants::by_id(db, id))
    }

    async fn grants(&self, holder: Option<&PrincipalId>) -> Result<Found<StoredGrant>, StoreError> {
        reading!(self, |db| grants::all(db, holder))
    }

    async fn commit_grant(&self, grant: &GrantCommit) -> Result<(), StoreError> {
        writing!(self, |db| grants::commit(db, grant, grants::Replacing::Any))
    }

    async fn commit_refresh(&self, grant: &GrantCommit) -> Result<(), StoreError> {
        writing!(self, |db| grants::commit(db, grant, grants::Replacing::Live))
    }

    async fn commit_consented(&self, grant: &GrantCommit, consent: &str) -> Result<(), StoreError> {
        writing!(self, |db| commit_consented(db, grant, consent))
    }

    async fn commit_chosen(
        &self,
        grant: &GrantCommit,
        consent: &str,
        attempt: u32,
        held: &Sealed,
        instead: &Sealed,
    ) -> Result<(), StoreError> {
        writing!(self, |db| commit_chosen(db, grant, consent, attempt, held, instead))
    }

    async fn take_intent(
        &self,
        id: &str,
        generation: Generation,
        intent: &Intent,
        instead_of: Option<&Intent>,
        paused: Option<&Pause>,
    ) -> Result<(), StoreError> {
        writing!(self, |db| intents::take(db, id, generation, intent, instead_of, paused))
    }

    async fn clear_intent(
        &self,
        id: &str,
        generation: Generation,
        intent: &Intent,
        pause: &Pause,
    ) -> Result<bool, StoreError> {
        writing!(self, |db| intents::clear(db, id, generation, intent, pause))
    }

    async fn pause(
        &self,
        id: &str,
        generation: Generation,
        intent: Option<&Intent>,
        pause: &Pause,
    ) -> Result<bool, StoreError> {
        writing!(self, |db| intents::pause(db, id, generation, intent, pause))
    }

    async fn set_life(
        &self,
        id: &str,
        generation: Generation,
        expires_at: UnixTime,
        refresh_after: UnixTime,
    ) -> Result<bool, StoreError> {
        writing!(self, |db| due::set_life(db, id, generation, expires_at, refresh_after))
    }

    async fn take_first_intent(
        &self,
        grant: &str,
        intent: &Intent,
        broker: &str,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        writing!(self, |db| intents::take_first(db, grant, intent, broker, now))
    }

    async fn clear_first_intent(&self, grant: &str, intent: &Intent) -> Result<(), StoreError> {
        writing!(self, |db| intents::clear_first(db, grant, intent))
    }

    async fn due_grants(
        &self,
        provider_client: &str,
        now: UnixTime,
        limit: u32,
    ) -> Result<Found<StoredGrant>, StoreError> {
        reading!(self, |db| due::due(db, provider_client, now, limit))
    }

    async fn oldest_due(
        &self,
        provider_client: &str,
        now: UnixTime,
        used_since: UnixTime,
    ) -> Result<Option<UnixTime>, StoreError> {
        reading!(self, |db| due::oldest(db, provider_client, now, used_since))
    }

    async fn under_refresh(&self, now: UnixTime) -> Result<BTreeMap<String, u32>, StoreError> {
        reading!(self, |db| intents::under_way(db, now))
    }

    async fn spent_until(&self, provider: &str) -> Result<Option<u64>, StoreError> {
        reading!(self, |db| budgets::spent_until(db, provider))
    }

    async fn spend(&self, provider: &str, from: Option<u64>, until: u64) -> Result<bool, StoreError> {
        writing!(self, |db| budgets::spend(db, provider, from, until))
    }

    async fn put_off(&self, ids: &[String], until: UnixTime) -> Result<(), StoreError> {
        writing!(self, |db| due::put_off(db, ids, until))
    }

    async fn leave_idle(&self, idle: &[StoredGrant]) -> Result<(), StoreError> {
        writing!(self, |db| due::leave(db, idle))
    }

    async fn mark_used(&self, ids: &[String], at: UnixTime) -> Result<(), StoreError> {
        writing!(self, |db| due::used(db, ids, at))
    }

    async fn dangling_intents(&self, before: UnixTime, broker: &str) -> Result<Found<StoredGrant>, StoreError> {
        reading!(self, |db| intents::dangling(db, before, broker))
    }

    async fn keep_spare(
        &self,
        id: &str,
        beside: Generation,
        generation: Generation,
        spare: &Sealed,
    ) -> Result<(), StoreError> {
        writing!(self, |db| grants::keep_spare(db, id, beside, generation, spare))
    }

    async fn end_refreshes(&self, id: &str, generation: Generation, reason: &str) -> Result<(), StoreError> {
        writing!(self, |db| grants::end_refreshes(db, id, generation, reason))
    }

    async fn set_aside(&self, id: &str, generation: Generation, reason: &str) -> Result<(), StoreError> {
        writing!(self, |db| grants::set_aside(db, id, generation, reason))
    }

    async fn take_up(&self, id: &str, generation: Generation, reason: &str) -> Result<(), StoreError> {
        writing!(self, |db| grants::take_up(db, id, generation, reason))
    }

    async fn end_grant(
        &self,
        id: &str,
        generation: Generation,
        standing: &Standing,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        writing!(self, |db| grants::end(db, id, generation, standing, now))
    }

    async fn invalidations(&self, after: u64, limit: u32) -> Result<Found<Invalidation>, StoreError> {
        reading!(self, |db| invalidations::after(db, after, limit))
    }

    async fn ensure_consent(&self, consent: &StoredConsent) -> Result<StoredConsent, StoreError> {
        writing!(self, |db| consents::ensure(db, consent))
    }

    async fn consent(&self, id: &str) -> Result<Option<StoredConsent>, StoreError> {
        reading!(self, |db| consents::find(db, id))
    }

    async fn renew_consent(&self, id: &str, expires_at: UnixTime) -> Result<(), StoreError> {
        writing!(self, |db| consents::renew(db, id, expires_at))
    }

    async fn begin_consent(&self, id: &str, attempt: &ConsentAttempt) -> Result<(), StoreError> {
        writing!(self, |db| consents::begin(db, id, attempt))
    }

    async fn take_code(&self, id: &str, attempt: u32, now: UnixTime) -> Result<(), StoreError> {
        writing!(self, |db| consents::take_code(db, id, attempt, now))
    }

    async fn hold_tokens(&self, id: &str, attempt: u32, held: &Sealed) -> Result<(), StoreError> {
        writing!(self, |db| consents::hold(db, id, attempt, held))
    }

    async fn replace_held(&self, id: &str, attempt: u32, before: &Sealed, held: &Sealed) -> Result<(), StoreError> {
        writing!(self, |db| consents::replace_held(db, id, attempt, before, held))
    }

    async fn finish_consent(&self, id: &str, attempt: u32, outcome: &str) -> Result<(), StoreError> {
        writing!(self, |db| consents::finish(db, id, attempt, None, outcome))
    }

    async fn finish_held(&self, id: &str, attempt: u32, held: &Sealed, outcome: &str) -> Result<(), StoreError> {
        writing!(self, |db| consents::finish(db, id, attempt, Some(held), outcome))
    }

    async fn abandoned_consents(&self, before: UnixTime) -> Result<Found<StoredConsent>, StoreError> {
        reading!(self, |db| consents::abandoned(db, before))
    }

    async fn add_session(&self, session: &StoredSession) -> Result<(), StoreError> {
        writing!(self, |db| sign_ins::add_session(db, session))
    }

    async fn finish_sign_in(
        &self,
        session: &StoredSession,
        using: Option<&str>,
        instead_of: Option<&[u8; 32]>,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        writing!(self, |db| sign_ins::finish(db, session, using, instead_of, now))
    }

    async fn session(&self, hash: &[u8; 32], now: UnixTime) -> Result<Option<StoredSession>, StoreError> {
        reading!(self, |db| sign_ins::session(db, hash, now))
    }

    async fn end_session(&self, hash: &[u8; 32]) -> Result<(), StoreError> {
        writing!(self, |db| sign_ins::end_session(db, hash))
    }

    async fn add_sign_in(&self, sign_in: &StoredSignIn) -> Result<(), StoreError> {
        writing!(self, |db| sign_ins::add(db, sign_in))
    }

    async fn sign_in(&self, id: &str, now: UnixTime) -> Result<Option<StoredSignIn>, StoreError> {
        reading!(self, |db| sign_ins::find(db, id, now))
    }

    async fn confirm_sign_in(&self, id: &str, principal: &PrincipalId, code: &[u8; 32]) -> Result<(), StoreError> {
        writing!(self, |db| sign_ins::confirm(db, id, principal, code))
    }

    async fn use_sign_in(&self, id: &str, now: UnixTime) -> Result<(), StoreError> {
        writing!(self, |db| sign_ins::take(db, id, now))
    }

    async fn drop_expired(&self, now: UnixTime, before: UnixTime) -> Result<(), StoreError> {
        writing!(self, |db| drop_expired(db, now, before))
    }

    async fn add_token(&self, token: &StoredToken) -> Result<(), StoreError> {
        writing!(self, |db| tokens::add(db, token))
    }

    async fn token(&self, id: &str) -> Result<Option<StoredToken>, StoreError> {
        reading!(self, |db| tokens::find(db, id))
    }

    async fn tokens(&self, now: UnixTime) -> Result<Found<StoredToken>, StoreError> {
        reading!(self, |db| tokens::live(db, now))
    }

    async fn revoked_tokens(&self, now: UnixTime) -> Result<Found<RevokedToken>, StoreError> {
        reading!(self, |db| tokens::revoked(db, now))
    }

    async fn revoke_token(&self, id: &str, now: UnixTime) -> Result<bool, StoreError> {
        writing!(self, |db| tokens::revoke(db, id, now))
    }

    async fn keys(&self, purpose: &str) -> Result<Found<StoredKey>, StoreError> {
        reading!(self, |db| keys::of_purpose(db, purpose))
    }

    async fn add_key(&self, key: &StoredKey) -> Result<(), StoreError> {
        writing!(self, |db| keys::add(db, key))
    }

    async fn add_first_key(&self, key: &StoredKey) -> Result<(), StoreError> {
        writing!(self, |db| keys::add_first(db, key))
    }

    async fn drop_keys(&self, purpose: &str, before: UnixTime) -> Result<(), StoreError> {
        writing!(self, |db| keys::drop(db, purpose, before))
    }

    async fn seal_headers(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        reading!(self, |db| sealed::headers(db))
    }

    async fn count_sealed(&self, header: &[u8]) -> Result<u64, StoreError> {
        reading!(self, |db| sealed::count(db, header))
    }

    async fn sealed_fields(
        &self,
        column: SealedColumn,
        header: &[u8],
        after: &str,
        limit: u32,
    ) -> Result<Found<SealedField>, StoreError> {
        reading!(self, |db| sealed::page(db, column, header, after, limit))
    }

    async fn swap_sealed(&self, swaps: &[Swap]) -> Result<u64, StoreError> {
        writing!(self, |db| sealed::swap(db, swaps))
    }

    async fn count_sealed_of(&self, holder: Option<&PrincipalId>) -> Result<u64, StoreError> {
        reading!(self, |db| shred::count(db, holder))
    }

    async fn shred_grants(
        &self,
        holder: Option<&PrincipalId>,
        limit: u32,
        now: UnixTime,
    ) -> Result<Vec<Shredded>, StoreError> {
        writing!(self, |db| shred::grants(db, holder, limit, now))
    }

    async fn shred_rest(&self, holder: Option<&PrincipalId>) -> Result<u64, StoreError> {
        writing!(self, |db| shred::rest(db, holder))
    }

    async fn scrub(&self) -> Result<(), StoreError> {
        self.scrub_files().await
    }

    async fn master_keys(&self) -> Result<Found<StoredMasterKey>, StoreError> {
        reading!(self, |db| sealed::master_keys(db))
    }

    async fn add_wraps(&self, master_key: &str, wraps: u64, now: UnixTime) -> Result<u64, StoreError> {
        writing!(self, |db| sealed::add_wraps(db, master_key, wraps, now))
    }

    async fn append_audit(&self, entries: &[AuditEntry]) -> Result<u64, StoreError> {
        writing!(self, |db| audit::append(db, entries))
    }

    async fn audit(
        &self,
        after: u64,
        actor: &str,
        server: &str,
        event: &str,
        limit: u32,
    ) -> Result<Vec<StoredAudit>, StoreError> {
        reading!(self, |db| audit::select(db, after, actor, server, event, limit))
    }

    async fn record_calls(
        &self,
        number: &ReportNumber,
        entries: &[AuditEntry],
        gap: &(dyn Fn(u64, u64) -> AuditEntry + Send + Sync),
    ) -> Result<Recorded, StoreError> {
        writing!(self, |db| reports::record(db, number, entries, gap))
    }

    async fn records(&self, table: &Table, after: Option<&[Value]>, limit: u32) -> Result<Vec<Record>, StoreError> {
        reading!(self, |db| copy::page(db, table, after, limit))
    }

    async fn put_records(&self, table: &Table, records: &[Record]) -> Result<(), StoreError> {
        writing!(self, |db| copy::put(db, table, records))
    }

    async fn count_records(&self, table: &Table) -> Result<u64, StoreError> {
        reading!(self, |db| copy::count(db, table))
    }

    async fn copied_from(&self) -> Result<Option<String>, StoreError> {
        reading!(self, |db| copy::source(db))
    }

    async fn begin_copy(&self, source: &str, now: UnixTime) -> Result<(), StoreError> {
        writing!(self, |db| copy::begin(db, source, now))
    }

    async fn end_copy(&self) -> Result<(), StoreError> {
        writing!(self, |db| copy::end(db))
    }

    async fn time(&self) -> Result<Option<UnixTime>, StoreError> {
        self.shared_time().await
    }

    async fn others(&self) -> Result<u64, StoreError> {
        self.other_connections().await
    }

    async fn hold(&self, tables: &[Table]) -> Result<Held, StoreError> {
        self.hold_tables(tables).await
    }

    fn is_shared(&self) -> bool {
        SHARED
    }

    async fn is_new(&self) -> Result<bool, StoreError> {
        reading!(self, |db| is_new(db))
    }

    async fn close(&self) {
        self.close_connections().await;
    }
}

async fn probe(db: &mut Connection) -> Result<(), StoreError> {
    query("SELECT count FROM probe WHERE id = 1").fetch_one(db).await?;
    Ok(())
}

async fn is_new(db: &mut Connection) -> Result<bool, StoreError> {
    let sql = "SELECT 1 AS sealed FROM keys UNION ALL SELECT 1 FROM secrets UNION ALL SELECT 1 FROM grants LIMIT 1";
    Ok(query(sql).fetch_optional(db).await?.is_none())
}

/// An owner agrees for an account as long as they have their name; for oneself anybody does.
async fn claim_owner(db: &mut Connection, grant: &GrantCommit) -> Result<(), StoreError> {
    match &grant.consented_by {
        Some(by) if by.0 != grant.key.holder => principals::claim_named(db, by).await,
        Some(_) | None => Ok(()),
    }
}

async fn commit_consented(db: &mut Connection, grant: &GrantCommit, consent: &str) -> Result<(), StoreError> {
    claim_owner(db, grant).await?;
    consents::claim(db, consent).await?;
    grants::commit(db, grant, grants::Replacing::Any).await
}

async fn commit_chosen(
    db: &mut Connection,
    grant: &GrantCommit,
    consent: &str,
    attempt: u32,
    held: &Sealed,
    instead: &Sealed,
) -> Result<(), StoreError> {
    claim_owner(db, grant).await?;
    consents::choose(db, consent, attempt, held, instead).await?;
    grants::commit(db, grant, grants::Replacing::Any).await
}

async fn drop_expired(db: &mut Connection, now: UnixTime, before: UnixTime) -> Result<(), StoreError> {
    lock(db, Lock::Expired).await?;
    consents::drop_expired(db, before).await?;
    invalidations::drop_old(db, before).await?;
    sign_ins::drop_expired(db, now).await
}
