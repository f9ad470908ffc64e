//! Who people are, where e-mail addresses do not say: an operator decides.

use sallyport_proto::admin as proto;
use tonic::Status;

use super::grants::{self, named, user_named};
use super::{Admin, status};
use crate::audit::{Actor, Event};
use crate::model::{Identity, PrincipalId, PrincipalKind};
use crate::registry::Registry;
use crate::store::{Standing, Store, StoreError, StoredGrant, StoredIdentity};

#[cfg(test)]
pub(super) mod tests;

pub(super) async fn list(store: &dyn Store, user: &str) -> Result<proto::ListIdentitiesResponse, Status> {
    let principal = match user {
        "" => None,
        email => Some(user_named(store, email).await?),
    };
    let found = store.identities(principal.as_ref()).await.map_err(|error| status::of_store(&error))?;
    let mut listed = Vec::with_capacity(found.records.len());
    for identity in &found.records {
        listed.push(summary(identity, named(store, &identity.principal).await?));
    }
    Ok(proto::ListIdentitiesResponse { identities: listed, corrupt: grants::told(&found.corrupt) })
}

/// The same person has a new subject, or one that came before their address was known.
pub(super) async fn link(
    admin: &Admin,
    request: proto::LinkIdentityRequest,
    actor: Actor,
) -> Result<proto::LinkIdentityResponse, Status> {
    let proto::LinkIdentityRequest { user, issuer, subject } = request;
    let email = address(&user)?;
    is_login_issuer(&admin.registry, &issuer)?;
    if subject.is_empty() {
        return Err(Status::invalid_argument("a subject is not empty"));
    }
    let identity = Identity { issuer, subject };
    let is_new = match admin.store.link_identity(&email, &identity, admin.clock.now()).await {
        Ok(is_new) => is_new,
        Err(StoreError::Conflict) => {
            user_named(&*admin.store, &email).await?;
            return Err(somebody_elses(&*admin.store, &identity).await?);
        }
        Err(error) => return Err(status::of_store(&error)),
    };
    let principal = user_named(&*admin.store, &email).await?;
    let event = Event::identity_link(actor, principal.clone(), &identity);
    admin.audit.record(event).await.map_err(|error| status::of_audit(&error))?;
    Ok(proto::LinkIdentityResponse { principal: principal.0, is_new })
}

/// The address belongs to somebody else now. Grants end first: until all of them have, the name is where they are found, and
/// whoever was cut off begins again.
pub(super) async fn release(admin: &Admin, user: &str, actor: &Actor) -> Result<proto::ReleaseUserResponse, Status> {
    let (store, email) = (&*admin.store, address(user)?);
    let principal = user_named(store, &email).await?;
    let mut revoked = end_grants(admin, &principal, actor).await?;
    let released = store.release_user(&email, admin.clock.now()).await.map_err(|error| status::of_store(&error))?;
    // Another operator was faster.
    let released = released.ok_or_else(|| status::of_store(&StoreError::Conflict))?;
    (admin.revoked)();
    let event = Event::identity_release(actor.clone(), released.principal.clone(), &released.identities);
    admin.audit.record(event).await.map_err(|error| status::of_audit(&error))?;
    // What they agreed to meanwhile; from here on they are nobody who could.
    revoked.extend(end_grants(admin, &released.principal, actor).await?);
    let whom = format!("user:{email}");
    Ok(proto::ReleaseUserResponse {
        identities: released.identities.iter().map(|identity| summary(identity, whom.clone())).collect(),
        revoked,
        tokens: released.tokens,
        agreed: agreed_for_accounts(admin, &released.principal).await?,
        principal: released.principal.0,
    })
}

async fn end_grants(admin: &Admin, holder: &PrincipalId, actor: &Actor) -> Result<Vec<proto::RevokedGrant>, Status> {
    let held = admin.store.grants(Some(holder)).await.map_err(|error| status::of_store(&error))?;
    grants::end(&admin.grants, held.readable(), actor).await
}

/// Live grants of virtual accounts that somebody agreed to as an owner.
async fn agreed_for_accounts(admin: &Admin, owner: &PrincipalId) -> Result<Vec<proto::GrantSummary>, Status> {
    let is_meant = |grant: &StoredGrant| {
        grant.consented_by.as_ref() == Some(owner) && grant.key.holder != owner.0 && grant.standing == Standing::Live
    };
    let all = admin.store.grants(None).await.map_err(|error| status::of_store(&error))?;
    let mut agreed = Vec::new();
    for grant in all.readable().iter().filter(|grant| is_meant(grant)) {
        agreed.push(grants::summary(&*admin.store, &admin.registry.servers(), grant).await?);
    }
    Ok(agreed)
}

fn address(user: &str) -> Result<String, Status> {
    crate::manifest::email(user).map_err(|flaw| Status::invalid_argument(flaw.message))
}

/// Addresses of others name nobody, so no subject of theirs is a user.
fn is_login_issuer(registry: &Registry, issuer: &str) -> Result<(), Status> {
    let is_one = |issuer: &sallyport_caller::Issuer| issuer.login && !issuer.self_issued;
    if registry.issuers().get(issuer).is_some_and(|issuer| is_one(issuer)) {
        return Ok(());
    }
    let mut known: Vec<_> =
        registry.issuers().iter().filter(|issuer| is_one(issuer)).map(|issuer| issuer.issuer.as_str()).collect();
    known.sort_unstable();
    let known = if known.is_empty() { "there is none".to_owned() } else { known.join(", ") };
    Err(Status::invalid_argument(format!(
        "`{}` is no issuer with `login: true` here; write the exact `iss` of one ({known})",
        issuer.escape_debug()
    )))
}

/// Why an identity cannot be linked: whose it is.
async fn somebody_elses(store: &dyn Store, identity: &Identity) -> Result<Status, Status> {
    let owner = store.principal(identity).await.map_err(|error| status::of_store(&error))?;
    Ok(match owner {
        Some(owner) => Status::failed_precondition(format!(
            "this subject is {} already, and an identity never moves: what that one has connected is theirs{}",
            super::shown(&owner),
            match owner.kind {
                PrincipalKind::User { .. } =>
                    "; `sallyport identities release` it first if that address is somebody else's",
                PrincipalKind::External | PrincipalKind::VirtualAccount { .. } => "",
            }
        )),
        None => status::of_store(&StoreError::Conflict),
    })
}

fn summary(identity: &StoredIdentity, whom: String) -> proto::IdentitySummary {
    proto::IdentitySummary {
        whom,
        principal: identity.principal.0.clone(),
        issuer: identity.identity.issuer.clone(),
        subject: identity.identity.subject.clone(),
        linked: identity.linked.as_str().to_owned(),
        linked_at_ms: identity.linked_at.0,
    }
}
