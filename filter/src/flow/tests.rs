//! One request against a small world: what is let go, what is answered, what is waited for.

use serde_json::{Value, json};

use super::*;
use crate::world::{self, FakeHost, NOW_MS, UPSTREAM, alice};

mod body;
mod consent;
mod credential;
mod door;
mod edits;
mod random;
mod snapshot;
mod streaming;
mod way_back;

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}"#;
const NOTE: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// A request as a client sends it and Envoy routes it.
#[derive(Clone)]
struct Request {
    pairs: Vec<(String, String)>,
    cluster: Option<String>,
    ended: bool,
}

impl Request {
    fn new(method: &str, server: &str, token: &str) -> Self {
        let path = format!("/mcp-server/{server}/server");
        let pairs = [
            (":method", method),
            (":path", &path),
            (":authority", "gate.example"),
            ("authorization", &format!("Bearer {token}")),
        ];
        Self {
            pairs: pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            cluster: Some(format!("cluster {server}")),
            ended: method != "POST",
        }
    }

    fn post(server: &str) -> Self {
        Self::new("POST", server, &alice()).with("content-type", "application/json").with("x-request-id", "rq-1")
    }

    fn get(server: &str) -> Self {
        Self::new("GET", server, &alice())
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.pairs.push((name.to_owned(), value.to_owned()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.pairs.retain(|(other, _)| other != name);
        self
    }

    /// With this in place of what was there.
    fn having(self, name: &str, value: &str) -> Self {
        self.without(name).with(name, value)
    }

    fn ended(mut self, ended: bool) -> Self {
        self.ended = ended;
        self
    }

    fn head(&self) -> Head {
        world::head(&self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>())
    }
}

/// A worker and its host.
struct Gate {
    worker: Worker,
    host: FakeHost,
}

impl Gate {
    fn new() -> Self {
        Self { worker: world::worker(), host: FakeHost::new() }
    }

    fn on(&mut self, event: impl FnOnce(&mut Env<'_>) -> (Flow, Step)) -> (Flow, Step) {
        event(&mut Env::new(&mut self.worker, &self.host))
    }

    fn later(&self, ms: u64) {
        self.host.now_ms.set(self.host.now_ms.get() + ms);
    }

    fn now_ms(&self) -> u64 {
        self.host.now_ms.get()
    }

    fn headers(&mut self, request: &Request) -> (Flow, Step) {
        *self.host.body.borrow_mut() = None;
        let cluster = request.cluster.clone().map(String::into_bytes);
        let (head, ended) = (request.head(), request.ended);
        self.on(|env| Flow::on_headers(head, cluster, ended, env))
    }

    /// More of the body; `ended` says that it is the last.
    fn data(&mut self, flow: Flow, data: &[u8], ended: bool) -> (Flow, Step) {
        let size = {
            let mut body = self.host.body.borrow_mut();
            let body = body.get_or_insert_default();
            body.extend_from_slice(data);
            body.len()
        };
        self.on(|env| flow.on_body(size, ended, env))
    }

    /// The whole request in one piece.
    fn send(&mut self, request: &Request, body: &str) -> (Flow, Step) {
        match self.headers(request) {
            (flow, Step::Wait) => self.data(flow, body.as_bytes(), true),
            answered => answered,
        }
    }

    /// What the host adapter does with an answer of the broker.
    fn answer(&mut self, flow: Flow, key: &CredentialKey, answer: &Answer) -> (Flow, Step) {
        let now_ms = self.now_ms();
        let credential = credential_of(answer)
            .map(|(credential, due)| self.worker.credentials.insert(key.clone(), credential, due, now_ms));
        self.on(|env| flow.on_credential(answer, credential, env))
    }

    /// Sends a request and has the broker release a credential for it.
    fn released(&mut self, request: &Request, body: &str) -> (Flow, Grant) {
        let (flow, step) = self.send(request, body);
        let ask = asked(step);
        let (flow, step) = self.answer(flow, &ask.key, &given("h-1", NOW_MS + 100_000, NOW_MS + 80_000));
        (flow, granted(step))
    }
}

fn credential_of(answer: &Answer) -> Option<(Credential, u64)> {
    credential(answer)
}

fn given(handle: &str, expires_at_ms: u64, refresh_after_ms: u64) -> Answer {
    given_of(3, handle, expires_at_ms, refresh_after_ms)
}

/// A credential of this generation of grant `g`.
fn given_of(generation: u64, handle: &str, expires_at_ms: u64, refresh_after_ms: u64) -> Answer {
    said(proto::acquire_credential_response::Answer::Credential(proto::Credential {
        headers: vec![proto::Header { name: "Authorization".into(), value: b"Bearer upstream-secret".to_vec() }],
        use_handle: handle.into(),
        grant: "g".into(),
        generation,
        issued_at_ms: NOW_MS,
        expires_at_ms,
        refresh_after_ms,
        source: "stored".into(),
    }))
}

fn said(answer: proto::acquire_credential_response::Answer) -> Answer {
    Answer::Said(proto::AcquireCredentialResponse { answer: Some(answer), timings: None })
}

fn name_of(step: &Step) -> &'static str {
    match step {
        Step::Acquire(_) => "acquire",
        Step::Close(_) => "close",
        Step::Forward(_) => "forward",
        Step::PassResponse(_) => "pass response",
        Step::RejectCredential(_) => "reject credential",
        Step::Reply(_) => "reply",
        Step::ResolveKey { .. } => "resolve key",
        Step::Wait => "wait",
    }
}

fn asked(step: Step) -> Ask {
    match step {
        Step::Acquire(ask) => *ask,
        Step::Reply(reply) => panic!("replied {}", String::from_utf8_lossy(&reply.body)),
        other => panic!("{}", name_of(&other)),
    }
}

fn granted(step: Step) -> Grant {
    match step {
        Step::Forward(grant) => grant,
        Step::Reply(reply) => panic!("replied {}", String::from_utf8_lossy(&reply.body)),
        other => panic!("{}", name_of(&other)),
    }
}

/// A refusal: HTTP status, JSON-RPC code, and the word for it.
#[track_caller]
fn refused((flow, step): (Flow, Step)) -> (u16, i64, String) {
    assert!(matches!(flow, Flow::Done), "one terminal action");
    let reply = replied(step);
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let reason = body["error"]["data"]["reason"].as_str().unwrap_or_default().to_owned();
    (reply.status, body["error"]["code"].as_i64().unwrap_or_default(), reason)
}

#[track_caller]
fn reason(outcome: (Flow, Step)) -> String {
    refused(outcome).2
}

#[track_caller]
fn replied(step: Step) -> Reply {
    match step {
        Step::Reply(reply) => reply,
        other => panic!("{}", name_of(&other)),
    }
}

#[track_caller]
fn waits((flow, step): (Flow, Step)) -> Flow {
    assert_eq!(name_of(&step), "wait");
    flow
}

/// The request's headers as the upstream gets them: what the host does with a grant.
fn upstream_headers(request: &Request, grant: &Grant) -> Vec<(String, String)> {
    let mut pairs = request.pairs.clone();
    for edit in grant.edits() {
        match edit {
            Edit::Remove(name) => pairs.retain(|(other, _)| other != name),
            Edit::Set(name, value) => {
                pairs.retain(|(other, _)| other != name);
                pairs.push((name.to_owned(), String::from_utf8(value.to_vec()).unwrap()));
            }
        }
    }
    pairs
}

fn values<'a>(pairs: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    pairs.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect()
}

/// A token that `demo/pass` lets through.
fn passing_token() -> String {
    world::token_of("k1", json!({"aud": UPSTREAM}))
}
