//! Whose an identity is, and how it came to be theirs.

use super::columns::{self, Columns};
use super::{Connection, Row, principals, query, signed};
use crate::clock::UnixTime;
use crate::model::{Identity, PrincipalId};
use crate::store::{Found, Linked, Released, StoreError, StoredIdentity};

pub(super) async fn all(
    db: &mut Connection,
    principal: Option<&PrincipalId>,
) -> Result<Found<StoredIdentity>, StoreError> {
    let found = query(
        "SELECT issuer, subject, principal, linked, created_at FROM identities
         WHERE coalesce(principal = $1, TRUE) ORDER BY principal, issuer, subject",
    )
    .bind(principal.map(|principal| &principal.0))
    .fetch_all(db)
    .await?;
    Found::sort(found.iter().map(read))
}

/// Adds an identity that no principal has to one that no other subject of its issuer is.
pub(super) async fn join(
    db: &mut Connection,
    principal: &PrincipalId,
    identity: &Identity,
    linked: Linked,
    now: UnixTime,
) -> Result<(), StoreError> {
    let others = "SELECT 1 FROM identities WHERE principal = $1 AND issuer = $2";
    let other = query(others).bind(&principal.0).bind(&identity.issuer).fetch_optional(&mut *db).await?;
    // An address that changes hands must not hand over what its last owner has connected.
    if other.is_some() || add(db, principal, identity, linked, now).await? == 0 {
        return Err(StoreError::OtherSubject(principal.clone()));
    }
    Ok(())
}

pub(super) async fn link(
    db: &mut Connection,
    email: &str,
    identity: &Identity,
    now: UnixTime,
) -> Result<bool, StoreError> {
    // Held, so that nobody takes the name away meanwhile.
    let user = query("UPDATE principals SET name = name WHERE kind = 'user' AND name = $1 RETURNING id")
        .bind(email)
        .fetch_optional(&mut *db)
        .await?;
    let Some(user) = user else {
        let owner = principals::of_identity(db, identity).await?.ok_or(StoreError::Conflict)?;
        return match principals::name(db, &owner.id, email).await? {
            Some(_) => Ok(true),
            None => Err(StoreError::Conflict),
        };
    };
    let user = PrincipalId(Columns::of(&user, "principals", "id")?.id());
    if add(db, &user, identity, Linked::Operator, now).await? == 1 {
        return Ok(true);
    }
    match principals::of_identity(db, identity).await? {
        Some(owner) if owner.id == user => Ok(false),
        Some(_) | None => Err(StoreError::Conflict),
    }
}

pub(super) async fn release(db: &mut Connection, email: &str, now: UnixTime) -> Result<Option<Released>, StoreError> {
    // Whoever is about to join by the name waits for this, and finds nobody.
    let sql = "UPDATE principals SET kind = 'external', name = NULL, released_at = $2
         WHERE kind = 'user' AND name = $1 RETURNING id";
    let named = query(sql).bind(email).bind(signed(now.0)).fetch_optional(&mut *db).await?;
    let Some(named) = named else { return Ok(None) };
    let principal = PrincipalId(Columns::of(&named, "principals", "id")?.id());
    let identities = all(db, Some(&principal)).await?.readable();
    let tokens = query("UPDATE tokens SET revoked_at = $1 WHERE principal = $2 AND revoked_at IS NULL RETURNING id")
        .bind(signed(now.0))
        .bind(&principal.0)
        .fetch_all(&mut *db)
        .await?;
    // Revoked they are, whatever can be read of their ids.
    let tokens = tokens.iter().map(|row| columns::shown(row, "id")).collect();
    // A subject that is the address itself goes with it. All others stay who they are: a token that their last owner has
    // still must not take the name back.
    query("DELETE FROM identities WHERE principal = $1 AND lower(subject) = $2")
        .bind(&principal.0)
        .bind(email)
        .execute(&mut *db)
        .await?;
    for sql in [
        "DELETE FROM sessions WHERE principal = $1",
        "DELETE FROM sign_ins WHERE principal = $1",
        // What one holds is revoked at the provider once nobody has said what becomes of it, and nobody can say it any more.
        "DELETE FROM consents WHERE holder = $1 AND held IS NULL",
        "UPDATE consents SET subjects = '[]' WHERE holder = $1",
    ] {
        query(sql).bind(&principal.0).execute(&mut *db).await?;
    }
    Ok(Some(Released { principal, identities, tokens }))
}

/// Answers how many rows that made: none if it is somebody's already.
async fn add(
    db: &mut Connection,
    principal: &PrincipalId,
    identity: &Identity,
    linked: Linked,
    now: UnixTime,
) -> Result<u64, StoreError> {
    let sql = "INSERT INTO identities (issuer, subject, principal, linked, created_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT DO NOTHING";
    let added = query(sql)
        .bind(&identity.issuer)
        .bind(&identity.subject)
        .bind(&principal.0)
        .bind(linked.as_str())
        .bind(signed(now.0))
        .execute(db)
        .await?;
    Ok(added.rows_affected())
}

fn read(row: &Row) -> Result<StoredIdentity, StoreError> {
    let id = format!("{}#{}", columns::shown(row, "issuer"), columns::shown(row, "subject"));
    let columns = Columns::named(row, "identities", id);
    let linked = Linked::read(columns.get("linked")?);
    Ok(StoredIdentity {
        principal: PrincipalId(columns.text("principal")?),
        identity: Identity { issuer: columns.text("issuer")?, subject: columns.text("subject")? },
        linked: linked.ok_or_else(|| columns.corrupt("how it was linked is unknown"))?,
        linked_at: columns.time("created_at")?,
    })
}
