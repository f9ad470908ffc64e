//! Manifests: what operators write about servers, teams, external identities and virtual accounts, read strictly and in the form users already have.
//!
//! Reading is pure. What it cannot know it hands on: whether a secret exists and may be referred to as [`Reference`]s,
//! whether an issuer is configured as [`Manifest::external_identity`].

mod auth;
mod external_identity;
mod group;
mod header;
mod kind;
mod oauth2;
mod revision;
mod subject;
mod team;
mod template;
mod virtual_account;

pub use kind::Kind;
pub(crate) use subject::email;
pub use template::Reference;
pub(crate) use template::is_word;

use crate::config::name;
use crate::model::{ExternalIdentity, Server, Tenant, VirtualAccount};
use crate::yaml::{self, Field, Flaw, Node, Problem, Problems};

/// One manifest that was found good, but for its secret references.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// What it describes.
    pub kind: Kind,
    /// Unique among manifests of its kind.
    pub name: String,
    /// The file it came from; empty if it came from the store.
    pub file: String,
    /// Line it begins on.
    pub line: u32,
    /// As given, with sorted keys and without defaults.
    pub body: serde_json::Value,
    /// The servers of a group.
    pub servers: Vec<Server>,
    /// E-mail addresses of a team, lower case, sorted.
    pub members: Vec<String>,
    /// An external identity, and the line of its issuer.
    pub external_identity: Option<(ExternalIdentity, u32)>,
    /// A virtual account.
    pub virtual_account: Option<VirtualAccount>,
    /// Every secret it refers to, and where.
    pub references: Vec<Reference>,
}

/// What a file holds.
#[derive(Debug, Default)]
pub struct Reading {
    /// The manifests without problems.
    pub manifests: Vec<Manifest>,
    /// Where there is one, nothing may be applied.
    pub problems: Vec<Problem>,
    /// What works, but not as the author may think.
    pub warnings: Vec<Problem>,
}

/// Reads every document of a file.
pub fn read(file: &str, text: &str, tenant: &Tenant) -> Reading {
    let nodes = match yaml::parse(file, text) {
        Ok(nodes) => nodes,
        Err(problem) => return Reading { problems: vec![problem], ..Reading::default() },
    };
    let problems = Problems::of(file);
    if nodes.is_empty() {
        problems.report(0, "", Flaw::new("holds no manifest", "write one, or leave the file out"));
    }
    let manifests = nodes.iter().filter_map(|node| manifest(file, node, tenant, &problems)).collect();
    let (problems, warnings) = problems.into_parts();
    Reading { manifests, problems, warnings }
}

/// Reads a manifest that was applied before.
pub fn stored(name: &str, body: &serde_json::Value, tenant: &Tenant) -> Reading {
    let problems = Problems::of(&format!("stored manifest {name}"));
    let manifests = manifest("", &Node::from(body), tenant, &problems).into_iter().collect();
    let (problems, warnings) = problems.into_parts();
    Reading { manifests, problems, warnings }
}

fn manifest(file: &str, node: &Node, tenant: &Tenant, problems: &Problems) -> Option<Manifest> {
    let root = Field::root(node, problems);
    let fields = root.fields()?;
    let kind = fields
        .required("type", "write for example `type: provider-account/mcp-server-group`")
        .and_then(|field| field.parse(Kind::read));
    let name =
        fields.required("name", "name it, for example `name: backend-group`").and_then(|field| field.parse(name));
    let mut manifest = Manifest {
        kind: kind?,
        name: name.clone().unwrap_or_default(),
        file: file.to_owned(),
        line: node.line,
        body: node.to_json(),
        servers: Vec::new(),
        members: Vec::new(),
        external_identity: None,
        virtual_account: None,
        references: Vec::new(),
    };
    match manifest.kind {
        Kind::Group => {
            let context = template::Context::of(tenant);
            manifest.servers = group::servers(&fields, &manifest.name, &context);
            manifest.references = context.into_references();
        }
        Kind::Team => manifest.members = team::members(&fields, &manifest.name),
        Kind::ExternalIdentity => {
            manifest.external_identity = external_identity::external_identity(&fields, &manifest.name);
        }
        Kind::VirtualAccount => manifest.virtual_account = Some(virtual_account::virtual_account(&fields)),
    }
    fields.finish();
    name.map(|_| manifest)
}

#[cfg(test)]
mod tests;
