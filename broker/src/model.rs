//! The nouns of the broker: principals, servers, grants. No input or output.

mod identities;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::clock::UnixTime;
use crate::oauth::profile::{Profile, Rotation};
pub use identities::{ExternalIdentity, VirtualAccount};

/// The one tenant of a deployment: part of every key, AAD and cache key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tenant(pub String);

/// One person, virtual account or external user: an opaque id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrincipalId(pub String);

/// What kind of principal, and the name policy knows it by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PrincipalKind {
    /// A person of a login issuer without a verified e-mail address, or a user of an external identity.
    External,
    /// A person, by verified e-mail address.
    User {
        /// Lower case.
        email: String,
    },
    /// A virtual account, by name.
    VirtualAccount {
        /// Its name, unique.
        name: String,
    },
}

/// A principal as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Opaque; also the `sub` of self-issued tokens.
    pub id: PrincipalId,
    /// Kind and name.
    pub kind: PrincipalKind,
    /// When it was first seen.
    pub created_at: UnixTime,
}

/// `(iss, sub)` of a token: maps to exactly one principal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// Exact `iss`.
    pub issuer: String,
    /// Value of the issuer's subject claim.
    pub subject: String,
}

/// `<group>/<name>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerName(pub String);

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A registered MCP server, made from a manifest that was found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `<group>/<name>`.
    pub name: ServerName,
    /// Where it is. Its origin is the only one its credential may reach (I12).
    pub url: url::Url,
    /// How the gate authenticates to it.
    pub auth: Auth,
    /// Subjects that may use it: `authorized_subjects` and the group's `collaborators`.
    pub subjects: Vec<String>,
    /// Plain http beyond loopback was asked for.
    pub allow_plaintext: bool,
    /// Changes whenever any of the above does.
    pub revision: String,
}

/// Outbound authentication, by `auth_data.type` of the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `oauth2` with `grant_type: authorization_code`: each caller's own grant.
    AuthorizationCode(Arc<AuthorizationCode>),
    /// `oauth2` with `grant_type: client_credentials`.
    ClientCredentials(Arc<ClientCredentials>),
    /// `header`: the same headers for every caller. Values may hold secret references.
    Header(Vec<(String, Template)>),
    /// No `auth_data`.
    None,
    /// `passthrough`: the caller's own token, if it names the upstream as audience.
    Passthrough {
        /// Audience the token must name: the upstream's resource.
        audience: String,
    },
}

/// Text with secret references in it, resolved when it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(pub Vec<TemplatePart>);

/// One piece of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplatePart {
    /// As it stands.
    Text(String),
    /// The value of a secret.
    Secret(SecretRef),
}

/// `tfy-secret://<tenant>:<group>:<key>`; the tenant is this deployment's, or the reference was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretRef {
    /// Secret group.
    pub group: String,
    /// Key in the group.
    pub key: String,
}

/// How a client authenticates to a token endpoint (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// HTTP Basic.
    Basic,
    /// `client_id` and `client_secret` in the body.
    Post,
    /// `client_id` in the body: a public client, which has no secret.
    None,
}

/// A client-credentials grant as configured (RFC 6749 §4.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCredentials {
    /// Token endpoint.
    pub token_url: url::Url,
    /// May hold a secret reference.
    pub client_id: Template,
    /// May hold a secret reference.
    pub client_secret: Template,
    /// Basic, unless the manifest says otherwise.
    pub client_authentication: ClientAuthentication,
    /// Asked for, in this order.
    pub scopes: Vec<String>,
    /// `resource` (RFC 8707), where `include_resource` says so.
    pub resource: Option<String>,
    /// `additional_token_params`, in order of name.
    pub additional_params: Vec<(String, String)>,
    /// Hash of all of the above and of the server's origin: tokens of another revision are not used.
    pub auth_revision: String,
}

/// A client registered at a provider. Servers with equal ones share the grant of each person: a provider that rotates
/// would else have one server's renewal end the other's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderClient {
    /// Hash of the endpoints, the client id and the resource; it stands in the redirect URI, so that an answer meant
    /// for one client is never taken for another's.
    pub id: String,
    /// Authorization endpoint (RFC 6749 §3.1).
    pub authorization_url: url::Url,
    /// Token endpoint (RFC 6749 §3.2).
    pub token_url: url::Url,
    /// Revocation endpoint (RFC 7009), if there is one.
    pub revocation_url: Option<url::Url>,
    /// Introspection endpoint (RFC 7662), asked how long a token lives whose life is not told, if there is one.
    pub introspection_url: Option<url::Url>,
    /// What `iss` of the provider's answers must be (RFC 9207), if that is known.
    pub issuer: Option<String>,
    /// May hold a secret reference.
    pub client_id: Template,
    /// May hold a secret reference; none for a public client.
    pub client_secret: Option<Template>,
    /// Where client id and secret go.
    pub client_authentication: ClientAuthentication,
    /// `resource` (RFC 8707), where `include_resource` says so.
    pub resource: Option<String>,
    /// `additional_token_params`, in order of name.
    pub additional_params: Vec<(String, String)>,
    /// What is particular about the provider.
    pub profile: &'static Profile,
    /// What becomes of a refresh token when it is used: the profile's, unless the manifest says otherwise.
    pub rotation: Rotation,
}

/// An authorization-code grant as configured for one server (RFC 6749 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationCode {
    /// At whom.
    pub client: Arc<ProviderClient>,
    /// What this server needs, in the manifest's order.
    pub scopes: Vec<String>,
    /// Hash of the provider client and of the server's origin: a person's grant serves only what they agreed to.
    pub auth_revision: String,
}

impl ProviderClient {
    /// Where the provider sends people back to; to be registered there as it stands.
    pub fn redirect_uri(&self, public_url: &str) -> String {
        format!("{public_url}/oauth/callback/{}", self.id)
    }
}

impl AuthorizationCode {
    /// The grant of one person.
    pub fn grant_of(&self, holder: &PrincipalId) -> GrantKey {
        GrantKey { provider_client: self.client.id.clone(), holder: holder.0.clone() }
    }

    /// Whether somebody who agreed to these has agreed to what this server needs.
    pub fn is_agreed_to(&self, auth_revisions: &[String], scopes: &[String]) -> bool {
        auth_revisions.contains(&self.auth_revision) && self.scopes.iter().all(|scope| scopes.contains(scope))
    }
}

/// Names one grant: a provider client and whom it acts for. Servers with equal keys share the grant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GrantKey {
    /// [`ProviderClient::id`]; for client credentials a hash of the whole configuration.
    pub provider_client: String,
    /// A principal's id, or `service` for client credentials.
    pub holder: String,
}

/// Counts token material of a grant; compared on the value, never a key to find it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

impl Server {
    /// Path of its endpoint at the gateway, for example `/mcp-server/demo/echo/server`.
    pub fn path(&self) -> String {
        format!("/mcp-server/{}/server", self.name)
    }

    /// Every path it answers at, for snapshot and routes alike; the canonical one first.
    pub fn paths(&self) -> Vec<String> {
        vec![self.path()]
    }

    /// Name of its Envoy cluster: in the snapshot, in the routes, and compared by the filter (I12).
    pub fn cluster(&self) -> String {
        format!("mcp:{}", self.name)
    }
}

/// Every registered server, the team memberships that claims cannot give, and what there is to know of external
/// identities and virtual accounts: one revision of the manifests.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Servers {
    /// Of the manifests; 0 before the first.
    pub revision: u64,
    /// The servers.
    pub by_name: BTreeMap<ServerName, Arc<Server>>,
    /// Subject, for example `user:alice@example.com`, to names of teams without `team:`.
    pub memberships: BTreeMap<String, Vec<String>>,
    /// By name.
    pub external_identities: BTreeMap<String, ExternalIdentity>,
    /// By name; those that no manifest names have no owners.
    pub virtual_accounts: BTreeMap<String, VirtualAccount>,
}

impl Servers {
    /// Every provider client of a server, once.
    pub fn provider_clients(&self) -> Vec<Arc<ProviderClient>> {
        let mut clients = BTreeMap::new();
        for server in self.by_name.values() {
            match &server.auth {
                Auth::AuthorizationCode(auth) => {
                    clients.entry(auth.client.id.as_str()).or_insert_with(|| Arc::clone(&auth.client));
                }
                Auth::ClientCredentials(_) | Auth::Header(_) | Auth::None | Auth::Passthrough { .. } => {}
            }
        }
        clients.into_values().collect()
    }

    /// The name in a server's policy that lets one of these subjects through, if any does.
    pub fn admits<'a>(&self, subjects: &[String], server: &'a Server) -> Option<&'a str> {
        let is_of = |named: &str| {
            subjects.iter().any(|subject| {
                subject == named
                    || named.strip_prefix("team:").is_some_and(|team| {
                        self.memberships.get(subject).is_some_and(|teams| teams.iter().any(|t| t == team))
                    })
            })
        };
        server.subjects.iter().map(String::as_str).find(|named| is_of(named))
    }
}
