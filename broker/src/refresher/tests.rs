use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;

use super::*;
use crate::clock::FixedClock;
use crate::fetch::Fetcher;
use crate::model::{ClientAuthentication, TemplatePart};
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::tests::open_in;
use crate::store::{GrantCommit, Material, StoredGrant};

const START: UnixTime = UnixTime(1_800_000_000_000);
const HOUR: Duration = Duration::from_secs(3600);

/// A token endpoint on loopback that counts what it is asked, and answers as it is told.
pub(crate) struct Provider {
    pub(crate) requests: watch::Sender<usize>,
    answer: Mutex<Said>,
    pub(crate) gate: watch::Sender<bool>,
    seen: Mutex<Vec<String>>,
    number: AtomicUsize,
    hangs: AtomicBool,
}

/// Status, headers, body.
type Said = (u16, Vec<(&'static str, String)>, String);

/// Text of the `n`th token: its number follows the canary.
const TOKEN: &str = r#"{"access_token":"canary-token-NUMBER","expires_in":3600}"#;

impl Provider {
    pub(crate) async fn start() -> (Arc<Self>, url::Url) {
        let provider = Arc::new(Self {
            requests: watch::Sender::new(0),
            answer: Mutex::new((200, vec![], TOKEN.to_owned())),
            gate: watch::Sender::new(true),
            seen: Mutex::default(),
            number: AtomicUsize::new(0),
            hangs: AtomicBool::new(false),
        });
        let app = axum::Router::new().fallback(Self::token).with_state(Arc::clone(&provider));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        (provider, url)
    }

    async fn token(State(provider): State<Arc<Self>>, body: String) -> Response {
        provider.seen.lock().unwrap().push(body);
        provider.requests.send_modify(|count| *count += 1);
        if provider.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        provider.gate.subscribe().wait_for(|open| *open).await.unwrap();
        let number = provider.number.fetch_add(1, Ordering::SeqCst) + 1;
        let (status, headers, body) = provider.answer.lock().unwrap().clone();
        let mut response =
            (StatusCode::from_u16(status).unwrap(), body.replace("NUMBER", &number.to_string())).into_response();
        for (name, value) in headers {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        response
    }

    pub(crate) fn answers(&self, status: u16, body: &str) {
        *self.answer.lock().unwrap() = (status, vec![], body.to_owned());
    }

    pub(crate) fn count(&self) -> usize {
        *self.requests.borrow()
    }

    async fn until_asked(&self, times: usize) {
        self.requests.subscribe().wait_for(|count| *count >= times).await.unwrap();
    }
}

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
    _dir: tempfile::TempDir,
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
        let refresher = Self::refresher(&store, &vault, &clock, limits);
        Self { refresher, provider, client, store, vault, clock, limits, _dir: dir }
    }

    fn refresher(store: &Arc<SqliteStore>, vault: &Vault, clock: &Arc<FixedClock>, limits: Limits) -> Refresher {
        Refresher::new(Parts {
            tenant: Tenant("t".into()),
            store: Arc::clone(store) as Arc<dyn Store>,
            vault: vault.clone(),
            endpoint: loopback(),
            secrets: Arc::new(PlainText),
            audit: Audit::start(
                Arc::clone(store) as Arc<dyn Store>,
                Arc::clone(clock) as Arc<dyn Clock>,
                Tenant("t".into()),
            ),
            clock: Arc::clone(clock) as Arc<dyn Clock>,
            limits,
        })
    }

    /// A second broker on the same store, with nothing in memory.
    fn other_broker(&self) -> Refresher {
        Self::refresher(&self.store, &self.vault, &self.clock, self.limits)
    }

    async fn token(&self, need: Need) -> Result<Served, RefreshError> {
        self.refresher.token(&self.client, need).await
    }

    async fn text(&self, need: Need) -> String {
        text(&self.token(need).await.unwrap())
    }

    fn spawn(&self, need: Need) -> tokio::task::JoinHandle<Result<Served, RefreshError>> {
        let (refresher, client) = (self.refresher.clone(), Arc::clone(&self.client));
        tokio::spawn(async move { refresher.token(&client, need).await })
    }

    async fn stored(&self) -> Option<StoredGrant> {
        self.store.grant(&keys::service_grant(&self.client)).await.unwrap()
    }

    async fn until_generation(&self, generation: u64) {
        while self.stored().await.is_none_or(|stored| stored.generation < Generation(generation)) {
            tokio::task::yield_now().await;
        }
        self.until_idle().await;
    }

    async fn until_idle(&self) {
        let key = Key::of_grant(&Tenant("t".into()), Purpose::Grant, &keys::service_grant(&self.client));
        while self.refresher.0.flights.under_way(&key) {
            tokio::task::yield_now().await;
        }
    }
}

fn text(served: &Served) -> String {
    served.token.access_token.expose_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_callers_on_one_expired_grant_make_one_token_request() {
    let fixture = Fixture::new().await;
    for round in 1..=40 {
        let callers: Vec<_> = (0..50).map(|_| fixture.spawn(Need::Live)).collect();
        for caller in callers {
            assert_eq!(text(&caller.await.unwrap().unwrap()), format!("canary-token-{round}"));
        }
        assert_eq!(fixture.provider.count(), round);
        fixture.clock.advance(HOUR);
    }
    assert_eq!(fixture.stored().await.unwrap().generation, Generation(40));
}

#[tokio::test]
async fn i5_caller_that_gives_up_does_not_lose_the_token() {
    let fixture = Fixture::new().await;
    fixture.provider.gate.send_replace(false);
    let caller = fixture.spawn(Need::Live);
    fixture.provider.until_asked(1).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    fixture.provider.gate.send_replace(true);
    fixture.until_generation(1).await;
    assert_eq!(fixture.text(Need::Live).await, "canary-token-1");
    assert_eq!(fixture.provider.count(), 1);
}

#[tokio::test]
async fn a_caller_waits_no_longer_than_it_may_and_the_renewal_goes_on() {
    let limits = Limits { wait: Duration::from_millis(50), ..Limits::default() };
    let fixture = Fixture::with(limits).await;
    fixture.provider.gate.send_replace(false);
    let error = fixture.token(Need::Live).await.unwrap_err();
    assert!(matches!(&error, RefreshError::Overdue { host } if host == "127.0.0.1"), "{error:?}");
    fixture.provider.gate.send_replace(true);
    fixture.until_generation(1).await;
    assert_eq!(fixture.text(Need::Live).await, "canary-token-1");
}

#[tokio::test]
async fn stored_tokens_outlive_the_process() {
    let fixture = Fixture::new().await;
    fixture.text(Need::Live).await;
    let served = fixture.other_broker().token(&fixture.client, Need::Live).await.unwrap();
    assert_eq!(text(&served), "canary-token-1");
    assert!(!served.renewed);
    assert_eq!(fixture.provider.count(), 1);
}

#[tokio::test]
async fn due_tokens_are_renewed_behind_callers_that_go_on_with_the_old_one() {
    let fixture = Fixture::new().await;
    fixture.text(Need::Live).await;
    fixture.clock.advance(HOUR.mul_f64(0.79));
    assert_eq!(fixture.text(Need::NotDue).await, "canary-token-1");
    assert_eq!(fixture.provider.count(), 1);
    fixture.clock.advance(HOUR.mul_f64(0.07));
    fixture.provider.gate.send_replace(false);
    assert_eq!(fixture.text(Need::Live).await, "canary-token-1");
    let patient = fixture.spawn(Need::NotDue);
    fixture.provider.gate.send_replace(true);
    assert_eq!(text(&patient.await.unwrap().unwrap()), "canary-token-2");
    fixture.until_idle().await;
    assert_eq!(fixture.text(Need::Live).await, "canary-token-2");
    assert_eq!(fixture.provider.count(), 2);
}

#[tokio::test]
async fn a_failing_provider_costs_nothing_until_the_old_token_expires() {
    let fixture = Fixture::new().await;
    fixture.text(Need::Live).await;
    fixture.clock.advance(HOUR.mul_f64(0.9));
    for (status, body) in
        [(500, "canary"), (429, "{}"), (200, "<html>canary"), (302, ""), (400, r#"{"error":"invalid_client"}"#)]
    {
        fixture.provider.answers(status, body);
        fixture.refresher.reconsider();
        assert_eq!(fixture.text(Need::NotDue).await, "canary-token-1");
    }
    assert_eq!(fixture.provider.count(), 6);
    fixture.clock.advance(HOUR.mul_f64(0.1));
    fixture.provider.answers(503, "canary");
    fixture.refresher.reconsider();
    let error = fixture.token(Need::Live).await.unwrap_err();
    assert!(
        matches!(&error, RefreshError::Provider { host, retry_after } if host == "127.0.0.1" && !retry_after.is_zero())
    );
    assert!(!format!("{error} {error:?}").contains("canary"));
    assert_eq!(fixture.stored().await.unwrap().generation, Generation(1));
    let rows = fixture.store.audit(0, "", "", "", 100).await.unwrap();
    let rows: Vec<_> = rows.into_iter().map(|row| row.entry).collect();
    assert_eq!(rows.iter().filter(|row| row.event == "refresh.done").count(), 1);
    assert_eq!(rows.iter().filter(|row| row.event == "refresh.failed").count(), 6);
    assert!(rows.iter().all(|row| !row.json.contains("canary")));
}

#[tokio::test]
async fn a_failing_provider_is_left_alone() {
    let fixture = Fixture::new().await;
    fixture.provider.answer.lock().unwrap().0 = 429;
    fixture.provider.answer.lock().unwrap().1 = vec![("retry-after", "90".to_owned())];
    for _ in 0..20 {
        assert!(matches!(fixture.token(Need::Live).await, Err(RefreshError::Provider { .. })));
    }
    assert_eq!(fixture.provider.count(), 1);
    fixture.clock.advance(Duration::from_secs(89));
    assert!(fixture.token(Need::Live).await.is_err());
    assert_eq!(fixture.provider.count(), 1);
    fixture.clock.advance(Duration::from_secs(20));
    *fixture.provider.answer.lock().unwrap() = (200, vec![], TOKEN.to_owned());
    fixture.text(Need::Live).await;
    assert_eq!(fixture.provider.count(), 2);
}

#[tokio::test]
async fn a_hanging_provider_is_given_up() {
    let fixture = Fixture::with(Limits { provider: Duration::from_millis(50), ..Limits::default() }).await;
    fixture.provider.hangs.store(true, Ordering::SeqCst);
    assert!(matches!(fixture.token(Need::Live).await, Err(RefreshError::Provider { .. })));
}

#[tokio::test]
async fn a_refused_client_is_not_an_outage() {
    let fixture = Fixture::new().await;
    fixture.provider.answers(401, r#"{"error":"invalid_client","error_description":"canary"}"#);
    let error = fixture.token(Need::Live).await.unwrap_err();
    assert!(matches!(error, RefreshError::Refused { code: RefusalCode::InvalidClient, .. }));
    assert!(!format!("{error} {error:?}").contains("canary"));
}

#[tokio::test]
async fn a_missing_secret_asks_no_provider() {
    let fixture = Fixture::new().await;
    let client =
        Arc::new(ClientCredentials { client_secret: Template(vec![]), ..ClientCredentials::clone(&fixture.client) });
    assert!(matches!(fixture.refresher.token(&client, Need::Live).await, Err(RefreshError::Secret(_))));
    assert_eq!(fixture.provider.count(), 0);
}

#[tokio::test]
async fn i5_loser_of_a_race_serves_the_winners_and_deletes_nothing() {
    let fixture = Fixture::new().await;
    fixture.provider.gate.send_replace(false);
    let loser = fixture.spawn(Need::Live);
    fixture.provider.until_asked(1).await;
    let key = keys::service_grant(&fixture.client);
    let id = keys::grant_id(&Tenant("t".into()), &key);
    let data_key = fixture.vault.data_key().await.unwrap();
    let winner = GrantCommit {
        material: Material {
            access_token: data_key.seal(&renewal::place(&id, Generation(1)), &Secret::new("winners-token")),
            refresh_token: None,
            issued_at: START,
            expires_at: START.after(HOUR),
            refresh_after: START.after(HOUR),
        },
        id,
        key,
        generation: Generation(1),
        scopes: vec![],
        auth_revisions: vec![],
        account: None,
        consented_at: None,
    };
    fixture.store.commit_grant(&winner).await.unwrap();
    fixture.provider.gate.send_replace(true);
    assert_eq!(text(&loser.await.unwrap().unwrap()), "winners-token");
    assert_eq!(fixture.text(Need::Live).await, "winners-token");
    assert_eq!(fixture.stored().await.unwrap().material, Some(winner.material));
}

#[tokio::test]
async fn i5_a_token_waits_in_memory_while_the_store_is_full() {
    let fixture = Fixture::new().await;
    fixture.provider.gate.send_replace(false);
    // A token that needs pages of its own.
    let token = "t".repeat(12_000);
    fixture.provider.answers(200, &format!(r#"{{"access_token":"{token}"}}"#));
    let caller = fixture.spawn(Need::Live);
    fixture.provider.until_asked(1).await;
    fixture.store.fill().await;
    fixture.provider.gate.send_replace(true);
    // The disk stays full until an attempt has been refused, which nothing but the caller's patience shows.
    tokio::time::timeout(Duration::from_millis(200), fixture.until_idle()).await.unwrap_err();
    assert!(!caller.is_finished());
    fixture.store.make_room().await;
    assert_eq!(text(&caller.await.unwrap().unwrap()), token);
    assert_eq!(fixture.provider.count(), 1);
}

#[tokio::test]
async fn i5_a_token_that_was_not_stored_is_not_served() {
    let fixture = Fixture::with(Limits { commit: Duration::from_millis(50), ..Limits::default() }).await;
    fixture.provider.answers(200, &format!(r#"{{"access_token":"{}"}}"#, "t".repeat(12_000)));
    fixture.store.fill().await;
    assert!(matches!(fixture.token(Need::Live).await, Err(RefreshError::Store(_))));
}

#[tokio::test]
async fn a_refused_generation_is_renewed_once() {
    let fixture = Fixture::new().await;
    fixture.text(Need::Live).await;
    let callers: Vec<_> = (0..20).map(|_| fixture.spawn(Need::LaterThan(Generation(1)))).collect();
    for caller in callers {
        assert_eq!(text(&caller.await.unwrap().unwrap()), "canary-token-2");
    }
    assert_eq!(fixture.provider.count(), 2);
}

#[tokio::test]
async fn a_generation_that_never_was_moves_nothing() {
    let fixture = Fixture::new().await;
    fixture.text(Need::Live).await;
    assert_eq!(fixture.text(Need::LaterThan(Generation(99))).await, "canary-token-1");
    assert_eq!(fixture.text(Need::LaterThan(Generation(0))).await, "canary-token-1");
    assert_eq!(fixture.provider.count(), 1);
}

#[tokio::test]
async fn i4_a_token_that_was_tampered_with_is_replaced() {
    let fixture = Fixture::new().await;
    fixture.text(Need::Live).await;
    fixture.store.tamper("UPDATE grants SET access_token = zeroblob(length(access_token))").await;
    let served = fixture.other_broker().token(&fixture.client, Need::Live).await.unwrap();
    assert_eq!(text(&served), "canary-token-2");
    assert_eq!(served.token.generation, Generation(2));
}

#[tokio::test]
async fn grants_in_use_are_renewed_in_the_background_and_idle_ones_are_not() {
    let fixture = Fixture::new().await;
    fixture.text(Need::Live).await;
    assert_eq!(fixture.refresher.renew_due(), 0);
    fixture.clock.advance(HOUR.mul_f64(0.86));
    assert_eq!(fixture.refresher.renew_due(), 1);
    fixture.until_generation(2).await;
    // Nobody has used the second token: it is left to expire.
    fixture.clock.advance(HOUR.mul_f64(0.86));
    assert_eq!(fixture.refresher.renew_due(), 0);
    assert_eq!(fixture.provider.count(), 2);
}

#[tokio::test]
async fn shutdown_waits_for_renewals_and_starts_none() {
    let fixture = Fixture::new().await;
    fixture.provider.gate.send_replace(false);
    let caller = fixture.spawn(Need::Live);
    fixture.provider.until_asked(1).await;
    assert_eq!(fixture.refresher.drain(Duration::from_millis(20)).await, 1);
    fixture.provider.gate.send_replace(true);
    assert_eq!(fixture.refresher.drain(Duration::from_secs(10)).await, 0);
    assert_eq!(text(&caller.await.unwrap().unwrap()), "canary-token-1");
    fixture.clock.advance(HOUR);
    assert!(matches!(fixture.token(Need::Live).await, Err(RefreshError::Draining)));
}

#[tokio::test]
async fn sends_what_the_manifest_says() {
    let fixture = Fixture::new().await;
    fixture.text(Need::Live).await;
    let seen = fixture.provider.seen.lock().unwrap().clone();
    assert_eq!(seen, ["grant_type=client_credentials&scope=mcp&client_id=gate&client_secret=canary-secret"]);
}
