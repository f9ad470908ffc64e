//! The transit engine of HashiCorp Vault or OpenBao, as its API is documented: by TLS, and it fails on demand. A live one is
//! not to be had here.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::BodyExt as _;
use hyper::{Request, Response, StatusCode, body::Incoming};
use serde_json::{Value, json};

use crate::{Authority, HttpReply as Reply, Listening, bytes_body, unique, world::Change};

/// How the engine answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransitFault {
    /// As it should.
    None,
    /// With this status and this text.
    Refusal(u16, &'static str),
    /// Never.
    Silent,
    /// As to the same request for another record.
    WrongContext,
}

/// An engine with one derived key.
pub struct Transit {
    /// Where it answers.
    pub address: String,
    /// The authority of its certificate.
    pub ca_file: PathBuf,
    /// What lets the broker use the key.
    pub token_file: PathBuf,
    state: Arc<State>,
    _listening: Listening,
}

struct State {
    token: String,
    fault: Mutex<TransitFault>,
    /// By what was given out: the context, and what it wraps.
    wrapped: Mutex<HashMap<String, (String, String)>>,
    requests: Mutex<usize>,
}

const KEY: &str = "sallyport";

impl Transit {
    /// Starts one that calls itself `localhost`; its files are in this directory.
    ///
    /// # Panics
    /// When they cannot be written.
    pub async fn start(directory: &Path) -> Self {
        let authority = Authority::new();
        let (ca_file, token_file) = (directory.join("transit.pem"), directory.join("transit-token"));
        let token = unique("canary-transit-token");
        std::fs::write(&ca_file, authority.pem()).expect("the directory is writable");
        std::fs::write(&token_file, &token).expect("the directory is writable");
        let state = Arc::new(State {
            token,
            fault: Mutex::new(TransitFault::None),
            wrapped: Mutex::default(),
            requests: Mutex::default(),
        });
        let shared = state.clone();
        let acceptor = authority.certify("localhost").acceptor();
        let listening = Listening::start(Some(acceptor), move |request| answer(shared.clone(), request)).await;
        let address = format!("https://localhost:{}", listening.address.port());
        Self { address, ca_file, token_file, state, _listening: listening }
    }

    /// Fails like this from now on.
    pub fn fails(&self, fault: TransitFault) {
        *self.state.fault.lock().expect("no holder panics") = fault;
    }

    /// How often it was asked.
    pub fn requests(&self) -> usize {
        *self.state.requests.lock().expect("no holder panics")
    }

    /// Makes its key the broker's only master key.
    pub fn is_the_key(&self) -> Change {
        let item = json!({"transit": {
            "address": self.address, "key": KEY, "token_file": self.token_file, "ca_file": self.ca_file,
        }});
        Box::new(move |config| {
            config.as_object_mut().expect("a mapping").remove("key_file");
            config["vault"] = json!({"keys": [item]});
        })
    }
}

impl State {
    /// What it answers to an operation with its key.
    fn operate(&self, operation: &str, asked: &Value) -> (u16, Value) {
        let context = asked["context"].as_str().unwrap_or_default();
        let refused = |text: &str| (400, json!({"errors": [text]}));
        let data = match operation {
            "datakey/plaintext" => {
                let key = STANDARD.encode(random::<32>());
                json!({"ciphertext": self.wrap(context, &key), "key_version": 1, "plaintext": key})
            }
            "encrypt" => {
                let plaintext = asked["plaintext"].as_str().unwrap_or_default();
                json!({"ciphertext": self.wrap(context, plaintext), "key_version": 1})
            }
            "decrypt" => {
                let wrapped = self.wrapped.lock().expect("no holder panics");
                match wrapped.get(asked["ciphertext"].as_str().unwrap_or_default()) {
                    Some((of, key)) if of == context => json!({"plaintext": key}),
                    Some(_) | None => return refused("invalid ciphertext: unable to decrypt"),
                }
            }
            _ => return (404, json!({"errors": []})),
        };
        (200, json!({"request_id": unique("request"), "lease_id": "", "renewable": false, "data": data, "auth": null}))
    }

    fn wrap(&self, context: &str, key: &str) -> String {
        let wrapped = format!("vault:v1:{}", STANDARD.encode(random::<60>()));
        let of = (context.to_owned(), key.to_owned());
        self.wrapped.lock().expect("no holder panics").insert(wrapped.clone(), of);
        wrapped
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    bytes
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Reply {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let mut asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    *state.requests.lock().expect("no holder panics") += 1;
    let fault = *state.fault.lock().expect("no holder panics");
    let is_known = parts.headers.get("x-vault-token").is_some_and(|token| token.as_bytes() == state.token.as_bytes());
    let operation = parts.uri.path().strip_prefix("/v1/transit/").and_then(|path| path.strip_suffix(KEY));
    let operation = operation.map(|operation| operation.trim_end_matches('/')).unwrap_or_default();
    let (status, said) = match fault {
        _ if !is_known => (403, json!({"errors": ["permission denied"]})),
        TransitFault::Refusal(status, text) => (status, json!({"errors": [text]})),
        TransitFault::Silent => std::future::pending().await,
        TransitFault::WrongContext => {
            asked["context"] = STANDARD.encode("of another record").into();
            state.operate(operation, &asked)
        }
        TransitFault::None => state.operate(operation, &asked),
    };
    let mut reply = Response::new(bytes_body(said.to_string()));
    *reply.status_mut() = StatusCode::from_u16(status).map_err(std::io::Error::other)?;
    reply.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    Ok(reply)
}
