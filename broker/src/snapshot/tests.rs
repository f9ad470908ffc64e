mod reads;
mod scoped;

use std::collections::BTreeMap;

use futures::StreamExt as _;
use sallyport_proto::broker::{AuthKind, SessionKeys};

use super::*;
use crate::clock::{FixedClock, UnixTime};
use crate::model::{Auth, ExternalIdentity, PrincipalKind, Server, ServerName, Tenant};
use crate::store::StoredToken;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::tests::open_in;

const START: UnixTime = UnixTime(1_800_000_000_000);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

struct Fixture {
    publisher: Publisher,
    store: Arc<SqliteStore>,
    clock: Arc<FixedClock>,
    servers: watch::Sender<Arc<Servers>>,
    issuers: watch::Sender<Arc<caller::Issuers>>,
    dir: tempfile::TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(open_in(dir.path()).await);
        let clock = Arc::new(FixedClock::at(START));
        let servers = watch::Sender::new(Arc::new(servers(&["a/echo"])));
        let issuers = watch::Sender::new(Arc::new(caller::Issuers::default()));
        let publisher = start(&store, &clock, &servers, &issuers, dir.path()).await.unwrap();
        Self { publisher, store, clock, servers, issuers, dir }
    }

    /// Another one over the same store.
    async fn start(&self) -> Result<Publisher, PublishError> {
        start(&self.store, &self.clock, &self.servers, &self.issuers, self.dir.path()).await
    }

    fn keys(&self) -> SessionKeys {
        self.publisher.current().snapshot.session_keys.clone().unwrap()
    }

    async fn add_token(&self, id: &str) {
        let kind = PrincipalKind::VirtualAccount { name: "runtime".into() };
        let principal = self.store.ensure_principal(&kind, None, START).await.unwrap().id;
        let token = StoredToken {
            id: id.to_owned(),
            hash: [id.as_bytes()[1]; 32],
            principal,
            issued_at: START,
            expires_at: START.after(DAY),
            revoked_at: None,
        };
        self.store.add_token(&token).await.unwrap();
    }
}

async fn start(
    store: &Arc<SqliteStore>,
    clock: &Arc<FixedClock>,
    servers: &watch::Sender<Arc<Servers>>,
    issuers: &watch::Sender<Arc<caller::Issuers>>,
    dir: &std::path::Path,
) -> Result<Publisher, PublishError> {
    let tenant = Tenant("t".into());
    Publisher::start(Parts {
        settings: Settings {
            tenant: tenant.clone(),
            public_url: "http://127.0.0.1:10000".into(),
            max_staleness: Duration::from_secs(60),
            allowed_origins: vec![],
            allowed_hosts: vec![],
        },
        store: Arc::clone(store) as Arc<dyn Store>,
        vault: Vault::open_or_create(dir.join("key").join("master.key"), &tenant).unwrap(),
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        issuers: issuers.subscribe(),
        servers: servers.subscribe(),
    })
    .await
}

fn servers(names: &[&str]) -> Servers {
    let by_name: BTreeMap<_, _> = names
        .iter()
        .map(|name| {
            let name = ServerName((*name).to_owned());
            let server = Server {
                name: name.clone(),
                url: "https://mcp.example.com/mcp".parse().unwrap(),
                auth: Auth::Passthrough { audience: "https://mcp.example.com".into() },
                subjects: vec!["team:everyone".into()],
                allow_plaintext: false,
                revision: "r".into(),
            };
            (name, Arc::new(server))
        })
        .collect();
    Servers { revision: 1, by_name, ..Servers::default() }
}

fn kind(update: &Update) -> &'static str {
    match update.update.as_ref().unwrap() {
        update::Update::Full(_) => "full",
        update::Update::Delta(_) => "delta",
        update::Update::Heartbeat(_) => "heartbeat",
        update::Update::Hold(_) => "hold",
    }
}

#[tokio::test]
async fn says_what_a_proxy_needs() {
    let fixture = Fixture::new().await;
    let current = fixture.publisher.current();
    let server = &current.snapshot.servers[0];
    assert_eq!(server.paths, ["/mcp-server/a/echo/server"]);
    assert_eq!(server.resource, "http://127.0.0.1:10000/mcp-server/a/echo/server");
    assert_eq!(server.cluster, "mcp:a/echo");
    assert_eq!(server.auth(), AuthKind::Passthrough);
    assert_eq!(server.passthrough_audience, "https://mcp.example.com");
    assert_eq!(current.snapshot.version, START.0 * 1000);
}

#[tokio::test]
async fn publishes_only_what_differs() {
    let fixture = Fixture::new().await;
    let first = fixture.publisher.publish().await;
    assert_eq!(first, START.0 * 1000);
    fixture.servers.send_replace(Arc::new(servers(&["a/echo"])));
    assert_eq!(fixture.publisher.publish().await, first);
    fixture.servers.send_replace(Arc::new(servers(&["a/echo", "a/files"])));
    assert_eq!(fixture.publisher.publish().await, first + 1);
}

#[tokio::test]
async fn a_clock_set_back_takes_no_version_back() {
    let fixture = Fixture::new().await;
    fixture.clock.advance(Duration::from_secs(1));
    fixture.servers.send_replace(Arc::new(servers(&["b/echo"])));
    let second = fixture.publisher.publish().await;
    assert_eq!(second, (START.0 + 1000) * 1000);
    fixture.servers.send_replace(Arc::new(servers(&["c/echo"])));
    assert_eq!(fixture.publisher.publish().await, second + 1);
}

#[tokio::test]
async fn deltas_for_the_last_two_versions_and_all_for_others() {
    let fixture = Fixture::new().await;
    let mut versions = vec![fixture.publisher.current().snapshot.version];
    for name in ["a/one", "a/two", "a/three"] {
        fixture.servers.send_replace(Arc::new(servers(&[name])));
        versions.push(fixture.publisher.publish().await);
    }
    let current = fixture.publisher.current();
    let kinds: Vec<_> = versions.iter().map(|version| kind(&current.update_from(*version, &Scope::Every))).collect();
    assert_eq!(kinds, ["full", "delta", "delta", "heartbeat"]);
    assert_eq!(kind(&current.update_from(0, &Scope::Every)), "full");
    assert_eq!(kind(&current.update_from(u64::MAX, &Scope::Every)), "full");
    let Some(update::Update::Delta(delta)) = current.update_from(versions[1], &Scope::Every).update else {
        panic!("a delta")
    };
    assert_eq!((delta.from, delta.to), (versions[1], versions[3]));
    assert_eq!(delta.removed_servers, ["a/one"]);
    assert_eq!(delta.servers.iter().map(|server| server.name.as_str()).collect::<Vec<_>>(), ["a/three"]);
    assert_eq!(delta.revocations, None);
    assert_eq!(delta.session_keys, None);
}

fn external(name: &str, tenant: &str) -> ExternalIdentity {
    let claims = BTreeMap::from([("tenant".to_owned(), tenant.to_owned())]);
    let rule = caller::ExternalIdentity { name: name.into(), issuer: "https://shop.example".into(), claims };
    ExternalIdentity { rule, verifier_url: None }
}

#[tokio::test]
async fn i11_a_changed_external_identity_is_a_version_and_a_delta_of_its_own() {
    let fixture = Fixture::new().await;
    let first = fixture.publisher.current().snapshot.version;
    let with = |identities: &[ExternalIdentity]| {
        let named = identities.iter().map(|identity| (identity.rule.name.clone(), identity.clone()));
        Arc::new(Servers { external_identities: named.collect(), ..servers(&["a/echo"]) })
    };
    fixture.servers.send_replace(with(&[external("acme", "acme"), external("shop", "shop")]));
    let second = fixture.publisher.publish().await;
    fixture.servers.send_replace(with(&[external("acme", "acme2")]));
    assert!(first < second && second < fixture.publisher.publish().await);
    let current = fixture.publisher.current();
    let Some(update::Update::Delta(delta)) = current.update_from(second, &Scope::Every).update else {
        panic!("a delta")
    };
    let told: Vec<_> = delta.external_identities.iter().map(|one| (one.name.as_str(), &one.claims["tenant"])).collect();
    assert_eq!(told, [("acme", &"acme2".to_owned())]);
    assert_eq!(delta.removed_external_identities, ["shop"]);
    assert!(delta.servers.is_empty() && delta.removed_servers.is_empty());
    assert_eq!(current.external_identities, caller::ExternalIdentities::new([external("acme", "acme2").rule]));
    let Some(update::Update::Full(full)) = current.update_from(0, &Scope::Every).update else { panic!("all of it") };
    assert_eq!(full.external_identities, delta.external_identities);
}

#[tokio::test]
async fn i11_a_heartbeat_each_second_and_changes_at_once() {
    let fixture = Fixture::new().await;
    let mut updates = Box::pin(fixture.publisher.updates(0, Scope::Every));
    assert_eq!(kind(&updates.next().await.unwrap()), "full");
    let before = tokio::time::Instant::now();
    assert_eq!(kind(&updates.next().await.unwrap()), "heartbeat");
    assert!(before.elapsed() < HEARTBEAT * 2);
    fixture.servers.send_replace(Arc::new(servers(&["b/echo"])));
    fixture.publisher.publish().await;
    assert_eq!(kind(&updates.next().await.unwrap()), "delta");
}

#[tokio::test]
async fn a_proxy_that_is_up_to_date_gets_a_heartbeat_first() {
    let fixture = Fixture::new().await;
    let version = fixture.publisher.current().snapshot.version;
    let mut updates = Box::pin(fixture.publisher.updates(version, Scope::Every));
    assert_eq!(kind(&updates.next().await.unwrap()), "heartbeat");
}

#[tokio::test]
async fn i11_a_revoked_token_is_told_until_it_has_expired() {
    let fixture = Fixture::new().await;
    fixture.add_token("t1").await;
    fixture.add_token("t2").await;
    let first = fixture.publisher.publish().await;
    assert!(fixture.publisher.current().snapshot.revocations.is_empty());
    fixture.store.revoke_token("t1", START).await.unwrap();
    assert!(fixture.publisher.publish().await > first);
    assert_eq!(fixture.publisher.current().snapshot.revocations.len(), 1);
    // Its expiry has its leeway, in which a revoked token must not come back to life.
    fixture.clock.advance(DAY + Duration::from_secs(59));
    fixture.publisher.publish().await;
    assert_eq!(fixture.publisher.current().snapshot.revocations.len(), 1);
    fixture.clock.advance(Duration::from_secs(2));
    fixture.publisher.publish().await;
    assert!(fixture.publisher.current().snapshot.revocations.is_empty());
}

#[tokio::test]
async fn session_keys_change_daily_and_the_previous_one_stays() {
    let fixture = Fixture::new().await;
    let first = fixture.keys();
    assert_eq!((first.current.len(), first.previous.len()), (32, 0));
    fixture.clock.advance(DAY / 2);
    fixture.publisher.publish().await;
    assert!(fixture.keys() == first);
    fixture.clock.advance(DAY / 2);
    fixture.publisher.publish().await;
    let second = fixture.keys();
    assert!(second.current != first.current && second.previous == first.current);
    fixture.clock.advance(DAY * 5);
    fixture.publisher.publish().await;
    assert!(fixture.keys().current != second.current);
    assert_eq!(fixture.store.keys(session_keys::PURPOSE).await.unwrap().records.len(), 1);
}

#[tokio::test]
async fn runs_until_it_is_stopped() {
    let fixture = Fixture::new().await;
    let stop = CancellationToken::new();
    let running = tokio::spawn(fixture.publisher.clone().run(stop.clone()));
    let mut published = fixture.publisher.subscribe();
    fixture.servers.send_replace(Arc::new(servers(&["b/echo"])));
    published.wait_for(|published| published.snapshot.servers[0].name == "b/echo").await.unwrap();
    fixture.issuers.send_replace(Arc::new(caller::Issuers::new([issuer("https://id.example.com")])));
    published.wait_for(|published| published.snapshot.issuers.len() == 1).await.unwrap();
    stop.cancel();
    running.await.unwrap();
}

fn issuer(name: &str) -> caller::Issuer {
    caller::Issuer {
        issuer: name.into(),
        keys: vec![],
        audiences: vec![],
        profile: caller::TokenProfile::AccessToken,
        subject_claim: "sub".into(),
        email_claim: None,
        teams_claim: None,
        max_lifetime_ms: 1000,
        required_scopes: vec![],
        self_issued: false,
        login: true,
    }
}

#[tokio::test]
async fn every_proxy_hears_of_a_hold_and_stays_at_its_version() {
    let fixture = Fixture::new().await;
    let version = fixture.publisher.current().snapshot.version;
    let mut proxies: Vec<_> = (0..3).map(|_| Box::pin(fixture.publisher.updates(version, Scope::Every))).collect();
    for proxy in &mut proxies {
        assert!(matches!(proxy.next().await.unwrap().update, Some(update::Update::Heartbeat(_))));
    }
    let until = START.after(DAY);
    fixture.publisher.refreshing("g1", Generation(7), until);
    for proxy in &mut proxies {
        let expected = broker::Hold { grant: "g1".into(), generation: 7, until_ms: until.0 };
        assert_eq!(proxy.next().await.unwrap().update, Some(update::Update::Hold(expected)));
        let next = proxy.next().await.unwrap().update;
        assert!(matches!(next, Some(update::Update::Heartbeat(beat)) if beat.version == version), "{next:?}");
    }
}

/// The holds among the first updates of a proxy that comes now, as grant and generation.
async fn told_first(fixture: &Fixture) -> Vec<(String, u64)> {
    let mut proxy = Box::pin(fixture.publisher.updates(0, Scope::Every));
    let mut told = Vec::new();
    loop {
        match proxy.next().await.unwrap().update.unwrap() {
            update::Update::Hold(hold) => told.push((hold.grant, hold.generation)),
            update::Update::Heartbeat(_) => return told,
            update::Update::Full(_) | update::Update::Delta(_) => {}
        }
    }
}

#[tokio::test]
async fn o13_a_proxy_that_was_away_hears_of_every_hold_that_still_lasts() {
    let fixture = Fixture::new().await;
    let (publisher, second) = (&fixture.publisher, Duration::from_secs(1));
    publisher.ended("g1", Generation(7));
    publisher.refreshing("g2", Generation(1), START.after(second));
    publisher.refreshing("g3", Generation(1), START.after(DAY));
    publisher.refreshing("g3", Generation(1), START);
    publisher.refreshing("g4", Generation(1), START.after(2 * second));
    publisher.ended("g1", Generation(8));
    publisher.ended("g1", Generation(6));
    fixture.clock.advance(second);
    let mut told = told_first(&fixture).await;
    told.sort();
    assert_eq!(told, [("g1".to_owned(), 8), ("g4".to_owned(), 1)]);
    fixture.clock.advance(59 * 60 * second);
    assert_eq!(told_first(&fixture).await, [("g1".to_owned(), 8)], "as long as a proxy may keep it");
    fixture.clock.advance(DAY);
    assert_eq!(told_first(&fixture).await, []);
}

#[tokio::test]
async fn o13_no_refresh_lifts_or_cuts_short_what_has_ended() {
    let fixture = Fixture::new().await;
    let publisher = &fixture.publisher;
    publisher.ended("revoked", Generation(2));
    for generation in [1, 2] {
        publisher.refreshing("revoked", Generation(generation), START.after(Duration::from_secs(20)));
        publisher.refreshing("revoked", Generation(generation), START);
    }
    assert_eq!(told_first(&fixture).await, [("revoked".to_owned(), 2)]);
}

#[tokio::test]
async fn o13_a_proxy_that_was_away_hears_of_an_end_as_the_last_word_though_a_refresh_was_under_way() {
    let fixture = Fixture::new().await;
    let publisher = &fixture.publisher;
    publisher.refreshing("g", Generation(2), START.after(Duration::from_secs(20)));
    publisher.ended("g", Generation(2));
    publisher.refreshing("h", Generation(3), START.after(Duration::from_secs(20)));
    publisher.ended("h", Generation(2));
    let mut told = told_first(&fixture).await;
    told.sort();
    assert_eq!(told, [("g".to_owned(), 2), ("h".to_owned(), 2), ("h".to_owned(), 3)]);
}

#[tokio::test]
async fn a_refresh_that_came_to_nothing_lifts_its_own_hold_and_no_other() {
    let fixture = Fixture::new().await;
    let publisher = &fixture.publisher;
    publisher.ended("g", Generation(4));
    let mut proxy = Box::pin(publisher.updates(0, Scope::Every));
    proxy.next().await.unwrap();
    publisher.refreshing("g", Generation(5), START.after(DAY));
    publisher.refreshing("g", Generation(5), START);
    let mut told = Vec::new();
    while let update::Update::Hold(hold) = proxy.next().await.unwrap().update.unwrap() {
        told.push((hold.generation, hold.until_ms > START.0));
    }
    assert_eq!(told, [(4, true), (5, true), (5, false)]);
    assert_eq!(told_first(&fixture).await, [("g".to_owned(), 4)]);
}

#[tokio::test]
async fn o13_a_proxy_that_is_slow_misses_no_hold_in_force() {
    let fixture = Fixture::new().await;
    let mut proxy = Box::pin(fixture.publisher.updates(0, Scope::Every));
    proxy.next().await.unwrap();
    fixture.publisher.ended("revoked", Generation(1));
    for _ in 0..5_000 {
        fixture.publisher.ended("busy", Generation(1));
    }
    let mut told = Vec::new();
    while let update::Update::Hold(hold) = proxy.next().await.unwrap().update.unwrap() {
        told.push(hold.grant);
    }
    told.sort();
    assert_eq!(told, ["busy", "revoked"]);
}

#[tokio::test]
async fn v3_a_corrupt_record_of_a_revoked_token_keeps_it_revoked_and_nobody_else() {
    let fixture = Fixture::new().await;
    for id in ["t1", "t2", "t3"] {
        fixture.add_token(id).await;
    }
    for id in ["t1", "t2"] {
        fixture.store.revoke_token(id, START).await.unwrap();
    }
    fixture.store.tamper("UPDATE tokens SET issued_at = -1, expires_at = -1 WHERE id = 't1'").await;
    fixture.publisher.publish().await;
    let publisher = fixture.start().await.unwrap();
    for publisher in [&fixture.publisher, &publisher] {
        assert_eq!(jtis(&publisher.current().snapshot), ["t1", "t2"]);
    }
    // Which one it was nobody knows any more: it is one of these.
    fixture.store.tamper("UPDATE tokens SET id = CAST(x'ff' AS TEXT) WHERE id = 't2'").await;
    fixture.publisher.publish().await;
    let snapshot = Arc::clone(&fixture.publisher.current().snapshot);
    assert_eq!(jtis(&snapshot), ["t1"]);
    let all_until = snapshot.revocations.iter().find_map(|revocation| match &revocation.what {
        Some(revocation::What::Identity(identity)) => Some((identity.clone(), revocation.issued_before_ms)),
        Some(revocation::What::Token(_)) | None => None,
    });
    let (identity, until) = all_until.unwrap();
    let kind = PrincipalKind::VirtualAccount { name: "runtime".into() };
    let principal = fixture.store.principal_named(&kind).await.unwrap().unwrap().id;
    assert_eq!((identity.issuer.as_str(), identity.subject), ("http://127.0.0.1:10000", principal.0));
    assert_eq!(until, START.0 + 1, "of what it is issued from now on nothing is revoked");
}

fn jtis(snapshot: &Snapshot) -> Vec<&str> {
    let tokens = snapshot.revocations.iter().filter_map(|revocation| match &revocation.what {
        Some(revocation::What::Token(token)) => Some(token.jti.as_str()),
        Some(revocation::What::Identity(_)) | None => None,
    });
    tokens.collect()
}

#[tokio::test]
async fn v3_a_session_key_that_was_changed_is_left_out_and_stops_no_start() {
    let fixture = Fixture::new().await;
    // As a start does: a key id that was never used here is no key's.
    let tenant = Tenant("t".into());
    let vault = Vault::open_existing(fixture.dir.path().join("key").join("master.key"), &tenant).unwrap();
    fixture.store.add_wraps(&vault.key_id().to_string(), 0, START).await.unwrap();
    let session_keys = async || fixture.start().await.unwrap().current().snapshot.session_keys.clone().unwrap();
    fixture.clock.advance(DAY);
    fixture.publisher.publish().await;
    let first = fixture.keys();
    let day = START.0 / (24 * 60 * 60 * 1000);
    let [yesterday, today] = [day, day + 1].map(|day| format!("session-{day}"));
    fixture.store.bend_key(&yesterday, -1).await;
    let keys = session_keys().await;
    assert!(keys.current == first.current && keys.previous.is_empty());
    assert!(fixture.keys() == first, "who has it open goes on with it");
    // Its key id, the length of what is wrapped, what is sealed: whichever was changed.
    for (round, at) in [5, 20, -1].into_iter().enumerate() {
        let newest = if round == 0 { today.clone() } else { format!("{today}-{}", round + 1) };
        fixture.store.bend_key(&newest, at).await;
        let (keys, again) = (session_keys().await, session_keys().await);
        assert!(keys == again && keys.current != first.current && keys.previous.is_empty(), "{at}");
        assert_eq!(keys.current.len(), 32);
    }
    // A broker that runs comes to the same one.
    fixture.publisher.publish().await;
    assert!(fixture.keys().current == session_keys().await.current);
    assert_eq!(fixture.store.keys(session_keys::PURPOSE).await.unwrap().records.len(), 5);
    // Without its master key none is given up.
    std::fs::remove_file(fixture.dir.path().join("key").join("master.key")).unwrap();
    let refused = fixture.start().await.err().unwrap();
    let missing = matches!(
        &refused,
        PublishError::SessionKeys(SessionKeyError::Vault(crate::vault::VaultError::OtherMasterKey { needed, .. }))
            if *needed == vault.key_id()
    );
    assert!(missing, "{refused:?}");
    assert_eq!(fixture.store.keys(session_keys::PURPOSE).await.unwrap().records.len(), 5);
}
