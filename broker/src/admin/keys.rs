//! Master keys as operators see and change them.

use sallyport_proto::admin as proto;
use tokio::sync::mpsc::error::TrySendError;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{grants, status};
use crate::audit::Actor;
use crate::grants::Grants;
use crate::master_keys::{Listed, MasterKeys, Progress, Shred, Shredding};
use crate::model::{PrincipalId, PrincipalKind};
use crate::store::{Shredded, Store};

pub(super) async fn list(keys: &MasterKeys) -> Result<proto::ListKeysResponse, Status> {
    let listed = keys.list().await.map_err(|error| status::of_store(&error))?;
    Ok(proto::ListKeysResponse { keys: listed.into_iter().map(summary).collect() })
}

fn summary(listed: Listed) -> proto::KeySummary {
    let Listed { id, held, fields, wraps } = listed;
    proto::KeySummary {
        id: id.to_string(),
        is_current: held.as_ref().is_some_and(|held| held.is_current),
        is_held: held.is_some(),
        version: held.as_ref().and_then(|held| held.version),
        kept: held.map(|held| held.kept).unwrap_or_default(),
        fields,
        wraps,
    }
}

pub(super) async fn rotate(keys: &MasterKeys, actor: Actor) -> Result<proto::RotateKeyResponse, Status> {
    let rotated = keys.rotate(actor).await.map_err(|error| status::of_master_key(&error))?;
    Ok(proto::RotateKeyResponse {
        new_id: rotated.new.to_string(),
        path: rotated.path.display().to_string(),
        old_id: rotated.old.to_string(),
        retired_path: rotated.retired.display().to_string(),
    })
}

/// Re-wraps as long as somebody listens to its progress.
pub(super) fn rewrap(keys: MasterKeys, actor: Actor) -> ReceiverStream<Result<proto::RewrapProgress, Status>> {
    let (told, stream) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        let progress = told.clone();
        // Progress that nobody has read yet is as good as the next: only its end must be told.
        let listens = move |now: &Progress| match progress.try_send(Ok(of_progress(now, false))) {
            Ok(()) | Err(TrySendError::Full(_)) => true,
            Err(TrySendError::Closed(_)) => false,
        };
        let done = keys.rewrap(actor, listens).await;
        let last = done.map(|progress| of_progress(&progress, true)).map_err(|error| status::of_master_key(&error));
        // Whoever asked may be gone.
        let _ = told.send(last).await;
    });
    ReceiverStream::new(stream)
}

/// What is to be destroyed: somebody who is known, or all.
pub(super) async fn whose(store: &dyn Store, whose: Option<proto::shred_keys_request::Whose>) -> Result<Shred, Status> {
    use proto::shred_keys_request::Whose;

    let unknown = |what: String| Status::not_found(what);
    let id = match whose {
        Some(Whose::User(email)) => grants::user_named(store, &email).await?,
        Some(Whose::VirtualAccount(name)) => {
            let kind = PrincipalKind::VirtualAccount { name: name.clone() };
            let found = store.principal_named(&kind).await.map_err(|error| status::of_store(&error))?;
            found.ok_or_else(|| unknown(format!("no virtual account is known as `{}`", name.escape_debug())))?.id
        }
        Some(Whose::Principal(id)) => {
            let found = store.principal_by_id(&PrincipalId(id.clone())).await;
            let found = found.map_err(|error| status::of_store(&error))?;
            found.ok_or_else(|| unknown(format!("there is no principal with the id `{}`", id.escape_debug())))?.id
        }
        Some(Whose::Tenant(name)) => return Ok(Shred::Tenant(name)),
        None => return Err(Status::invalid_argument("say whose")),
    };
    Ok(Shred::Principal(id))
}

/// Destroys as long as somebody listens to its progress.
pub(super) fn shred(
    keys: MasterKeys,
    grants: Grants,
    whose: Shred,
    dry_run: bool,
    actor: Actor,
) -> ReceiverStream<Result<proto::ShredProgress, Status>> {
    let (told, stream) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        let (progress, principal) = (told.clone(), whose.clone());
        let of = move |now: &Shredding, is_over| proto::ShredProgress {
            principal: match &principal {
                Shred::Principal(id) => id.0.clone(),
                Shred::Tenant(_) => String::new(),
            },
            done: now.done,
            total: now.total,
            is_over,
        };
        // As with a re-wrap: only its end must be told.
        let listens = |now: &Shredding| match progress.try_send(Ok(of(now, false))) {
            Ok(()) | Err(TrySendError::Full(_)) => true,
            Err(TrySendError::Closed(_)) => false,
        };
        let ended = |grant: &Shredded| grants.let_go_of(&grant.key, &grant.id, grant.generation);
        let done = match dry_run {
            true => keys.to_shred(&whose).await,
            false => keys.shred(&whose, actor, ended, listens).await,
        };
        let last = done.map(|progress| of(&progress, true)).map_err(|error| status::of_master_key(&error));
        // Whoever asked may be gone.
        let _ = told.send(last).await;
    });
    ReceiverStream::new(stream)
}

fn of_progress(progress: &Progress, is_over: bool) -> proto::RewrapProgress {
    let left = progress.left.iter().map(|left| proto::FieldLeft { what: left.what.clone(), why: left.why.clone() });
    let away = progress.away.iter().map(|away| proto::KeyAway {
        id: away.key.to_string(),
        fields: away.fields,
        why: away.why.clone(),
    });
    proto::RewrapProgress {
        done: progress.done,
        total: progress.total,
        left: left.collect(),
        is_over,
        away: away.collect(),
    }
}

#[cfg(test)]
mod tests;
