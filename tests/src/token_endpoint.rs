//! A token endpoint for client credentials that counts, records, and fails on demand.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http_body_util::BodyExt;
use hyper::Response;
use serde_json::json;

use crate::{Listening, bytes_body};

/// What the next requests are answered with.
#[derive(Clone, Debug)]
pub enum TokenAnswer {
    /// A fresh token with this `expires_in`.
    Token {
        /// Seconds.
        expires_in: u64,
    },
    /// The same after a while.
    Slow {
        /// Seconds.
        expires_in: u64,
        /// How long it takes.
        after: Duration,
    },
    /// An error status, with an OAuth error if it is 400 or 401.
    Status(u16),
    /// 429 or 503 with `Retry-After`.
    Busy {
        /// The status.
        status: u16,
        /// Seconds.
        retry_after: u64,
    },
    /// Never.
    Hanging,
}

/// The endpoint.
pub struct TokenEndpoint {
    /// Its URL.
    pub url: String,
    /// What a client must send as its secret.
    pub client_secret: String,
    listening: Listening,
    state: Arc<State>,
}

struct State {
    answer: Mutex<TokenAnswer>,
    requests: AtomicUsize,
    /// Scope and token.
    issued: Mutex<Vec<(String, String)>>,
}

impl TokenEndpoint {
    /// Starts an endpoint whose tokens live an hour.
    pub async fn start() -> Self {
        let state = Arc::new(State {
            answer: Mutex::new(TokenAnswer::Token { expires_in: 3600 }),
            requests: AtomicUsize::new(0),
            issued: Mutex::new(Vec::new()),
        });
        let shared = state.clone();
        let listening = Listening::start(None, move |request| {
            let state = shared.clone();
            async move {
                state.requests.fetch_add(1, Ordering::SeqCst);
                // A client that breaks off while it sends is answered as well: it will not read it.
                let form = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                let scope = url::form_urlencoded::parse(&form).find(|(name, _)| name == "scope");
                let scope = scope.map(|(_, scope)| scope.into_owned()).unwrap_or_default();
                let answer = state.answer.lock().expect("no holder panics").clone();
                Ok(state.reply(answer, &scope).await)
            }
        })
        .await;
        let url = format!("http://{}/token", listening.address);
        Self { url, client_secret: crate::unique("client-secret"), listening, state }
    }

    /// Answers like this from now on.
    pub fn answer(&self, answer: TokenAnswer) {
        *self.state.answer.lock().expect("no holder panics") = answer;
    }

    /// How often a token was asked for.
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// Every token it has issued, oldest first.
    pub fn issued(&self) -> Vec<String> {
        self.state.issued.lock().expect("no holder panics").iter().map(|(_, token)| token.clone()).collect()
    }

    /// Every token it has issued for this scope, oldest first.
    pub fn issued_for(&self, scope: &str) -> Vec<String> {
        let issued = self.state.issued.lock().expect("no holder panics");
        issued.iter().filter(|(of, _)| of == scope).map(|(_, token)| token.clone()).collect()
    }

    /// Every byte that was sent to it.
    pub fn received(&self) -> Vec<u8> {
        self.listening.received()
    }
}

impl State {
    async fn reply(&self, answer: TokenAnswer, scope: &str) -> Response<crate::Body> {
        match answer {
            TokenAnswer::Token { expires_in } => self.token(expires_in, scope),
            TokenAnswer::Slow { expires_in, after } => {
                tokio::time::sleep(after).await;
                self.token(expires_in, scope)
            }
            TokenAnswer::Status(status @ (400 | 401)) => {
                respond(status, None, json!({"error": "invalid_client", "error_description": "no"}).to_string())
            }
            TokenAnswer::Status(status) => respond(status, None, "<h1>Oops</h1>".to_owned()),
            TokenAnswer::Busy { status, retry_after } => respond(status, Some(retry_after), String::new()),
            TokenAnswer::Hanging => std::future::pending().await,
        }
    }

    fn token(&self, expires_in: u64, scope: &str) -> Response<crate::Body> {
        let token = crate::unique("upstream-token");
        self.issued.lock().expect("no holder panics").push((scope.to_owned(), token.clone()));
        let body = json!({"access_token": token, "token_type": "Bearer", "expires_in": expires_in});
        respond(200, None, body.to_string())
    }
}

fn respond(status: u16, retry_after: Option<u64>, body: String) -> Response<crate::Body> {
    let mut response = Response::builder().status(status).header("content-type", "application/json");
    if let Some(seconds) = retry_after {
        response = response.header("retry-after", seconds);
    }
    response.body(bytes_body(body)).expect("a good response")
}
