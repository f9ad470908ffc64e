//! AWS KMS as moto plays it, behind a proxy that fails on demand: moto itself denies nothing, and is never slow.

use std::{
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http_body_util::BodyExt as _;
use hyper::{Request, Response, body::Incoming};
use serde_json::{Value, json};

use crate::{
    Child, HttpReply as Reply, Listening, World, bytes_body, canary::assert_absent, eventually_within, ports, setup,
    world::Change,
};

/// It takes seconds of a whole core to start.
const PATIENCE: Duration = Duration::from_secs(90);

/// The only one of them that is no secret.
const ACCESS_KEY_ID: &str = "AWS_ACCESS_KEY_ID";

/// Credentials of nobody, which moto takes as any: their secret parts can be searched for.
pub(crate) const CREDENTIALS: [(&str, &str); 3] = [
    (ACCESS_KEY_ID, "nobody"),
    ("AWS_SECRET_ACCESS_KEY", "canary-aws-secret-access-key"),
    ("AWS_SESSION_TOKEN", "canary-aws-session-token"),
];

/// How the key service answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KmsFault {
    /// As moto does.
    None,
    /// With this error, as AWS writes it.
    Error(&'static str),
    /// To as many requests with this error, and then as moto does.
    ErrorTimes(&'static str, usize),
    /// Never.
    Silent,
    /// To the same request for another record.
    WrongContext,
    /// As moto does, in the name of another key.
    AnotherKey,
}

/// A key service with one key.
pub struct Kms {
    /// Where it answers.
    pub endpoint: String,
    /// Id of its key.
    pub key_id: String,
    state: Arc<State>,
    _proxy: Listening,
    _moto: Child,
}

struct State {
    moto: String,
    fault: Mutex<KmsFault>,
    requests: Mutex<Vec<(String, Value)>>,
    /// How long moto took, with the way there and back.
    times: Mutex<Vec<(String, Duration)>>,
}

impl Kms {
    /// Starts moto with one key, and the proxy before it.
    ///
    /// # Panics
    /// When moto is not set up, or makes no key.
    pub async fn start(directory: &std::path::Path) -> Self {
        let python = setup().python.get("moto").expect("moto is not set up: run `cargo xtask build` again");
        let port = ports::free().to_string();
        let mut command = Command::new(python);
        command.args(["-m", "moto.server", "--host", "127.0.0.1", "--port", &port]);
        let moto = Child::start(command, &directory.join("moto.log"));
        let url = format!("http://127.0.0.1:{port}/");
        let made = eventually_within(PATIENCE, "moto makes a key", async || {
            let client = reqwest::Client::new();
            let asked = client.post(&url).header("x-amz-target", "TrentService.CreateKey").body("{}");
            let asked = asked.header("content-type", "application/x-amz-json-1.1").header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=k/20260101/eu-central-1/kms/aws4_request, SignedHeaders=host, Signature=0",
            );
            asked.send().await.ok()?.json::<Value>().await.ok()
        })
        .await;
        let key_id = made["KeyMetadata"]["KeyId"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
        let state = Arc::new(State {
            moto: url,
            fault: Mutex::new(KmsFault::None),
            requests: Mutex::default(),
            times: Mutex::default(),
        });
        let shared = state.clone();
        let proxy = Listening::start(None, move |request| answer(shared.clone(), request)).await;
        let endpoint = format!("http://{}", proxy.address);
        Self { endpoint, key_id, state, _proxy: proxy, _moto: moto }
    }

    /// Fails like this from now on.
    pub fn fails(&self, fault: KmsFault) {
        *self.state.fault.lock().expect("no holder panics") = fault;
    }

    /// The item of `vault.keys` that names its key.
    pub fn item(&self) -> Value {
        json!({"aws_kms": {"key_id": self.key_id, "region": "eu-central-1", "endpoint": self.endpoint}})
    }

    /// Makes its key the broker's only master key.
    pub fn is_the_key(&self) -> Change {
        let item = self.item();
        Box::new(move |config| {
            config.as_object_mut().expect("a mapping").remove("key_file");
            config["vault"] = json!({"keys": [item]});
        })
    }

    /// How long each request of this operation took since the last time that was asked, the way through the proxy included.
    pub fn take_times(&self, operation: &str) -> Vec<Duration> {
        let mut times = self.state.times.lock().expect("no holder panics");
        times.extract_if(.., |(of, _)| of == operation).map(|(_, time)| time).collect()
    }

    /// Fails if one of the data keys that it was given to wrap, or the credentials that it is asked with, is in these bytes.
    ///
    /// # Panics
    /// When one is, or when no data key was given.
    pub fn assert_nothing_in(&self, place: &str, bytes: &[u8]) {
        let wrapped = self.requests().into_iter().filter(|(operation, _)| operation == "Encrypt");
        let keys: Vec<String> =
            wrapped.map(|(_, asked)| asked["Plaintext"].as_str().expect("a data key").to_owned()).collect();
        assert!(!keys.is_empty(), "nothing was given to be wrapped");
        for key in keys {
            assert_absent("a data key", &STANDARD.decode(&key).expect("it is base64"), place, bytes);
        }
        for (name, value) in CREDENTIALS.iter().filter(|(name, _)| *name != ACCESS_KEY_ID) {
            assert_absent(name, value.as_bytes(), place, bytes);
        }
    }

    /// Every request so far: operation and body.
    pub fn requests(&self) -> Vec<(String, Value)> {
        self.state.requests.lock().expect("no holder panics").clone()
    }
}

impl World {
    /// A gate whose master key is in this key service.
    pub async fn with_kms(kms: &Kms) -> Self {
        let change = kms.is_the_key();
        Self::build().broker(move |config| change(config)).start().await
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Reply {
    let arrived = Instant::now();
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let target = parts.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let mut asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    state.requests.lock().expect("no holder panics").push((operation.clone(), asked.clone()));
    let fault = {
        let mut fault = state.fault.lock().expect("no holder panics");
        let now = *fault;
        if let KmsFault::ErrorTimes(code, times) = now {
            *fault = if times > 1 { KmsFault::ErrorTimes(code, times - 1) } else { KmsFault::None };
        }
        now
    };
    match fault {
        KmsFault::None | KmsFault::AnotherKey => {}
        KmsFault::Error(code) | KmsFault::ErrorTimes(code, _) => return Ok(refusal(code)),
        KmsFault::Silent => std::future::pending::<()>().await,
        KmsFault::WrongContext => asked["EncryptionContext"]["sallyport:record"] = "of another record".into(),
    }
    let mut forwarded = reqwest::Client::new().post(&state.moto).body(asked.to_string());
    for name in ["x-amz-target", "content-type", "authorization", "x-amz-date"] {
        if let Some(value) = parts.headers.get(name) {
            forwarded = forwarded.header(name, value.as_bytes());
        }
    }
    let answer = forwarded.send().await.map_err(std::io::Error::other)?;
    let (status, body) = (answer.status(), answer.bytes().await.map_err(std::io::Error::other)?);
    let body = match fault {
        KmsFault::AnotherKey => in_the_name_of_another(&body),
        KmsFault::None | KmsFault::Error(_) | KmsFault::ErrorTimes(..) | KmsFault::Silent | KmsFault::WrongContext => {
            body.to_vec()
        }
    };
    state.times.lock().expect("no holder panics").push((operation, arrived.elapsed()));
    let reply = Response::builder().status(status).header("content-type", "application/x-amz-json-1.1");
    reply.body(bytes_body(body)).map_err(std::io::Error::other)
}

/// An answer whose ARN has another key at its end.
fn in_the_name_of_another(answer: &[u8]) -> Vec<u8> {
    let mut answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let another =
        answer["KeyId"].as_str().and_then(|arn| arn.rsplit_once('/')).map(|(arn, _)| format!("{arn}/another"));
    answer["KeyId"] = another.expect("every answer names its key").into();
    answer.to_string().into_bytes()
}

fn refusal(code: &str) -> Response<crate::Body> {
    let body = json!({"__type": code, "message": "as the test wants it"}).to_string();
    let mut reply = Response::new(bytes_body(body));
    *reply.status_mut() = hyper::StatusCode::BAD_REQUEST;
    reply.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/x-amz-json-1.1"));
    reply
}
