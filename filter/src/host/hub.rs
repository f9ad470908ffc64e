//! All streams of one worker: takes their events in, and carries out the steps that their flows say.

use std::collections::HashMap;

use prost::Message;
use proxy_wasm::hostcalls;
use proxy_wasm::types::Action;

use super::{Envoy, edits};
use crate::flow::{self, Ask, Env, Flow, Grant, Host, Step};
use crate::pending::{Call, Pending};
use crate::worker::Worker;

/// How long a tick may judge anew what was let go: less than a caller notices. What is left is next, 50 ms later.
const JUDGING_NS: u64 = 5_000_000;

/// What the callback returns to Envoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Continue,
    Pause,
}

/// The worker, its streams and its calls.
pub(super) struct Hub {
    pub(super) worker: Worker,
    pub(super) root: u32,
    pub(super) flows: HashMap<u32, Flow>,
    pub(super) pending: Pending,
    /// Renewals to be asked for at the next tick, on behalf of nobody in particular.
    renewals: Vec<Ask>,
    pub(super) reported_at_ms: u64,
    pub(super) counts: Counts,
}

/// What happened since the last tick, for Envoy's metrics.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) forwarded: u64,
    pub(super) replied: u64,
    pub(super) closed: u64,
    pub(super) broker_calls: u64,
    pub(super) broker_silent: u64,
}

impl Hub {
    pub(super) fn new(worker: Worker, root: u32) -> Self {
        Self {
            worker,
            root,
            flows: HashMap::new(),
            pending: Pending::default(),
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
    pub(super) fn event(&mut self, stream: u32, event: impl FnOnce(Flow, &mut Env<'_>) -> (Flow, Step)) -> Verdict {
        let flow = self.flows.remove(&stream).unwrap_or(Flow::Start);
        let (flow, step) = event(flow, &mut Env::new(&mut self.worker, &Envoy));
        self.perform(stream, flow, step)
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
        self.pending.gone(stream);
    }

    /// Watchdog, changes of policy, renewals, questions whose asker has gone, reports. From the root's tick alone.
    pub(super) fn tick(&mut self) {
        let waiting = self.flows.iter().filter(|(_, flow)| flow.is_waiting());
        for stream in waiting.map(|(stream, _)| *stream).collect::<Vec<_>>() {
            self.move_on(stream, self.root, |flow, env| flow.on_tick(env));
        }
        self.judge_outdated();
        for renewal in std::mem::take(&mut self.renewals) {
            self.ask(renewal, &[], self.root);
        }
        self.ask_for_orphans();
        self.report();
    }

    /// Who was let go must still be somebody who would be (I11).
    fn judge_outdated(&mut self) {
        let started_ns = Envoy.now_ns();
        let now_ms = started_ns / 1_000_000;
        let in_force = self.worker.snapshot(now_ms).ok();
        let outdated = self.flows.iter().filter(|(_, flow)| flow.is_outdated(now_ms, in_force.as_ref()));
        for stream in outdated.map(|(stream, _)| *stream).collect::<Vec<_>>() {
            self.move_on(stream, self.root, |flow, env| flow.on_tick(env));
            if Envoy.now_ns().saturating_sub(started_ns) > JUDGING_NS {
                break;
            }
        }
    }

    /// Moves another stream on, in the callback of `context`, and lets it go if it may.
    pub(super) fn move_on(
        &mut self,
        stream: u32,
        context: u32,
        event: impl FnOnce(Flow, &mut Env<'_>) -> (Flow, Step),
    ) {
        let Some(flow) = self.flows.remove(&stream) else { return };
        // A stream that has ended meanwhile has no context any more.
        if hostcalls::set_effective_context(stream).is_err() {
            return;
        }
        let (flow, step) = event(flow, &mut Env::new(&mut self.worker, &Envoy));
        let is_response = matches!(step, Step::PassResponse(_));
        if self.perform(stream, flow, step) == Verdict::Continue {
            let resumed = match is_response {
                true => hostcalls::resume_http_response(),
                false => hostcalls::resume_http_request(),
            };
            if let Err(status) = resumed {
                log::error!("a stream could not be resumed: {status:?}");
            }
        }
        let _ = hostcalls::set_effective_context(context);
    }

    /// Does what a step says, now that the flow is where it says. `Continue` only ever with a grant.
    fn perform(&mut self, stream: u32, mut flow: Flow, mut step: Step) -> Verdict {
        loop {
            let sent = match step {
                Step::Acquire(ask) => self.ask(*ask, &[stream], stream),
                Step::ResolveKey { issuer, kid } => self.resolve((issuer, kid), &[stream], stream),
                Step::RejectCredential(request) => {
                    self.dispatch("RejectCredential", &request.encode_to_vec(), Call::Reject { stream })
                }
                Step::Wait => true,
                Step::Forward(grant) => return self.forward(stream, flow, grant),
                Step::PassResponse(changes) => {
                    edits::response(changes);
                    self.flows.insert(stream, flow);
                    return Verdict::Continue;
                }
                Step::Close(code) => {
                    self.counts.closed = self.counts.closed.saturating_add(1);
                    self.flows.insert(stream, flow);
                    edits::close(code);
                    return Verdict::Pause;
                }
                Step::Reply(reply) => {
                    self.counts.replied = self.counts.replied.saturating_add(1);
                    self.flows.insert(stream, flow);
                    edits::send(&reply);
                    return Verdict::Pause;
                }
            };
            if sent {
                self.flows.insert(stream, flow);
                return Verdict::Pause;
            }
            // The call could not be made: nobody will call back, so the flow hears of it here.
            (flow, step) = flow.on_silence(&mut Env::new(&mut self.worker, &Envoy));
        }
    }

    fn forward(&mut self, stream: u32, flow: Flow, mut grant: Grant) -> Verdict {
        self.renewals.extend(grant.renewal.take().map(|renewal| *renewal));
        if let Err(unchanged) = edits::request(&grant) {
            // A header that stays may be the inbound credential: the request stays too (I1).
            log::error!("a request header could not be changed: {unchanged:?}");
            self.flows.insert(stream, Flow::Done);
            edits::send(&flow::unchanged_reply());
            return Verdict::Pause;
        }
        self.counts.forwarded = self.counts.forwarded.saturating_add(1);
        self.flows.insert(stream, flow);
        Verdict::Continue
    }
}
