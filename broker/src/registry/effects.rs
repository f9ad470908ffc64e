//! What a change of manifests means, in words: who gains or loses which server, and who acts as what.

mod identities;

use std::collections::BTreeSet;

pub(super) use identities::{Agreed, agreed_by_owners};

use crate::manifest::{Kind, Manifest};
use crate::model::{Auth, AuthorizationCode, Server, ServerName, Servers};
use crate::store::{Standing, StoredGrant};

/// Of one manifest, where all that are applied together change `was` into `becomes`.
pub(super) fn of(
    manifest: &Manifest,
    existing: Option<&Manifest>,
    was: &Servers,
    becomes: &Servers,
    (grants, agreed): (&[StoredGrant], &[Agreed]),
) -> Vec<String> {
    match manifest.kind {
        Kind::Group => group(manifest, existing, grants),
        Kind::Team => team(manifest, existing, was, becomes),
        Kind::ExternalIdentity => identities::external_identity(manifest, existing, was, becomes),
        Kind::VirtualAccount => identities::virtual_account(manifest, existing, agreed),
    }
}

fn group(manifest: &Manifest, existing: Option<&Manifest>, grants: &[StoredGrant]) -> Vec<String> {
    let before: &[Server] = existing.map_or(&[], |existing| &existing.servers);
    let mut effects = Vec::new();
    for server in &manifest.servers {
        match before.iter().find(|other| other.name == server.name) {
            None => effects.push(format!("{} is new: {}", server.name, users(server))),
            Some(old) => effects.extend(changes(old, server, grants)),
        }
    }
    for old in before.iter().filter(|old| manifest.servers.iter().all(|server| server.name != old.name)) {
        effects.push(format!("{} is gone for everybody", old.name));
    }
    effects
}

fn users(server: &Server) -> String {
    if server.subjects.is_empty() {
        "nobody may use it until `authorized_subjects` names somebody".to_owned()
    } else {
        format!("{} may use it", server.subjects.join(", "))
    }
}

fn changes(old: &Server, new: &Server, grants: &[StoredGrant]) -> Vec<String> {
    let missing = |from: &Server, of: &Server| -> Vec<String> {
        of.subjects.iter().filter(|subject| !from.subjects.contains(subject)).cloned().collect()
    };
    let mut changes = Vec::new();
    changes.extend(missing(old, new).into_iter().map(|subject| format!("{subject} gains {}", new.name)));
    changes.extend(missing(new, old).into_iter().map(|subject| format!("{subject} loses {}", new.name)));
    if old.url != new.url {
        changes.push(format!("{} moves from {} to {}", new.name, old.url, new.url));
    }
    if kind(&old.auth) != kind(&new.auth) {
        changes.push(format!("{} authenticates by {} instead of {}", new.name, kind(&new.auth), kind(&old.auth)));
    }
    if let (Auth::ClientCredentials(old), Auth::ClientCredentials(client)) = (&old.auth, &new.auth)
        && old.auth_revision != client.auth_revision
    {
        changes.push(format!("tokens that were got for {} under the old settings are not used any more", new.name));
    }
    if let (Auth::AuthorizationCode(old), Auth::AuthorizationCode(code)) = (&old.auth, &new.auth) {
        let agreed = |code: &AuthorizationCode, grant: &StoredGrant| {
            grant.standing == Standing::Live
                && grant.key.provider_client == code.client.id
                && code.is_agreed_to(&grant.auth_revisions, &grant.scopes)
        };
        let lost = grants.iter().filter(|grant| agreed(old, grant) && !agreed(code, grant)).count();
        if lost > 0 {
            changes.push(format!("{lost} grant(s) for {} need new consent", new.name));
        }
    }
    changes
}

/// The manifest's own word for it.
pub(crate) fn kind(auth: &Auth) -> &'static str {
    match auth {
        Auth::AuthorizationCode(_) => "authorization_code",
        Auth::ClientCredentials(_) => "client_credentials",
        Auth::Header(_) => "header",
        Auth::None => "none",
        Auth::Passthrough { .. } => "passthrough",
    }
}

fn team(manifest: &Manifest, existing: Option<&Manifest>, was: &Servers, becomes: &Servers) -> Vec<String> {
    let before: BTreeSet<_> = existing.into_iter().flat_map(|existing| &existing.members).collect();
    let after: BTreeSet<_> = manifest.members.iter().collect();
    let mut effects = Vec::new();
    for member in before.symmetric_difference(&after) {
        let user = format!("user:{member}");
        let (had, has) = (usable(was, &user), usable(becomes, &user));
        let (verb, change, servers) = if after.contains(*member) {
            ("joins", "gains", list(has.difference(&had)))
        } else {
            ("leaves", "loses", list(had.difference(&has)))
        };
        effects.push(format!("{user} {verb} team:{} and {change} {servers}", manifest.name));
    }
    effects
}

fn list<'a>(servers: impl Iterator<Item = &'a ServerName>) -> String {
    let names: Vec<_> = servers.map(ToString::to_string).collect();
    if names.is_empty() { "no server".to_owned() } else { names.join(", ") }
}

/// The servers that a subject may use by its name and by memberships in manifests.
fn usable(servers: &Servers, subject: &str) -> BTreeSet<ServerName> {
    let teams = servers.memberships.get(subject).into_iter().flatten().map(|team| format!("team:{team}"));
    let subjects: BTreeSet<String> = teams.chain([subject.to_owned(), "team:everyone".to_owned()]).collect();
    let named = |server: &Server| server.subjects.iter().any(|subject| subjects.contains(subject));
    servers.by_name.values().filter(|server| named(server)).map(|server| server.name.clone()).collect()
}
