//! What one request does, step by step, with no host in sight.
//!
//! A [`Flow`] consumes itself at every event and says with a [`Step`] what the host must do next. There is no "carry
//! on": a request leaves only with a [`Grant`], which needs an `Allowed`, which needs a verified caller (I2).

mod door;
mod grant;
mod judge;
mod question;
mod release;
mod streaming;
mod timing;
mod upstream;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use sallyport_caller::{Allowed, Caller, HostSignatures};
use sallyport_proto::broker as proto;

use crate::callers::TokenHash;
use crate::credentials::{Credential, CredentialKey};
use crate::head::Head;
use crate::jsonrpc::Id;
use crate::reject::{self, Rejection, Reply, ReplyContext, RequestKind};
use crate::session::{SessionFlags, SessionKeys, SessionOwner};
use crate::snapshot::{Server, Snapshot};
use crate::worker::Worker;

pub use grant::{Edit, Grant};
pub use release::{credential, is_refused};
pub use streaming::Streaming;
use timing::{Source, Timing};
pub use upstream::ResponseEdit;

/// What a flow may ask of the host, synchronously.
pub trait Host: HostSignatures {
    /// Nanoseconds since 1970.
    fn now_ns(&self) -> u64;
    /// The request's body as far as it has come.
    fn body(&self) -> Option<Vec<u8>>;
    /// Address of the peer, for audit.
    fn source_address(&self) -> String;
}

/// The surroundings of one event.
pub struct Env<'a> {
    /// Shared by the streams of this worker.
    pub worker: &'a mut Worker,
    /// The host.
    pub host: &'a dyn Host,
    /// When this event is, once somebody has asked: each look at the host's clock costs a call out of the VM.
    now_ns: Cell<Option<u64>>,
}

impl<'a> Env<'a> {
    /// Those of an event that happens now.
    pub fn new(worker: &'a mut Worker, host: &'a dyn Host) -> Self {
        Self { worker, host, now_ns: Cell::new(None) }
    }

    /// When this event is, nanoseconds since 1970.
    fn now_ns(&self) -> u64 {
        self.now_ns.get().unwrap_or_else(|| self.look_again())
    }

    fn now_ms(&self) -> u64 {
        self.now_ns() / 1_000_000
    }

    /// Looks at the clock anew, behind work whose time is told.
    fn look_again(&self) -> u64 {
        let now_ns = self.host.now_ns();
        self.now_ns.set(Some(now_ns));
        now_ns
    }
}

/// What the host must do next.
#[must_use]
pub enum Step {
    /// Ask the broker for a credential, and wait.
    Acquire(Box<Ask>),
    /// Cut the answer off that is on its way; the code says why.
    Close(&'static str),
    /// Let the request go, as the grant says.
    Forward(Grant),
    /// Let the response go, with these changes.
    PassResponse(Vec<ResponseEdit>),
    /// Tell the broker that an upstream refused a credential, and wait with the response.
    RejectCredential(Box<proto::RejectCredentialRequest>),
    /// Answer in place of the upstream. Nothing of the request has left, or its response is dropped.
    Reply(Reply),
    /// Ask the broker for a key, and wait.
    ResolveKey {
        /// Exact `iss`.
        issuer: String,
        /// As the token names it.
        kid: String,
    },
    /// Hold everything and wait for the next event.
    Wait,
}

/// A question to the broker, and the key under which others wait for the same answer.
pub struct Ask {
    /// Where the answer is kept.
    pub key: CredentialKey,
    /// The token it is asked with: another token of the same caller may be answered otherwise.
    pub token_hash: TokenHash,
    /// The call.
    pub request: proto::AcquireCredentialRequest,
}

/// What the broker said to a question, or why it did not.
pub enum Answer {
    /// A response came.
    Said(proto::AcquireCredentialResponse),
    /// Dispatch failed, the call failed, or the answer cannot be read.
    Silent,
}

/// One request, by what it waits for.
pub enum Flow {
    /// Its first headers.
    Start,
    /// The key of its token's issuer; then, unless it has ended, its body.
    AwaitKey(Box<AwaitKey>),
    /// The end of its body.
    AwaitBody(Box<AwaitBody>),
    /// The broker's answer.
    AwaitCredential(Box<Judged>),
    /// The upstream's response headers.
    AwaitUpstream(Box<Forwarded>),
    /// The broker's word on a refused credential.
    AwaitRejection(Box<Forwarded>),
    /// The last byte of the upstream's answer.
    Streaming(Box<Streaming>),
    /// Nothing: it was answered here.
    Done,
}

/// What was read at the request's headers.
pub struct Opened {
    head: Head,
    cluster: Vec<u8>,
    server: Rc<Server>,
    snapshot: Rc<Snapshot>,
    verb: Verb,
    session: Option<Session>,
    started_ns: u64,
    token_hash: TokenHash,
}

/// A session id of ours, opened.
struct Session {
    upstream_id: String,
    flags: SessionFlags,
}

/// The methods of MCP's transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Delete,
    Get,
    Post,
}

/// Waits for a key: nobody is verified yet.
pub struct AwaitKey {
    opened: Opened,
    body_ended: bool,
    deadline_ms: u64,
}

/// Waits for the rest of the body of a verified caller.
pub struct AwaitBody {
    opened: Opened,
    caller: Arc<Caller>,
    since_ms: u64,
    auth_ns: u64,
}

/// Is allowed, and waits for its credential.
pub struct Judged {
    opened: Rc<Opened>,
    allowed: Allowed,
    message: Message,
    key: CredentialKey,
    deadline_ms: u64,
    timing: Timing,
    /// What came was on hold, and it has asked again.
    asked_again: bool,
}

/// Has left with a credential.
pub struct Forwarded {
    opened: Rc<Opened>,
    allowed: Allowed,
    message: Message,
    key: CredentialKey,
    credential: Rc<Credential>,
    deadline_ms: u64,
    timing: Timing,
}

/// What the body said, kept beyond it.
struct Message {
    kind: RequestKind,
    id: Option<Id<'static>>,
    method: String,
    target: String,
    initialize: bool,
    elicits_by_url: bool,
}

impl Flow {
    /// The body grew to `size` bytes; `ended` says that this is all of it.
    pub fn on_body(self, size: usize, ended: bool, env: &mut Env<'_>) -> (Self, Step) {
        env.worker.body_seen = true;
        match self {
            Self::AwaitBody(waiting) => waiting.on_body(size, ended, env),
            Self::AwaitKey(mut waiting) if size <= env.worker.config.max_body_bytes => {
                waiting.body_ended = ended;
                (Self::AwaitKey(waiting), Step::Wait)
            }
            Self::AwaitKey(waiting) => refuse(&Rejection::BodyTooLarge, &waiting.opened.context(), env),
            // The body of a request that was let go, or more of one that is being judged: held as it was.
            Self::AwaitCredential(waiting) => (Self::AwaitCredential(waiting), Step::Wait),
            Self::AwaitUpstream(forwarded) => (Self::AwaitUpstream(forwarded), Step::Wait),
            Self::AwaitRejection(forwarded) => (Self::AwaitRejection(forwarded), Step::Wait),
            Self::Streaming(streaming) => (Self::Streaming(streaming), Step::Wait),
            Self::Start | Self::Done => (Self::Done, Step::Wait),
        }
    }

    /// Trailers end a body too: no body callback says so then, and the request would go as it is.
    pub fn on_trailers(self, env: &mut Env<'_>) -> (Self, Step) {
        match self {
            Self::AwaitBody(waiting) => match env.host.body() {
                Some(body) if body.len() <= env.worker.config.max_body_bytes => waiting.judge(&body, env),
                Some(_) => refuse(&Rejection::BodyTooLarge, &waiting.opened.context(), env),
                None => refuse(&Rejection::TrailersUnjudged, &waiting.opened.context(), env),
            },
            Self::AwaitKey(mut waiting) if waiting.opened.verb == Verb::Post => {
                waiting.body_ended = true;
                (Self::AwaitKey(waiting), Step::Wait)
            }
            // Neither GET nor DELETE has more than headers in MCP.
            Self::AwaitKey(waiting) => refuse(&Rejection::TrailersUnjudged, &waiting.opened.context(), env),
            Self::AwaitCredential(waiting) => (Self::AwaitCredential(waiting), Step::Wait),
            Self::AwaitUpstream(forwarded) => (Self::AwaitUpstream(forwarded), Step::Wait),
            Self::AwaitRejection(forwarded) => (Self::AwaitRejection(forwarded), Step::Wait),
            Self::Streaming(streaming) => (Self::Streaming(streaming), Step::Wait),
            Self::Start | Self::Done => (Self::Done, Step::Wait),
        }
    }

    /// Trailers have come that the host would not drop: what they say to the upstream cannot be judged.
    pub fn on_kept_trailers(self, env: &mut Env<'_>) -> (Self, Step) {
        match self {
            Self::AwaitKey(waiting) => refuse(&Rejection::TrailersUnjudged, &waiting.opened.context(), env),
            Self::AwaitBody(waiting) => refuse(&Rejection::TrailersUnjudged, &waiting.opened.context(), env),
            other => (other, Step::Wait),
        }
    }

    /// The broker could not even be asked what this request waits for: nobody will answer.
    pub fn on_silence(self, env: &mut Env<'_>) -> (Self, Step) {
        match self {
            Self::AwaitKey(_) => self.on_key(false, env),
            Self::AwaitCredential(_) => self.on_credential(&Answer::Silent, None, env),
            Self::AwaitRejection(_) => self.on_rejected(&Answer::Silent, false, env),
            Self::Start | Self::AwaitBody(_) | Self::AwaitUpstream(_) | Self::Streaming(_) | Self::Done => {
                (self, Step::Wait)
            }
        }
    }

    /// Looks at the clock: whoever waits too long is answered, and what [`Flow::is_outdated`] is judged again.
    pub fn on_tick(self, env: &mut Env<'_>) -> (Self, Step) {
        const BODY_CALLBACK_MS: u64 = 5_000;
        let now_ms = env.now_ms();
        match self {
            Self::AwaitKey(waiting) if now_ms >= waiting.deadline_ms => {
                refuse(&unavailable(), &waiting.opened.context(), env)
            }
            Self::AwaitBody(waiting)
                if !env.worker.body_seen && now_ms.saturating_sub(waiting.since_ms) >= BODY_CALLBACK_MS =>
            {
                refuse(&Rejection::BodyCallbackMissing, &waiting.opened.context(), env)
            }
            Self::AwaitCredential(waiting) if now_ms >= waiting.deadline_ms => {
                let judged = *waiting;
                refuse(&unavailable(), &judged.context(), env)
            }
            Self::AwaitRejection(forwarded) if now_ms >= forwarded.deadline_ms => {
                refuse(&unavailable(), &forwarded.context(), env)
            }
            Self::AwaitUpstream(forwarded) => forwarded.on_tick(env),
            Self::Streaming(streaming) => streaming.on_tick(env),
            waiting => (waiting, Step::Wait),
        }
    }

    /// Whether somebody is waited for whose silence [`Flow::on_tick`] ends.
    pub fn is_waiting(&self) -> bool {
        matches!(self, Self::AwaitKey(_) | Self::AwaitBody(_) | Self::AwaitCredential(_) | Self::AwaitRejection(_))
    }
}

impl Opened {
    fn context(&self) -> ReplyContext<'_> {
        ReplyContext {
            id: None,
            kind: match self.verb {
                Verb::Delete => RequestKind::Delete,
                Verb::Get => RequestKind::Get,
                Verb::Post => RequestKind::Unknown,
            },
            resource_metadata: Some(&self.server.metadata_url),
            scope: &self.snapshot.scope,
            server: Some(&self.server.name),
            request_id: self.request_id(),
            origin: origin(&self.head),
            started_ns: self.started_ns,
        }
    }

    fn session_keys(&self) -> SessionKeys<'_> {
        let keys = &self.snapshot.session_keys;
        SessionKeys { current: &keys.current, previous: &keys.previous }
    }

    fn session_owner<'a>(&'a self, issuer: &'a str, subject: &'a str) -> SessionOwner<'a> {
        SessionOwner { tenant: &self.snapshot.tenant, issuer, subject, server: &self.server.name }
    }

    fn request_id(&self) -> &str {
        request_id(&self.head)
    }

    /// W3C trace context, as the client or a proxy before this one sent it.
    fn traceparent(&self) -> String {
        let sent = self.head.first("traceparent").and_then(|value| std::str::from_utf8(value).ok());
        sent.unwrap_or_default().to_owned()
    }
}

/// Envoy's id of the request; empty if it set none, or kept one of the client's that is no id.
fn request_id(head: &Head) -> &str {
    const LONGEST: usize = 128;
    let is_plain = |id: &&[u8]| id.len() <= LONGEST && id.iter().all(u8::is_ascii_graphic);
    let id = head.first(crate::headers::REQUEST_ID).filter(is_plain);
    id.and_then(|id| std::str::from_utf8(id).ok()).unwrap_or_default()
}

/// The browser's origin, which has been found allowed; `None` for other clients.
fn origin(head: &Head) -> Option<&str> {
    head.first("origin").and_then(|origin| std::str::from_utf8(origin).ok())
}

impl Message {
    fn context<'a>(&'a self, opened: &'a Opened) -> ReplyContext<'a> {
        ReplyContext { id: self.id.as_ref(), kind: self.kind, ..opened.context() }
    }
}

impl Judged {
    fn context(&self) -> ReplyContext<'_> {
        self.message.context(&self.opened)
    }
}

impl Forwarded {
    fn context(&self) -> ReplyContext<'_> {
        self.message.context(&self.opened)
    }
}

fn unavailable() -> Rejection {
    Rejection::BrokerUnavailable { retry_after_ms: 1_000, message: None }
}

/// The answer to a request whose headers the host would not change.
pub fn unchanged_reply() -> Reply {
    reject::reply(&unavailable(), &ReplyContext::default())
}

/// Answers a request whose caller is not known or not to be named, and counts it.
fn refuse(rejection: &Rejection, context: &ReplyContext<'_>, env: &mut Env<'_>) -> (Flow, Step) {
    env.worker.reports.refused_anonymous(rejection.code());
    (Flow::Done, Step::Reply(timed_reply(rejection, context, env)))
}

/// The answer to a refusal, and how long it took to come to it.
fn timed_reply(rejection: &Rejection, context: &ReplyContext<'_>, env: &Env<'_>) -> Reply {
    let mut reply = reject::reply(rejection, context);
    if context.started_ns > 0 {
        let took = env.look_again().saturating_sub(context.started_ns);
        reply.headers.push((crate::headers::SERVER_TIMING, timing::outer(took)));
    }
    reply
}

#[cfg(test)]
mod tests;
