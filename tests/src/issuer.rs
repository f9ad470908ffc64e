//! An identity provider that does as it is told: publishes keys, rotates them, fails, lies, and counts who asks.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::stream;
use hyper::{Response, body::Bytes, body::Frame};
use serde_json::json;

use crate::{Algorithm, HttpReply, Listening, Server, SigningKey, TokenBuilder, bytes_body, empty_body, stream_body};

/// How the key set is served.
#[derive(Clone, Debug, Default)]
pub enum Jwks {
    /// As it should be.
    #[default]
    Good,
    /// With this status.
    Status(u16),
    /// A log-in page with status 200.
    Html,
    /// 50 MB of well-formed JSON.
    Huge,
    /// Half of it.
    Truncated,
    /// A redirect to this place.
    Redirect(String),
    /// Never.
    Hanging,
    /// After this long.
    Slow(Duration),
}

/// An issuer with discovery and a key set over http on loopback.
pub struct Issuer {
    /// The exact `iss`.
    pub url: String,
    listening: Option<Listening>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    keys: Mutex<Vec<Arc<SigningKey>>>,
    /// Entries of the set as they stand, for keys that no signer holds.
    extra: Mutex<Vec<serde_json::Value>>,
    behaviour: Mutex<Jwks>,
    fetches: AtomicUsize,
}

impl Issuer {
    /// Starts an issuer with an RS256, an ES256 and an EdDSA key.
    pub async fn start() -> Self {
        let state = Arc::new(State::default());
        for (algorithm, kid) in [(Algorithm::Rs256, "rsa-1"), (Algorithm::Es256, "ec-1"), (Algorithm::EdDsa, "ed-1")] {
            state.keys.lock().expect("no holder panics").push(Arc::new(SigningKey::new(algorithm, kid)));
        }
        let shared = state.clone();
        let listening = Listening::start(None, move |request| {
            let state = shared.clone();
            async move {
                let host = request.headers().get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
                match request.uri().path() {
                    "/.well-known/openid-configuration" => discovery(&format!("http://{host}")),
                    "/jwks" => state.jwks().await,
                    _ => answer(404, "text/plain", Bytes::new()),
                }
            }
        })
        .await;
        Self { url: format!("http://{}", listening.address), listening: Some(listening), state }
    }

    /// A good token of `subject` for this server: RS256, ten minutes.
    pub fn token(&self, subject: &str, server: &Server) -> TokenBuilder {
        self.token_for(subject, &server.resource)
    }

    /// A good token for this audience.
    pub fn token_for(&self, subject: &str, audience: &str) -> TokenBuilder {
        TokenBuilder::new(&self.url, subject, audience, self.key(Algorithm::Rs256))
    }

    /// A good token signed with another algorithm.
    pub fn token_signed(&self, algorithm: Algorithm, subject: &str, server: &Server) -> TokenBuilder {
        TokenBuilder::new(&self.url, subject, &server.resource, self.key(algorithm))
    }

    /// The newest key of an algorithm.
    ///
    /// # Panics
    /// When there is none.
    pub fn key(&self, algorithm: Algorithm) -> Arc<SigningKey> {
        let keys = self.state.keys.lock().expect("no holder panics");
        keys.iter().rev().find(|key| key.algorithm == algorithm).expect("a key of that algorithm").clone()
    }

    /// Publishes one more key.
    pub fn publish(&self, key: Arc<SigningKey>) {
        self.state.keys.lock().expect("no holder panics").push(key);
    }

    /// Publishes an entry as it stands.
    pub fn publish_raw(&self, jwk: serde_json::Value) {
        self.state.extra.lock().expect("no holder panics").push(jwk);
    }

    /// Takes a key out of the set.
    pub fn withdraw(&self, kid: &str) {
        self.state.keys.lock().expect("no holder panics").retain(|key| key.kid != kid);
    }

    /// Serves the set like this from now on.
    pub fn serve(&self, behaviour: Jwks) {
        *self.state.behaviour.lock().expect("no holder panics") = behaviour;
    }

    /// How often the set was asked for.
    pub fn fetches(&self) -> usize {
        self.state.fetches.load(Ordering::SeqCst)
    }

    /// Listens no longer.
    pub fn shut(&mut self) {
        self.listening = None;
    }
}

impl State {
    async fn jwks(&self) -> HttpReply {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let behaviour = self.behaviour.lock().expect("no holder panics").clone();
        let set = {
            let keys = self.keys.lock().expect("no holder panics");
            let extra = self.extra.lock().expect("no holder panics");
            let entries: Vec<_> = keys.iter().map(|key| key.jwk()).chain(extra.iter().cloned()).collect();
            json!({"keys": entries}).to_string()
        };
        match behaviour {
            Jwks::Good => answer(200, "application/json", set),
            Jwks::Status(status) => answer(status, "application/json", set),
            Jwks::Html => answer(200, "text/html", "<!doctype html><h1>Log in</h1>"),
            Jwks::Huge => answer(200, "application/json", huge(&set)),
            Jwks::Truncated => truncated(&set),
            Jwks::Redirect(location) => Ok(Response::builder()
                .status(302)
                .header("location", location)
                .body(empty_body())
                .expect("a good response")),
            Jwks::Hanging => std::future::pending().await,
            Jwks::Slow(delay) => {
                tokio::time::sleep(delay).await;
                answer(200, "application/json", set)
            }
        }
    }
}

fn discovery(url: &str) -> HttpReply {
    let document = json!({
        "issuer": url, "jwks_uri": format!("{url}/jwks"), "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"), "response_types_supported": ["code"],
        "code_challenge_methods_supported": ["S256"], "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["RS256"],
    });
    answer(200, "application/json", document.to_string())
}

fn answer(status: u16, content_type: &str, body: impl Into<Bytes>) -> HttpReply {
    let response = Response::builder().status(status).header("content-type", content_type);
    Ok(response.body(bytes_body(body)).expect("a good response"))
}

/// The good set with 50 MB of harmless padding before it.
fn huge(set: &str) -> String {
    format!("{{\"padding\":\"{}\",{}", "x".repeat(50_000_000), set.trim_start_matches('{'))
}

/// Says how long it is and breaks off in the middle.
fn truncated(set: &str) -> HttpReply {
    let half = Bytes::copy_from_slice(&set.as_bytes()[..set.len() / 2]);
    let pieces = stream::iter([Ok(Frame::data(half)), Err(std::io::Error::other("breaks off"))]);
    let response = Response::builder().header("content-type", "application/json").header("content-length", set.len());
    Ok(response.body(stream_body(pieces)).expect("a good response"))
}
