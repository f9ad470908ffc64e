//! What a consent asks of a person: which servers get to use it, and with which scopes.

use std::sync::Arc;

use super::authorization_code;
use crate::keys::{Key, Purpose};
use crate::model::{ProviderClient, ServerName, Servers, Tenant};
use crate::store::{Standing, StoredConsent, StoredGrant};

/// What a person is shown, and agrees to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Host of the provider.
    pub provider: String,
    /// Every server of the provider client that the caller may use.
    pub servers: Vec<ServerName>,
    /// What all of them need, and what the grant had; sorted.
    pub scopes: Vec<String>,
    /// Stands in the form: what is agreed to is what was shown, whatever became of the manifests meanwhile.
    pub digest: String,
    pub(super) client: Arc<ProviderClient>,
    pub(super) auth_revisions: Vec<String>,
}

impl Asked {
    /// Nothing if the server is not there any more, has another provider client, or is not for these subjects.
    pub(super) fn of(
        tenant: &Tenant,
        servers: &Servers,
        consent: &StoredConsent,
        grant: Option<&StoredGrant>,
    ) -> Option<Self> {
        let is_covered = |server: &&Arc<crate::model::Server>| {
            authorization_code(server).is_some_and(|code| code.client.id == consent.key.provider_client)
                && servers.admits(&consent.subjects, server).is_some()
        };
        let called = servers.by_name.get(&consent.server).filter(is_covered)?;
        let client = Arc::clone(&authorization_code(called)?.client);
        let (mut names, mut scopes, mut auth_revisions) = (Vec::new(), consent.extra_scopes.clone(), Vec::new());
        for server in servers.by_name.values().filter(is_covered) {
            let code = authorization_code(server)?;
            names.push(server.name.clone());
            scopes.extend(code.scopes.iter().cloned());
            auth_revisions.push(code.auth_revision.clone());
        }
        // A step up must not cost what was agreed to before, nor must an end that its holder did not want (O12).
        if let Some(grant) = grant.filter(|grant| !matches!(grant.standing, Standing::Revoked(_))) {
            scopes.extend(grant.scopes.iter().cloned());
        }
        for list in [&mut scopes, &mut auth_revisions] {
            list.sort();
            list.dedup();
        }
        let provider = client.authorization_url.host_str().unwrap_or("the provider").to_owned();
        let digest = digest(tenant, &provider, &scopes, &auth_revisions);
        Some(Self { provider, servers: names, scopes, digest, client, auth_revisions })
    }
}

fn digest(tenant: &Tenant, provider: &str, scopes: &[String], auth_revisions: &[String]) -> String {
    let count = scopes.len().to_be_bytes();
    let lists = scopes.iter().chain(auth_revisions).map(String::as_bytes);
    let parts: Vec<&[u8]> = [provider.as_bytes(), &count].into_iter().chain(lists).collect();
    Key::new(tenant, Purpose::Asked, &parts).to_hex()
}
