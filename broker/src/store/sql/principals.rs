//! Principals, by their identities and names.

use super::columns::Columns;
use super::{Connection, Lock, Row, identities, lock, one, query, signed};
use crate::clock::UnixTime;
use crate::model::{Identity, Principal, PrincipalId, PrincipalKind};
use crate::store::{Linked, StoreError};

pub(super) async fn of_identity(db: &mut Connection, identity: &Identity) -> Result<Option<Principal>, StoreError> {
    query(
        "SELECT p.id, p.kind, p.name, p.created_at FROM identities i JOIN principals p ON p.id = i.principal
         WHERE i.issuer = $1 AND i.subject = $2",
    )
    .bind(&identity.issuer)
    .bind(&identity.subject)
    .fetch_optional(db)
    .await?
    .map(|row| read(&row))
    .transpose()
}

pub(super) async fn named(db: &mut Connection, kind: &PrincipalKind) -> Result<Option<Principal>, StoreError> {
    let (word, name) = words(kind);
    // An external one has no name, and NULL equals nothing.
    query("SELECT id, kind, name, created_at FROM principals WHERE kind = $1 AND name = $2")
        .bind(word)
        .bind(name)
        .fetch_optional(db)
        .await?
        .map(|row| read(&row))
        .transpose()
}

pub(super) async fn by_id(db: &mut Connection, id: &PrincipalId) -> Result<Option<Principal>, StoreError> {
    query("SELECT id, kind, name, created_at FROM principals WHERE id = $1")
        .bind(&id.0)
        .fetch_optional(db)
        .await?
        .map(|row| read(&row))
        .transpose()
}

/// Held to the end of the transaction: whoever takes this user's name away finds what was done by it.
pub(super) async fn claim_named(db: &mut Connection, id: &PrincipalId) -> Result<(), StoreError> {
    let claimed = query("UPDATE principals SET name = name WHERE id = $1 AND kind = 'user'");
    one(claimed.bind(&id.0).execute(db).await?.rows_affected())
}

pub(super) async fn ensure(
    db: &mut Connection,
    kind: &PrincipalKind,
    identity: Option<&Identity>,
    now: UnixTime,
) -> Result<Principal, StoreError> {
    // An identity never moves: its principal owns grants that a change of e-mail address must not hand over.
    if let Some(identity) = identity {
        lock(db, Lock::Identity(identity)).await?;
        if let Some(principal) = of_identity(db, identity).await? {
            let named = match kind {
                PrincipalKind::User { email } => name(db, &principal.id, email).await?,
                PrincipalKind::External | PrincipalKind::VirtualAccount { .. } => None,
            };
            return Ok(named.unwrap_or(principal));
        }
    }
    let (word, name) = words(kind);
    if name.is_none() && identity.is_none() {
        // Nothing would ever find it again.
        return Err(StoreError::Conflict);
    }
    let fresh = new_id();
    // The one just made, or the one of that name that was there before; held, so that nobody takes the name away meanwhile.
    let row = query(
        "INSERT INTO principals (id, kind, name, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (kind, name) DO UPDATE SET name = excluded.name RETURNING id, kind, name, created_at",
    )
    .bind(&fresh.0)
    .bind(word)
    .bind(name)
    .bind(signed(now.0))
    .fetch_one(&mut *db)
    .await?;
    let principal = read(&row)?;
    if let Some(identity) = identity {
        let linked = if principal.id == fresh { Linked::Created } else { Linked::Email };
        identities::join(db, &principal.id, identity, linked, now).await?;
    }
    Ok(principal)
}

/// Names somebody who came before their address was known. Whose name was taken away stays without one: else an old subject
/// would take it back. Nothing if it has a name or had one, or somebody else has this.
pub(super) async fn name(db: &mut Connection, id: &PrincipalId, email: &str) -> Result<Option<Principal>, StoreError> {
    query(
        "UPDATE principals SET kind = 'user', name = $1
         WHERE id = $2 AND kind = 'external' AND released_at IS NULL
           AND NOT EXISTS (SELECT 1 FROM principals WHERE kind = 'user' AND name = $1)
         RETURNING id, kind, name, created_at",
    )
    .bind(email)
    .bind(&id.0)
    .fetch_optional(db)
    .await?
    .map(|row| read(&row))
    .transpose()
}

fn words(kind: &PrincipalKind) -> (&'static str, Option<&str>) {
    match kind {
        PrincipalKind::External => ("external", None),
        PrincipalKind::User { email } => ("user", Some(email)),
        PrincipalKind::VirtualAccount { name } => ("virtual_account", Some(name)),
    }
}

/// Opaque: says nothing about whom it names, and is never given twice.
fn new_id() -> PrincipalId {
    let mut id = [0; 16];
    getrandom::fill(&mut id).expect("the operating system gives randomness");
    PrincipalId(format!("{:032x}", u128::from_be_bytes(id)))
}

fn read(row: &Row) -> Result<Principal, StoreError> {
    let columns = Columns::of(row, "principals", "id")?;
    let kind = match (columns.get::<&str>("kind")?, columns.get::<Option<String>>("name")?) {
        ("external", None) => PrincipalKind::External,
        ("user", Some(email)) => PrincipalKind::User { email },
        ("virtual_account", Some(name)) => PrincipalKind::VirtualAccount { name },
        (_, _) => return Err(columns.corrupt("its kind and name do not fit")),
    };
    Ok(Principal { id: PrincipalId(columns.id()), kind, created_at: columns.time("created_at")? })
}
