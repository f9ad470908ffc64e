//! Against a server that answers as HashiCorp Vault's and OpenBao's transit engines are documented to, and read to in their
//! source. No live one was ever asked.

mod tls;

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode as Status, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;

mod away;
mod engines;

use super::*;
use crate::model::{Generation, Tenant};
use crate::vault::{KeySource, Place, RecordKind, Vault, VaultError};

/// One request: path, headers, body.
type Seen = (String, HeaderMap, Value);

#[derive(Default)]
struct Engine {
    seen: Mutex<Vec<Seen>>,
    /// Answers before its own: status and body.
    first: Mutex<VecDeque<(u16, String)>>,
    /// What it has wrapped: context and key.
    wrapped: Mutex<HashMap<String, (String, String)>>,
    version: AtomicU32,
    /// What it says of what it has not wrapped for this context: a place in [`engines::NOT_OURS`].
    age: std::sync::atomic::AtomicUsize,
    ignores_context: std::sync::atomic::AtomicBool,
    wraps_longer: std::sync::atomic::AtomicBool,
    hangs: std::sync::atomic::AtomicBool,
}

impl Engine {
    async fn start() -> (Arc<Self>, Url) {
        let engine = Arc::new(Self { version: AtomicU32::new(1), ..Self::default() });
        let app = axum::Router::new().fallback(Self::answer).with_state(Arc::clone(&engine));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        (engine, url)
    }

    async fn answer(State(engine): State<Arc<Self>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
        let body: Value = serde_json::from_slice(&body).unwrap();
        engine.seen.lock().unwrap().push((uri.path().to_owned(), headers, body.clone()));
        if engine.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let first = engine.first.lock().unwrap().pop_front();
        let (status, body) = first.unwrap_or_else(|| engine.own(uri.path(), &body));
        let location = [("location", "http://127.0.0.1:1/"), ("content-type", "application/json")];
        (Status::from_u16(status).unwrap(), location, body).into_response()
    }

    fn own(&self, path: &str, body: &Value) -> (u16, String) {
        let context = if self.ignores_context.load(Ordering::SeqCst) { "" } else { body["context"].as_str().unwrap() };
        let data = match path.split('/').collect::<Vec<_>>().as_slice() {
            ["", "v1", "transit", "datakey", "plaintext", "sallyport"] => {
                assert_eq!(body["bits"], 256);
                let key = STANDARD.encode(Secret::random::<32>().expose());
                let version = self.version.load(Ordering::SeqCst);
                json!({ "ciphertext": self.wrap(context, &key), "key_version": version, "plaintext": key })
            }
            ["", "v1", "transit", "encrypt", "sallyport"] => {
                let version = self.version.load(Ordering::SeqCst);
                let wrapped = self.wrap(context, body["plaintext"].as_str().unwrap());
                json!({ "ciphertext": wrapped, "key_version": version })
            }
            ["", "v1", "transit", "decrypt", "sallyport"] => {
                match self.wrapped.lock().unwrap().get(body["ciphertext"].as_str().unwrap()) {
                    Some((of, key)) if of == context => json!({ "plaintext": key }),
                    Some(_) | None => return engines::not_ours(self.age.load(Ordering::SeqCst)),
                }
            }
            _ => return (404, json!({ "errors": [] }).to_string()),
        };
        let answer = json!({
            "request_id": "11111111-2222-3333-4444-555555555555", "lease_id": "", "renewable": false,
            "lease_duration": 0, "data": data, "wrap_info": null, "warnings": null, "auth": null,
            "mount_type": "transit",
        });
        (200, answer.to_string())
    }

    fn wrap(&self, context: &str, key: &str) -> String {
        let mut random = STANDARD.encode(Secret::random::<60>().expose());
        if self.wraps_longer.load(Ordering::SeqCst) {
            random = random.repeat(20);
        }
        let wrapped = format!("vault:v{}:{random}", self.version.load(Ordering::SeqCst));
        self.wrapped.lock().unwrap().insert(wrapped.clone(), (context.to_owned(), key.to_owned()));
        wrapped
    }

    fn says_first(&self, answers: &[(u16, &str)]) {
        let answers = answers.iter().map(|(status, text)| (*status, json!({ "errors": [text] }).to_string()));
        *self.first.lock().unwrap() = answers.collect();
    }

    fn forget(&self) {
        self.seen.lock().unwrap().clear();
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

fn key(address: Url) -> TransitKey {
    TransitKey {
        address,
        mount: "transit".to_owned(),
        name: "sallyport".to_owned(),
        namespace: String::new(),
        token: TokenSource::new(|| Ok(Secret::new("canary-token"))),
        ca_file: None,
    }
}

async fn vault(address: Url) -> Vault {
    Vault::with_keys(vec![KeySource::Transit(key(address))], &Tenant("acme".into()), None).await.unwrap()
}

fn place(record: &str) -> Place<'_> {
    Place { kind: RecordKind::Grant, record, field: "access_token", generation: Generation(1) }
}

/// A vault that has sealed one field, and its engine, which has forgotten who asked.
async fn sealed() -> (Arc<Engine>, Vault, crate::store::Sealed) {
    let (engine, url) = Engine::start().await;
    let vault = vault(url).await;
    let sealed = vault.data_key(&place("g1")).await.unwrap().seal(&place("g1"), &Secret::new("canary"));
    engine.forget();
    (engine, vault, sealed)
}

fn error_of(error: VaultError) -> KeyError {
    match error {
        VaultError::MasterKey { source, .. } => source,
        error => panic!("{error}"),
    }
}

#[tokio::test]
async fn opens_what_it_sealed_and_for_its_own_record_only() {
    let (engine, vault, sealed) = sealed().await;
    assert!(vault.open(&place("g1"), &sealed).await.unwrap() == Secret::new("canary"));
    let other = vault.open(&place("g2"), &sealed).await.unwrap_err();
    assert!(matches!(other, VaultError::NotAuthentic { .. }), "{other}");
    assert_eq!(engine.count(), 2, "one request each, and the refusal is not asked again");
    assert!(!sealed.0.windows(6).any(|bytes| bytes == b"canary"));
}

#[tokio::test]
async fn v4_what_it_is_asked_names_nobody_and_shows_the_token_in_its_header_alone() {
    let (engine, url) = Engine::start().await;
    let key = TransitKey { namespace: "team/gate".into(), ..key(url) };
    let tenant = Tenant("acme".into());
    let vault = Vault::with_keys(vec![KeySource::Transit(key)], &tenant, None).await.unwrap();
    let id = "grant-of-alice@example.com";
    let sealed = vault.data_key(&place(id)).await.unwrap().seal(&place(id), &Secret::new("canary"));
    vault.open(&place(id), &sealed).await.unwrap();
    vault.rewrap((&place(id)).into(), "access_token", &sealed).await.unwrap();
    let seen = engine.seen.lock().unwrap();
    let paths: Vec<_> = seen.iter().map(|(path, ..)| path.as_str()).collect();
    let (data_key, decrypt) = ("/v1/transit/datakey/plaintext/sallyport", "/v1/transit/decrypt/sallyport");
    // The first two find out whether the key is derived.
    let encrypt = "/v1/transit/encrypt/sallyport";
    assert_eq!(paths, [data_key, decrypt, data_key, decrypt, decrypt, encrypt]);
    for (path, headers, body) in seen.iter() {
        assert_eq!(headers["x-vault-token"], "canary-token");
        assert_eq!(
            (&headers["x-vault-namespace"], &headers["x-vault-request"]),
            (&HeaderValue::from_static("team/gate"), &HeaderValue::from_static("true"))
        );
        let context = STANDARD.decode(body["context"].as_str().unwrap()).unwrap();
        assert!(context.len() >= 16, "{path}");
        assert!(!body.to_string().contains("alice") && !body.to_string().contains("acme"), "{path} {body}");
        assert!(!body.to_string().contains("canary"));
    }
}

#[tokio::test]
async fn v4_a_key_that_is_not_derived_wraps_nothing() {
    let (engine, url) = Engine::start().await;
    engine.ignores_context.store(true, Ordering::SeqCst);
    let error = error_of(vault(url).await.data_key(&place("g1")).await.err().unwrap());
    assert!(crate::causes::told(&error).contains("derived=true"), "{error:?}");
}

#[tokio::test]
async fn v4_what_may_pass_is_asked_again_and_what_may_not_is_told_at_once() {
    let (engine, vault, sealed) = sealed().await;
    for (answers, requests) in [
        (vec![(429, "rate limit quota exceeded"); 2], 3),
        (vec![(503, "Vault is sealed")], 2),
        (vec![(500, "1 error occurred: internal error"), (472, ""), (502, "")], 4),
    ] {
        engine.says_first(&answers);
        assert!(vault.open(&place("g1"), &sealed).await.is_ok(), "{answers:?}");
        assert_eq!(engine.count(), requests, "{answers:?}");
        engine.forget();
    }
    type Is = fn(&KeyError) -> bool;
    let told: [(u16, &str, Is, usize); 6] = [
        (403, "permission denied", |error| matches!(error, KeyError::Denied(_)), 1),
        (400, "encryption key not found", |error| matches!(error, KeyError::Disabled(_)), 1),
        (
            400,
            "ciphertext or signature version is disallowed by policy (too old)",
            |error| matches!(error, KeyError::Disabled(_)),
            1,
        ),
        (404, "no handler for route", |error| matches!(error, KeyError::Disabled(_)), 1),
        (302, "", |error| matches!(error, KeyError::Failed(_)), 2),
        (503, "Vault is sealed", |error| matches!(error, KeyError::Failed(_)), 2),
    ];
    for (status, text, is, at_least) in told {
        engine.says_first(&[(status, text); 40]);
        let began = Instant::now();
        let error = error_of(vault.open(&place("g1"), &sealed).await.unwrap_err());
        assert!(is(&error) && crate::causes::told(&error).contains(text), "{status}: {error:?}");
        assert!(began.elapsed() < DEADLINE + ATTEMPT, "{status}");
        let asked = engine.count();
        assert!(if at_least == 1 { asked == 1 } else { asked >= at_least }, "{status}: {asked}");
        engine.says_first(&[]);
        engine.forget();
    }
    assert!(vault.open(&place("g1"), &sealed).await.is_ok(), "and it heals");
}

#[tokio::test]
async fn v4_one_that_hangs_or_is_away_is_told_before_a_caller_gives_up() {
    let (engine, vault, sealed) = sealed().await;
    engine.hangs.store(true, Ordering::SeqCst);
    let began = Instant::now();
    let error = error_of(vault.open(&place("g1"), &sealed).await.unwrap_err());
    assert!(matches!(error, KeyError::TimedOut) && began.elapsed() < Duration::from_millis(2500), "{error:?}");
    let away = self::vault("http://127.0.0.1:1".parse().unwrap()).await;
    let error = away.data_key(&place("g1")).await.err().unwrap();
    let told = crate::causes::told(&error);
    assert!(told.contains("transit key transit/sallyport at http://127.0.0.1:1"), "which, and where: {told}");
    assert!(matches!(error_of(error), KeyError::Unreachable(_)));
}

#[tokio::test]
async fn i9_i10_an_answer_that_is_none_is_refused_and_not_repeated() {
    let (engine, vault, sealed) = sealed().await;
    let long = "A".repeat(70_000);
    for answer in [
        "canary",
        "[]",
        "{}",
        r#"{"data":{}}"#,
        r#"{"data":{"plaintext":7}}"#,
        r#"{"data":{"plaintext":"canary!"}}"#,
        r#"{"data":{"plaintext":"Y2FuYXJ5"}}"#,
        r#"{"data":{"plaintext":"canary\u0021"}}"#,
        &long,
        "",
    ] {
        *engine.first.lock().unwrap() = [(200, answer.to_owned())].into();
        let error = vault.open(&place("g1"), &sealed).await.unwrap_err();
        assert!(!format!("{error:?}{}", crate::causes::told(&error)).contains("canary"), "{error:?}");
    }
    for wrapped in
        ["", "vault:v1:", "vault:v0:QUJD", "vault:vx:QUJD", "vault:1:QUJD", "v1:QUJD", "vault:v99999999999:QUJD"]
    {
        let answer = json!({ "data": { "plaintext": STANDARD.encode([7; 32]), "ciphertext": wrapped } });
        *engine.first.lock().unwrap() = [(200, answer.to_string())].into();
        assert!(vault.data_key(&place("g1")).await.is_err(), "{wrapped}");
    }
}

#[tokio::test]
async fn v6_a_new_version_of_the_key_is_used_and_told_and_the_old_one_opens_still() {
    let (engine, vault, sealed) = sealed().await;
    assert_eq!(vault.keys()[0].version, Some(1));
    engine.version.store(4, Ordering::SeqCst);
    let later = vault.data_key(&place("g1")).await.unwrap().seal(&place("g1"), &Secret::new("canary"));
    assert_eq!(vault.keys()[0].version, Some(4));
    for sealed in [sealed, later] {
        assert!(vault.open(&place("g1"), &sealed).await.is_ok());
    }
}

#[tokio::test]
async fn the_token_is_read_anew_for_each_request() {
    let (engine, url) = Engine::start().await;
    let count = AtomicU32::new(0);
    let token = TokenSource::new(move || match count.fetch_add(1, Ordering::SeqCst) {
        0 => Err("it is being written".into()),
        n => Ok(Secret::new(format!("token-{n}"))),
    });
    assert_eq!(format!("{token:?}"), "[secret]");
    let sources = vec![KeySource::Transit(TransitKey { token, ..key(url) })];
    let vault = Vault::with_keys(sources, &Tenant("acme".into()), None).await.unwrap();
    let error = error_of(vault.data_key(&place("g1")).await.err().unwrap());
    assert!(matches!(error, KeyError::Denied(_)) && engine.count() == 0, "{error:?}");
    vault.data_key(&place("g1")).await.unwrap();
    let tokens: Vec<_> =
        engine.seen.lock().unwrap().iter().map(|(_, headers, _)| headers["x-vault-token"].clone()).collect();
    assert_eq!(tokens, ["token-1", "token-2", "token-3"]);
}
