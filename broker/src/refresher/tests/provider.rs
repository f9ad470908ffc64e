//! A token endpoint on loopback that counts what it is asked, and answers as it is told.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;

use super::*;

pub(crate) struct Provider {
    pub(crate) requests: watch::Sender<usize>,
    answer: Mutex<Said>,
    pub(crate) gate: watch::Sender<bool>,
    seen: Mutex<Vec<String>>,
    number: AtomicUsize,
    hangs: AtomicBool,
    /// The refresh token it takes, where it is strict; each use of it makes the next one.
    valid: Mutex<Option<String>>,
}

/// Status, headers, body.
type Said = (u16, Vec<(&'static str, String)>, String);

/// Text of the `n`th token: its number follows the canary.
pub(super) const TOKEN: &str = r#"{"access_token":"canary-token-NUMBER","expires_in":3600}"#;

/// The `n`th pair.
pub(crate) const PAIR: &str =
    r#"{"access_token":"canary-token-NUMBER","refresh_token":"canary-refresh-NUMBER","expires_in":3600}"#;

impl Provider {
    pub(crate) async fn start() -> (Arc<Self>, url::Url) {
        let provider = Arc::new(Self {
            requests: watch::Sender::new(0),
            answer: Mutex::new((200, vec![], TOKEN.to_owned())),
            gate: watch::Sender::new(true),
            seen: Mutex::default(),
            number: AtomicUsize::new(0),
            hangs: AtomicBool::new(false),
            valid: Mutex::default(),
        });
        let app = axum::Router::new().fallback(Self::token).with_state(Arc::clone(&provider));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        (provider, url)
    }

    async fn token(State(provider): State<Arc<Self>>, body: String) -> Response {
        provider.requests.send_modify(|count| *count += 1);
        provider.gate.subscribe().wait_for(|open| *open).await.unwrap();
        let number = provider.number.fetch_add(1, Ordering::SeqCst) + 1;
        let (status, headers, answer) = provider.judged(&body, number);
        provider.seen.lock().unwrap().push(body);
        if provider.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let answer = answer.replace("NUMBER", &number.to_string());
        let mut response = (StatusCode::from_u16(status).unwrap(), answer).into_response();
        for (name, value) in headers {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        response
    }

    /// What is answered; a strict provider has used the refresh token up by then.
    fn judged(&self, body: &str, number: usize) -> Said {
        let said = self.answer.lock().unwrap().clone();
        let mut valid = self.valid.lock().unwrap();
        let Some(expected) = valid.as_mut() else { return said };
        let sent = url::form_urlencoded::parse(body.as_bytes()).find(|(name, _)| name == "refresh_token");
        if sent.is_none_or(|(_, token)| token != expected.as_str()) {
            return (400, vec![], r#"{"error":"invalid_grant"}"#.to_owned());
        }
        if said.0 == 200 {
            *expected = format!("canary-refresh-{number}");
        }
        said
    }

    pub(crate) fn answers(&self, status: u16, body: &str) {
        *self.answer.lock().unwrap() = (status, vec![], body.to_owned());
    }

    pub(super) fn asks_to_wait(&self, status: u16, seconds: u64) {
        *self.answer.lock().unwrap() = (status, vec![("retry-after", seconds.to_string())], "{}".to_owned());
    }

    /// From here on it does what it is asked, and never says so.
    pub(super) fn hangs(&self, hangs: bool) {
        self.hangs.store(hangs, Ordering::SeqCst);
    }

    /// Takes this refresh token and then its successors, each once.
    pub(crate) fn is_strict(&self, valid: &str) {
        *self.valid.lock().unwrap() = Some(valid.to_owned());
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        *self.requests.borrow()
    }

    pub(super) async fn until_asked(&self, times: usize) {
        self.requests.subscribe().wait_for(|count| *count >= times).await.unwrap();
    }
}
