//! All streams of one worker and the broker calls between them.

use std::collections::{BTreeSet, HashMap};

use prost::Message;
use proxy_wasm::hostcalls;
use proxy_wasm::types::{Action, MapType, Status};
use sallyport_proto::broker as proto;

use super::{Envoy, calls};
use crate::callers::TokenHash;
use crate::credentials::CredentialKey;
use crate::flow::{self, Answer, Ask, Edit, Env, Flow, Grant, Host, ResponseEdit, Step};
use crate::reject::Reply;
use crate::worker::Worker;

/// Which half of a stream an event belongs to: what "go on" means for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Request,
    Response,
}

/// What the callback returns to Envoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Continue,
    Pause,
}

/// What callers share an answer by: the credential, and the token it was asked for with.
type Question = (CredentialKey, TokenHash);

/// A call that the broker has not answered.
enum Call {
    Acquire { question: Question, owner: u32 },
    Key { issuer: String, kid: String, owner: u32 },
    Record,
    Reject { stream: u32 },
}

/// Who waits for an answer.
#[derive(Default)]
struct Waiters {
    streams: Vec<u32>,
    /// A call is under way.
    asked: bool,
}

/// The worker, its streams and its calls.
pub(super) struct Hub {
    pub(super) worker: Worker,
    root: u32,
    flows: HashMap<u32, Flow>,
    /// Streams whose flow looks at the clock.
    watched: BTreeSet<u32>,
    calls: HashMap<u32, Call>,
    questions: HashMap<Question, Waiters>,
    keys: HashMap<(String, String), Waiters>,
    /// Renewals to be asked for at the next tick, on behalf of nobody in particular.
    renewals: Vec<Ask>,
    reported_at_ms: u64,
    pub(super) counts: Counts,
}

/// How long reports are gathered, unless they fill a batch before: uses are told within a second (I7).
const REPORT_EVERY_MS: u64 = 400;

/// What happened since the last tick, for Envoy's metrics.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) forwarded: u64,
    pub(super) replied: u64,
    pub(super) broker_calls: u64,
    pub(super) broker_silent: u64,
}

impl Hub {
    pub(super) fn new(worker: Worker, root: u32) -> Self {
        Self {
            worker,
            root,
            flows: HashMap::new(),
            watched: BTreeSet::new(),
            calls: HashMap::new(),
            questions: HashMap::new(),
            keys: HashMap::new(),
            renewals: Vec::new(),
            reported_at_ms: 0,
            counts: Counts::default(),
        }
    }

    /// Streams that exist now.
    pub(super) fn streams(&self) -> usize {
        self.flows.len()
    }

    /// One event of one stream, whose callback this is.
    pub(super) fn event(
        &mut self,
        stream: u32,
        phase: Phase,
        event: impl FnOnce(Flow, &mut Env<'_>) -> (Flow, Step),
    ) -> Verdict {
        let flow = self.flows.remove(&stream).unwrap_or(Flow::Start);
        let (flow, step) = event(flow, &mut Env { worker: &mut self.worker, host: &Envoy });
        self.perform(stream, phase, flow, step)
    }

    /// Whether more of a response may pass.
    pub(super) fn while_response(&self, stream: u32) -> Action {
        match self.flows.get(&stream) {
            Some(Flow::AwaitRejection(_)) => Action::Pause,
            Some(_) | None => Action::Continue,
        }
    }

    /// A stream has ended. Its calls end with it; who waits for their answers too asks anew at the next tick.
    pub(super) fn gone(&mut self, stream: u32) {
        self.flows.remove(&stream);
        self.watched.remove(&stream);
        let calls: Vec<u32> =
            self.calls.iter().filter(|(_, call)| call.owner() == Some(stream)).map(|(t, _)| *t).collect();
        for token in calls {
            match self.calls.remove(&token) {
                Some(Call::Acquire { question, .. }) => {
                    if let Some(waiters) = self.questions.get_mut(&question) {
                        waiters.asked = false;
                    }
                }
                Some(Call::Key { issuer, kid, .. }) => {
                    if let Some(waiters) = self.keys.get_mut(&(issuer, kid)) {
                        waiters.asked = false;
                    }
                }
                Some(Call::Record | Call::Reject { .. }) | None => {}
            }
        }
    }

    /// The broker has answered a call, or Envoy has given it up (`None`). `context` is whose callback this is.
    pub(super) fn answered(&mut self, token: u32, response: Option<Vec<u8>>, context: u32) {
        if response.is_none() {
            self.counts.broker_silent = self.counts.broker_silent.saturating_add(1);
        }
        match self.calls.remove(&token) {
            Some(Call::Acquire { question, .. }) => self.acquired(&question, &read_answer(response), context),
            Some(Call::Key { issuer, kid, .. }) => self.resolved(issuer, kid, response, context),
            Some(Call::Record) => {
                let recorded = response.and_then(|bytes| proto::RecordCallsResponse::decode(bytes.as_slice()).ok());
                if let Some(recorded) = recorded {
                    self.worker.reports.recorded(recorded.sequence);
                    self.report();
                }
            }
            Some(Call::Reject { stream }) => self.rejected(stream, &read_answer(response), context),
            None => {}
        }
    }

    /// Watchdog, renewals, questions whose asker has gone, reports. From the root's tick alone.
    pub(super) fn tick(&mut self) {
        for stream in self.watched.iter().copied().collect::<Vec<_>>() {
            self.move_on(stream, self.root, |flow, env| flow.on_tick(env));
        }
        for ask in std::mem::take(&mut self.renewals) {
            self.ask(ask, None, self.root);
        }
        self.ask_for_orphans();
        self.report();
    }

    /// Does what a step says, now that the flow is where it says. `Continue` only ever with a grant.
    fn perform(&mut self, stream: u32, phase: Phase, mut flow: Flow, mut step: Step) -> Verdict {
        loop {
            let silent = match step {
                Step::Acquire(ask) => {
                    let sent = self.ask(*ask, Some(stream), stream);
                    if sent {
                        return self.hold(stream, flow);
                    }
                    Answer::Silent
                }
                Step::Forward(grant) => {
                    if let Err(unchanged) = self.forward(grant) {
                        // A header that stays may be the inbound credential: the request stays too (I1).
                        log::error!("a request header could not be changed: {unchanged:?}");
                        self.keep(stream, Flow::Done);
                        send(&flow::unchanged_reply());
                        return Verdict::Pause;
                    }
                    self.keep(stream, flow);
                    return Verdict::Continue;
                }
                Step::PassResponse(edits) => {
                    edit_response(edits);
                    self.keep(stream, flow);
                    return Verdict::Continue;
                }
                Step::RejectCredential(request) => {
                    let sent = self.dispatch("RejectCredential", &*request, Call::Reject { stream });
                    if sent {
                        return self.hold(stream, flow);
                    }
                    Answer::Silent
                }
                Step::Reply(reply) => {
                    self.counts.replied = self.counts.replied.saturating_add(1);
                    self.keep(stream, flow);
                    send(&reply);
                    return Verdict::Pause;
                }
                Step::ResolveKey { issuer, kid } => {
                    if self.resolve(issuer, kid, stream) {
                        return self.hold(stream, flow);
                    }
                    Answer::Silent
                }
                Step::Wait => return self.hold(stream, flow),
            };
            // The call could not be made: nobody will call back, so the flow hears of it here.
            let mut env = Env { worker: &mut self.worker, host: &Envoy };
            (flow, step) = match phase {
                Phase::Request => match flow {
                    Flow::AwaitKey(_) => flow.on_key(false, &mut env),
                    flow => flow.on_credential(&silent, None, &mut env),
                },
                Phase::Response => flow.on_rejected(&silent, false, &mut env),
            };
        }
    }

    fn hold(&mut self, stream: u32, flow: Flow) -> Verdict {
        self.keep(stream, flow);
        Verdict::Pause
    }

    fn keep(&mut self, stream: u32, flow: Flow) {
        if flow.is_waiting() {
            self.watched.insert(stream);
        } else {
            self.watched.remove(&stream);
        }
        self.flows.insert(stream, flow);
    }

    /// Moves another stream on, in the callback of `context`, and lets it go if it may.
    fn move_on(&mut self, stream: u32, context: u32, event: impl FnOnce(Flow, &mut Env<'_>) -> (Flow, Step)) {
        let Some(flow) = self.flows.remove(&stream) else { return };
        // A stream that has ended meanwhile has no context any more.
        if hostcalls::set_effective_context(stream).is_err() {
            return;
        }
        let (flow, step) = event(flow, &mut Env { worker: &mut self.worker, host: &Envoy });
        let phase = if matches!(step, Step::PassResponse(_)) { Phase::Response } else { Phase::Request };
        if self.perform(stream, phase, flow, step) == Verdict::Continue {
            let resumed = match phase {
                Phase::Request => hostcalls::resume_http_request(),
                Phase::Response => hostcalls::resume_http_response(),
            };
            if let Err(status) = resumed {
                log::error!("a stream could not be resumed: {status:?}");
            }
        }
        let _ = hostcalls::set_effective_context(context);
    }

    /// Asks the broker, unless the same is being asked already; answers whether an answer will come.
    fn ask(&mut self, ask: Ask, stream: Option<u32>, owner: u32) -> bool {
        let question = (ask.key, ask.token_hash);
        let waiters = self.questions.entry(question.clone()).or_default();
        waiters.streams.extend(stream);
        if waiters.asked {
            return true;
        }
        waiters.asked = true;
        let key = question.0.clone();
        if self.dispatch("AcquireCredential", &ask.request, Call::Acquire { question: question.clone(), owner }) {
            return true;
        }
        self.questions.remove(&question);
        self.worker.credentials.renewal_failed(&key, retry_at());
        false
    }

    fn resolve(&mut self, issuer: String, kid: String, stream: u32) -> bool {
        let request =
            proto::ResolveKeyRequest { issuer: issuer.clone(), kid: kid.clone(), proxy: self.worker.proxy.clone() };
        let waiters = self.keys.entry((issuer.clone(), kid.clone())).or_default();
        waiters.streams.push(stream);
        if waiters.asked {
            return true;
        }
        waiters.asked = true;
        let call = Call::Key { issuer: issuer.clone(), kid: kid.clone(), owner: stream };
        let sent = self.dispatch("ResolveKey", &request, call);
        if !sent {
            self.keys.remove(&(issuer, kid));
        }
        sent
    }

    fn dispatch(&mut self, method: &str, message: &impl Message, call: Call) -> bool {
        self.counts.broker_calls = self.counts.broker_calls.saturating_add(1);
        let config = &self.worker.config;
        match calls::dispatch(&config.broker_cluster, method, message, config.deadline_ms) {
            Ok(token) => {
                self.calls.insert(token, call);
                true
            }
            Err(calls::NotSent) => false,
        }
    }

    fn acquired(&mut self, question: &Question, answer: &Answer, context: u32) {
        let now_ms = Envoy.now_ns() / 1_000_000;
        let key = &question.0;
        let credential = flow::credential(answer).map(|(credential, refresh_after_ms)| {
            self.worker.credentials.insert(key.clone(), credential, refresh_after_ms, now_ms)
        });
        if credential.is_none() {
            self.worker.credentials.renewal_failed(key, retry_at());
        }
        let waiters = self.questions.remove(question).unwrap_or_default();
        for stream in waiters.streams {
            let credential = credential.clone();
            self.move_on(stream, context, |flow, env| flow.on_credential(answer, credential, env));
        }
    }

    fn resolved(&mut self, issuer: String, kid: String, response: Option<Vec<u8>>, context: u32) {
        let now_ms = Envoy.now_ns() / 1_000_000;
        let response = response.and_then(|bytes| proto::ResolveKeyResponse::decode(bytes.as_slice()).ok());
        let waiters = self.keys.remove(&(issuer.clone(), kid.clone())).unwrap_or_default();
        let answered = response.is_some();
        if let Some(response) = response {
            self.worker.resolved(issuer, kid, response.key, now_ms);
        }
        for stream in waiters.streams {
            self.move_on(stream, context, |flow, env| flow.on_key(answered, env));
        }
    }

    fn rejected(&mut self, stream: u32, answer: &Answer, context: u32) {
        let now_ms = Envoy.now_ns() / 1_000_000;
        let key = self.flows.get(&stream).and_then(Flow::refused_key).cloned();
        let renewed = match (flow::credential(answer), key) {
            (Some((credential, refresh_after_ms)), Some(key)) => {
                self.worker.credentials.insert(key, credential, refresh_after_ms, now_ms);
                true
            }
            (Some(_) | None, _) => false,
        };
        self.move_on(stream, context, |flow, env| flow.on_rejected(answer, renewed, env));
    }

    /// Asks again what a stream asked that has gone while others wait for the answer.
    fn ask_for_orphans(&mut self) {
        let orphans: Vec<Question> =
            self.questions.iter().filter(|(_, waiters)| !waiters.asked).map(|(question, _)| question.clone()).collect();
        for question in orphans {
            let waiters = self.questions.remove(&question).unwrap_or_default();
            let alive: Vec<u32> = waiters.streams.into_iter().filter(|s| self.flows.contains_key(s)).collect();
            let env = Env { worker: &mut self.worker, host: &Envoy };
            let ask = alive.iter().find_map(|stream| self.flows.get(stream).and_then(|flow| flow.ask_again(&env)));
            let Some(ask) = ask else {
                // Nobody waits, but it may have stood for a renewal too: the next request finds it due again.
                self.worker.credentials.renewal_failed(&question.0, retry_at());
                continue;
            };
            if self.ask(ask, None, self.root) {
                self.questions.entry(question).or_default().streams.extend(alive);
            } else {
                for stream in alive {
                    self.move_on(stream, self.root, |flow, env| flow.on_credential(&Answer::Silent, None, env));
                }
            }
        }
        let orphans: Vec<(String, String)> =
            self.keys.iter().filter(|(_, waiters)| !waiters.asked).map(|(key, _)| key.clone()).collect();
        for (issuer, kid) in orphans {
            let waiters = self.keys.remove(&(issuer.clone(), kid.clone())).unwrap_or_default();
            for stream in waiters.streams {
                if self.flows.contains_key(&stream) && !self.resolve(issuer.clone(), kid.clone(), stream) {
                    self.move_on(stream, self.root, |flow, env| flow.on_key(false, env));
                }
            }
            for call in self.calls.values_mut() {
                call.disown(&issuer, &kid, self.root);
            }
        }
    }

    fn report(&mut self) {
        let now_ms = Envoy.now_ns() / 1_000_000;
        let is_early = now_ms.saturating_sub(self.reported_at_ms) < REPORT_EVERY_MS;
        if is_early && !self.worker.reports.is_pressing() {
            return;
        }
        if self.calls.values().any(|call| matches!(call, Call::Record)) {
            return;
        }
        let Some(batch) = self.worker.reports.next_batch().cloned() else { return };
        self.reported_at_ms = now_ms;
        self.dispatch("RecordCalls", &batch, Call::Record);
    }

    fn forward(&mut self, mut grant: Grant) -> Result<(), Status> {
        self.renewals.extend(grant.renewal.take().map(|renewal| *renewal));
        for edit in grant.edits() {
            match edit {
                Edit::Remove(name) => hostcalls::remove_map_value(MapType::HttpRequestHeaders, name),
                Edit::Set(name, value) => {
                    hostcalls::set_map_value_bytes(MapType::HttpRequestHeaders, name, Some(value))
                }
            }?;
        }
        self.counts.forwarded = self.counts.forwarded.saturating_add(1);
        log_verdict("forwarded");
        Ok(())
    }
}

impl Call {
    fn owner(&self) -> Option<u32> {
        match self {
            Self::Acquire { owner, .. } | Self::Key { owner, .. } => Some(*owner),
            Self::Reject { stream } => Some(*stream),
            Self::Record => None,
        }
    }

    fn disown(&mut self, of_issuer: &str, of_kid: &str, root: u32) {
        if let Self::Key { issuer, kid, owner } = self
            && issuer == of_issuer
            && kid == of_kid
        {
            *owner = root;
        }
    }
}

fn read_answer(response: Option<Vec<u8>>) -> Answer {
    match response.map(|bytes| proto::AcquireCredentialResponse::decode(bytes.as_slice())) {
        Some(Ok(said)) => Answer::Said(said),
        Some(Err(_)) | None => Answer::Silent,
    }
}

/// When a renewal that failed is tried again, Unix milliseconds.
fn retry_at() -> u64 {
    (Envoy.now_ns() / 1_000_000).saturating_add(2_000)
}

fn edit_response(edits: Vec<ResponseEdit>) {
    for edit in edits {
        let edited = match &edit {
            ResponseEdit::Remove(name) => hostcalls::remove_map_value(MapType::HttpResponseHeaders, name),
            ResponseEdit::Set(name, value) => {
                hostcalls::set_map_value_bytes(MapType::HttpResponseHeaders, name, Some(value.as_bytes()))
            }
        };
        if let Err(status) = edited {
            log::error!("a response header could not be changed: {status:?}");
        }
    }
}

/// The word for the access log, kept in the stream's filter state.
fn log_verdict(code: &str) {
    if let Err(status) = hostcalls::set_property(vec!["sallyport.verdict"], Some(code.as_bytes())) {
        log::error!("the verdict could not be kept for the access log: {status:?}");
    }
}

fn send(reply: &Reply) {
    log_verdict(reply.code);
    let headers = reply.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let body = (!reply.body.is_empty()).then_some(reply.body.as_slice());
    if let Err(status) = hostcalls::send_http_response(u32::from(reply.status), headers, body) {
        log::error!("a reply could not be sent: {status:?}");
    }
}
