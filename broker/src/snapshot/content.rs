//! What a snapshot says, made from issuers, servers, revocations and session keys. Sorted, so that equal is equal.

use std::time::Duration;

use sallyport_caller as caller;
use sallyport_proto::broker::{
    AuthKind, ExternalIdentity, Identity, Issuer, Key, Membership, Policy, Revocation, Server, SessionKeys, Snapshot,
    TokenId, TokenProfile, revocation,
};

use crate::clock::UnixTime;
use crate::model::{self, Auth, Servers, Tenant};
use crate::store::RevokedToken;

/// The parts of the configuration that the snapshot carries.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The one tenant.
    pub tenant: Tenant,
    /// Origin of the gateway, without a trailing slash; the `iss` of self-issued tokens.
    pub public_url: String,
    /// How long a proxy may serve without hearing from the broker.
    pub max_staleness: Duration,
    /// Values of `Origin` accepted besides the gateway's own.
    pub allowed_origins: Vec<String>,
    /// Authorities accepted besides that of `public_url`.
    pub allowed_hosts: Vec<String>,
}

/// A snapshot without its version.
pub(super) fn snapshot(
    settings: &Settings,
    issuers: &caller::Issuers,
    servers: &Servers,
    revocations: Vec<Revocation>,
    session_keys: SessionKeys,
) -> Snapshot {
    let mut issuers: Vec<Issuer> = issuers.iter().map(|known| issuer(known)).collect();
    issuers.sort_unstable_by(|a, b| a.issuer.cmp(&b.issuer));
    Snapshot {
        version: 0,
        tenant: settings.tenant.0.clone(),
        public_url: settings.public_url.clone(),
        max_staleness_ms: u64::try_from(settings.max_staleness.as_millis()).unwrap_or(u64::MAX),
        issuers,
        servers: servers.by_name.values().map(|known| server(settings, known)).collect(),
        memberships: servers
            .memberships
            .iter()
            .map(|(subject, teams)| Membership { subject: subject.clone(), teams: teams.clone() })
            .collect(),
        revocations,
        session_keys: Some(session_keys),
        allowed_origins: settings.allowed_origins.clone(),
        allowed_hosts: settings.allowed_hosts.clone(),
        external_identities: servers.external_identities.values().map(external_identity).collect(),
    }
}

/// The resource URI of a server (RFC 8707): what tokens for it name.
pub fn resource(public_url: &str, server: &model::Server) -> String {
    format!("{public_url}{}", server.path())
}

/// A revocation for each token of ours that was revoked before it expired. Of one whose id cannot be read any more, for all
/// that its principal was issued until then: it must not come back to life.
pub(super) fn revocations(public_url: &str, revoked: &[RevokedToken]) -> Vec<Revocation> {
    let revocation = |token: &RevokedToken| {
        let issuer = public_url.to_owned();
        let (what, issued_before_ms) = match &token.id {
            Some(id) => (revocation::What::Token(TokenId { issuer, jti: id.clone() }), 0),
            None => (
                revocation::What::Identity(Identity { issuer, subject: token.principal.0.clone() }),
                token.issued_at.0.saturating_add(1),
            ),
        };
        let until_ms = token.expires_at.0.saturating_add(caller::LEEWAY_MS);
        Revocation { what: Some(what), issued_before_ms, until_ms }
    };
    revoked.iter().map(revocation).collect()
}

/// Tokens are accepted a little longer than they live, so their revocations are kept as long.
pub(super) fn not_long_expired(now: UnixTime) -> UnixTime {
    UnixTime(now.0.saturating_sub(caller::LEEWAY_MS))
}

fn issuer(known: &caller::Issuer) -> Issuer {
    let mut keys: Vec<Key> = known.keys.iter().map(|known| key(known)).collect();
    keys.sort_unstable_by(|a, b| a.kid.cmp(&b.kid));
    let profile = match known.profile {
        caller::TokenProfile::AccessToken => TokenProfile::AccessToken,
        caller::TokenProfile::PlainJwt => TokenProfile::PlainJwt,
    };
    Issuer {
        issuer: known.issuer.clone(),
        keys,
        audiences: known.audiences.clone(),
        profile: profile.into(),
        subject_claim: known.subject_claim.clone(),
        email_claim: known.email_claim.clone().unwrap_or_default(),
        teams_claim: known.teams_claim.clone().unwrap_or_default(),
        max_lifetime_ms: known.max_lifetime_ms,
        required_scopes: known.required_scopes.clone(),
        self_issued: known.self_issued,
        login: known.login,
    }
}

fn external_identity(known: &model::ExternalIdentity) -> ExternalIdentity {
    let caller::ExternalIdentity { name, issuer, claims } = known.rule.clone();
    ExternalIdentity { name, issuer, claims }
}

/// A public key as the filter gets it.
pub fn key(known: &caller::PublicKey) -> Key {
    Key { kid: known.kid().to_owned(), algorithm: known.algorithm().name().to_owned(), spki: known.spki().to_vec() }
}

fn server(settings: &Settings, known: &model::Server) -> Server {
    let (auth, passthrough_audience) = match &known.auth {
        Auth::None => (AuthKind::None, ""),
        Auth::Header(_) => (AuthKind::Header, ""),
        Auth::AuthorizationCode(_) => (AuthKind::AuthorizationCode, ""),
        Auth::ClientCredentials(_) => (AuthKind::ClientCredentials, ""),
        Auth::Passthrough { audience } => (AuthKind::Passthrough, audience.as_str()),
    };
    Server {
        name: known.name.0.clone(),
        paths: known.paths(),
        resource: resource(&settings.public_url, known),
        cluster: known.cluster(),
        auth: auth.into(),
        policy: Some(Policy { subjects: known.subjects.clone() }),
        passthrough_audience: passthrough_audience.to_owned(),
        revision: known.revision.clone(),
    }
}
