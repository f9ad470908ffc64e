//! What changed between two snapshots.

use std::collections::HashMap;

use sallyport_proto::broker::{Delta, Revocations, Snapshot};

/// The delta that makes `to` of `from`; `None` if something changed that a delta cannot say.
pub(super) fn between(from: &Snapshot, to: &Snapshot) -> Option<Delta> {
    let same_settings = from.tenant == to.tenant
        && from.public_url == to.public_url
        && from.max_staleness_ms == to.max_staleness_ms
        && from.allowed_origins == to.allowed_origins
        && from.allowed_hosts == to.allowed_hosts;
    if !same_settings {
        return None;
    }
    let (issuers, removed_issuers) = changes(&from.issuers, &to.issuers, |issuer| &issuer.issuer);
    let (servers, removed_servers) = changes(&from.servers, &to.servers, |server| &server.name);
    let (memberships, removed_memberships) = changes(&from.memberships, &to.memberships, |member| &member.subject);
    let (external_identities, removed_external_identities) =
        changes(&from.external_identities, &to.external_identities, |identity| &identity.name);
    let revocations = (from.revocations != to.revocations).then(|| Revocations { revocations: to.revocations.clone() });
    let session_keys = (from.session_keys != to.session_keys).then(|| to.session_keys.clone()).flatten();
    Some(Delta {
        from: from.version,
        to: to.version,
        issuers,
        removed_issuers,
        servers,
        removed_servers,
        memberships,
        removed_memberships,
        revocations,
        session_keys,
        external_identities,
        removed_external_identities,
    })
}

/// Items of `to` that are new or different, and names that are in `from` only.
fn changes<T: Clone + PartialEq>(from: &[T], to: &[T], name: impl Fn(&T) -> &String) -> (Vec<T>, Vec<String>) {
    let mut old: HashMap<&String, &T> = from.iter().map(|item| (name(item), item)).collect();
    let changed = to.iter().filter(|item| old.remove(name(item)) != Some(item)).cloned().collect();
    let mut removed: Vec<String> = old.into_keys().cloned().collect();
    removed.sort_unstable();
    (changed, removed)
}
