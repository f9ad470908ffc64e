//! A provider on loopback, and a broker's refresher in front of it.

mod alone;
mod coordinated;
mod dangling;
mod ends;
mod late;
mod life;
mod outages;
mod pauses;
pub(crate) mod people;
pub(crate) mod provider;
mod races;
mod refreshes;
mod schedule;
mod service;
mod spool;
mod unreachable;
mod unreadable;

use async_trait::async_trait;

pub(crate) use self::provider::Provider;
use super::*;
use crate::clock::{FixedClock, UnixTime};
use crate::fetch::Fetcher;
use crate::model::{ClientAuthentication, ClientCredentials, Template, TemplatePart};
use crate::secret::Secret;
use crate::store::StoredGrant;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::tests::open_in;

const START: UnixTime = UnixTime(1_800_000_000_000);
const HOUR: Duration = Duration::from_secs(3600);

/// The guarded client, let through to loopback.
pub(crate) fn loopback() -> Arc<Fetcher> {
    Arc::new(Fetcher::new(&["127.0.0.0/8".parse().unwrap()], None).unwrap())
}

/// Templates of plain text.
pub(crate) struct PlainText;

#[async_trait]
impl ResolveTemplate for PlainText {
    async fn resolve(&self, template: &Template) -> Result<Resolved, ResolveError> {
        match template.0.as_slice() {
            [TemplatePart::Text(text)] => Ok(Resolved { value: Secret::new(text.as_str()), secrets: Vec::new() }),
            _ => Err(ResolveError::Unusable(Arc::from(Box::<dyn std::error::Error + Send + Sync>::from(
                "no such secret",
            )))),
        }
    }
}

struct Fixture {
    refresher: Refresher,
    provider: Arc<Provider>,
    client: Arc<ClientCredentials>,
    store: Arc<SqliteStore>,
    vault: Vault,
    clock: Arc<FixedClock>,
    limits: Limits,
    held: Arc<Held>,
    dir: tempfile::TempDir,
}

/// The holds that proxies were told, and what came home too late.
pub(crate) struct Held {
    refreshing: std::sync::Mutex<Vec<(String, Generation, UnixTime)>>,
    ended: std::sync::Mutex<Vec<(String, Generation)>>,
    too_late: std::sync::Mutex<mpsc::UnboundedReceiver<GrantCommit>>,
    unwanted: mpsc::UnboundedSender<GrantCommit>,
}

impl Held {
    fn nothing() -> Self {
        let (unwanted, too_late) = mpsc::unbounded_channel();
        let (refreshing, ended) = Default::default();
        Self { refreshing, ended, too_late: too_late.into(), unwanted }
    }

    /// What came home too late, and was not asked for yet.
    fn too_late(&self) -> Option<GrantCommit> {
        self.too_late.lock().unwrap().try_recv().ok()
    }
}

impl Hold for Held {
    fn refreshing(&self, grant: &str, generation: Generation, until: UnixTime) {
        self.refreshing.lock().unwrap().push((grant.to_owned(), generation, until));
    }

    fn ended(&self, grant: &str, generation: Generation) {
        self.ended.lock().unwrap().push((grant.to_owned(), generation));
    }
}

pub(crate) fn client_of(token_url: url::Url) -> Arc<ClientCredentials> {
    let text = |text: &str| Template(vec![TemplatePart::Text(text.to_owned())]);
    Arc::new(ClientCredentials {
        token_url,
        client_id: text("gate"),
        client_secret: text("canary-secret"),
        client_authentication: ClientAuthentication::Post,
        scopes: vec!["mcp".to_owned()],
        resource: None,
        additional_params: vec![],
        auth_revision: "r1".to_owned(),
    })
}

impl Fixture {
    async fn new() -> Self {
        Self::with(Limits { wait: Duration::from_secs(20), ..Limits::default() }).await
    }

    async fn with(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(open_in(dir.path()).await);
        let tenant = Tenant("t".into());
        let vault = Vault::open_or_create(dir.path().join("key").join("master.key"), &tenant).unwrap();
        let clock = Arc::new(FixedClock::at(START));
        let (provider, url) = Provider::start().await;
        let client = client_of(url);
        let held = Arc::new(Held::nothing());
        let refresher = Refresher::new(parts("a", &store, &vault, &clock, &held, dir.path(), limits));
        Self { refresher, provider, client, store, vault, clock, limits, held, dir }
    }

    fn parts(&self, broker: &str) -> Parts {
        parts(broker, &self.store, &self.vault, &self.clock, &self.held, self.dir.path(), self.limits)
    }

    /// A second broker on the same store, with nothing in memory.
    fn other_broker(&self) -> Refresher {
        Refresher::new(self.parts("b"))
    }

    /// The first broker, started again.
    fn restarted(&self) -> Refresher {
        Refresher::new(self.parts("a"))
    }

    fn service(&self) -> Source {
        Source::Service(Arc::clone(&self.client))
    }

    async fn token(&self, need: Need) -> Result<Served, RefreshError> {
        self.refresher.token(&self.service(), need).await
    }

    async fn text(&self, need: Need) -> String {
        text(&self.token(need).await.unwrap())
    }

    fn spawn(&self, need: Need) -> tokio::task::JoinHandle<Result<Served, RefreshError>> {
        spawn(&self.refresher, &self.service(), need)
    }

    async fn stored(&self) -> Option<StoredGrant> {
        self.store.grant(&self.service().grant()).await.unwrap()
    }

    async fn until_generation(&self, generation: u64) {
        while self.stored().await.is_none_or(|stored| stored.generation < Generation(generation)) {
            tokio::task::yield_now().await;
        }
        self.until_idle().await;
    }

    async fn until_idle(&self) {
        let key = self.refresher.0.key(&self.service().grant());
        while self.refresher.0.flights.under_way(&key) {
            tokio::task::yield_now().await;
        }
    }
}

fn parts(
    broker: &str,
    store: &Arc<SqliteStore>,
    vault: &Vault,
    clock: &Arc<FixedClock>,
    held: &Arc<Held>,
    dir: &std::path::Path,
    limits: Limits,
) -> Parts {
    let (store, clock) = (Arc::clone(store) as Arc<dyn Store>, Arc::clone(clock) as Arc<dyn Clock>);
    // Nothing waits for a store here that a test does not bring there itself.
    let limits = Limits { settle: limits.settle.min(Duration::from_millis(200)), ..limits };
    Parts {
        tenant: Tenant("t".into()),
        broker: broker.to_owned(),
        vault: vault.clone(),
        endpoint: loopback(),
        secrets: Arc::new(PlainText),
        holds: Arc::clone(held) as Arc<dyn Hold>,
        unwanted: held.unwanted.clone(),
        spool: Spool::open(&dir.join("spool").join(broker)).unwrap(),
        audit: Audit::start(Arc::clone(&store), Arc::clone(&clock), Tenant("t".into())),
        store,
        clock,
        limits,
        coordination: Coordination::in_process(Tenant("t".into())),
    }
}

fn spawn(refresher: &Refresher, source: &Source, need: Need) -> tokio::task::JoinHandle<Result<Served, RefreshError>> {
    let (refresher, source) = (refresher.clone(), source.clone());
    tokio::spawn(async move { refresher.token(&source, need).await })
}

fn text(served: &Served) -> String {
    served.token.access_token.expose_str().unwrap().to_owned()
}
