//! People's grants as operators see them, and end them. Tokens are told to nobody.

use sallyport_proto::admin as proto;
use tonic::Status;

use super::{shown, status};
use crate::audit::{Actor, Call};
use crate::causes;
use crate::grants::{self, ByHandError, Ending, Grants};
use crate::keys::SERVICE_HOLDER;
use crate::model::{PrincipalId, PrincipalKind, ServerName, Servers};
use crate::refresher::{ByHand, RefreshError};
use crate::store::{Standing, Store, StoreError, StoredGrant};

#[cfg(test)]
pub(super) mod tests;

/// Every grant, or those of one user, or those that serve one server.
pub(super) async fn list(
    store: &dyn Store,
    servers: &Servers,
    user: &str,
    server: &str,
) -> Result<proto::ListGrantsResponse, Status> {
    let holder = match user {
        "" => None,
        email => Some(user_named(store, email).await?),
    };
    let server = match server {
        "" => None,
        name => Some(registered(servers, name)?),
    };
    let found = store.grants(holder.as_ref()).await.map_err(|error| status::of_store(&error))?;
    let mut listed = Vec::new();
    for grant in found.records {
        if server.is_none_or(|server| grants::servers_of(servers, &grant).contains(server)) {
            listed.push(summary(store, servers, &grant).await?);
        }
    }
    Ok(proto::ListGrantsResponse { grants: listed, corrupt: told(&found.corrupt) })
}

/// A grant that somebody agreed to: the gate's own are renewed by themselves, and are nothing to operate.
pub(super) async fn of_somebody(store: &dyn Store, id: &str) -> Result<StoredGrant, Status> {
    let grant = store.grant_by_id(id).await.map_err(|error| status::of_store(&error))?;
    grant
        .filter(|grant| grant.key.holder != SERVICE_HOLDER)
        .ok_or_else(|| Status::not_found(format!("there is no grant with the id `{}`", id.escape_debug())))
}

/// Ends one grant, or all that a user has; the first that cannot be ended ends the rest's turn, and is told.
pub(super) async fn revoke(
    store: &dyn Store,
    grants: &Grants,
    which: Option<proto::revoke_grants_request::Which>,
    actor: &Actor,
) -> Result<proto::RevokeGrantsResponse, Status> {
    use proto::revoke_grants_request::Which;

    let (which, corrupt) = match which {
        Some(Which::Id(id)) => (vec![of_somebody(store, &id).await?], Vec::new()),
        Some(Which::AllOf(email)) => {
            let holder = user_named(store, &email).await?;
            let found = store.grants(Some(&holder)).await.map_err(|error| status::of_store(&error))?;
            (found.records, told(&found.corrupt))
        }
        None => return Err(Status::invalid_argument("say which grant, or whose")),
    };
    Ok(proto::RevokeGrantsResponse { revoked: end(grants, which, actor).await?, corrupt })
}

pub(super) fn told(corrupt: &[StoreError]) -> Vec<String> {
    corrupt.iter().map(ToString::to_string).collect()
}

/// Ends those of these grants that have not been revoked.
pub(super) async fn end(
    grants: &Grants,
    which: Vec<StoredGrant>,
    actor: &Actor,
) -> Result<Vec<proto::RevokedGrant>, Status> {
    let mut revoked = Vec::new();
    for grant in which.into_iter().filter(|grant| !matches!(grant.standing, Standing::Revoked(_))) {
        let id = grant.id.clone();
        let ended = grants.revoke(grant, Ending::Operator, actor.clone(), Call::default()).await;
        let ended = ended.map_err(|error| status::of_store(&error))?;
        revoked.push(proto::RevokedGrant {
            id,
            provider: ended.provider.unwrap_or_default(),
            at_provider: ended.at_provider.code().to_owned(),
            manage_url: ended.manage_url.unwrap_or_default().to_owned(),
        });
    }
    Ok(revoked)
}

/// Refreshes a grant now. What the provider said is an answer, and no failure of the broker's.
pub(super) async fn refresh(
    store: &dyn Store,
    grants: &Grants,
    request: proto::RefreshGrantRequest,
    actor: Actor,
) -> Result<proto::RefreshGrantResponse, Status> {
    let grant = of_somebody(store, &request.id).await?;
    let answer = proto::RefreshGrantResponse { id: grant.id.clone(), ..Default::default() };
    let (provider, done) = match grants.refresh(&grant, request.force, actor).await {
        Ok(done) => done,
        Err(error) => return not_refreshed(answer, error),
    };
    let answer = proto::RefreshGrantResponse { provider, generation: grant.generation.0, ..answer };
    Ok(match done {
        ByHand::Refreshed { generation, expires_at, refresh_after } => proto::RefreshGrantResponse {
            outcome: "refreshed".to_owned(),
            generation: generation.0,
            expires_at_ms: Some(expires_at.0),
            refresh_after_ms: Some(refresh_after.0),
            ..answer
        },
        ByHand::NotDue { refresh_after } => proto::RefreshGrantResponse {
            outcome: "not_due".to_owned(),
            refresh_after_ms: Some(refresh_after.0),
            ..answer
        },
        ByHand::NoRefreshToken => proto::RefreshGrantResponse { outcome: "no_refresh_token".to_owned(), ..answer },
    })
}

fn not_refreshed(
    answer: proto::RefreshGrantResponse,
    error: ByHandError,
) -> Result<proto::RefreshGrantResponse, Status> {
    let told = |outcome: &str, reason: &str, provider: String| {
        let (outcome, reason) = (outcome.to_owned(), reason.to_owned());
        Ok(proto::RefreshGrantResponse { outcome, reason, provider, ..answer })
    };
    match error {
        ByHandError::Refresh(RefreshError::NeedsConsent { reason }) => {
            told("needs_consent", reason.code(), String::new())
        }
        ByHandError::Refresh(RefreshError::Refused { host, code }) => told("refused", code.name(), host),
        ByHandError::Refresh(RefreshError::Provider { host, retry_after }) => {
            let retry_after_ms = Some(u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX));
            told("unavailable", "unavailable", host).map(|told| proto::RefreshGrantResponse { retry_after_ms, ..told })
        }
        ByHandError::Refresh(RefreshError::Overdue { host }) => told("unavailable", "overdue", host),
        ByHandError::NoClient => Err(Status::failed_precondition(error.to_string())),
        ByHandError::Audit(error) => Err(status::of_audit(&error)),
        ByHandError::Refresh(
            error @ (RefreshError::Secret(_)
            | RefreshError::Store(_)
            | RefreshError::Vault(_)
            | RefreshError::Draining
            | RefreshError::Lost),
        ) => Err(Status::unavailable(causes::told(&error))),
    }
}

pub(super) async fn summary(
    store: &dyn Store,
    servers: &Servers,
    grant: &StoredGrant,
) -> Result<proto::GrantSummary, Status> {
    let holder = named(store, &PrincipalId(grant.key.holder.clone())).await?;
    let consented_by = match &grant.consented_by {
        Some(who) => named(store, who).await?,
        None => String::new(),
    };
    let client = grants::provider_client(servers, &grant.key.provider_client);
    let (standing, reason) = match &grant.standing {
        Standing::Live => ("live", ""),
        Standing::NeedsConsent(reason) => ("needs_consent", reason.as_str()),
        Standing::Revoked(reason) => ("revoked", reason.as_str()),
    };
    let material = grant.material.as_ref();
    Ok(proto::GrantSummary {
        id: grant.id.clone(),
        provider: client.as_deref().map(grants::host).unwrap_or_default(),
        profile: client.map(|client| client.profile.name.to_owned()).unwrap_or_default(),
        holder,
        servers: grants::servers_of(servers, grant).into_iter().map(|name| name.0).collect(),
        lacks: grants::lacks(servers, grant),
        scopes: grant.scopes.clone(),
        account: grant.account.clone().unwrap_or_default(),
        standing: standing.to_owned(),
        reason: reason.to_owned(),
        generation: grant.generation.0,
        consented_at_ms: grant.consented_at.map(|at| at.0),
        issued_at_ms: material.map(|material| material.issued_at.0),
        expires_at_ms: material.map(|material| material.expires_at.0),
        refresh_after_ms: material.map(|material| material.refresh_after.0),
        has_refresh_token: material.is_some_and(|material| material.refresh_token.is_some()),
        consented_by,
        intent_deadline_ms: grant.intent.as_ref().map(|intent| intent.deadline.0),
    })
}

/// A principal as operators know it; the bare id of one that is not there.
pub(super) async fn named(store: &dyn Store, id: &PrincipalId) -> Result<String, Status> {
    match store.principal_by_id(id).await {
        Ok(principal) => Ok(principal.as_ref().map_or_else(|| id.0.clone(), shown)),
        // What they have is listed all the same.
        Err(error @ StoreError::Corrupt { .. }) => Ok(format!("{} ({error})", id.0)),
        Err(error) => Err(status::of_store(&error)),
    }
}

pub(super) async fn user_named(store: &dyn Store, email: &str) -> Result<PrincipalId, Status> {
    let email = crate::manifest::email(email).map_err(|flaw| Status::invalid_argument(flaw.message))?;
    let kind = PrincipalKind::User { email: email.clone() };
    let found = store.principal_named(&kind).await.map_err(|error| status::of_store(&error))?;
    found.map(|principal| principal.id).ok_or_else(|| Status::not_found(format!("nobody is known as {email}")))
}

fn registered<'a>(servers: &'a Servers, name: &str) -> Result<&'a ServerName, Status> {
    let registered = servers.by_name.get_key_value(&ServerName(name.to_owned()));
    registered
        .map(|(name, _)| name)
        .ok_or_else(|| Status::not_found(format!("there is no server `{}`", name.escape_debug())))
}
