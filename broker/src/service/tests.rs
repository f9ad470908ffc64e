mod identities;

mod people;
mod reports;

use std::collections::BTreeMap;

use jwt_simple::prelude::{Audiences, Claims, Ed25519KeyPair, EdDSAKeyPairLike as _, UnixTimeStamp};
use sallyport_caller::{Algorithm, Issuer, Issuers as CallerIssuers, TokenProfile};
use sallyport_proto::broker::denied::Reason;
use sallyport_proto::broker::{RecordCallsRequest, Use};
use tokio::sync::watch;

use super::*;
use crate::clock::{FixedClock, UnixTime};
use crate::consent;
use crate::fetch::Fetcher;
use crate::grants::{self, Grants};
use crate::issuers::Provider as LoginIssuer;
use crate::issuers::own::OwnIssuer;
use crate::model::{PrincipalKind, SecretRef, Servers, Template, TemplatePart};
use crate::oauth::TokenEndpoint;
use crate::peer::{PeerIdentity, Scope};
use crate::refresher::tests::{Provider, client_of, loopback};
use crate::refresher::{self, Limits};
use crate::secrets::Secrets;
use crate::signin::{self, Oidc, SignIns};
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::tests::open_in;
use crate::vault::Vault;

pub(crate) const START: UnixTime = UnixTime(1_800_000_000_000);
pub(crate) const URL: &str = "http://127.0.0.1:10000";
pub(crate) const ISSUER: &str = "https://id.example.com";
const UPSTREAM: &str = "https://mcp.example.com";

/// A company's identity provider.
pub(crate) struct Idp(Ed25519KeyPair);

impl Idp {
    fn new() -> Self {
        Self(Ed25519KeyPair::generate().with_key_id("k1"))
    }

    fn key(&self) -> Arc<PublicKey> {
        Arc::new(PublicKey::new("k1", Algorithm::EdDsa, &self.0.public_key().to_der()).unwrap())
    }

    pub(crate) fn token(&self, subject: &str, audience: &str, lives: u64) -> String {
        self.token_with(subject, &format!("{subject}@example.com"), audience, lives)
    }

    /// Of a subject who has been given this address.
    pub(crate) fn token_with(&self, subject: &str, address: &str, audience: &str, lives: u64) -> String {
        let email = serde_json::json!({ "email": address, "email_verified": true });
        let mut claims = Claims::with_custom_claims(email, jwt_simple::prelude::Duration::from_secs(0))
            .with_issuer(ISSUER)
            .with_subject(subject);
        claims.audiences = Some(Audiences::AsString(audience.to_owned()));
        claims.issued_at = Some(UnixTimeStamp::from_secs(START.0 / 1000));
        claims.invalid_before = None;
        claims.expires_at = Some(UnixTimeStamp::from_secs(START.0 / 1000 + lives));
        self.0.sign(claims).unwrap()
    }
}

/// Knows one key that the snapshot does not.
struct OneKey(Arc<PublicKey>);

#[async_trait]
impl KeySource for OneKey {
    async fn resolve_key(&self, issuer: &str, kid: &str) -> Option<Arc<PublicKey>> {
        (issuer == ISSUER && kid == self.0.kid()).then(|| Arc::clone(&self.0))
    }
}

pub(crate) struct Fixture {
    pub(crate) service: Service,
    pub(crate) idp: Idp,
    own: OwnIssuer,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) vault: Vault,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) provider: Arc<Provider>,
    pub(crate) publisher: Publisher,
    pub(crate) refresher: Refresher,
    pub(crate) grants: Grants,
    secrets: Arc<Secrets>,
    pub(crate) audit: Audit,
    pub(crate) fingerprints: Arc<Fingerprints>,
    issuers: watch::Sender<Arc<CallerIssuers>>,
    pub(crate) servers: watch::Sender<Arc<Servers>>,
    dir: tempfile::TempDir,
}

fn server(name: &str, auth: Auth) -> (ServerName, Arc<Server>) {
    let name = ServerName(format!("demo/{name}"));
    let server = Server {
        name: name.clone(),
        url: UPSTREAM.parse().unwrap(),
        auth,
        subjects: vec!["user:alice@example.com".into(), "virtualaccount:runtime".into()],
        allow_plaintext: false,
        revision: "r1".into(),
    };
    (name, Arc::new(server))
}

/// A proxy that may serve everything.
pub(crate) fn gateway() -> Peer {
    Peer { identity: PeerIdentity::Uid(7), scope: Scope::Every }
}

impl Fixture {
    /// Where its master key is.
    pub(crate) fn key_file(&self) -> std::path::PathBuf {
        self.dir.path().join("key").join("master.key")
    }

    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tenant = Tenant("t".into());
        let sqlite = Arc::new(open_in(dir.path()).await);
        let store = Arc::clone(&sqlite) as Arc<dyn Store>;
        let vault = Vault::open_or_create(dir.path().join("key").join("master.key"), &tenant).unwrap();
        let fixed = Arc::new(FixedClock::at(START));
        let clock = Arc::clone(&fixed) as Arc<dyn Clock>;
        let audit = Audit::start(Arc::clone(&store), Arc::clone(&clock), tenant.clone());
        let secrets =
            Secrets::new(Arc::clone(&store), vault.clone(), audit.clone(), Arc::clone(&clock), tenant.clone());
        let secret = SecretRef { group: "demo".into(), key: "api".into() };
        let value = Secret::new("canary-header-secret");
        secrets.set(&secret, &value, &["demo".to_owned()], Actor::operator(0)).await.unwrap();
        let secrets = Arc::new(secrets);

        let (provider, token_url) = Provider::start().await;
        let header = |parts| vec![("X-Api-Key".to_owned(), Template(parts))];
        let unset = SecretRef { group: "demo".into(), key: "unset".into() };
        let split = TemplatePart::Text("a\r\nx-admin: 1".into());
        let servers = Servers {
            revision: 7,
            by_name: BTreeMap::from([
                server("none", Auth::None),
                server(
                    "header",
                    Auth::Header(header(vec![TemplatePart::Text("Key ".into()), TemplatePart::Secret(secret)])),
                ),
                server("unset", Auth::Header(header(vec![TemplatePart::Secret(unset)]))),
                server("splitting", Auth::Header(header(vec![split]))),
                server("own", Auth::AuthorizationCode(people::client(token_url.clone()))),
                server("cc", Auth::ClientCredentials(client_of(token_url))),
                server("through", Auth::Passthrough { audience: UPSTREAM.into() }),
            ]),
            ..Servers::default()
        };
        let idp = Idp::new();
        let own = OwnIssuer::open(URL, Arc::clone(&store), &vault, Arc::clone(&clock)).await.unwrap();
        let issuer = Issuer {
            issuer: ISSUER.into(),
            keys: vec![idp.key()],
            audiences: vec![],
            profile: TokenProfile::PlainJwt,
            subject_claim: "sub".into(),
            email_claim: Some("email".into()),
            teams_claim: None,
            max_lifetime_ms: 86_400_000,
            required_scopes: vec![],
            self_issued: false,
            login: true,
        };
        let issuers = watch::Sender::new(Arc::new(CallerIssuers::new([issuer, own.issuer()])));
        let servers = watch::Sender::new(Arc::new(servers));
        let publisher = Publisher::start(snapshot::Parts {
            settings: snapshot::Settings {
                tenant: tenant.clone(),
                public_url: URL.into(),
                max_staleness: Duration::from_secs(60),
                allowed_origins: vec![],
                allowed_hosts: vec![],
            },
            store: Arc::clone(&store),
            vault: vault.clone(),
            clock: Arc::clone(&clock),
            issuers: issuers.subscribe(),
            servers: servers.subscribe(),
        })
        .await
        .unwrap();
        let (unwanted, too_late) = tokio::sync::mpsc::unbounded_channel();
        let refresher = Refresher::new(refresher::Parts {
            tenant: tenant.clone(),
            broker: "test".into(),
            store: Arc::clone(&store),
            vault: vault.clone(),
            holds: Arc::new(publisher.clone()),
            unwanted,
            spool: refresher::Spool::open(&dir.path().join("spool")).unwrap(),
            endpoint: loopback(),
            secrets: Arc::clone(&secrets) as Arc<dyn ResolveTemplate>,
            audit: audit.clone(),
            clock: Arc::clone(&clock),
            limits: Limits { wait: Duration::from_secs(20), ..Limits::default() },
            coordination: crate::coordination::Coordination::in_process(tenant.clone()),
        });
        let keys = Arc::new(OneKey(idp.key()));
        let fingerprints = Arc::new(Fingerprints::open(&*store, &vault, &*clock).await.unwrap());
        let grants = Grants::new(grants::Parts {
            tenant: tenant.clone(),
            store: Arc::clone(&store),
            vault: vault.clone(),
            endpoint: loopback(),
            secrets: Arc::clone(&secrets) as Arc<dyn ResolveTemplate>,
            audit: audit.clone(),
            clock: Arc::clone(&clock),
            servers: servers.subscribe(),
            refresher: refresher.clone(),
            holds: Arc::new(publisher.clone()),
            coordination: crate::coordination::Coordination::in_process(tenant.clone()),
        });
        tokio::spawn(grants.clone().revoke_unwanted(too_late, tokio_util::sync::CancellationToken::new()));
        let consents = Consents::new(consent::Parts {
            tenant: tenant.clone(),
            store: Arc::clone(&store),
            vault: vault.clone(),
            endpoint: loopback(),
            secrets: Arc::clone(&secrets) as Arc<dyn ResolveTemplate>,
            audit: audit.clone(),
            clock: Arc::clone(&clock),
            servers: servers.subscribe(),
            grants: grants.clone(),
            public_url: URL.into(),
            commit_limit: Duration::from_secs(1),
        });
        let service = Service::new(Parts {
            tenant,
            store,
            publisher: publisher.clone(),
            keys,
            refresher: refresher.clone(),
            consents,
            secrets: Arc::clone(&secrets) as Arc<dyn ResolveTemplate>,
            audit: audit.clone(),
            fingerprints: Arc::clone(&fingerprints),
            clock,
        });
        Self {
            service,
            idp,
            own,
            store: sqlite,
            vault,
            clock: fixed,
            provider,
            publisher,
            refresher,
            grants,
            secrets,
            audit,
            fingerprints,
            issuers,
            servers,
            dir,
        }
    }

    pub(crate) fn alice(&self, server: &str) -> AcquireCredentialRequest {
        let audience = format!("{URL}/mcp-server/demo/{server}/server");
        request(server, self.idp.token("alice", &audience, 3600))
    }

    async fn own_token(&self) -> (String, String) {
        let kind = PrincipalKind::VirtualAccount { name: "runtime".into() };
        let principal = self.store.ensure_principal(&kind, None, START).await.unwrap();
        let issued = self.own.issue(&principal, Duration::from_secs(3600)).await.unwrap();
        (issued.token.expose_str().unwrap().to_owned(), issued.id)
    }

    async fn acquire(&self, request: &AcquireCredentialRequest) -> Answer {
        self.service.acquire(&gateway(), request).await.answer.unwrap()
    }

    async fn credential(&self, request: &AcquireCredentialRequest) -> Credential {
        match self.acquire(request).await {
            Answer::Credential(credential) => credential,
            other => panic!("{other:?}"),
        }
    }

    /// The provider's token endpoint.
    pub(crate) fn token_url(&self) -> url::Url {
        match &self.servers.borrow().by_name[&ServerName("demo/cc".into())].auth {
            Auth::ClientCredentials(client) => client.token_url.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// Consents of one more broker on the same store.
    pub(crate) fn consents(&self) -> Consents {
        self.consents_through(loopback())
    }

    /// The same, which reaches providers through this.
    pub(crate) fn consents_through(&self, endpoint: Arc<dyn TokenEndpoint>) -> Consents {
        Consents::new(consent::Parts {
            tenant: Tenant("t".into()),
            store: Arc::clone(&self.store) as Arc<dyn Store>,
            vault: self.vault.clone(),
            endpoint,
            secrets: Arc::clone(&self.secrets) as Arc<dyn ResolveTemplate>,
            audit: self.audit.clone(),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            servers: self.servers.subscribe(),
            grants: self.grants.clone(),
            public_url: URL.into(),
            commit_limit: Duration::from_secs(1),
        })
    }

    /// Whose tokens are believed.
    pub(crate) fn issuers(&self) -> Arc<CallerIssuers> {
        Arc::clone(&self.issuers.borrow())
    }

    /// Believes the tokens of this issuer, in place of the company's.
    pub(crate) async fn believe(&self, issuer: Issuer) {
        self.issuers.send_replace(Arc::new(CallerIssuers::new([issuer, self.own.issuer()])));
        self.publisher.publish().await;
    }

    /// Signs people in; at a login issuer, if this is one.
    pub(crate) fn sign_ins(&self, oidc: Option<(Oidc, sallyport_caller::Issuer)>) -> SignIns {
        let fetcher = Fetcher::new(&["127.0.0.0/8".parse().unwrap()], None).unwrap();
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let (oidc, rules) = oidc.unzip();
        let provider = |rules| LoginIssuer { rules, jwks_uri: None, algorithms: vec![Algorithm::EdDsa] };
        let providers = rules.into_iter().map(provider).collect();
        SignIns::new(signin::Parts {
            store: Arc::clone(&self.store) as Arc<dyn Store>,
            vault: self.vault.clone(),
            audit: self.audit.clone(),
            clock: Arc::clone(&clock),
            issuers: crate::issuers::Issuers::new(providers, self.own.issuer(), fetcher.clone(), clock),
            fetcher,
            servers: self.servers.subscribe(),
            public_url: URL.into(),
            oidc,
        })
    }

    pub(crate) async fn rows(&self, event: &str) -> Vec<String> {
        let rows = self.store.audit(0, "", "", event, 100_000).await.unwrap();
        rows.into_iter().map(|row| row.entry.json).collect()
    }
}

fn request(server: &str, token: String) -> AcquireCredentialRequest {
    AcquireCredentialRequest {
        token,
        server: format!("demo/{server}"),
        method: "tools/call".into(),
        target: "echo".into(),
        request_id: "q1".into(),
        proxy: "envoy-1".into(),
        filter_version: "0.9.0".into(),
        server_revision: "r1".into(),
        ..AcquireCredentialRequest::default()
    }
}

fn reason(answer: &Answer) -> Option<Reason> {
    match answer {
        Answer::Denied(denied) => Some(denied.reason()),
        Answer::Credential(_) | Answer::ConsentRequired(_) | Answer::Unavailable(_) => None,
    }
}

fn rejecting(request: AcquireCredentialRequest, credential: &Credential) -> RejectCredentialRequest {
    RejectCredentialRequest {
        request: Some(request),
        use_handle: credential.use_handle.clone(),
        grant: credential.grant.clone(),
        generation: credential.generation,
        status: 401,
        error: String::new(),
        scope: String::new(),
    }
}

#[tokio::test]
async fn i3_refuses_unverified_caller() {
    let fixture = Fixture::new().await;
    let here = format!("{URL}/mcp-server/demo/header/server");
    let good = fixture.idp.token("alice", &here, 3600);
    let mut parts: Vec<&str> = good.split('.').collect();
    parts[2] = "AAAA";
    let bad = [
        String::new(),
        "alice".to_owned(),
        parts.join("."),
        Idp::new().token("alice", &here, 3600),
        fixture.idp.token("alice", &format!("{URL}/mcp-server/demo/none/server"), 3600),
        fixture.idp.token("alice", UPSTREAM, 3600),
        "x".repeat(100_000),
    ];
    for token in bad {
        assert_eq!(reason(&fixture.acquire(&request("header", token)).await), Some(Reason::Token));
    }
    let short = request("header", fixture.idp.token("alice", &here, 60));
    fixture.credential(&short).await;
    fixture.clock.advance(Duration::from_secs(121));
    assert_eq!(reason(&fixture.acquire(&short).await), Some(Reason::Token));
    assert_eq!(fixture.rows("credential.release").await.len(), 1);
}

#[tokio::test]
async fn i8_unknown_server_proxy_and_revision_get_nothing() {
    let fixture = Fixture::new().await;
    let good = fixture.alice("header");
    let elsewhere = AcquireCredentialRequest { server: "demo/other".into(), ..good.clone() };
    assert_eq!(reason(&fixture.acquire(&elsewhere).await), Some(Reason::Server));
    let nameless = AcquireCredentialRequest { proxy: String::new(), ..good.clone() };
    assert_eq!(reason(&fixture.acquire(&nameless).await), Some(Reason::Server));
    for revision in ["", "r0"] {
        let stale = AcquireCredentialRequest { server_revision: revision.into(), ..good.clone() };
        assert!(matches!(fixture.acquire(&stale).await, Answer::Unavailable(_)));
    }
    assert_eq!(fixture.rows("credential.release").await.len(), 0);
}

#[tokio::test]
async fn refuses_whom_policy_does_not_name_and_records_it() {
    let fixture = Fixture::new().await;
    let token = fixture.idp.token("bob", &format!("{URL}/mcp-server/demo/header/server"), 3600);
    assert_eq!(reason(&fixture.acquire(&request("header", token)).await), Some(Reason::Policy));
    let rows = fixture.rows("call.refused").await;
    assert!(rows.len() == 1 && rows[0].contains("bob") && rows[0].contains("policy"), "{rows:?}");
}

#[tokio::test]
async fn releases_what_each_kind_of_server_is_sent() {
    let fixture = Fixture::new().await;
    let none = fixture.credential(&fixture.alice("none")).await;
    assert!(none.headers.is_empty() && none.grant.is_empty());
    let header = fixture.credential(&fixture.alice("header")).await;
    assert_eq!(header.headers[0].name, "x-api-key");
    assert_eq!(header.headers[0].value, b"Key canary-header-secret");
    assert_eq!(header.expires_at_ms, START.0 + 300_000);
    let life = header.refresh_after_ms - header.issued_at_ms;
    assert!((240_000..=255_000).contains(&life), "{life}");
    let cc = fixture.credential(&fixture.alice("cc")).await;
    assert_eq!(cc.headers[0].value, b"Bearer canary-token-1");
    assert_eq!((cc.generation, cc.source.as_str()), (1, "refresh"));
    assert_eq!(fixture.credential(&fixture.alice("cc")).await.source, "stored");
    assert_eq!(cc.use_handle.len(), 32);
    assert_ne!(cc.use_handle, header.use_handle);
    let rows = fixture.rows("").await.concat();
    assert!(rows.contains(&cc.use_handle) && !rows.contains("canary"));
}

#[tokio::test]
async fn a6_each_release_is_recorded_with_the_fingerprint_of_the_very_value() {
    let fixture = Fixture::new().await;
    let through = fixture.idp.token("alice", UPSTREAM, 3600);
    for (request, value) in [
        (fixture.alice("none"), None),
        (fixture.alice("header"), Some("canary-header-secret")),
        (fixture.alice("cc"), Some("canary-token-1")),
        (request("through", through.clone()), Some(through.as_str())),
    ] {
        fixture.credential(&request).await;
        let rows = fixture.rows("credential.release").await;
        let row: serde_json::Value = serde_json::from_str(rows.last().unwrap()).unwrap();
        let expected: Vec<_> = value.iter().map(|value| fixture.fingerprints.of(value.as_bytes())).collect();
        assert_eq!(row["fingerprints"], serde_json::to_value(expected).unwrap(), "{}", request.server);
    }
}

#[tokio::test]
async fn a_secret_with_line_breaks_becomes_no_header() {
    let fixture = Fixture::new().await;
    assert_eq!(reason(&fixture.acquire(&fixture.alice("splitting")).await), Some(Reason::Credential));
}

#[tokio::test]
async fn i1_only_a_token_for_the_upstream_passes_through() {
    let fixture = Fixture::new().await;
    assert_eq!(reason(&fixture.acquire(&fixture.alice("through")).await), Some(Reason::Token));
    let (own, _) = fixture.own_token().await;
    assert_eq!(reason(&fixture.acquire(&request("through", own)).await), Some(Reason::Token));
    let token = fixture.idp.token("alice", UPSTREAM, 3600);
    assert!(fixture.credential(&request("through", token)).await.headers.is_empty());
}

#[tokio::test]
async fn i11_a_revoked_token_of_our_own_is_refused_at_once() {
    let fixture = Fixture::new().await;
    let (token, id) = fixture.own_token().await;
    let request = request("header", token);
    fixture.credential(&request).await;
    fixture.store.revoke_token(&id, START).await.unwrap();
    assert_eq!(reason(&fixture.acquire(&request).await), Some(Reason::Token));
    fixture.publisher.publish().await;
    assert_eq!(reason(&fixture.acquire(&request).await), Some(Reason::Token));
}

#[tokio::test]
async fn a_token_whose_record_is_gone_is_refused() {
    let fixture = Fixture::new().await;
    let (token, _) = fixture.own_token().await;
    fixture.store.tamper("DELETE FROM tokens").await;
    assert_eq!(reason(&fixture.acquire(&request("header", token)).await), Some(Reason::Token));
}

#[tokio::test]
async fn a_key_the_snapshot_lacks_is_asked_for_and_one_it_drops_is_not_remembered() {
    let fixture = Fixture::new().await;
    let request = fixture.alice("header");
    let mut issuer = Issuer::clone(fixture.publisher.current().issuers.get(ISSUER).unwrap());
    issuer.keys.clear();
    fixture.issuers.send_replace(Arc::new(CallerIssuers::new([issuer])));
    fixture.publisher.publish().await;
    fixture.credential(&request).await;
    fixture.issuers.send_replace(Arc::default());
    fixture.publisher.publish().await;
    assert_eq!(reason(&fixture.acquire(&request).await), Some(Reason::Token));
    let ask = |issuer: &str, kid: &str| ResolveKeyRequest { issuer: issuer.into(), kid: kid.into(), proxy: "p".into() };
    assert!(fixture.service.resolve_key(&ask(ISSUER, "k1")).await.key.is_none());
}

#[tokio::test]
async fn i7_no_credential_without_a_durable_record() {
    let fixture = Fixture::new().await;
    let request = AcquireCredentialRequest { target: "t".repeat(1000), ..fixture.alice("header") };
    fixture.credential(&request).await;
    fixture.store.fill().await;
    let mut released = 1;
    // What room there is in the last pages may still be used; each release until then is on record.
    let refused = loop {
        match fixture.acquire(&request).await {
            Answer::Credential(_) => released += 1,
            other => break other,
        }
        assert!(released < 1000, "a full disk releases for ever");
    };
    assert!(matches!(refused, Answer::Unavailable(_)), "{refused:?}");
    assert_eq!(fixture.rows("credential.release").await.len(), released);
    fixture.store.make_room().await;
    let credential = fixture.credential(&request).await;
    let rows = fixture.rows("credential.release").await;
    let last: serde_json::Value = serde_json::from_str(rows.last().unwrap()).unwrap();
    assert_eq!((&last["use_handle"], &last["filter_version"]), (&credential.use_handle.into(), &"0.9.0".into()), "a6");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_callers_of_one_server_make_one_token_request() {
    let fixture = Fixture::new().await;
    let request = fixture.alice("cc");
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let (service, request) = (fixture.service.clone(), request.clone());
            tokio::spawn(async move { service.acquire(&gateway(), &request).await.answer })
        })
        .collect();
    for caller in callers {
        assert!(matches!(caller.await.unwrap(), Some(Answer::Credential(_))));
    }
    assert_eq!(fixture.provider.count(), 1);
    assert_eq!(fixture.rows("credential.release").await.len(), 50);
}

#[tokio::test]
async fn a_rejected_generation_is_renewed_once_and_its_successor_is_not() {
    let fixture = Fixture::new().await;
    let first = fixture.credential(&fixture.alice("cc")).await;
    let rejection = rejecting(fixture.alice("cc"), &first);
    let mut second = None;
    for _ in 0..10 {
        match fixture.service.reject(&gateway(), &rejection).await.answer.unwrap() {
            Answer::Credential(credential) => second = Some(credential),
            other => panic!("{other:?}"),
        }
    }
    let second = second.unwrap();
    assert_eq!((second.generation, second.headers[0].value.as_slice()), (2, b"Bearer canary-token-2".as_slice()));
    assert_eq!(fixture.provider.count(), 2);
    let answer = fixture.service.reject(&gateway(), &rejecting(fixture.alice("cc"), &second)).await.answer.unwrap();
    assert_eq!(reason(&answer), Some(Reason::Credential));
    assert_eq!(fixture.provider.count(), 2);
    assert_eq!(fixture.rows("credential.reject").await.len(), 2);
}

#[tokio::test]
async fn a_rejected_header_is_the_operators_to_mend() {
    let fixture = Fixture::new().await;
    let credential = fixture.credential(&fixture.alice("header")).await;
    let answer =
        fixture.service.reject(&gateway(), &rejecting(fixture.alice("header"), &credential)).await.answer.unwrap();
    assert_eq!(reason(&answer), Some(Reason::Credential));
}

#[tokio::test]
async fn i3_a_rejection_without_a_good_token_moves_nothing() {
    let fixture = Fixture::new().await;
    let credential = fixture.credential(&fixture.alice("cc")).await;
    let forged = rejecting(request("cc", "alice".into()), &credential);
    assert_eq!(reason(&fixture.service.reject(&gateway(), &forged).await.answer.unwrap()), Some(Reason::Token));
    let empty = RejectCredentialRequest { request: None, ..forged };
    assert_eq!(reason(&fixture.service.reject(&gateway(), &empty).await.answer.unwrap()), Some(Reason::Token));
    assert_eq!(fixture.provider.count(), 1);
}

#[tokio::test]
async fn a_rejection_of_what_was_never_given_out_moves_nothing() {
    let fixture = Fixture::new().await;
    let first = fixture.credential(&fixture.alice("cc")).await;
    let forged = Credential { generation: u64::MAX, ..first.clone() };
    let mut latest = first;
    for (rejected, generation) in [(&forged, 1), (&latest.clone(), 2)] {
        match fixture.service.reject(&gateway(), &rejecting(fixture.alice("cc"), rejected)).await.answer.unwrap() {
            Answer::Credential(credential) => latest = credential,
            other => panic!("{other:?}"),
        }
        assert_eq!(latest.generation, generation);
    }
    let answer = fixture.service.reject(&gateway(), &rejecting(fixture.alice("cc"), &latest)).await.answer.unwrap();
    assert_eq!(reason(&answer), Some(Reason::Credential), "still once a minute");
    assert_eq!(fixture.provider.count(), 2);
}

#[tokio::test]
async fn a_store_that_is_gone_is_an_outage_and_a_secret_that_is_gone_is_the_operators_to_mend() {
    let fixture = Fixture::new().await;
    assert_eq!(reason(&fixture.acquire(&fixture.alice("unset")).await), Some(Reason::Credential));
    // Verified before, so that it is the secret which the store is asked for.
    fixture.credential(&fixture.alice("header")).await;
    fixture.store.close().await;
    let answer = fixture.acquire(&fixture.alice("header")).await;
    assert!(matches!(answer, Answer::Unavailable(_)), "{answer:?}");
}

#[tokio::test]
async fn tells_an_outage_from_a_refused_client() {
    let fixture = Fixture::new().await;
    fixture.provider.answers(500, "canary");
    match fixture.acquire(&fixture.alice("cc")).await {
        Answer::Unavailable(unavailable) => {
            assert!(unavailable.message.contains("127.0.0.1") && !unavailable.message.contains("canary"));
            assert!(unavailable.retry_after_ms > 0);
        }
        other => panic!("{other:?}"),
    }
    fixture.clock.advance(Duration::from_secs(600));
    fixture.provider.answers(401, r#"{"error":"invalid_client"}"#);
    assert_eq!(reason(&fixture.acquire(&fixture.alice("cc")).await), Some(Reason::Credential));
}

#[tokio::test]
async fn reports_are_recorded_once_and_gaps_show() {
    let fixture = Fixture::new().await;
    let batch = |sequence| RecordCallsRequest {
        proxy: "envoy-1".into(),
        worker: "w0".into(),
        epoch_ms: START.0,
        sequence,
        uses: vec![Use { use_handle: "h1".into(), at_ms: START.0, target: "é".repeat(5000), ..Use::default() }],
        ..RecordCallsRequest::default()
    };
    for sequence in [1, 1, 4] {
        assert_eq!(fixture.service.record_calls(&gateway(), batch(sequence)).await.unwrap().sequence, sequence);
    }
    let used = fixture.rows("call.used").await;
    assert_eq!(used.len(), 2);
    assert!(used[0].len() < 3000);
    assert_eq!(fixture.rows("calls.gap").await.len(), 1);
    let dropped = RecordCallsRequest { dropped: 9, ..batch(5) };
    fixture.service.record_calls(&gateway(), dropped).await.unwrap();
    assert_eq!(fixture.rows("calls.gap").await.len(), 2);
    assert!(matches!(fixture.service.record_calls(&gateway(), batch(0)).await, Err(ReportError::Malformed)));
}
