//! What a proxy is told that serves some groups of servers only (I3).
//!
//! Deltas are made between two versions as that proxy has them: what a change of policy makes of interest to it comes with
//! that change. Issuers, revocations, holds and the keys that bind sessions are the same for every proxy.

use std::borrow::Cow;
use std::collections::HashSet;

use sallyport_proto::broker::Snapshot;

use crate::model::ServerName;
use crate::peer::Scope;

/// A snapshot without the servers that are not in the scope, and without memberships and external identities that the
/// policies of those that are do not name.
pub(super) fn scoped<'a>(snapshot: &'a Snapshot, scope: &Scope) -> Cow<'a, Snapshot> {
    match scope {
        Scope::Every => Cow::Borrowed(snapshot),
        Scope::Groups(_) => {
            let mut own = snapshot.clone();
            own.servers.retain(|server| scope.serves(&ServerName(server.name.clone())));
            let policies = own.servers.iter().flat_map(|server| &server.policy);
            let named: HashSet<&str> = policies.flat_map(|policy| &policy.subjects).map(String::as_str).collect();
            let named = |kind: &str, name: &str| named.contains(format!("{kind}:{name}").as_str());
            own.external_identities.retain(|identity| named("external-identity", &identity.name));
            own.memberships.iter_mut().for_each(|member| member.teams.retain(|team| named("team", team)));
            own.memberships.retain(|member| !member.teams.is_empty());
            Cow::Owned(own)
        }
    }
}
