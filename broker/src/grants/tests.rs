//! Two brokers on one store: what one has ended, the other's proxies and its own memory let go of.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use sallyport_proto::broker::{Update, update};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::{FixedClock, UnixTime};
use crate::coordination::tests::{Joined, address_of};
use crate::model::AuthorizationCode;
use crate::oauth::profile::{GENERIC, GITHUB, Profile};
use crate::refresher::tests::people::{agreed, provider_client};
use crate::refresher::tests::{PlainText, loopback};
use crate::refresher::{self, ConsentReason, Limits, Need, RefreshError, Source, Spool};
use crate::snapshot::{self, Publisher, Settings};
use crate::store::conformance::Tamper as _;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::tests::open_in;
use crate::store::{GrantCommit, Intent, Pause};

const START: UnixTime = UnixTime(1_800_000_000_000);
const FELT: Duration = Duration::from_secs(2);

struct Site {
    servers: Servers,
    store: Arc<SqliteStore>,
    vault: Vault,
    clock: Arc<FixedClock>,
    dir: tempfile::TempDir,
}

struct Broker {
    publisher: Publisher,
    refresher: Refresher,
    grants: Grants,
    _follows: tokio_util::sync::DropGuard,
}

impl Site {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(open_in(dir.path()).await);
        let vault = Vault::open_or_create(dir.path().join("key").join("master.key"), &tenant()).unwrap();
        Self { servers: Servers::default(), store, vault, clock: Arc::new(FixedClock::at(START)), dir }
    }

    /// A broker that starts now.
    async fn broker(&self, name: &str) -> Broker {
        self.broker_with(name, Coordination::in_process(tenant())).await
    }

    async fn broker_with(&self, name: &str, coordination: Coordination) -> Broker {
        let (store, clock) = (Arc::clone(&self.store) as Arc<dyn Store>, Arc::clone(&self.clock) as Arc<dyn Clock>);
        let servers = watch::Sender::new(Arc::new(self.servers.clone())).subscribe();
        let publisher = Publisher::start(snapshot::Parts {
            settings: Settings {
                tenant: tenant(),
                public_url: "http://127.0.0.1:10000".into(),
                max_staleness: Duration::from_secs(60),
                allowed_origins: vec![],
                allowed_hosts: vec![],
            },
            store: Arc::clone(&store),
            vault: self.vault.clone(),
            clock: Arc::clone(&clock),
            issuers: watch::Sender::new(Arc::default()).subscribe(),
            servers: servers.clone(),
        });
        let publisher = publisher.await.unwrap();
        let audit = Audit::start(Arc::clone(&store), Arc::clone(&clock), tenant());
        let (unwanted, too_late) = tokio::sync::mpsc::unbounded_channel();
        let refresher = Refresher::new(refresher::Parts {
            tenant: tenant(),
            broker: name.to_owned(),
            store: Arc::clone(&store),
            vault: self.vault.clone(),
            endpoint: loopback(),
            secrets: Arc::new(PlainText),
            holds: Arc::new(publisher.clone()),
            unwanted,
            spool: Spool::open(&self.dir.path().join("spool").join(name)).unwrap(),
            audit: audit.clone(),
            clock: Arc::clone(&clock),
            limits: Limits::default(),
            coordination: coordination.clone(),
        });
        let grants = Grants::new(Parts {
            tenant: tenant(),
            store,
            vault: self.vault.clone(),
            endpoint: loopback(),
            secrets: Arc::new(PlainText),
            audit,
            clock,
            servers,
            refresher: refresher.clone(),
            holds: Arc::new(publisher.clone()),
            coordination: coordination.clone(),
        });
        let stop = CancellationToken::new();
        tokio::spawn(grants.clone().revoke_unwanted(too_late, stop.clone()));
        tokio::spawn(grants.clone().follow_refreshes(stop.clone()));
        let ended = Follower::start(grants.clone()).await.unwrap();
        tokio::spawn(ended.run(crate::snapshot::Reads::default(), stop.clone()));
        Broker { publisher, refresher, grants, _follows: stop.drop_guard() }
    }

    /// What alice agrees to next.
    async fn next(&self, access_token: &str) -> GrantCommit {
        let (key, now) = (alice().grant(), self.clock.now());
        let before = self.store.grant(&key).await.unwrap().map_or(0, |stored| stored.generation.0);
        agreed(&self.vault, key, Generation(before + 1), now, access_token, Some("refresh")).await
    }

    async fn alice_agrees(&self, access_token: &str) -> StoredGrant {
        self.store.commit_grant(&self.next(access_token).await).await.unwrap();
        self.store.grant(&alice().grant()).await.unwrap().unwrap()
    }
}

impl Broker {
    async fn token(&self) -> Result<String, RefreshError> {
        let served = self.refresher.token(&alice(), Need::Live).await?;
        Ok(served.token.access_token.expose_str().unwrap().to_owned())
    }

    fn proxy(&self) -> Proxy {
        Proxy(Box::pin(self.publisher.updates(0, crate::peer::Scope::Every)))
    }

    async fn ends(&self, grant: StoredGrant) {
        let operator = Actor { issuer: "operator".into(), subject: "uid:0".into(), client_id: None };
        self.grants.revoke(grant, Ending::Operator, operator, Call::default()).await.unwrap();
    }
}

/// What a proxy is told.
struct Proxy(Pin<Box<dyn Stream<Item = Update> + Send>>);

impl Proxy {
    /// Waits until it is told to let go of a grant; answers up to which generation.
    async fn lets_go(&mut self, grant: &str) -> u64 {
        let mut hold = self.hears_of(grant).await;
        // Longer than any refresh: it has ended.
        while hold.until_ms < START.after(Duration::from_secs(1_800)).0 {
            hold = self.hears_of(grant).await;
        }
        hold.generation
    }

    /// What it is told next of a grant.
    async fn hears_of(&mut self, grant: &str) -> sallyport_proto::broker::Hold {
        let told = async {
            loop {
                match self.0.next().await.unwrap().update {
                    Some(update::Update::Hold(hold)) if hold.grant == grant => return hold,
                    _ => {}
                }
            }
        };
        tokio::time::timeout(FELT, told).await.expect("felt within two seconds")
    }

    /// The grants it is told to let go of before the first heartbeat.
    async fn first(mut self) -> Vec<String> {
        let mut told = Vec::new();
        loop {
            match self.0.next().await.unwrap().update.unwrap() {
                update::Update::Hold(hold) => told.push(hold.grant),
                update::Update::Heartbeat(_) => return told,
                update::Update::Full(_) | update::Update::Delta(_) => {}
            }
        }
    }
}

fn tenant() -> Tenant {
    Tenant("t".into())
}

fn alice() -> Source {
    let client = Arc::new(provider_client("https://login.example.com/token".parse().unwrap(), &GENERIC));
    let code = AuthorizationCode { client, scopes: vec!["read".into()], auth_revision: "r1".into() };
    Source::Person { client: Arc::new(code), holder: PrincipalId("alice".into()) }
}

/// A server at which everybody has their own account, with a provider of this kind.
fn notes(profile: &'static Profile) -> Servers {
    let client = Arc::new(provider_client("https://login.example.com/token".parse().unwrap(), profile));
    let code = AuthorizationCode { client, scopes: vec!["read".into()], auth_revision: "r1".into() };
    let name = ServerName("demo/notes".into());
    let server = Server {
        name: name.clone(),
        url: "https://mcp.example.com".parse().unwrap(),
        auth: Auth::AuthorizationCode(Arc::new(code)),
        subjects: vec![],
        allow_plaintext: false,
        revision: "r1".into(),
    };
    Servers { by_name: std::iter::once((name, Arc::new(server))).collect(), ..Servers::default() }
}

#[tokio::test]
async fn i11_what_one_broker_ends_another_and_its_proxies_let_go_of_within_two_seconds() {
    let site = Site::new().await;
    let (one, other) = (site.broker("one").await, site.broker("other").await);
    let grant = site.alice_agrees("canary-access").await;
    let (id, mut proxy) = (grant.id.clone(), other.proxy());
    assert_eq!(other.token().await.unwrap(), "canary-access");
    one.ends(grant).await;
    assert_eq!(proxy.lets_go(&id).await, 1);
    let error = other.token().await.unwrap_err();
    assert!(matches!(error, RefreshError::NeedsConsent { reason: ConsentReason::Revoked }), "{error:?}");
}

#[tokio::test]
async fn l11_what_was_agreed_to_anew_at_one_broker_is_served_by_another_within_two_seconds() {
    let site = Site::new().await;
    let other = site.broker("other").await;
    let id = site.alice_agrees("canary-first").await.id;
    let mut proxy = other.proxy();
    assert_eq!(other.token().await.unwrap(), "canary-first");
    site.alice_agrees("canary-second").await;
    assert_eq!(proxy.lets_go(&id).await, 1);
    assert_eq!(other.token().await.unwrap(), "canary-second");
}

#[tokio::test]
async fn i5_what_one_broker_refreshes_and_may_end_by_it_another_and_its_proxies_hold_back_until_it_is_over() {
    let site = Site { servers: notes(&GITHUB), ..Site::new().await };
    let other = site.broker("other").await;
    let grant = site.alice_agrees("canary-first").await;
    assert_eq!(other.token().await.unwrap(), "canary-first");
    let mut proxy = other.proxy();
    let begin = async || {
        let now = site.clock.now();
        let intent = Intent { owner: "one/1".into(), attempt: 1, started_at: now, deadline: now.after(FELT) };
        let paused = site.store.grant_by_id(&grant.id).await.unwrap().unwrap().pause;
        site.store.take_intent(&grant.id, grant.generation, &intent, None, paused.as_ref()).await.unwrap();
        intent
    };
    let intent = begin().await;
    let hold = proxy.hears_of(&grant.id).await;
    assert!(hold.generation == 1 && hold.until_ms > site.clock.now().0, "{hold:?}");
    assert!(other.refresher.generation(&alice()).await.is_ok() && !other.refresher.is_open(&alice().grant()));
    // The provider has done nothing.
    site.store.clear_intent(&grant.id, grant.generation, &intent, &Pause::over(site.clock.now())).await.unwrap();
    assert!(proxy.hears_of(&grant.id).await.until_ms <= site.clock.now().0);
    begin().await;
    assert!(proxy.hears_of(&grant.id).await.until_ms > site.clock.now().0);
    site.store.commit_refresh(&site.next("canary-second").await).await.unwrap();
    assert_eq!(proxy.lets_go(&grant.id).await, 1);
    assert_eq!(other.token().await.unwrap(), "canary-second");
}

#[tokio::test]
async fn a_refresh_that_leaves_the_old_token_alone_is_told_to_nobody() {
    let site = Site::new().await;
    let broker = site.broker("one").await;
    site.alice_agrees("canary-first").await;
    let refreshed = GrantCommit { invalidates: None, ..site.next("canary-second").await };
    site.store.commit_refresh(&refreshed).await.unwrap();
    Follower::start(broker.grants.clone()).await.unwrap();
    assert_eq!(broker.proxy().first().await, Vec::<String>::new());
    assert_eq!(broker.token().await.unwrap(), "canary-second");
}

#[tokio::test]
async fn o13_a_broker_that_starts_tells_first_what_ended_as_long_as_a_proxy_may_keep_it() {
    let site = Site::new().await;
    let before = site.broker("one").await;
    let grant = site.alice_agrees("canary-access").await;
    let id = grant.id.clone();
    before.ends(grant).await;
    drop(before);
    // Clocks may be an hour apart.
    site.clock.advance(Duration::from_secs(2 * 60 * 60 - 1));
    assert_eq!(site.broker("one").await.proxy().first().await, [id]);
    site.clock.advance(Duration::from_secs(1));
    assert_eq!(site.broker("one").await.proxy().first().await, Vec::<String>::new());
}

#[tokio::test]
async fn i11_another_brokers_clock_hides_nothing() {
    let site = Site::new().await;
    let broker = site.broker("one").await;
    let grant = site.alice_agrees("canary-access").await;
    let mut proxy = broker.proxy();
    let revoked = Standing::Revoked("operator".to_owned());
    site.store.end_grant(&grant.id, grant.generation, &revoked, UnixTime(1)).await.unwrap();
    assert_eq!(proxy.lets_go(&grant.id).await, 1);
}

#[tokio::test]
async fn a_grant_that_is_gone_is_let_go_of_all_the_same() {
    let site = Site::new().await;
    let broker = site.broker("one").await;
    let grant = site.alice_agrees("canary-access").await;
    let mut proxy = broker.proxy();
    broker.ends(grant.clone()).await;
    site.store.tamper("DELETE FROM grants").await;
    assert_eq!(proxy.lets_go(&grant.id).await, 1);
    assert_eq!(site.broker("one").await.proxy().first().await, [grant.id]);
}

#[tokio::test]
async fn a_start_reads_everything_however_much_that_is() {
    let site = Site::new().await;
    let many = "INSERT INTO invalidations (grant_id, number, provider_client, holder, generation, at)
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5001)
         SELECT 'g' || i, i, 'client', 'holder ' || i, 1, 1800000000000 FROM n";
    site.store.tamper(many).await;
    site.store.tamper("UPDATE invalidation_count SET last = 5001").await;
    let mut told = site.broker("one").await.proxy().first().await;
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), 5001);
    // Nor are fewer read if how many were given is not known.
    site.store.tamper("UPDATE invalidation_count SET last = 3").await;
    let mut told = site.broker("one").await.proxy().first().await;
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), 5001);
}

#[tokio::test(flavor = "multi_thread")]
async fn i11_other_brokers_are_told_of_an_end_and_not_of_what_they_were_told() {
    let redis = redis_counterpart::Redis::start();
    let join = || Joined::through(address_of(&redis.url()));
    let (one, other) = (join().await, join().await);
    let site = Site::new().await;
    let first = site.broker_with("first", one.coordination.clone()).await;
    let second = site.broker_with("second", other.coordination.clone()).await;
    let grant = site.alice_agrees("canary-1").await;
    assert_eq!(second.token().await.unwrap(), "canary-1");
    let (mut hears, mut heard_back) =
        (other.coordination.looks(News::Ended, FELT * 1000), one.coordination.looks(News::Ended, FELT * 1000));
    hears.next().await;
    heard_back.next().await;
    first.ends(grant).await;
    tokio::time::timeout(FELT, hears.next()).await.expect("it is told");
    tokio::time::timeout(FELT, async { while second.token().await.is_ok() {} }).await.expect("it lets go");
    let again = tokio::time::timeout(Duration::from_millis(700), heard_back.next()).await;
    assert!(again.is_err(), "what was heard is not said again");
}

#[tokio::test]
async fn v3_a_corrupt_end_is_felt_and_hides_no_other() {
    let site = Site::new().await;
    let before = site.broker("one").await;
    let grant = site.alice_agrees("canary-access").await;
    let id = grant.id.clone();
    before.ends(grant).await;
    drop(before);
    for damage in ["at = -1", "number = -1", "number = 9000000000000000000", "holder = CAST(x'ff' AS TEXT)"] {
        site.store.tamper_with(format!("UPDATE invalidations SET {damage}")).await;
        assert_eq!(site.broker("one").await.proxy().first().await, [id.as_str()], "{damage}");
    }
    let broker = site.broker("one").await;
    site.alice_agrees("canary-second").await;
    assert_eq!(broker.token().await.unwrap(), "canary-second");
    let mut proxy = broker.proxy();
    assert_eq!(proxy.lets_go(&id).await, 1);
    let again = site.store.grant_by_id(&id).await.unwrap().unwrap();
    let revoked = Standing::Revoked("operator".to_owned());
    site.store.end_grant(&id, again.generation, &revoked, site.clock.now()).await.unwrap();
    assert_eq!(proxy.lets_go(&id).await, 2);
}
