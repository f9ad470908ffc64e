//! An MCP server as the gate sees it: records every byte, says who it was called as, answers as scripted.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use http_body_util::BodyExt;
use hyper::{
    HeaderMap, Request, Response,
    body::{Bytes, Frame, Incoming},
};
use serde_json::{Value, json};

use crate::{Certificate, HttpReply, Listening, Provider, bytes_body, stream_body};

/// One request as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// Request method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// All headers.
    pub headers: HeaderMap,
    /// Body so far.
    pub body: Vec<u8>,
    /// Trailers, if any came.
    pub trailers: Option<HeaderMap>,
    /// The body came to its end.
    pub complete: bool,
}

impl Recorded {
    /// Every value of a header, as text.
    pub fn all(&self, name: &str) -> Vec<String> {
        self.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// What a request is answered with.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Script,
    after: Duration,
}

#[derive(Clone, Debug)]
enum Script {
    Whole(Vec<u8>),
    /// Pieces, then the end.
    Pieces(Vec<Vec<u8>>),
    /// One piece, then nothing, for ever.
    Open(Vec<u8>),
}

impl Answer {
    /// An empty answer.
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Script::Whole(Vec::new()), after: Duration::ZERO }
    }

    /// A JSON answer.
    pub fn json(body: &Value) -> Self {
        Self::status(200).header("content-type", "application/json").body(body.to_string())
    }

    /// What an MCP server says to a request: its result tells who it was called as.
    pub fn echo(request: &Recorded) -> Self {
        Self::echo_to(request, "")
    }

    fn echo_to(request: &Recorded, holder: &str) -> Self {
        let body = request.json();
        let result = json!({
            "called_as": request.all("authorization"), "holder": holder, "method": body["method"],
            "resultType": "complete", "content": [{"type": "text", "text": "hello"}],
        });
        Self::json(&json!({"jsonrpc": "2.0", "id": body["id"], "result": result}))
    }

    /// An event stream of these events.
    pub fn events(events: &[Value]) -> Self {
        let pieces = events.iter().map(|event| format!("event: message\ndata: {event}\n\n").into_bytes()).collect();
        let mut answer = Self::status(200).header("content-type", "text/event-stream");
        answer.body = Script::Pieces(pieces);
        answer
    }

    /// An event stream that stays open after its first event.
    pub fn open_events(event: &Value) -> Self {
        let mut answer = Self::status(200).header("content-type", "text/event-stream");
        answer.body = Script::Open(format!("data: {event}\n\n").into_bytes());
        answer
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Script::Whole(body.into());
        self
    }

    /// Waits before it answers.
    pub fn after(mut self, delay: Duration) -> Self {
        self.after = delay;
        self
    }

    /// The body as JSON; null if it is none.
    pub(crate) fn body_json(&self) -> Value {
        match &self.body {
            Script::Whole(bytes) => serde_json::from_slice(bytes).unwrap_or_default(),
            Script::Pieces(_) | Script::Open(_) => Value::Null,
        }
    }

    pub(crate) async fn respond(self) -> HttpReply {
        tokio::time::sleep(self.after).await;
        let mut response = Response::builder().status(self.status);
        for (name, value) in &self.headers {
            response = response.header(name, value);
        }
        let body = match self.body {
            Script::Whole(bytes) => bytes_body(bytes),
            Script::Pieces(pieces) => stream_body(stream::iter(pieces).map(|piece| Ok(Frame::data(piece.into())))),
            Script::Open(piece) => {
                let first = stream::iter([Ok(Frame::data(Bytes::from(piece)))]);
                stream_body(first.chain(stream::pending()))
            }
        };
        Ok(response.body(body).expect("a good response"))
    }
}

type Rule = Arc<dyn Fn(&Recorded) -> Answer + Send + Sync>;

/// The server.
pub struct Upstream {
    /// Where its MCP endpoint is.
    pub url: String,
    listening: Listening,
    state: Arc<State>,
}

struct State {
    first: Mutex<Option<Instant>>,
    requests: Mutex<Vec<Arc<Mutex<Recorded>>>>,
    rule: Mutex<Rule>,
}

impl Upstream {
    /// Starts one that speaks plain HTTP.
    pub async fn start() -> Self {
        Self::start_with(None, "127.0.0.1").await
    }

    /// Starts one that shows this certificate; `url` names it `localhost`.
    pub async fn start_tls(certificate: &Certificate) -> Self {
        Self::start_with(Some(certificate), "localhost").await
    }

    async fn start_with(certificate: Option<&Certificate>, host: &str) -> Self {
        let state = Arc::new(State {
            first: Mutex::default(),
            requests: Mutex::default(),
            rule: Mutex::new(Arc::new(Answer::echo)),
        });
        let shared = state.clone();
        let acceptor = certificate.map(Certificate::acceptor);
        let listening = Listening::start(acceptor, move |request| record(shared.clone(), request)).await;
        let scheme = if certificate.is_some() { "https" } else { "http" };
        Self { url: format!("{scheme}://{host}:{}/mcp", listening.address.port()), listening, state }
    }

    /// Answers by this rule from now on.
    pub fn answer(&self, rule: impl Fn(&Recorded) -> Answer + Send + Sync + 'static) {
        *self.state.rule.lock().expect("no holder panics") = Arc::new(rule);
    }

    /// Serves the bearers of this provider's live tokens, and tells in `holder` who they are; all others get 401.
    pub fn guarded_by(&self, provider: &Arc<Provider>) {
        let provider = provider.clone();
        self.answer(move |request| {
            let credential = request.all("authorization");
            let token = credential.first().and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
            match provider.holder_of(token) {
                Some(holder) => Answer::echo_to(request, &holder),
                None => Answer::status(401).header("www-authenticate", "Bearer error=\"invalid_token\""),
            }
        });
    }

    /// The requests so far, unfinished ones included.
    pub fn requests(&self) -> Vec<Recorded> {
        let requests = self.state.requests.lock().expect("no holder panics");
        requests.iter().map(|request| request.lock().expect("no holder panics").clone()).collect()
    }

    /// The only request so far.
    ///
    /// # Panics
    /// When there was none, or another.
    pub fn only_request(&self) -> Recorded {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }

    /// How long ago the first request came since the last [`Upstream::forget`]; zero if none has.
    pub fn since_first_request(&self) -> Duration {
        self.state.first.lock().expect("no holder panics").map(|first| first.elapsed()).unwrap_or_default()
    }

    /// Every byte so far, on all connections.
    pub fn received(&self) -> Vec<u8> {
        self.listening.received()
    }

    /// How many connections were opened.
    pub fn connections(&self) -> usize {
        self.listening.connections()
    }

    /// Forgets requests and bytes so far.
    pub fn forget(&self) {
        self.state.requests.lock().expect("no holder panics").clear();
        *self.state.first.lock().expect("no holder panics") = None;
        self.listening.forget();
    }

    /// Nothing of any request has arrived, not even its first byte.
    ///
    /// # Panics
    /// When something has; `what` says what should not have.
    pub fn assert_untouched(&self, what: &str) {
        let received = self.received();
        assert!(received.is_empty(), "{what}: the upstream got {:?}", String::from_utf8_lossy(&received));
        assert!(self.requests().is_empty(), "{what}: the upstream got {:?}", self.requests());
    }
}

async fn record(state: Arc<State>, request: Request<Incoming>) -> HttpReply {
    let (parts, mut body) = request.into_parts();
    let mut recorded = Recorded {
        method: parts.method.to_string(),
        path: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: parts.headers,
        ..Recorded::default()
    };
    state.first.lock().expect("no holder panics").get_or_insert_with(Instant::now);
    // Kept from the first byte on: a request that never ends has arrived, too.
    let kept = Arc::new(Mutex::new(recorded.clone()));
    state.requests.lock().expect("no holder panics").push(kept.clone());
    while let Some(Ok(frame)) = body.frame().await {
        match frame.into_data() {
            Ok(data) => recorded.body.extend_from_slice(&data),
            Err(frame) => recorded.trailers = frame.into_trailers().ok(),
        }
        kept.lock().expect("no holder panics").clone_from(&recorded);
    }
    recorded.complete = true;
    kept.lock().expect("no holder panics").complete = true;
    let rule = state.rule.lock().expect("no holder panics").clone();
    rule(&recorded).respond().await
}
