use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::algorithms::{ECDSAP256PublicKeyLike as _, ES256KeyPair};
use sallyport_caller::{Algorithm, TokenProfile};
use serde_json::json;

use super::*;
use crate::clock::FixedClock;
use crate::fetch::tests::{Canary, fetcher, http, loopback};

const START: UnixTime = UnixTime(1_800_000_000_000);

fn key(kid: &str) -> serde_json::Value {
    let point = ES256KeyPair::generate().public_key().public_key().to_bytes_uncompressed();
    let (x, y) = point[1..].split_at(32);
    json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)})
}

fn key_set(kids: &[&str]) -> String {
    json!({"keys": kids.iter().map(|kid| key(kid)).collect::<Vec<_>>()}).to_string()
}

fn rules(issuer: &str) -> sallyport_caller::Issuer {
    sallyport_caller::Issuer {
        issuer: issuer.to_owned(),
        keys: vec![],
        audiences: vec![],
        profile: TokenProfile::AccessToken,
        subject_claim: "sub".to_owned(),
        email_claim: None,
        teams_claim: None,
        max_lifetime_ms: 3_600_000,
        required_scopes: vec![],
        self_issued: false,
        login: true,
    }
}

/// An identity provider whose answer can be changed, and an `Issuers` that knows it.
struct World {
    idp: Canary,
    answer: Arc<Mutex<Option<Vec<u8>>>>,
    key_sets_asked: Arc<AtomicUsize>,
    issuers: Arc<Issuers>,
    clock: Arc<FixedClock>,
    issuer: String,
}

impl World {
    /// The key set is at `/jwks`; everything else gets the discovery document of `named`, or of itself.
    async fn new(discover: bool, named: Option<&str>) -> Self {
        let answer = Arc::new(Mutex::new(Some(http(200, key_set(&["k1"])))));
        let origin = Arc::new(Mutex::new(String::new()));
        let asked = Arc::new(AtomicUsize::new(0));
        let (said, known_as, counter) = (Arc::clone(&answer), Arc::clone(&origin), Arc::clone(&asked));
        let named = named.map(str::to_owned);
        let idp = Canary::start(move |path| {
            if path == "/jwks" {
                counter.fetch_add(1, Ordering::SeqCst);
                return said.lock().unwrap().clone();
            }
            let origin = known_as.lock().unwrap().clone();
            let issuer = named.clone().unwrap_or_else(|| origin.clone());
            Some(http(200, json!({"issuer": issuer, "jwks_uri": format!("{origin}/jwks")}).to_string()))
        })
        .await;
        let issuer = format!("http://{}", idp.address);
        *origin.lock().unwrap() = issuer.clone();
        let jwks_uri = (!discover).then(|| idp.url("/jwks"));
        let provider = Provider { rules: rules(&issuer), jwks_uri, algorithms: Algorithm::ALL.to_vec() };
        let clock = Arc::new(FixedClock::at(START));
        let mut own = rules("https://gate.example");
        own.self_issued = true;
        let issuers = Issuers::new(vec![provider], own, fetcher(&loopback()), clock.clone());
        Self { idp, answer, key_sets_asked: asked, issuers, clock, issuer }
    }

    fn say(&self, answer: Vec<u8>) {
        *self.answer.lock().unwrap() = Some(answer);
    }

    fn publish(&self, kids: &[&str]) {
        self.say(http(200, key_set(kids)));
    }

    fn knows(&self, kid: &str) -> bool {
        self.issuers.current().key(&self.issuer, kid).is_some()
    }

    async fn resolves(&self, kid: &str) -> bool {
        self.issuers.resolve_key(&self.issuer, kid).await.is_some()
    }

    /// Asks for a key that is there; on a busy machine the fetch may take longer than anybody may wait for it.
    async fn finds(&self, kid: &str) -> bool {
        let mut published = self.issuers.subscribe();
        if !self.resolves(kid).await {
            let found = published.wait_for(|issuers| issuers.key(&self.issuer, kid).is_some());
            drop(tokio::time::timeout(Duration::from_secs(10), found).await.unwrap().unwrap());
        }
        self.resolves(kid).await
    }

    fn asked(&self) -> usize {
        self.key_sets_asked.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn discovers_and_publishes_keys() {
    let world = World::new(true, None).await;
    let mut published = world.issuers.subscribe();
    assert_eq!(world.issuers.waiting_for(), [&world.issuer]);
    assert!(published.borrow_and_update().get("https://gate.example").is_some());
    world.issuers.refresh_due().await;
    assert!(published.has_changed().unwrap());
    assert!(world.knows("k1"));
    assert!(world.issuers.waiting_for().is_empty());
}

#[tokio::test]
async fn refuses_a_discovery_document_of_another_issuer() {
    for named in ["https://evil.example", "", "http://127.0.0.1"] {
        let world = World::new(true, Some(named)).await;
        world.issuers.refresh_due().await;
        assert!(!world.knows("k1"), "{named}");
        assert_eq!(world.asked(), 0);
    }
    let world = World::new(true, None).await;
    let mut with_slash = rules(&format!("{}/", world.issuer));
    with_slash.login = false;
    let provider = Provider { rules: with_slash, jwks_uri: None, algorithms: Algorithm::ALL.to_vec() };
    assert!(matches!(provider.fetch(&fetcher(&loopback())).await, Err(ProviderError::OtherIssuer)));
}

#[tokio::test]
async fn j13_a_new_key_is_found_at_once_and_a_removed_one_is_gone() {
    let world = World::new(false, None).await;
    world.issuers.refresh_due().await;
    world.publish(&["k1", "k2"]);
    assert!(world.finds("k2").await);
    assert!(world.knows("k1"));
    world.publish(&["k2"]);
    world.clock.advance(TTL);
    world.issuers.refresh_due().await;
    assert!(!world.knows("k1"));
    assert!(world.knows("k2"));
}

#[tokio::test]
async fn j14_a_flood_of_unknown_keys_causes_one_fetch_per_cool_down() {
    let world = World::new(false, None).await;
    world.issuers.refresh_due().await;
    let started = std::time::Instant::now();
    let flood = (0..1000).map(|n| {
        let (issuers, issuer) = (Arc::clone(&world.issuers), world.issuer.clone());
        async move { issuers.resolve_key(&issuer, &format!("random-{n}")).await }
    });
    assert!(futures::future::join_all(flood).await.iter().all(Option::is_none));
    assert_eq!(world.asked(), 2);
    world.clock.advance(COOL_DOWN - Duration::from_millis(1));
    assert!(!world.resolves("another").await);
    assert_eq!(world.asked(), 2);
    world.clock.advance(Duration::from_millis(1));
    assert!(!world.resolves("another").await);
    assert_eq!(world.asked(), 3);
    // The same unknown key causes no fetch after the cool-down either, until it has been forgotten.
    world.clock.advance(COOL_DOWN);
    assert!(!world.resolves("another").await);
    assert_eq!(world.asked(), 3);
    world.clock.advance(NEGATIVE_TTL);
    assert!(!world.resolves("another").await);
    assert_eq!(world.asked(), 4);
    assert!(world.issuers.sources[&world.issuer].state().unknown.len() <= MAX_UNKNOWN);
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn j14_nobody_asks_for_strangers_or_for_names_that_cannot_be() {
    let world = World::new(false, None).await;
    assert!(world.issuers.resolve_key("https://evil.example", "k1").await.is_none());
    assert!(!world.resolves("").await);
    assert!(!world.resolves(&"k".repeat(257)).await);
    assert!(world.issuers.resolve_key("https://gate.example", "k1").await.is_none());
    assert_eq!(world.idp.hits(), 0);
}

#[tokio::test]
async fn j14_those_who_come_during_a_fetch_wait_for_it() {
    let world = World::new(false, None).await;
    let (one, two) = tokio::join!(world.finds("k1"), world.finds("k1"));
    assert!(one && two);
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn j13_a_key_that_a_failed_fetch_did_not_bring_is_asked_for_again() {
    let world = World::new(false, None).await;
    world.issuers.refresh_due().await;
    world.say(http(500, ""));
    assert!(!world.resolves("k2").await);
    world.publish(&["k1", "k2"]);
    world.clock.advance(COOL_DOWN);
    assert!(world.finds("k2").await, "nobody has said that there is none");
}

#[tokio::test]
async fn j14_nobody_waits_longer_than_a_second_for_a_silent_issuer() {
    let world = World::new(false, None).await;
    *world.answer.lock().unwrap() = None;
    let started = std::time::Instant::now();
    assert!(!world.resolves("k1").await);
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn j15_no_fault_loses_the_last_keys_or_makes_new_ones() {
    let good = key_set(&["evil"]);
    let faults = [
        http(500, &good),
        http(404, &good),
        http(204, ""),
        http(302, &good),
        http(200, "<html>service unavailable</html>"),
        http(200, &good[..good.len() - 2]),
        format!("HTTP/1.1 200 X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{}", good.len() + 10, good)
            .into_bytes(),
        b"HTTP/1.1 200 X\r\ncontent-length: 50000000\r\n\r\n".to_vec(),
        format!("HTTP/1.1 200 X\r\nconnection: close\r\n\r\n{}{good}", " ".repeat(2 << 20)).into_bytes(),
        b"HTTP/1.1 302 X\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            .to_vec(),
        b"garbage".to_vec(),
        vec![],
    ];
    let world = World::new(false, None).await;
    // A cold start under any fault knows nothing.
    for fault in &faults {
        world.say(fault.clone());
        world.clock.advance(TTL);
        world.issuers.refresh_due().await;
        assert!(!world.knows("evil") && !world.knows("k1"));
        assert_eq!(world.issuers.waiting_for(), [&world.issuer]);
    }
    world.publish(&["k1"]);
    world.clock.advance(TTL);
    world.issuers.refresh_due().await;
    assert!(world.knows("k1"));
    for fault in faults {
        world.say(fault);
        world.clock.advance(TTL);
        world.issuers.refresh_due().await;
        assert!(world.knows("k1") && !world.knows("evil"));
    }
    world.clock.advance(MAX_STALE);
    world.issuers.refresh_due().await;
    assert!(!world.knows("k1"));
    world.publish(&["k1"]);
    world.clock.advance(TTL);
    world.issuers.refresh_due().await;
    assert!(world.knows("k1"));
}

#[tokio::test]
async fn a_failed_fetch_is_repeated_with_growing_pauses() {
    let world = World::new(false, None).await;
    world.say(http(500, ""));
    world.issuers.refresh_due().await;
    world.issuers.refresh_due().await;
    assert_eq!(world.asked(), 1);
    world.clock.advance(BACK_OFF.0);
    world.issuers.refresh_due().await;
    assert_eq!(world.asked(), 2);
    world.clock.advance(BACK_OFF.0);
    world.issuers.refresh_due().await;
    assert_eq!(world.asked(), 2);
    for _ in 0..20 {
        world.clock.advance(BACK_OFF.1);
        world.issuers.refresh_due().await;
    }
    assert_eq!(world.asked(), 22);
}

#[tokio::test]
async fn runs_until_it_is_stopped() {
    let world = World::new(false, None).await;
    let stop = CancellationToken::new();
    let running = tokio::spawn(Arc::clone(&world.issuers).run(stop.clone()));
    let mut published = world.issuers.subscribe();
    while !world.knows("k1") {
        published.changed().await.unwrap();
    }
    stop.cancel();
    running.await.unwrap();
}
