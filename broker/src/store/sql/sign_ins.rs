//! Sign-ins in progress, and browsers that are signed in.

use super::columns::Columns;
use super::{Connection, one, query, signed, to_json};
use crate::clock::UnixTime;
use crate::keys::hex;
use crate::model::PrincipalId;
use crate::store::{SignInKind, StoreError, StoredSession, StoredSignIn};

pub(super) async fn add_session(db: &mut Connection, session: &StoredSession) -> Result<(), StoreError> {
    query(
        "INSERT INTO sessions (hash, principal, signed_in_at, teams, external_identities, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(session.hash.as_slice())
    .bind(&session.principal.0)
    .bind(&session.signed_in_at)
    .bind(to_json(&session.teams))
    .bind(to_json(&session.external_identities))
    .bind(signed(session.created_at.0))
    .bind(signed(session.expires_at.0))
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn session(
    db: &mut Connection,
    of: &[u8; 32],
    now: UnixTime,
) -> Result<Option<StoredSession>, StoreError> {
    let row = query(
        "SELECT principal, signed_in_at, teams, external_identities, created_at, expires_at FROM sessions
         WHERE hash = $1 AND expires_at > $2",
    )
    .bind(of.as_slice())
    .bind(signed(now.0))
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    // Nothing else names it; the cookie is not to be had from so much of its hash.
    let columns = Columns::named(&row, "sessions", hex(&of[..8]));
    Ok(Some(StoredSession {
        hash: *of,
        principal: PrincipalId(columns.text("principal")?),
        signed_in_at: columns.get("signed_in_at")?,
        teams: columns.texts("teams")?,
        external_identities: columns.texts("external_identities")?,
        created_at: columns.time("created_at")?,
        expires_at: columns.time("expires_at")?,
    }))
}

pub(super) async fn finish(
    db: &mut Connection,
    new: &StoredSession,
    using: Option<&str>,
    instead_of: Option<&[u8; 32]>,
    now: UnixTime,
) -> Result<(), StoreError> {
    if let Some(id) = using {
        take(db, id, now).await?;
    }
    if let Some(before) = instead_of {
        end_session(db, before).await?;
    }
    add_session(db, new).await
}

pub(super) async fn end_session(db: &mut Connection, of: &[u8; 32]) -> Result<(), StoreError> {
    query("DELETE FROM sessions WHERE hash = $1").bind(of.as_slice()).execute(db).await?;
    Ok(())
}

pub(super) async fn add(db: &mut Connection, sign_in: &StoredSignIn) -> Result<(), StoreError> {
    query(
        "INSERT INTO sign_ins (id, kind, browser, secrets, consent, principal, code, created_at, expires_at, used_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(&sign_in.id)
    .bind(name(sign_in.kind))
    .bind(sign_in.browser.as_ref().map(<[u8; 32]>::as_slice))
    .bind(sign_in.secrets.as_ref().map(|secrets| &secrets.0))
    .bind(&sign_in.consent)
    .bind(sign_in.principal.as_ref().map(|principal| &principal.0))
    .bind(sign_in.code.as_ref().map(<[u8; 32]>::as_slice))
    .bind(signed(sign_in.created_at.0))
    .bind(signed(sign_in.expires_at.0))
    .bind(sign_in.used_at.map(|at| signed(at.0)))
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn find(db: &mut Connection, id: &str, now: UnixTime) -> Result<Option<StoredSignIn>, StoreError> {
    let row = query(
        "SELECT kind, browser, secrets, consent, principal, code, created_at, expires_at, used_at FROM sign_ins
         WHERE id = $1 AND expires_at > $2",
    )
    .bind(id)
    .bind(signed(now.0))
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let columns = Columns::named(&row, "sign_ins", id.to_owned());
    Ok(Some(StoredSignIn {
        id: id.to_owned(),
        kind: kind(columns.get("kind")?).ok_or_else(|| columns.corrupt("its kind is unknown"))?,
        browser: columns.maybe_hash("browser")?,
        secrets: columns.maybe_sealed("secrets")?,
        consent: columns.get("consent")?,
        principal: columns.maybe_principal("principal")?,
        code: columns.maybe_hash("code")?,
        created_at: columns.time("created_at")?,
        expires_at: columns.time("expires_at")?,
        used_at: columns.maybe_time("used_at")?,
    }))
}

pub(super) async fn confirm(
    db: &mut Connection,
    id: &str,
    principal: &PrincipalId,
    code: &[u8; 32],
) -> Result<(), StoreError> {
    let confirmed = query(
        "UPDATE sign_ins SET principal = $1, code = $2
         WHERE id = $3 AND kind = 'application' AND principal IS NULL AND used_at IS NULL",
    )
    .bind(&principal.0)
    .bind(code.as_slice())
    .bind(id)
    .execute(db)
    .await?;
    one(confirmed.rows_affected())
}

pub(super) async fn take(db: &mut Connection, id: &str, now: UnixTime) -> Result<(), StoreError> {
    let used =
        query("UPDATE sign_ins SET used_at = $1, secrets = NULL WHERE id = $2 AND used_at IS NULL AND expires_at > $1")
            .bind(signed(now.0))
            .bind(id)
            .execute(db)
            .await?;
    one(used.rows_affected())
}

pub(super) async fn drop_expired(db: &mut Connection, now: UnixTime) -> Result<(), StoreError> {
    for sql in ["DELETE FROM sessions WHERE expires_at <= $1", "DELETE FROM sign_ins WHERE expires_at <= $1"] {
        query(sql).bind(signed(now.0)).execute(&mut *db).await?;
    }
    Ok(())
}

fn name(kind: SignInKind) -> &'static str {
    match kind {
        SignInKind::Application => "application",
        SignInKind::Link => "link",
        SignInKind::Oidc => "oidc",
    }
}

fn kind(text: &str) -> Option<SignInKind> {
    match text {
        "application" => Some(SignInKind::Application),
        "link" => Some(SignInKind::Link),
        "oidc" => Some(SignInKind::Oidc),
        _ => None,
    }
}
