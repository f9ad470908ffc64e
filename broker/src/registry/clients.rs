//! Whether servers that share a provider client agree on what it is.

use std::collections::BTreeMap;

use crate::manifest::Manifest;
use crate::model::{Auth, ProviderClient, ServerName, Servers};
use crate::yaml::Problem;

/// Servers of one provider client share each person's grant, and any of them may be asked for the client. One that names
/// another secret, issuer or revocation endpoint would speak for all: it could have the tokens of the others sent to
/// itself, or turn their checks off (O3).
pub(super) fn problems(given: &[Manifest], servers: &Servers) -> Vec<Problem> {
    let mut firsts: BTreeMap<&str, (&ServerName, &ProviderClient)> = BTreeMap::new();
    let mut problems = Vec::new();
    for server in servers.by_name.values() {
        let Auth::AuthorizationCode(code) = &server.auth else { continue };
        let (first, client) = *firsts.entry(code.client.id.as_str()).or_insert((&server.name, &*code.client));
        if *client == *code.client {
            continue;
        }
        let of_either =
            given.iter().find(|manifest| manifest.servers.iter().any(|s| s.name == server.name || s.name == *first));
        problems.extend(of_either.map(|manifest| {
            Problem {
                file: manifest.file.clone(),
                line: manifest.line,
                field: "integrations".to_owned(),
                message: format!(
                    "`{first}` and `{}` have one client at one provider, and differ in what else they say of it",
                    server.name
                ),
                hint: "give both the same secret, authentication, `issuer`, `revocation_url`, `provider`, \
                   `refresh_token_rotation` and `additional_token_params`, or register a client for each"
                    .to_owned(),
            }
        }));
    }
    problems
}
