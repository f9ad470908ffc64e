//! A small world for tests: one issuer whose keys are made here, seven servers, a clock that stands still.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::algorithms::{Ed25519KeyPair, EdDSAKeyPairLike};
use sallyport_caller::{Allowed, Caller, Door, HostSignatures, NoHost, PublicKey, Teams};
use sallyport_proto::broker as proto;
use serde_json::{Value, json};

use crate::config::Config;
use crate::flow::Host;
use crate::head::{Head, serialise};
use crate::snapshot::Snapshot;
use crate::worker::Worker;

/// 2027-01-15T08:00:00Z, Unix milliseconds.
pub(crate) const NOW_MS: u64 = 1_800_000_000_000;
pub(crate) const ISSUER: &str = "https://idp.example";
pub(crate) const GATE: &str = "https://gate.example";
pub(crate) const UPSTREAM: &str = "https://upstream.example";

/// Keys `k1` and `k2`; the snapshot holds the first.
static KEYS: LazyLock<[Ed25519KeyPair; 2]> = LazyLock::new(|| [Ed25519KeyPair::generate(), Ed25519KeyPair::generate()]);

fn signed_by(kid: &str, claims: &Value) -> String {
    let key = &KEYS[usize::from(kid == "k2")];
    let header = json!({"alg": "EdDSA", "kid": kid, "typ": "at+jwt"});
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let message = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
    let signature = key.key_pair().as_ref().sk.sign(message.as_bytes(), None);
    format!("{message}.{}", encode(signature.as_ref()))
}

/// Alice's token at every server but `demo/pass`, with some claims replaced.
pub(crate) fn token_of(kid: &str, changes: Value) -> String {
    let now = NOW_MS / 1_000;
    let mut claims = json!({
        "iss": ISSUER, "sub": "alice", "aud": "https://gate.example", "iat": now - 10, "exp": now + 3_600,
        "jti": "t-1", "email": "alice@example.com", "email_verified": true,
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    signed_by(kid, &claims)
}

pub(crate) fn alice() -> String {
    token_of("k1", json!({}))
}

/// Somebody whom no policy but that of `demo/open` names.
pub(crate) fn mallory() -> String {
    token_of("k1", json!({"sub": "mallory", "email": "mallory@example.com", "jti": "t-2"}))
}

pub(crate) fn key(kid: &str) -> proto::Key {
    let pair = &KEYS[usize::from(kid == "k2")];
    proto::Key { kid: kid.into(), algorithm: "EdDSA".into(), spki: pair.public_key().to_der() }
}

pub(crate) fn issuer(keys: Vec<proto::Key>) -> proto::Issuer {
    proto::Issuer {
        issuer: ISSUER.into(),
        keys,
        audiences: vec![GATE.into()],
        profile: proto::TokenProfile::AccessToken.into(),
        subject_claim: "sub".into(),
        email_claim: "email".into(),
        max_lifetime_ms: 24 * 3_600_000,
        login: true,
        ..proto::Issuer::default()
    }
}

/// Everybody of [`ISSUER`], if it has no login.
pub(crate) fn shop() -> proto::ExternalIdentity {
    proto::ExternalIdentity { name: "shop".into(), issuer: ISSUER.into(), ..proto::ExternalIdentity::default() }
}

pub(crate) fn server(name: &str, auth: proto::AuthKind, subjects: &[&str]) -> proto::Server {
    let path = format!("/mcp-server/{name}/server");
    proto::Server {
        name: name.into(),
        resource: format!("{GATE}{path}"),
        paths: vec![path],
        cluster: format!("cluster {name}"),
        auth: auth.into(),
        policy: Some(proto::Policy { subjects: subjects.iter().map(|s| (*s).to_owned()).collect() }),
        passthrough_audience: if auth == proto::AuthKind::Passthrough { UPSTREAM.into() } else { String::new() },
        revision: "r1".into(),
    }
}

pub(crate) fn snapshot() -> proto::Snapshot {
    use proto::AuthKind::{AuthorizationCode, ClientCredentials, Header, None, Passthrough};
    proto::Snapshot {
        version: 7,
        tenant: "demo".into(),
        public_url: GATE.into(),
        max_staleness_ms: 60_000,
        issuers: vec![issuer(vec![key("k1")])],
        servers: vec![
            server("demo/echo", ClientCredentials, &["user:alice@example.com"]),
            server("demo/other", ClientCredentials, &["user:alice@example.com"]),
            server("demo/own", AuthorizationCode, &["user:alice@example.com"]),
            server("demo/header", Header, &["user:alice@example.com"]),
            server("demo/none", None, &["user:alice@example.com"]),
            server("demo/open", ClientCredentials, &["team:everyone"]),
            server("demo/pass", Passthrough, &["user:alice@example.com"]),
        ],
        memberships: vec![],
        revocations: vec![],
        session_keys: Some(proto::SessionKeys { current: vec![1; 32], previous: vec![] }),
        allowed_origins: vec!["https://app.example".into()],
        allowed_hosts: vec![],
        external_identities: vec![],
    }
}

pub(crate) fn full(snapshot: proto::Snapshot) -> proto::Update {
    proto::Update { update: Some(proto::update::Update::Full(snapshot)) }
}

pub(crate) fn delta(delta: proto::Delta) -> proto::Update {
    proto::Update { update: Some(proto::update::Update::Delta(delta)) }
}

/// Holds a grant up to a generation.
pub(crate) fn hold(grant: &str, generation: u64, until_ms: u64) -> proto::Update {
    let hold = proto::Hold { grant: grant.into(), generation, until_ms };
    proto::Update { update: Some(proto::update::Update::Hold(hold)) }
}

/// Revokes the token with this `jti`, as the step from version 7 to 8.
pub(crate) fn revocation(jti: &str) -> proto::Update {
    let what = proto::revocation::What::Token(proto::TokenId { issuer: ISSUER.into(), jti: jti.into() });
    let revocation = proto::Revocation { what: Some(what), ..proto::Revocation::default() };
    let revocations = Some(proto::Revocations { revocations: vec![revocation] });
    delta(proto::Delta { from: 7, to: 8, revocations, ..proto::Delta::default() })
}

/// A worker that has heard nothing.
pub(crate) fn deaf_worker() -> Worker {
    let config = Config::parse(br#"{"broker_cluster":"broker","max_body_bytes":4096}"#).unwrap();
    Worker::new(config, "edge".into(), "0".into(), NOW_MS)
}

/// A worker that has just heard [`snapshot`].
pub(crate) fn worker() -> Worker {
    let mut worker = deaf_worker();
    worker.update(full(snapshot()), NOW_MS).unwrap();
    worker
}

pub(crate) fn caller(token: &str) -> Caller {
    let (snapshot, _) = Snapshot::full(snapshot());
    sallyport_caller::verify(token.as_bytes(), &snapshot.issuers, &snapshot.external_identities, NOW_MS, &NoHost)
        .unwrap()
}

struct NoTeams;

impl Teams for NoTeams {
    fn teams_of(&self, _: &str) -> &[String] {
        &[]
    }
}

/// A proof for whoever has this `iss` and `sub`.
pub(crate) fn allowed(iss: &str, sub: &str) -> Allowed {
    let changed = proto::Issuer { issuer: iss.into(), ..issuer(vec![key("k1")]) };
    let (snapshot, _) = Snapshot::full(proto::Snapshot { issuers: vec![changed], ..snapshot() });
    let token = token_of("k1", json!({"iss": iss, "sub": sub}));
    let caller =
        sallyport_caller::verify(token.as_bytes(), &snapshot.issuers, &snapshot.external_identities, NOW_MS, &NoHost)
            .unwrap();
    let door = Door { resource: "", passthrough_audience: None };
    let entered = caller.enter(&door, snapshot.issuers.get(iss).unwrap(), NOW_MS).unwrap();
    entered.authorize(&sallyport_caller::Policy::new(["team:everyone"]), &NoTeams).unwrap()
}

pub(crate) fn head(pairs: &[(&str, &str)]) -> Head {
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    Head::parse(serialise(&pairs)).unwrap()
}

/// A host with a clock and a body, and no crypto of its own.
pub(crate) struct FakeHost {
    pub(crate) now_ms: Cell<u64>,
    pub(crate) body: RefCell<Option<Vec<u8>>>,
}

impl FakeHost {
    pub(crate) fn new() -> Self {
        Self { now_ms: Cell::new(NOW_MS), body: RefCell::new(None) }
    }
}

impl HostSignatures for FakeHost {
    fn verify(&self, _: &PublicKey, _: &[u8], _: &[u8]) -> Option<bool> {
        None
    }
}

impl Host for FakeHost {
    fn now_ns(&self) -> u64 {
        self.now_ms.get() * 1_000_000
    }

    fn body(&self) -> Option<Vec<u8>> {
        self.body.borrow().clone()
    }

    fn source_address(&self) -> String {
        "192.0.2.1:5".into()
    }
}

/// A caller as the cache holds it.
pub(crate) fn shared_caller(token: &str) -> Arc<Caller> {
    Arc::new(caller(token))
}
