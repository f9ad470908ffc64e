//! The verdict: reads the body of a verified caller and asks policy.

use std::rc::Rc;
use std::sync::Arc;

use sallyport_caller::{Allowed, Caller, PolicyDenied};
use sallyport_proto::broker as proto;

use super::door::token_rejection;
use super::{AwaitBody, Env, Flow, Message, Opened, Step, Timing, refuse};
use crate::agree::{self, Mirrored};
use crate::head::Once;
use crate::headers;
use crate::jsonrpc::{self, Id, Kind};
use crate::reject::{Rejection, ReplyContext, RequestKind};

impl AwaitBody {
    pub(super) fn on_body(self: Box<Self>, size: usize, ended: bool, env: &mut Env<'_>) -> (Flow, Step) {
        // The host gives the size of all that has come so far, not of the last piece.
        if size > env.worker.config.max_body_bytes {
            return refuse(&Rejection::BodyTooLarge, &self.opened.context(), env);
        }
        if !ended {
            return (Flow::AwaitBody(self), Step::Wait);
        }
        match env.host.body() {
            Some(body) => self.judge(&body, env),
            None => refuse(&Rejection::BodyNotJson, &self.opened.context(), env),
        }
    }

    pub(super) fn judge(mut self, body: &[u8], env: &mut Env<'_>) -> (Flow, Step) {
        let since_ns = env.now_ns();
        if let Err(rejection) = self.catch_up(env) {
            return refuse(&rejection, &self.opened.context(), env);
        }
        let read = match jsonrpc::read(body) {
            Ok(read) => read,
            Err(error) => {
                let context = ReplyContext { id: error.id(), ..self.opened.context() };
                return refuse(&Rejection::from(&error), &context, env);
            }
        };
        let agreed = agree::check(&self.opened.mirrored(), &read);
        let message = Message::of(&read);
        if let Err(disagreement) = agreed {
            return refuse(&Rejection::from(disagreement), &message.context(&self.opened), env);
        }
        // An answer to the server's own question makes sense in a session of this caller, and nowhere else.
        if message.kind == RequestKind::Response && self.opened.session.is_none() {
            return refuse(&Rejection::BodyInvalid, &message.context(&self.opened), env);
        }
        self.opened.authorize(&self.caller, message, self.auth_ns, since_ns, env)
    }
}

impl AwaitBody {
    /// A body may take its time: who was revoked meanwhile is no caller any more (I11).
    fn catch_up(&mut self, env: &mut Env<'_>) -> Result<(), Rejection> {
        if !self.opened.renew(env)? {
            return Ok(());
        }
        self.caller = self.opened.verified_again(env.now_ms(), env)?;
        self.opened.session = self.opened.open_session(&self.caller)?;
        Ok(())
    }
}

impl Opened {
    /// The headers that mirror the body.
    fn mirrored(&self) -> Mirrored<'_> {
        // Of a repeated header nobody knows which value the upstream goes by: a list agrees with nothing.
        let single = |name| match self.head.once(name) {
            Once::Absent => None,
            Once::One(value) => Some(value),
            Once::Repeated => Some(b",".as_slice()),
        };
        Mirrored {
            method: single(headers::MCP_METHOD),
            name: single(headers::MCP_NAME),
            version: single(headers::MCP_PROTOCOL_VERSION),
        }
    }

    /// The door, and policy behind it.
    pub(super) fn allow(&self, caller: &Caller, now_ms: u64) -> Result<Allowed, Rejection> {
        let unknown = Rejection::TokenRefused { why: "unknown_issuer" };
        let issuer = self.snapshot.issuers.get(caller.issuer()).ok_or(unknown)?;
        let entered = caller.enter(&self.door(), issuer, now_ms).map_err(|error| token_rejection(&error))?;
        let allowed = entered.authorize(&self.server.policy, &*self.snapshot.memberships);
        allowed.map_err(|PolicyDenied| Rejection::ServerNotAllowed)
    }

    /// Policy on a caller whose message is known; then its credential.
    pub(super) fn authorize(
        self,
        caller: &Arc<Caller>,
        message: Message,
        auth_ns: u64,
        since_ns: u64,
        env: &mut Env<'_>,
    ) -> (Flow, Step) {
        let now_ms = since_ns / 1_000_000;
        // At the door again, for the body may have taken its time: a token that has expired meanwhile opens nothing.
        let allowed = match self.allow(caller, now_ms) {
            Ok(allowed) => allowed,
            Err(denied @ Rejection::ServerNotAllowed) => {
                return refuse_caller(&denied, caller.issuer(), caller.subject(), &message, &self, env);
            }
            Err(rejection) => return refuse(&rejection, &message.context(&self), env),
        };
        let asked_at_ns = env.look_again();
        let policy_ns = asked_at_ns.saturating_sub(since_ns);
        let timing = Timing { auth_ns, policy_ns, asked_at_ns, ..Timing::default() };
        super::release::release(Rc::new(self), allowed, message, timing, env)
    }
}

/// Answers a verified caller with a verdict, and reports it.
pub(super) fn refuse_caller(
    rejection: &Rejection,
    issuer: &str,
    subject: &str,
    message: &Message,
    opened: &Opened,
    env: &mut Env<'_>,
) -> (Flow, Step) {
    report_refusal(rejection, issuer, subject, message, opened, env);
    (Flow::Done, Step::Reply(super::timed_reply(rejection, &message.context(opened), env)))
}

pub(super) fn report_refusal(
    rejection: &Rejection,
    issuer: &str,
    subject: &str,
    message: &Message,
    opened: &Opened,
    env: &mut Env<'_>,
) {
    env.worker.reports.refused(proto::Refusal {
        issuer: issuer.to_owned(),
        subject: subject.to_owned(),
        server: opened.server.name.clone(),
        method: message.method.clone(),
        target: message.target.clone(),
        reason: rejection.code().to_owned(),
        request_id: opened.request_id().to_owned(),
        at_ms: env.now_ms(),
        source_address: env.host.source_address(),
    });
}

/// What of a target is kept for audit: thousands of uses wait in memory, and a name may be as long as a body (H15).
fn told(target: &str) -> String {
    const BYTES: usize = 512;
    if target.len() <= BYTES {
        return target.to_owned();
    }
    let end = (0..=BYTES).rev().find(|end| target.is_char_boundary(*end)).unwrap_or_default();
    target.get(..end).unwrap_or_default().to_owned()
}

impl Message {
    /// What is needed of the body once it is gone.
    fn of(read: &jsonrpc::Message<'_>) -> Self {
        let (kind, id) = match &read.kind {
            Kind::Request { id } => (RequestKind::Request, Some(id)),
            Kind::Notification => (RequestKind::Notification, None),
            Kind::Response { id } => (RequestKind::Response, Some(id)),
        };
        Self {
            kind,
            id: id.cloned().map(Id::into_owned),
            method: read.method.to_string(),
            target: told(read.target.as_deref().unwrap_or_default()),
            initialize: read.method == "initialize",
            elicits_by_url: read.elicits_by_url,
        }
    }
}
