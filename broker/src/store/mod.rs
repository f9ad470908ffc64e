//! The store: one trait, and one conformance suite run against each back end.
//!
//! A store sees sealed bytes and plain ids only. Every method is one transaction; none needs session state, so that a
//! Postgres back end works through a pooler in transaction mode.

pub mod chain;
#[cfg(test)]
pub(crate) mod conformance;
mod consent;
pub mod copy;
mod found;
mod grant;
mod identity;
mod lock;
#[cfg(test)]
mod older;
pub mod postgres;
mod sealed;
pub mod sqlite;
mod value;

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::clock::UnixTime;
use crate::model::{Generation, GrantKey, Identity, Principal, PrincipalId, PrincipalKind};

pub use consent::{ConsentAttempt, SignInKind, StoredConsent, StoredSession, StoredSignIn};
use copy::{Table, Value};
pub use found::{Found, Named};
pub use grant::{GrantCommit, Intent, Invalidation, Material, Pause, Spare, Standing, StoredGrant};
pub use identity::{Linked, Released, StoredIdentity};
use lock::Lock;
pub use sealed::{SealedColumn, SealedField, Shredded, StoredMasterKey, Swap};

/// The tables, in what SQLite and Postgres have in common; see [`postgres`] for what is said differently there.
static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// Number of the last migration of this version.
pub(crate) fn latest_migration() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else was first; re-read and decide again.
    #[error("changed by somebody else meanwhile")]
    Conflict,
    /// The name belongs to a principal that another subject of the same issuer is; only an operator links this one.
    #[error("another subject of the same issuer has this name")]
    OtherSubject(PrincipalId),
    /// A stored record cannot be right; it spoils no other.
    #[error("stored {table} record {id} is not readable: {why}")]
    Corrupt {
        /// Table.
        table: &'static str,
        /// Id of the record.
        id: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The store cannot be reached or written now; trying later may help.
    #[error("the store is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl StoreError {
    /// Id of the record that cannot be right, if that is why.
    pub fn record(&self) -> Option<String> {
        match self {
            Self::Corrupt { id, .. } => Some(id.clone()),
            Self::Conflict | Self::OtherSubject(_) | Self::Unavailable(_) => None,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error() {
            // A row that must not be there is, or one that must be there is gone.
            Some(e) if e.is_unique_violation() || e.is_foreign_key_violation() => Self::Conflict,
            // Postgres ended the transaction in favour of another one.
            Some(e) if matches!(e.code().as_deref(), Some("40001" | "40P01")) => Self::Conflict,
            Some(_) | None => Self::Unavailable(Box::new(error)),
        }
    }
}

/// Sealed bytes: what `vault` makes of a secret. Opaque here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed(pub Vec<u8>);

impl Sealed {
    /// Its first bytes, which say how it was sealed; shorter only if it is cut off.
    pub fn header(&self) -> &[u8] {
        self.0.get(..sealed::HEADER).unwrap_or(&self.0)
    }
}

/// A secret of the broker's own (`tfy-secret://…`), sealed.
#[derive(Clone, Debug)]
pub struct StoredSecret {
    /// Secret group.
    pub group: String,
    /// Key in the group.
    pub key: String,
    /// Counts its values from 1; part of the AAD.
    pub generation: Generation,
    /// The value.
    pub value: Sealed,
}

/// A manifest as applied, as given: no defaults added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredManifest {
    /// `name` of the manifest; unique with its type.
    pub name: String,
    /// `type` of the manifest.
    pub kind: String,
    /// The manifest as canonical JSON.
    pub body: String,
}

/// What differs once a manifest or the value of a secret does: both only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyRevision {
    /// The revision of the manifests.
    pub manifests: u64,
    /// The generations of all secrets, added up.
    pub secrets: u64,
}

/// A token that the broker issued; the token itself is not kept.
#[derive(Clone, Debug)]
pub struct StoredToken {
    /// `jti`.
    pub id: String,
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// Whose it is.
    pub principal: PrincipalId,
    /// When it was issued.
    pub issued_at: UnixTime,
    /// When it expires.
    pub expires_at: UnixTime,
    /// When it was revoked.
    pub revoked_at: Option<UnixTime>,
}

/// A token that was revoked: what it is refused by, so much as its record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedToken {
    /// `jti`. If nothing tells it any more, every token that this principal was issued until then is refused.
    pub id: Option<String>,
    /// Whose it is.
    pub principal: PrincipalId,
    /// When it was issued; the end of time if that cannot be read.
    pub issued_at: UnixTime,
    /// When it expires; the end of time if that cannot be read.
    pub expires_at: UnixTime,
}

/// A private key of the broker's own, sealed: to sign tokens, to bind sessions.
#[derive(Clone, Debug)]
pub struct StoredKey {
    /// `kid`; unique.
    pub id: String,
    /// `token-signing`, `session-binding` or `token-fingerprint`.
    pub purpose: String,
    /// When it was made.
    pub created_at: UnixTime,
    /// The key itself.
    pub value: Sealed,
}

/// One record of audit, ready to be chained: `json` has every field but `seq` and `prev`.
#[derive(Clone, Debug)]
pub struct AuditEntry {
    /// Name of the event, for example `credential.release`.
    pub event: String,
    /// `<issuer>#<subject>` of whom it is about, or the operator; empty if nobody.
    pub actor: String,
    /// `<group>/<name>`, or empty.
    pub server: String,
    /// When.
    pub at: UnixTime,
    /// The whole record, one line of JSON.
    pub json: String,
}

/// One record of audit as stored.
#[derive(Clone, Debug)]
pub struct StoredAudit {
    /// From 1, without gaps, per chain.
    pub sequence: u64,
    /// Hash of the record before it; [`chain::GENESIS`] for the first.
    pub previous: [u8; 32],
    /// [`chain::link`] over `previous`, the sequence and the record.
    pub hash: [u8; 32],
    /// The record.
    pub entry: AuditEntry,
}

/// A batch of reports from a proxy's worker; `(peer, proxy, worker, epoch, sequence)` makes it idempotent. No peer's numbers
/// are another's, whatever it calls itself.
#[derive(Clone, Debug)]
pub struct ReportNumber {
    /// Who reports, as the connection proves it.
    pub peer: String,
    /// Envoy's node id.
    pub proxy: String,
    /// VM of the proxy.
    pub worker: String,
    /// Start of that VM.
    pub epoch: UnixTime,
    /// From 1, without gaps; 0 counts as repeated.
    pub sequence: u64,
}

/// What became of a batch of reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// Stored now.
    Stored,
    /// Stored before; nothing changed.
    Repeated,
    /// Stored now, and numbers before it are missing: the first and the last one missing.
    Gap(u64, u64),
}

/// As long as this lives, nobody else writes.
pub struct Held(#[expect(dead_code, reason = "it is held, not looked at")] Box<dyn std::any::Any + Send>);

/// Where everything durable is.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Answers if the store can be read and written now.
    async fn ready(&self) -> Result<(), StoreError>;

    /// The principal an identity belongs to.
    async fn principal(&self, identity: &Identity) -> Result<Option<Principal>, StoreError>;
    /// The principal of this identity, else the one of this kind and name, made if there is none; the identity, if
    /// given, then belongs to it and never moves. `External` needs an identity (`Conflict` without one). Two callers
    /// at once get the same principal; two subjects of one issuer never do: the second is `OtherSubject`, until an
    /// operator links it. An `External` one whose identity comes as a user gets that name, if nobody has it and it never
    /// had one that was taken away.
    async fn ensure_principal(
        &self,
        kind: &PrincipalKind,
        identity: Option<&Identity>,
        now: UnixTime,
    ) -> Result<Principal, StoreError>;
    /// The user of this e-mail address or the virtual account of this name, if there is one; no `External`.
    async fn principal_named(&self, kind: &PrincipalKind) -> Result<Option<Principal>, StoreError>;
    /// A principal by id.
    async fn principal_by_id(&self, id: &PrincipalId) -> Result<Option<Principal>, StoreError>;
    /// Every identity, or those of one principal, in order of principal, issuer and subject.
    async fn identities(&self, principal: Option<&PrincipalId>) -> Result<Found<StoredIdentity>, StoreError>;
    /// Makes an identity one of the user of this e-mail address, whatever other subjects of its issuer they are; answers
    /// whether it was not yet. Where nobody has the address, whose identity it is gets it, as in
    /// [`Store::ensure_principal`]. `Conflict` if it is somebody else's, or nobody's.
    async fn link_identity(&self, email: &str, identity: &Identity, now: UnixTime) -> Result<bool, StoreError>;
    /// Takes a user's name away, and with it their sessions, sign-ins and consents, and revokes their tokens: whoever comes
    /// under that name next is somebody new. The principal stays, nameless, with its grants and its identities, but for those
    /// whose subject is the name. `None` if nobody has it.
    async fn release_user(&self, email: &str, now: UnixTime) -> Result<Option<Released>, StoreError>;

    /// Every manifest, in order of type and name, and the revision they are at (0 for a new store).
    async fn manifests(&self) -> Result<(u64, Vec<StoredManifest>), StoreError>;
    /// Where manifests and secrets are at. Read twice a second, so it must not cost more the more manifests there are.
    async fn policy_revision(&self) -> Result<PolicyRevision, StoreError>;
    /// Replaces or adds all of `manifests` and keeps what they replace as history; answers the new revision.
    /// `Conflict` if the revision is not `expected` any more.
    async fn put_manifests(
        &self,
        expected: u64,
        manifests: &[StoredManifest],
        actor: &str,
        now: UnixTime,
    ) -> Result<u64, StoreError>;

    /// A secret of the broker's own.
    async fn secret(&self, group: &str, key: &str) -> Result<Option<StoredSecret>, StoreError>;
    /// Stores generation `n` of a secret whose stored generation is `n - 1` (or which is not there, for 1), and adds
    /// to its group's owners. `Conflict` otherwise.
    async fn put_secret(&self, secret: &StoredSecret, owners: &[String], now: UnixTime) -> Result<(), StoreError>;
    /// Names of the manifests that may refer to a group's secrets; `None` if there is no such group.
    async fn secret_owners(&self, group: &str) -> Result<Option<Vec<String>>, StoreError>;
    /// `(group, key)` of every secret, in order.
    async fn secrets(&self) -> Result<Found<(String, String)>, StoreError>;

    /// The grant for this key.
    async fn grant(&self, key: &GrantKey) -> Result<Option<StoredGrant>, StoreError>;
    /// A grant by id.
    async fn grant_by_id(&self, id: &str) -> Result<Option<StoredGrant>, StoreError>;
    /// Every grant of one holder, or of all people (not of `service`), in order of id.
    async fn grants(&self, holder: Option<&PrincipalId>) -> Result<Found<StoredGrant>, StoreError>;
    /// Stores generation `n` of a grant whose stored generation is `n - 1` (or which is not there, for 1), by
    /// compare-and-swap, whatever its standing; its intent and its spare are gone then. `Conflict` otherwise: the loser
    /// re-reads, and deletes nothing (I5).
    async fn commit_grant(&self, grant: &GrantCommit) -> Result<(), StoreError>;
    /// As [`Store::commit_grant`], for what a refresh gave: `Conflict` also if the grant has ended. What was ended while
    /// the provider was asked stays ended, unless for `invalid_grant` or `lost`: that is what a used refresh token is
    /// answered with, and the answer that had the next one and was believed lost has come after all.
    async fn commit_refresh(&self, grant: &GrantCommit) -> Result<(), StoreError>;
    /// As [`Store::commit_grant`], for what a person agreed to: `Conflict` also if the consent of this id is nobody's any
    /// more, or if who agreed to it for an account has no name any more ([`Store::release_user`]).
    async fn commit_consented(&self, grant: &GrantCommit, consent: &str) -> Result<(), StoreError>;
    /// As [`Store::commit_consented`], for tokens that this attempt holds: in the same write it holds `instead` in place of
    /// `held`. `Conflict` also if it holds anything else: then somebody has come to another end of it.
    async fn commit_chosen(
        &self,
        grant: &GrantCommit,
        consent: &str,
        attempt: u32,
        held: &Sealed,
        instead: &Sealed,
    ) -> Result<(), StoreError>;
    /// Takes the right to refresh a live grant at this generation. `Conflict` unless the intent there is exactly
    /// `instead_of`: none, or one whose deadline has passed or whose owner is dead; and unless the pause there is exactly
    /// `paused`: whoever read before another one's request failed would otherwise ask at once again.
    async fn take_intent(
        &self,
        id: &str,
        generation: Generation,
        intent: &Intent,
        instead_of: Option<&Intent>,
        paused: Option<&Pause>,
    ) -> Result<(), StoreError>;
    /// Gives the right back, if it is still this one, since the provider has certainly not acted on it; in the same write
    /// its pause begins. What earlier attempts may have done stays: after the second the intent says 1, after the first
    /// there is none. Answers whether it was.
    async fn clear_intent(
        &self,
        id: &str,
        generation: Generation,
        intent: &Intent,
        pause: &Pause,
    ) -> Result<bool, StoreError>;
    /// Begins the pause of a grant at this generation whose intent is exactly this one, or none; the intent stays. Answers
    /// whether it is that grant.
    async fn pause(
        &self,
        id: &str,
        generation: Generation,
        intent: Option<&Intent>,
        pause: &Pause,
    ) -> Result<bool, StoreError>;
    /// Takes the right to ask for the first token of a grant that there is none of yet. `false` if somebody has it until after
    /// `now`, but for an earlier start of `broker`.
    async fn take_first_intent(
        &self,
        grant: &str,
        intent: &Intent,
        broker: &str,
        now: UnixTime,
    ) -> Result<bool, StoreError>;
    /// Gives that right back, if it is still this one.
    async fn clear_first_intent(&self, grant: &str, intent: &Intent) -> Result<(), StoreError>;
    /// Grants of a provider client that want to be looked at: first those given up by whoever began to refresh them, then
    /// what is due, most lately used first and never used last; at most `limit`. Asked each second, so it must not cost more
    /// the more grants there are that are not due.
    async fn due_grants(
        &self,
        provider_client: &str,
        now: UnixTime,
        limit: u32,
    ) -> Result<Found<StoredGrant>, StoreError>;
    /// Since when that token of a provider client has been due which has waited for longest for its successor, of grants used
    /// after `used_since` or given up by whoever began to refresh them; whatever was tried meanwhile.
    async fn oldest_due(
        &self,
        provider_client: &str,
        now: UnixTime,
        used_since: UnixTime,
    ) -> Result<Option<UnixTime>, StoreError>;
    /// How many grants of each provider client somebody has the right to refresh, until `now` at least.
    async fn under_refresh(&self, now: UnixTime) -> Result<BTreeMap<String, u32>, StoreError>;
    /// Until when the budget of a provider is spent, in microseconds since 1970, if anything of it ever was.
    async fn spent_until(&self, provider: &str) -> Result<Option<u64>, StoreError>;
    /// Spends of the budget of a provider, up to `until`. `false` if it is not spent up to `from` any more: somebody else
    /// was quicker.
    async fn spend(&self, provider: &str, from: Option<u64>, until: u64) -> Result<bool, StoreError>;
    /// Shows these no sooner than then: they cannot be read, and must not take the place of those that can.
    async fn put_off(&self, ids: &[String], until: UnixTime) -> Result<(), StoreError>;
    /// Leaves these alone until they are used again, but those that were used, renewed or begun since they were read.
    async fn leave_idle(&self, idle: &[StoredGrant]) -> Result<(), StoreError>;
    /// Notes that these were used at that time, unless a later use is noted.
    async fn mark_used(&self, ids: &[String], at: UnixTime) -> Result<(), StoreError>;
    /// Every live grant with an intent whose deadline is before `before`, or whose owner is any start of `broker`, in
    /// order of id.
    async fn dangling_intents(&self, before: UnixTime, broker: &str) -> Result<Found<StoredGrant>, StoreError>;
    /// Keeps a refresh token whose commit lost, sealed for `generation`, if what won is still at generation `beside`, and
    /// unless there is one already: a later one may be another account's.
    async fn keep_spare(
        &self,
        id: &str,
        beside: Generation,
        generation: Generation,
        spare: &Sealed,
    ) -> Result<(), StoreError>;
    /// Says when the token of a live grant at this generation expires and is due, which nobody knew when it was stored.
    /// Answers whether it is that grant, and nobody has begun to refresh it.
    async fn set_life(
        &self,
        id: &str,
        generation: Generation,
        expires_at: UnixTime,
        refresh_after: UnixTime,
    ) -> Result<bool, StoreError>;
    /// Ends the refreshes of a live grant at exactly this generation: its holder must agree anew, for this reason. Its
    /// access token stays; refresh token, intent and spare are destroyed. `Conflict` otherwise.
    async fn end_refreshes(&self, id: &str, generation: Generation, reason: &str) -> Result<(), StoreError>;
    /// Has the holder of a live grant at exactly this generation agree anew, for this reason, and ends nothing: its tokens,
    /// its spare, its intent and its pause stay, for the day on which they can be read again. It is due no more. `Conflict`
    /// if it is not live, or has no refresh token.
    async fn set_aside(&self, id: &str, generation: Generation, reason: &str) -> Result<(), StoreError>;
    /// Takes [`Store::set_aside`] back. `Conflict` if it was not set aside for this reason, at this generation.
    async fn take_up(&self, id: &str, generation: Generation, reason: &str) -> Result<(), StoreError>;
    /// Ends a grant at exactly this generation, which it invalidates, and destroys its material, intent and spare; its row
    /// stays, so that its generations never begin again. `Conflict` if it is another generation by now (I5), or if it has
    /// ended: only a revocation overrules another end.
    async fn end_grant(
        &self,
        id: &str,
        generation: Generation,
        standing: &Standing,
        now: UnixTime,
    ) -> Result<(), StoreError>;
    /// Invalidations of a later number, in order of it, at most `limit`; of each grant the latest. None becomes visible
    /// after one of a later number has. Those that are corrupt are told with the others, by what can be read of them; with
    /// number 0, and each time anew, if their number is none that was given: it must not take anybody past the others. Read
    /// twice a second, so it must not cost more the more grants there are.
    async fn invalidations(&self, after: u64, limit: u32) -> Result<Found<Invalidation>, StoreError>;

    /// The unfinished consent of the same holder, provider client, server, extra scopes and subjects that has not expired at
    /// `consent.created_at`, or this one, stored now. Where there are 16 that ask for extra scopes already, one of those:
    /// which scopes is an upstream's word, and it must not fill the store.
    async fn ensure_consent(&self, consent: &StoredConsent) -> Result<StoredConsent, StoreError>;
    /// A consent by id, expired or not.
    async fn consent(&self, id: &str) -> Result<Option<StoredConsent>, StoreError>;
    /// Gives an unfinished consent another time to live. `Conflict` if there is no such consent.
    async fn renew_consent(&self, id: &str, expires_at: UnixTime) -> Result<(), StoreError>;
    /// Begins an unfinished consent that holds no tokens: attempt `n` after `n - 1`, whose state and verifier are gone.
    /// `Conflict` otherwise.
    async fn begin_consent(&self, id: &str, attempt: &ConsentAttempt) -> Result<(), StoreError>;
    /// Takes the code of this attempt for oneself: one caller ever gets `Ok`, all others `Conflict`.
    async fn take_code(&self, id: &str, attempt: u32, now: UnixTime) -> Result<(), StoreError>;
    /// Holds the tokens of this attempt, whose code was taken, until it is finished. `Conflict` if it is not the last
    /// attempt, has ended or holds some.
    async fn hold_tokens(&self, id: &str, attempt: u32, held: &Sealed) -> Result<(), StoreError>;
    /// Holds this in place of exactly what this attempt holds. `Conflict` if it holds anything else.
    async fn replace_held(&self, id: &str, attempt: u32, before: &Sealed, held: &Sealed) -> Result<(), StoreError>;
    /// Says how this attempt ended, and destroys its state, its verifier and what it holds. `Conflict` if it is not the
    /// last attempt or has ended.
    async fn finish_consent(&self, id: &str, attempt: u32, outcome: &str) -> Result<(), StoreError>;
    /// As [`Store::finish_consent`]. `Conflict` also if it holds anything but `held`: it is as it was read, or left alone.
    async fn finish_held(&self, id: &str, attempt: u32, held: &Sealed, outcome: &str) -> Result<(), StoreError>;
    /// Consents that hold tokens still and expired before `before`, in order of id.
    async fn abandoned_consents(&self, before: UnixTime) -> Result<Found<StoredConsent>, StoreError>;

    /// Remembers a browser that signed in.
    async fn add_session(&self, session: &StoredSession) -> Result<(), StoreError>;
    /// Remembers a browser that signed in, uses up the sign-in of this id, if it is not yet, and ends the session that the
    /// browser had: all of it or nothing. `Conflict` if that sign-in was used or has expired.
    async fn finish_sign_in(
        &self,
        session: &StoredSession,
        using: Option<&str>,
        instead_of: Option<&[u8; 32]>,
        now: UnixTime,
    ) -> Result<(), StoreError>;
    /// A session that has not expired at `now`.
    async fn session(&self, hash: &[u8; 32], now: UnixTime) -> Result<Option<StoredSession>, StoreError>;
    /// Ends a session.
    async fn end_session(&self, hash: &[u8; 32]) -> Result<(), StoreError>;
    /// Remembers a sign-in that was begun; `Conflict` if its id is taken.
    async fn add_sign_in(&self, sign_in: &StoredSignIn) -> Result<(), StoreError>;
    /// A sign-in that has not expired at `now`.
    async fn sign_in(&self, id: &str, now: UnixTime) -> Result<Option<StoredSignIn>, StoreError>;
    /// Says who an unused sign-in of an application is, and the hash of the code that proves it; once. `Conflict`
    /// otherwise.
    async fn confirm_sign_in(&self, id: &str, principal: &PrincipalId, code: &[u8; 32]) -> Result<(), StoreError>;
    /// Uses a sign-in up: one caller ever gets `Ok`, all others `Conflict`.
    async fn use_sign_in(&self, id: &str, now: UnixTime) -> Result<(), StoreError>;
    /// Drops sessions and sign-ins that have expired at `now`, consents that expired before `before`, and invalidations of
    /// before then.
    async fn drop_expired(&self, now: UnixTime, before: UnixTime) -> Result<(), StoreError>;

    /// Remembers a token that was issued; `Conflict` if its id is taken or its principal is not there.
    async fn add_token(&self, token: &StoredToken) -> Result<(), StoreError>;
    /// A token by `jti`.
    async fn token(&self, id: &str) -> Result<Option<StoredToken>, StoreError>;
    /// Every token that has not expired at `now`, newest first.
    async fn tokens(&self, now: UnixTime) -> Result<Found<StoredToken>, StoreError>;
    /// Every token that was revoked and has not expired at `now`, in order of id. One whose record is corrupt stays revoked
    /// and is told with the others, by what can be read of it. Read each second, so it must not cost more the more tokens
    /// there are.
    async fn revoked_tokens(&self, now: UnixTime) -> Result<Found<RevokedToken>, StoreError>;
    /// Marks a token as revoked, unless it is already; answers whether there is such a token.
    async fn revoke_token(&self, id: &str, now: UnixTime) -> Result<bool, StoreError>;

    /// The keys of one purpose, newest first.
    async fn keys(&self, purpose: &str) -> Result<Found<StoredKey>, StoreError>;
    /// Adds a key; `Conflict` if its id is taken.
    async fn add_key(&self, key: &StoredKey) -> Result<(), StoreError>;
    /// Adds the first key of its purpose; `Conflict` if there is one already, be it corrupt, or its id is taken.
    async fn add_first_key(&self, key: &StoredKey) -> Result<(), StoreError>;
    /// Drops the keys of one purpose made before `before`.
    async fn drop_keys(&self, purpose: &str, before: UnixTime) -> Result<(), StoreError>;

    /// Every header that sealed fields begin with, each once, in order. Costs no more the more fields there are.
    async fn seal_headers(&self) -> Result<Vec<Vec<u8>>, StoreError>;
    /// How many sealed fields begin with this header.
    async fn count_sealed(&self, header: &[u8]) -> Result<u64, StoreError>;
    /// At most `limit` sealed fields of one column that begin with this header, of records after `after`, in order of
    /// record.
    async fn sealed_fields(
        &self,
        column: SealedColumn,
        header: &[u8],
        after: &str,
        limit: u32,
    ) -> Result<Found<SealedField>, StoreError>;
    /// Swaps each field that is still exactly what it was, and no other; answers how many those were. Generations stay:
    /// whoever commits the next one overwrites what was swapped.
    async fn swap_sealed(&self, swaps: &[Swap]) -> Result<u64, StoreError>;
    /// How many sealed fields there are of one holder's records, or in all.
    async fn count_sealed_of(&self, holder: Option<&PrincipalId>) -> Result<u64, StoreError>;
    /// Destroys what is sealed of at most `limit` grants of one holder, or of all, whatever their generation and even if
    /// they cannot be read: they are revoked, and what they had is invalidated. Answers which; none once none is left.
    async fn shred_grants(
        &self,
        holder: Option<&PrincipalId>,
        limit: u32,
        now: UnixTime,
    ) -> Result<Vec<Shredded>, StoreError>;
    /// Destroys what is sealed of one holder's consents and sign-ins; of the whole tenant, its secrets and the broker's
    /// own keys as well. Answers how many fields those were.
    async fn shred_rest(&self, holder: Option<&PrincipalId>) -> Result<u64, StoreError>;
    /// Rids the database's own files of what was destroyed, as far as it can be told to.
    async fn scrub(&self) -> Result<(), StoreError>;
    /// Every master key that was ever used here, in order of id.
    async fn master_keys(&self) -> Result<Found<StoredMasterKey>, StoreError>;
    /// Adds to what a master key may have wrapped; remembers the key if it is new. Answers the sum.
    async fn add_wraps(&self, master_key: &str, wraps: u64, now: UnixTime) -> Result<u64, StoreError>;

    /// Appends records in order, durably, each hashed over its predecessor; answers the last sequence.
    async fn append_audit(&self, entries: &[AuditEntry]) -> Result<u64, StoreError>;
    /// Records after `after`, oldest first, at most `limit`; empty filters match everything.
    async fn audit(
        &self,
        after: u64,
        actor: &str,
        server: &str,
        event: &str,
        limit: u32,
    ) -> Result<Vec<StoredAudit>, StoreError>;
    /// Appends a batch of reports as audit records, once. A batch that comes late and fills a gap is stored. Before one
    /// that leaves numbers out goes the record that `gap` makes of the first and the last of them.
    async fn record_calls(
        &self,
        number: &ReportNumber,
        entries: &[AuditEntry],
        gap: &(dyn Fn(u64, u64) -> AuditEntry + Send + Sync),
    ) -> Result<Recorded, StoreError>;

    /// Records of a table after one key, in order of the key, as they are.
    async fn records(
        &self,
        table: &Table,
        after: Option<&[Value]>,
        limit: u32,
    ) -> Result<Vec<copy::Record>, StoreError>;
    /// Writes records as they are, each over the one of its key if there is one.
    async fn put_records(&self, table: &Table, records: &[copy::Record]) -> Result<(), StoreError>;
    /// How many records a table holds.
    async fn count_records(&self, table: &Table) -> Result<u64, StoreError>;
    /// Which store this one is being filled from: until that is done it is none.
    async fn copied_from(&self) -> Result<Option<String>, StoreError>;
    /// Marks it as being filled; `Conflict` if it is.
    async fn begin_copy(&self, source: &str, now: UnixTime) -> Result<(), StoreError>;
    /// Says that it is filled.
    async fn end_copy(&self) -> Result<(), StoreError>;
    /// What time it is by a database that several brokers share, at some moment of this call; nothing where one broker has
    /// the store for itself.
    async fn time(&self) -> Result<Option<UnixTime>, StoreError>;
    /// How many connections to it are not this handle's, where others can have some.
    async fn others(&self) -> Result<u64, StoreError>;
    /// Keeps everybody else from writing to these tables, until what this answers is dropped.
    async fn hold(&self, tables: &[Table]) -> Result<Held, StoreError>;

    /// Whether other brokers may use it at the same time: then no broker knows what keys and files the others have.
    fn is_shared(&self) -> bool;
    /// Whether nothing was ever sealed into it: only then may there be no master key yet.
    async fn is_new(&self) -> Result<bool, StoreError>;
    /// Closes the connections; whatever was answered is durable without this.
    async fn close(&self);
}
