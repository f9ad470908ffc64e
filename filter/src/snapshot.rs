//! The snapshot: policy and public keys as the broker last sent them, ready to be asked.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use sallyport_caller::{
    Algorithm, ExternalIdentities, ExternalIdentity, Issuer, Issuers, Policy, PublicKey, Revocations, Teams,
    TokenProfile,
};
use sallyport_proto::broker as proto;

use crate::metadata;

/// Two heartbeats: with less, a live stream would not keep a proxy serving.
const LEAST_STALENESS_MS: u64 = 2_000;
/// Whatever the broker says, revocation is felt after this long (I11).
const MOST_STALENESS_MS: u64 = 300_000;

/// How a server is authenticated to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Each caller's own grant.
    AuthorizationCode,
    /// A token the broker gets as itself.
    ClientCredentials,
    /// Headers that are the same for every caller.
    Header,
    /// Nothing at all.
    None,
    /// The caller's own token.
    Passthrough,
}

impl Auth {
    /// Whether its credentials come of a grant, which the broker can renew, or have consented to anew.
    pub fn has_grant(self) -> bool {
        match self {
            Self::AuthorizationCode | Self::ClientCredentials => true,
            Self::Header | Self::None | Self::Passthrough => false,
        }
    }
}

/// A server, as far as the filter must know it.
pub struct Server {
    /// `<group>/<name>`.
    pub name: String,
    /// Every path it answers at; the first is canonical.
    pub paths: Vec<String>,
    /// Resource URI (RFC 8707).
    pub resource: String,
    /// Absolute URL of its protected-resource metadata (RFC 9728).
    pub metadata_url: String,
    /// The only cluster that may get its credential (I12).
    pub cluster: String,
    /// How it is authenticated to.
    pub auth: Auth,
    /// Who may use it.
    pub policy: Policy,
    /// For passthrough: what the caller's token must name.
    pub passthrough_audience: Option<String>,
    /// Changes with anything about it.
    pub revision: String,
}

/// Teams that claims cannot give, by subject.
#[derive(Clone, Default)]
pub struct Memberships(HashMap<String, Vec<String>>);

impl Teams for Memberships {
    fn teams_of(&self, subject: &str) -> &[String] {
        self.0.get(subject).map(Vec::as_slice).unwrap_or_default()
    }
}

/// One version of everything the broker told. A decision uses one snapshot from start to end.
#[derive(Clone)]
pub struct Snapshot {
    /// Of the broker's counting.
    pub version: u64,
    /// Part of every cache key (I6).
    pub tenant: Rc<str>,
    /// Origin of the gateway.
    pub public_url: Rc<str>,
    /// How long it serves without hearing from the broker.
    pub max_staleness_ms: u64,
    /// Who may issue callers' tokens.
    pub issuers: Rc<Issuers>,
    /// What tokens of issuers without login act as.
    pub external_identities: Rc<ExternalIdentities>,
    /// Every scope that an identity provider's tokens must carry, separated by spaces; for challenges and metadata.
    pub scope: Rc<str>,
    /// Teams that claims cannot give.
    pub memberships: Rc<Memberships>,
    /// Tokens and identities that are not accepted any more.
    pub revocations: Rc<Revocations>,
    /// Bind session ids to callers; without any, sessions are refused.
    pub session_keys: Rc<proto::SessionKeys>,
    /// Values of `Origin` that are accepted besides the gateway's own.
    pub allowed_origins: Rc<[String]>,
    /// Hosts that are answered to besides the gateway's own.
    pub allowed_hosts: Rc<[String]>,
    servers: Rc<HashMap<String, Rc<Server>>>,
    paths: Rc<HashMap<String, Rc<Server>>>,
}

/// What an update changed: which caches must be looked through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Issuers, their keys, external identities or revocations: callers verified before may not be callers any more, or
    /// not the same ones.
    pub callers: bool,
    /// Items that were not understood, and so do not exist for this filter (I8).
    pub refused: u32,
}

/// A delta that does not continue the snapshot it met: a full one is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the delta starts at version {from}, the snapshot is at {at}")]
pub struct OutOfStep {
    /// Where the delta starts.
    pub from: u64,
    /// Where the snapshot is.
    pub at: u64,
}

impl Snapshot {
    /// The server that answers at a path.
    pub fn server_at(&self, path: &str) -> Option<&Rc<Server>> {
        self.paths.get(path)
    }

    /// Makes a snapshot of the broker's full message.
    pub fn full(message: proto::Snapshot) -> (Self, Changed) {
        let mut changed = Changed { callers: true, refused: 0 };
        let issuers = message.issuers.into_iter().map(|issuer| read_issuer(issuer, &mut changed)).collect::<Vec<_>>();
        let mut servers = HashMap::new();
        for server in message.servers {
            put_server(&mut servers, server, &message.public_url, &mut changed);
        }
        let memberships = message.memberships.into_iter().map(|m| (m.subject, m.teams)).collect();
        let mut snapshot = Self {
            version: message.version,
            tenant: message.tenant.into(),
            max_staleness_ms: message.max_staleness_ms.clamp(LEAST_STALENESS_MS, MOST_STALENESS_MS),
            issuers: Rc::new(Issuers::new(issuers)),
            external_identities: Rc::new(ExternalIdentities::new(
                message.external_identities.into_iter().map(read_identity),
            )),
            scope: Rc::default(),
            memberships: Rc::new(Memberships(memberships)),
            revocations: Rc::new(read_revocations(message.revocations, &mut changed)),
            session_keys: Rc::new(message.session_keys.unwrap_or_default()),
            allowed_origins: message.allowed_origins.into(),
            allowed_hosts: message.allowed_hosts.into(),
            public_url: message.public_url.into(),
            servers: Rc::new(servers),
            paths: Rc::default(),
        };
        snapshot.index_paths();
        snapshot.collect_scopes();
        (snapshot, changed)
    }

    /// Moves on by one delta. What streams hold of the old version stays as it is.
    ///
    /// # Errors
    /// [`OutOfStep`] when the delta starts elsewhere; nothing has changed then.
    pub fn apply(&mut self, delta: proto::Delta) -> Result<Changed, OutOfStep> {
        if delta.from != self.version {
            return Err(OutOfStep { from: delta.from, at: self.version });
        }
        let mut changed = Changed::default();
        if !(delta.issuers.is_empty() && delta.removed_issuers.is_empty()) {
            changed.callers = true;
            let issuers = Rc::make_mut(&mut self.issuers);
            delta.removed_issuers.iter().for_each(|name| issuers.remove(name));
            for issuer in delta.issuers {
                issuers.insert(read_issuer(issuer, &mut changed));
            }
            self.collect_scopes();
        }
        if !(delta.external_identities.is_empty() && delta.removed_external_identities.is_empty()) {
            changed.callers = true;
            let new = delta.external_identities.into_iter().map(read_identity);
            let changed = self.external_identities.with_changes(&delta.removed_external_identities, new);
            self.external_identities = Rc::new(changed);
        }
        if !(delta.servers.is_empty() && delta.removed_servers.is_empty()) {
            let servers = Rc::make_mut(&mut self.servers);
            for name in &delta.removed_servers {
                servers.remove(name);
            }
            for server in delta.servers {
                put_server(servers, server, &self.public_url, &mut changed);
            }
            self.index_paths();
        }
        if !(delta.memberships.is_empty() && delta.removed_memberships.is_empty()) {
            let memberships = &mut Rc::make_mut(&mut self.memberships).0;
            for subject in &delta.removed_memberships {
                memberships.remove(subject);
            }
            memberships.extend(delta.memberships.into_iter().map(|m| (m.subject, m.teams)));
        }
        if let Some(revocations) = delta.revocations {
            changed.callers = true;
            self.revocations = Rc::new(read_revocations(revocations.revocations, &mut changed));
        }
        if let Some(keys) = delta.session_keys {
            self.session_keys = Rc::new(keys);
        }
        self.version = delta.to;
        Ok(changed)
    }

    /// Adds a key that the broker resolved; the next update of that issuer brings it too.
    pub fn add_key(&mut self, issuer: &str, key: proto::Key) -> bool {
        match read_key(&key) {
            Some(key) if self.issuers.get(issuer).is_some() => {
                self.issuers = Rc::new(self.issuers.with_key(issuer, key));
                true
            }
            Some(_) | None => false,
        }
    }

    fn collect_scopes(&mut self) {
        let providers = self.issuers.iter().filter(|issuer| !issuer.self_issued);
        let mut scopes: Vec<_> =
            providers.flat_map(|issuer| issuer.required_scopes.iter().map(String::as_str)).collect();
        scopes.sort_unstable();
        scopes.dedup();
        self.scope = scopes.join(" ").into();
    }

    fn index_paths(&mut self) {
        let mut claims: HashMap<&str, Vec<&Rc<Server>>> = HashMap::new();
        for server in self.servers.values() {
            server.paths.iter().for_each(|path| claims.entry(path).or_default().push(server));
        }
        // A path that two servers claim is nobody's: which policy holds there must not be left to chance (I8).
        let paths = claims.into_iter().filter_map(|(path, servers)| match servers.as_slice() {
            [server] => Some((path.to_owned(), Rc::clone(server))),
            _ => None,
        });
        self.paths = Rc::new(paths.collect());
    }
}

/// A server that is not understood is dropped, and with it the one it should have replaced (I8).
fn put_server(
    servers: &mut HashMap<String, Rc<Server>>,
    message: proto::Server,
    public_url: &str,
    changed: &mut Changed,
) {
    let name = message.name.clone();
    match read_server(message, public_url) {
        Some(server) => {
            servers.insert(name, Rc::new(server));
        }
        None => {
            servers.remove(&name);
            changed.refused = changed.refused.saturating_add(1);
        }
    }
}

fn read_server(message: proto::Server, public_url: &str) -> Option<Server> {
    let auth = match message.auth() {
        proto::AuthKind::AuthorizationCode => Auth::AuthorizationCode,
        proto::AuthKind::ClientCredentials => Auth::ClientCredentials,
        proto::AuthKind::Header => Auth::Header,
        proto::AuthKind::None => Auth::None,
        proto::AuthKind::Passthrough => Auth::Passthrough,
        proto::AuthKind::Unspecified => return None,
    };
    let passthrough_audience = match (auth, message.passthrough_audience) {
        (Auth::Passthrough, audience) if audience.is_empty() => return None,
        (Auth::Passthrough, audience) => Some(audience),
        (Auth::AuthorizationCode | Auth::ClientCredentials | Auth::Header | Auth::None, _) => None,
    };
    let path = message.paths.first()?;
    if message.name.is_empty() || message.cluster.is_empty() || message.resource.is_empty() {
        return None;
    }
    Some(Server {
        metadata_url: format!("{public_url}{}{path}", metadata::WELL_KNOWN),
        name: message.name,
        paths: message.paths,
        resource: message.resource,
        cluster: message.cluster,
        auth,
        policy: Policy::new(message.policy.map(|p| p.subjects).unwrap_or_default()),
        passthrough_audience,
        revision: message.revision,
    })
}

fn read_issuer(message: proto::Issuer, changed: &mut Changed) -> Issuer {
    let profile = match message.profile() {
        proto::TokenProfile::PlainJwt => TokenProfile::PlainJwt,
        // What is not named is held to the stricter rule.
        proto::TokenProfile::AccessToken | proto::TokenProfile::Unspecified => TokenProfile::AccessToken,
    };
    let keys: Vec<_> = message.keys.iter().filter_map(read_key).collect();
    let refused = message.keys.len().saturating_sub(keys.len());
    changed.refused = changed.refused.saturating_add(u32::try_from(refused).unwrap_or(u32::MAX));
    Issuer {
        issuer: message.issuer,
        keys,
        audiences: message.audiences,
        profile,
        subject_claim: message.subject_claim,
        email_claim: some_text(message.email_claim),
        teams_claim: some_text(message.teams_claim),
        max_lifetime_ms: message.max_lifetime_ms,
        required_scopes: message.required_scopes,
        self_issued: message.self_issued,
        login: message.login,
    }
}

fn read_identity(message: proto::ExternalIdentity) -> ExternalIdentity {
    ExternalIdentity { name: message.name, issuer: message.issuer, claims: message.claims }
}

fn read_key(message: &proto::Key) -> Option<Arc<PublicKey>> {
    let algorithm = Algorithm::from_name(&message.algorithm)?;
    PublicKey::new(&message.kid, algorithm, &message.spki).ok().map(Arc::new)
}

fn read_revocations(messages: Vec<proto::Revocation>, changed: &mut Changed) -> Revocations {
    let mut revocations = Revocations::default();
    for message in messages {
        match message.what {
            Some(proto::revocation::What::Token(token)) => revocations.revoke_token(&token.issuer, &token.jti),
            Some(proto::revocation::What::Identity(identity)) => {
                revocations.revoke_subject(&identity.issuer, &identity.subject, message.issued_before_ms);
            }
            None => changed.refused = changed.refused.saturating_add(1),
        }
    }
    revocations
}

fn some_text(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests;
