//! What the streams of a worker ask the broker, and what becomes of its answers.

use prost::Message;
use proxy_wasm::hostcalls;
use sallyport_proto::broker as proto;

use super::hub::Hub;
use super::{Envoy, calls};
use crate::flow::{self, Answer, Ask, Env, Flow, Host};
use crate::pending::{Call, KeyName, Question};

/// How long reports are gathered, unless they fill a batch before: uses are told within a second (I7).
const REPORT_EVERY_MS: u64 = 400;

impl Hub {
    /// Asks for a credential that `streams` wait for, unless the same is being asked already; answers whether an answer
    /// will come.
    pub(super) fn ask(&mut self, ask: Ask, streams: &[u32], owner: u32) -> bool {
        let Ask { key, token_hash, request } = ask;
        let question = (key, token_hash);
        if !self.pending.questions.join(&question, streams) {
            return true;
        }
        let call = Call::Acquire { question: question.clone(), owner };
        let sent = self.dispatch("AcquireCredential", &request.encode_to_vec(), call);
        if !sent {
            self.pending.questions.leave(&question, streams);
            self.worker.credentials.renewal_failed(&question.0, retry_at());
        }
        sent
    }

    /// Asks for a key that `streams` wait for, unless it is being asked for already; answers whether an answer will come.
    pub(super) fn resolve(&mut self, key: KeyName, streams: &[u32], owner: u32) -> bool {
        if !self.pending.keys.join(&key, streams) {
            return true;
        }
        let (issuer, kid) = key.clone();
        let request = proto::ResolveKeyRequest { issuer, kid, proxy: self.worker.proxy.clone() };
        let sent = self.dispatch("ResolveKey", &request.encode_to_vec(), Call::Key { key: key.clone(), owner });
        if !sent {
            self.pending.keys.leave(&key, streams);
        }
        sent
    }

    /// Makes a call; answers whether it is under way.
    pub(super) fn dispatch(&mut self, method: &str, message: &[u8], call: Call) -> bool {
        self.counts.broker_calls = self.counts.broker_calls.saturating_add(1);
        let config = &self.worker.config;
        match calls::dispatch(&config.broker_cluster, method, message, config.deadline_ms) {
            Ok(token) => {
                self.pending.sent(token, call);
                true
            }
            Err(calls::NotSent) => false,
        }
    }

    /// The broker has answered a call, or Envoy has given it up (`None`). `context` is whose callback this is.
    pub(super) fn answered(&mut self, token: u32, response: Option<Vec<u8>>, context: u32) {
        if response.is_none() {
            self.counts.broker_silent = self.counts.broker_silent.saturating_add(1);
        }
        match self.pending.ended(token) {
            Some(Call::Acquire { question, .. }) => self.acquired(&question, &read_answer(response), context),
            Some(Call::Key { key, .. }) => self.resolved(key, response, context),
            Some(Call::Record) => self.recorded(response),
            Some(Call::Reject { stream }) => self.rejected(stream, &read_answer(response), context),
            None => {}
        }
    }

    fn acquired(&mut self, question: &Question, answer: &Answer, context: u32) {
        let key = &question.0;
        let credential = flow::credential(answer).map(|(credential, refresh_after_ms)| {
            self.worker.credentials.insert(key.clone(), credential, refresh_after_ms, now_ms())
        });
        if flow::is_refused(answer) {
            self.worker.credentials.remove(key);
        } else if credential.is_none() {
            self.worker.credentials.renewal_failed(key, retry_at());
        }
        for stream in self.pending.questions.answered(question) {
            let credential = credential.clone();
            self.move_on(stream, context, |flow, env| flow.on_credential(answer, credential, env));
        }
    }

    fn resolved(&mut self, key: KeyName, response: Option<Vec<u8>>, context: u32) {
        let response = response.and_then(|bytes| proto::ResolveKeyResponse::decode(bytes.as_slice()).ok());
        let streams = self.pending.keys.answered(&key);
        let answered = response.is_some();
        if let Some(response) = response {
            let (issuer, kid) = key;
            self.worker.resolved(issuer, kid, response.key, now_ms());
        }
        for stream in streams {
            self.move_on(stream, context, |flow, env| flow.on_key(answered, env));
        }
    }

    fn rejected(&mut self, stream: u32, answer: &Answer, context: u32) {
        let key = self.flows.get(&stream).and_then(Flow::refused_key).cloned();
        let renewed = match (flow::credential(answer), key) {
            (Some((credential, refresh_after_ms)), Some(key)) => {
                self.worker.credentials.insert(key, credential, refresh_after_ms, now_ms());
                true
            }
            (Some(_) | None, _) => false,
        };
        self.move_on(stream, context, |flow, env| flow.on_rejected(answer, renewed, env));
    }

    fn recorded(&mut self, response: Option<Vec<u8>>) {
        let recorded = response.and_then(|bytes| proto::RecordCallsResponse::decode(bytes.as_slice()).ok());
        if let Some(recorded) = recorded {
            self.worker.reports.recorded(recorded.sequence);
            self.report();
        }
    }

    /// Asks again what a stream asked that has gone while others wait for the answer.
    pub(super) fn ask_for_orphans(&mut self) {
        for (question, streams) in self.pending.questions.take_orphans() {
            let alive: Vec<u32> = streams.into_iter().filter(|stream| self.flows.contains_key(stream)).collect();
            let env = Env::new(&mut self.worker, &Envoy);
            let again = alive.iter().find_map(|stream| {
                // What is told of the peer is that stream's; the root has none.
                hostcalls::set_effective_context(*stream).ok()?;
                self.flows.get(stream)?.ask_again(&env)
            });
            let _ = hostcalls::set_effective_context(self.root);
            let Some(ask) = again else {
                // Nobody waits, but it may have stood for a renewal too: the next request finds it due again.
                self.worker.credentials.renewal_failed(&question.0, retry_at());
                continue;
            };
            if !self.ask(ask, &alive, self.root) {
                self.tell_silence(alive);
            }
        }
        for (key, streams) in self.pending.keys.take_orphans() {
            let alive: Vec<u32> = streams.into_iter().filter(|stream| self.flows.contains_key(stream)).collect();
            if !alive.is_empty() && !self.resolve(key, &alive, self.root) {
                self.tell_silence(alive);
            }
        }
    }

    fn tell_silence(&mut self, streams: Vec<u32>) {
        for stream in streams {
            self.move_on(stream, self.root, Flow::on_silence);
        }
    }

    /// Sends the next batch of reports, if it is time.
    pub(super) fn report(&mut self) {
        let now_ms = now_ms();
        let is_early = now_ms.saturating_sub(self.reported_at_ms) < REPORT_EVERY_MS;
        if (is_early && !self.worker.reports.is_pressing()) || self.pending.is_recording() {
            return;
        }
        let Some(batch) = self.worker.reports.next_batch().map(Message::encode_to_vec) else { return };
        self.reported_at_ms = now_ms;
        self.dispatch("RecordCalls", &batch, Call::Record);
    }
}

fn read_answer(response: Option<Vec<u8>>) -> Answer {
    match response.map(|bytes| proto::AcquireCredentialResponse::decode(bytes.as_slice())) {
        Some(Ok(said)) => Answer::Said(said),
        Some(Err(_)) | None => Answer::Silent,
    }
}

fn now_ms() -> u64 {
    Envoy.now_ns() / 1_000_000
}

/// When a renewal that failed is tried again, Unix milliseconds.
fn retry_at() -> u64 {
    now_ms().saturating_add(2_000)
}
