//! `type: provider-account/mcp-server-group`: servers that are managed together.

use url::Url;

use super::auth::auth;
use super::revision;
use super::subject::subject;
use super::template::Context;
use crate::config::{http_url, is_loopback, name, one_of};
use crate::model::{Auth, Server, ServerName};
use crate::yaml::{Field, Fields, Flaw};

/// Roles whose holders may use every server of the group.
const ROLES: [(&str, ()); 4] = [
    ("mcp-server-manager", ()),
    ("provider-account-manager", ()),
    ("provider-account-access", ()),
    ("provider-integration-access", ()),
];

/// Fields of an integration that this version knows of, and does not honour: ignoring one could open what it closes.
const NOT_YET: [&str; 7] =
    ["additional_headers", "display_name", "tags", "tls_settings", "tool_metadata", "tool_policy", "tool_settings"];

pub(super) fn servers(fields: &Fields<'_>, group: &str, context: &Context<'_>) -> Vec<Server> {
    if let Some(owner) = fields.optional("ownedBy").and_then(|field| field.fields()) {
        owner.optional("account").and_then(|field| field.text());
        owner.optional("team").and_then(|field| field.parse(name));
        owner.finish();
    }
    let collaborators = fields.optional("collaborators").map_or_else(Vec::new, |field| field.list());
    let collaborators: Vec<_> = collaborators.iter().filter_map(collaborator).collect();
    let hint = "list at least one, of `type: integration/mcp-server/remote`";
    let Some(integrations) = fields.required("integrations", hint) else { return Vec::new() };
    let items = integrations.list();
    if items.is_empty() {
        integrations.report(Flaw::new("lists no server", hint));
    }
    let mut servers: Vec<Server> = Vec::new();
    for item in items {
        let Some(server) = integration(&item, group, &collaborators, context) else { continue };
        if servers.iter().any(|other| other.name == server.name) {
            item.report(Flaw::new(
                format!("`{}` is here twice", server.name),
                "give each integration a name of its own",
            ));
        }
        servers.push(server);
    }
    servers
}

fn collaborator(field: &Field<'_>) -> Option<String> {
    let fields = field.fields()?;
    let subject =
        fields.required("subject", "write for example `subject: team:platform`").and_then(|field| subject(&field));
    let role = fields.required("role_id", "write for example `role_id: mcp-server-manager`");
    let role = role.and_then(|field| field.parse(|text| one_of(text, &ROLES)));
    fields.finish();
    role.and(subject)
}

fn integration(field: &Field<'_>, group: &str, collaborators: &[String], context: &Context<'_>) -> Option<Server> {
    let fields = field.fields()?;
    let kind = fields.required("type", "write `type: integration/mcp-server/remote`");
    let known = kind.and_then(|field| field.parse(remote));
    let name = fields.required("name", "name it, for example `name: github`").and_then(|field| field.parse(name));
    fields.optional("description").and_then(|field| field.text());
    // What another type needs is not known here, so its fields are not judged.
    known?;
    if let Some(transport) = fields.optional("transport") {
        transport.parse(transport_of);
    }
    let allow_plaintext = fields.optional("allow_plaintext").and_then(|field| field.bool()).unwrap_or(false);
    let url = fields.required("url", "write the server's endpoint, for example `https://example.com/mcp`");
    let resource = url.as_ref().and_then(|field| field.parse(|text| upstream(text, allow_plaintext)));
    let (url, resource) = resource.unzip();
    let mut subjects = collaborators.to_vec();
    for item in fields.optional("authorized_subjects").iter().flat_map(|field| field.list()) {
        subjects.extend(subject(&item));
    }
    subjects.sort();
    subjects.dedup();
    fields.refuse(&NOT_YET, |name| Flaw::new(format!("`{name}` is not supported by this version"), "remove it"));
    let auth = match fields.optional("auth_data") {
        None => Some(Auth::None),
        Some(field) => auth(&field, url.as_ref(), resource.as_deref().unwrap_or_default(), context),
    };
    fields.finish();
    let mut server = Server {
        name: ServerName(format!("{group}/{}", name?)),
        url: url?,
        auth: auth?,
        subjects,
        allow_plaintext,
        revision: String::new(),
    };
    server.revision = revision::server(&server);
    Some(server)
}

fn remote(text: &str) -> Result<(), Flaw> {
    match text {
        "integration/mcp-server/remote" => Ok(()),
        "integration/mcp-server/virtual" => Err(Flaw::new(
            "virtual servers are not supported by this version",
            "leave it out, and list the servers it is made of",
        )),
        _ => Err(Flaw::new(
            format!("`{}` is no type of integration that is supported", text.escape_debug()),
            "write `type: integration/mcp-server/remote`",
        )),
    }
}

fn transport_of(text: &str) -> Result<(), Flaw> {
    match text {
        "streamable-http" => Ok(()),
        "sse" => Err(Flaw::new(
            "`sse` is not supported: it answers on another stream than it is asked on, so that no verdict can bind the two",
            "use the server's streamable-http endpoint, mostly at `/mcp`",
        )),
        _ => Err(Flaw::new(format!("`{}` is no transport", text.escape_debug()), "write `transport: streamable-http`")),
    }
}

/// The URL, and the resource URI that names it (RFC 8707 §2): as written, where the parser would add a slash.
fn upstream(text: &str, allow_plaintext: bool) -> Result<(Url, String), Flaw> {
    let url = http_url(text)?;
    if url.query().is_some() {
        // Not repeated: keys are often given there.
        return Err(Flaw::new(
            "has a query, which would not reach the server",
            "remove it; send credentials by `auth_data`",
        ));
    }
    // I12: what crosses a network in clear can be read and answered by anybody on it.
    if url.scheme() == "http" && !is_loopback(&url) && !allow_plaintext {
        return Err(Flaw::new(
            "plain http to another machine: its credential could be read on the way",
            "use https, or set `allow_plaintext: true` on this integration if the way is safe",
        ));
    }
    let resource = match url.path() {
        "/" if !text.ends_with('/') => url.as_str().trim_end_matches('/').to_owned(),
        _ => url.as_str().to_owned(),
    };
    Ok((url, resource))
}
