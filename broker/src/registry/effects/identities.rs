//! What a change of an external identity or a virtual account means, in words.

use std::collections::BTreeSet;

use super::{list, usable};
use crate::manifest::Manifest;
use crate::model::{ExternalIdentity, PrincipalId, PrincipalKind, Servers};
use crate::store::{Standing, Store, StoreError, StoredGrant};

pub(super) fn external_identity(
    manifest: &Manifest,
    existing: Option<&Manifest>,
    was: &Servers,
    becomes: &Servers,
) -> Vec<String> {
    let of = |manifest: &Manifest| manifest.external_identity.clone().map(|(identity, _)| identity);
    let Some(new) = of(manifest) else { return Vec::new() };
    let old = existing.and_then(of);
    let subject = format!("external-identity:{}", manifest.name);
    let mut effects = Vec::new();
    match &old {
        None => {
            let servers = list(usable(becomes, &subject).iter());
            effects.push(format!("{subject} is new: {} act as it, and may use {servers}", users(&new)));
        }
        Some(old) if old.rule != new.rule => {
            effects.push(format!("{subject} stands for {} instead of {}", users(&new), users(old)));
        }
        Some(_) => {}
    }
    if old.as_ref().map(|old| &old.rule) != Some(&new.rule) {
        effects.extend(becomes.external_identities.values().filter_map(|other| contest(&new, other)));
    }
    if old.as_ref().and_then(|old| old.verifier_url.as_ref()) != new.verifier_url.as_ref() {
        effects.push(match &new.verifier_url {
            Some(url) => format!("users of {subject} confirm who they are at {url}"),
            None => format!("no application confirms users of {subject} any more"),
        });
    }
    // What a new name opens was said above; what it opened before under the same name stays.
    let (had, has) = (usable(was, &subject), usable(becomes, &subject));
    if old.is_some() && had != has {
        effects.push(format!("{subject} may use {}", list(has.iter())));
    }
    effects
}

fn users(identity: &ExternalIdentity) -> String {
    let claims: Vec<_> = identity.rule.claims.iter().map(|(claim, value)| format!("{claim}={value:?}")).collect();
    let with = if claims.is_empty() { String::new() } else { format!(" with {}", claims.join(" and ")) };
    format!("users of {}{with}", identity.rule.issuer)
}

/// Who of those that may match both acts as which: the rule is that of [`sallyport_caller::ExternalIdentities`].
fn contest(new: &ExternalIdentity, other: &ExternalIdentity) -> Option<String> {
    let (new, other) = (&new.rule, &other.rule);
    let agree = new.claims.iter().all(|(claim, value)| other.claims.get(claim).is_none_or(|theirs| theirs == value));
    if new.name == other.name || new.issuer != other.issuer || !agree {
        return None;
    }
    let new_wins = (other.claims.len(), &new.name) < (new.claims.len(), &other.name);
    let (winner, loser) = if new_wins { (new, other) } else { (other, new) };
    Some(format!("who matches external-identity:{} too acts as external-identity:{}", loser.name, winner.name))
}

/// A grant of a virtual account, and the owner who agreed to it.
pub(in crate::registry) struct Agreed {
    grant: String,
    /// `virtualaccount:<name>`.
    account: String,
    /// `user:<email>`.
    owner: String,
}

/// Of all grants, those that an owner agreed to for a virtual account, and that can be used.
pub(in crate::registry) async fn agreed_by_owners(
    store: &dyn Store,
    grants: &[StoredGrant],
) -> Result<Vec<Agreed>, StoreError> {
    let mut agreed = Vec::new();
    for grant in grants.iter().filter(|grant| grant.standing == Standing::Live) {
        let Some(by) = grant.consented_by.as_ref().filter(|by| by.0 != grant.key.holder) else { continue };
        let holder = store.principal_by_id(&PrincipalId(grant.key.holder.clone())).await?;
        let (holder, by) = (holder.map(|holder| holder.kind), store.principal_by_id(by).await?.map(|by| by.kind));
        if let (Some(PrincipalKind::VirtualAccount { name }), Some(PrincipalKind::User { email })) = (holder, by) {
            let (account, owner) = (format!("virtualaccount:{name}"), format!("user:{email}"));
            agreed.push(Agreed { grant: grant.id.clone(), account, owner });
        }
    }
    Ok(agreed)
}

pub(super) fn virtual_account(manifest: &Manifest, existing: Option<&Manifest>, agreed: &[Agreed]) -> Vec<String> {
    let owners = |manifest: Option<&Manifest>| -> BTreeSet<String> {
        let account = manifest.and_then(|manifest| manifest.virtual_account.as_ref());
        account.map(|account| account.owners.iter().cloned().collect()).unwrap_or_default()
    };
    let (before, after) = (owners(existing), owners(Some(manifest)));
    let account = format!("virtualaccount:{}", manifest.name);
    let mut effects: Vec<_> = after.difference(&before).map(|owner| format!("{owner} owns {account}")).collect();
    for owner in before.difference(&after) {
        effects.push(format!("{owner} owns {account} no longer"));
        // What an owner agreed to is the account's: it goes on, and whoever applies this decides about it.
        let left = agreed.iter().filter(|agreed| agreed.account == account && agreed.owner == *owner);
        effects.extend(left.map(|Agreed { grant, .. }| {
            format!("{account} goes on acting as {owner}, who agreed to grant {grant}; `sallyport grants revoke {grant}` ends it")
        }));
    }
    if effects.is_empty() && existing.is_none() {
        effects.push(format!("{account} is owned by nobody: nobody can consent for it"));
    }
    effects
}
