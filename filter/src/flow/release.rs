//! The inner door: a credential for a caller that is allowed, from the cache or the broker.

use std::rc::Rc;

use sallyport_caller::Allowed;
use sallyport_proto::broker::{self as proto, acquire_credential_response as response};

use super::judge::refuse_caller;
use super::question::question;
use super::{
    Answer, Ask, Env, Flow, Forwarded, Grant, Judged, Message, Opened, Source, Step, Timing, refuse, unavailable,
};
use crate::credentials::{Cached, Credential, CredentialKey};
use crate::reject::{Consent, Rejection};

pub(super) fn release(
    opened: Rc<Opened>,
    allowed: Allowed,
    message: Message,
    timing: Timing,
    env: &mut Env<'_>,
) -> (Flow, Step) {
    if opened.cluster != opened.server.cluster.as_bytes() {
        let (issuer, subject) = (allowed.issuer(), allowed.subject());
        return refuse_caller(&Rejection::ClusterMismatch, issuer, subject, &message, &opened, env);
    }
    if env.worker.reports.is_full() {
        return refuse(&Rejection::ReportsFull, &message.context(&opened), env);
    }
    let key = CredentialKey::of(&opened.snapshot, &allowed, &opened.server);
    let now_ms = timing.asked_at_ns / 1_000_000;
    let deadline_ms = now_ms.saturating_add(env.worker.config.deadline_ms);
    let judged = Judged { opened, allowed, message, key, deadline_ms, timing, asked_again: false };
    match env.worker.credentials.get(&judged.key, now_ms) {
        Cached::Hit(credential) => judged.forward(credential, Source::Hit, None, env),
        Cached::Due(credential) => {
            let renewal = judged.ask(true, env).map(Box::new);
            judged.forward(credential, Source::Hit, renewal, env)
        }
        Cached::Miss => match judged.ask(false, env) {
            Some(ask) => (Flow::AwaitCredential(Box::new(judged)), Step::Acquire(Box::new(ask))),
            None => refuse(&unavailable(), &judged.context(), env),
        },
    }
}

impl Flow {
    /// The broker has answered the question this request waits for. `credential` is set where the answer was one.
    pub fn on_credential(self, answer: &Answer, credential: Option<Rc<Credential>>, env: &mut Env<'_>) -> (Self, Step) {
        match (self, credential) {
            (Self::AwaitCredential(judged), Some(credential)) => {
                match env.worker.credentials.is_on_hold(&credential, env.now_ms()) {
                    true => judged.held(env),
                    false => judged.forward(credential, source(answer), None, env),
                }
            }
            (Self::AwaitCredential(judged), None) => refuse(&refusal(answer), &judged.context(), env),
            (other, _) => (other, Step::Wait),
        }
    }
}

impl Flow {
    /// The question that this request waits for an answer to: whoever asked it for this one too has gone.
    pub fn ask_again(&self, env: &Env<'_>) -> Option<Ask> {
        match self {
            Self::AwaitCredential(judged) => judged.ask(false, env),
            _ => None,
        }
    }
}

impl Judged {
    /// The question for this request's credential; `None` if its token cannot be told any more.
    fn ask(&self, background: bool, env: &Env<'_>) -> Option<Ask> {
        let request = question(&self.opened, &self.message, background, env)?;
        Some(Ask { key: self.key.clone(), token_hash: self.opened.token_hash, request })
    }

    /// The grant has ended, or gone on, while the answer was on its way: it is not used, not even once (I11). The broker
    /// knows by now what there is in its place.
    fn held(mut self, env: &mut Env<'_>) -> (Flow, Step) {
        let ask = if self.asked_again { None } else { self.ask(false, env) };
        self.asked_again = true;
        match ask {
            Some(ask) => (Flow::AwaitCredential(Box::new(self)), Step::Acquire(Box::new(ask))),
            None => refuse(&unavailable(), &self.context(), env),
        }
    }

    fn forward(
        self,
        credential: Rc<Credential>,
        source: Source,
        renewal: Option<Box<Ask>>,
        env: &mut Env<'_>,
    ) -> (Flow, Step) {
        let released_at_ns = if source == Source::Hit { self.timing.asked_at_ns } else { env.now_ns() };
        // A coalesced answer may come late: what has expired meanwhile is not used, not even once.
        if released_at_ns / 1_000_000 >= credential.expires_at_ms {
            return refuse(&unavailable(), &self.context(), env);
        }
        let timing = Timing { released_at_ns, source, ..self.timing };
        env.worker.reports.used(proto::Use {
            use_handle: credential.use_handle.to_string(),
            at_ms: released_at_ns / 1_000_000,
            request_id: self.opened.request_id().to_owned(),
            method: self.message.method.clone(),
            target: self.message.target.clone(),
            server: self.opened.server.name.clone(),
        });
        let grant = Grant::new(&self.allowed, Rc::clone(&self.opened), Rc::clone(&credential), renewal);
        let Self { opened, allowed, message, key, deadline_ms, .. } = self;
        let forwarded = Forwarded { opened, allowed, message, key, credential, deadline_ms, timing };
        (Flow::AwaitUpstream(Box::new(forwarded)), Step::Forward(grant))
    }
}

/// A credential as the filter keeps it, and when it is due, of an answer that is one.
pub fn credential(answer: &Answer) -> Option<(Credential, u64)> {
    let Answer::Said(proto::AcquireCredentialResponse { answer: Some(response::Answer::Credential(given)), .. }) =
        answer
    else {
        return None;
    };
    if !given.headers.iter().all(may_be_set) {
        return None;
    }
    let credential = Credential {
        headers: given.headers.iter().map(|h| (h.name.to_ascii_lowercase(), h.value.clone())).collect(),
        use_handle: given.use_handle.as_str().into(),
        grant: given.grant.clone(),
        generation: given.generation,
        expires_at_ms: given.expires_at_ms,
    };
    Some((credential, given.refresh_after_ms))
}

/// Whether a header may be a credential: one that frames or routes the request would lead it, credential and all, to
/// where nobody judged it (I12), and a control byte would end it early.
fn may_be_set(header: &proto::Header) -> bool {
    const NOT_OURS: [&str; 10] = [
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "host",
        "mcp-session-id",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !header.name.is_empty()
        && header.name.bytes().all(is_token)
        && !NOT_OURS.iter().any(|name| crate::headers::same_name(header.name.as_bytes(), name))
        && !header.value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t')
}

fn source(answer: &Answer) -> Source {
    match answer {
        Answer::Said(said) if said.timings.is_some_and(|timings| timings.token_endpoint_us > 0) => Source::Refresh,
        Answer::Said(_) | Answer::Silent => Source::Broker,
    }
}

/// Whether the broker has said that there is no credential, so that what is left of an earlier one is not used either: it
/// was not merely busy. Policy, the caller's token or the grant may have ended (I11, O13).
pub fn is_refused(answer: &Answer) -> bool {
    let Answer::Said(said) = answer else { return false };
    match &said.answer {
        Some(response::Answer::ConsentRequired(_) | response::Answer::Denied(_)) => true,
        Some(response::Answer::Credential(_) | response::Answer::Unavailable(_)) | None => false,
    }
}

/// What an answer that is no credential means for the caller.
pub(super) fn refusal(answer: &Answer) -> Rejection {
    let Answer::Said(said) = answer else { return unavailable() };
    match &said.answer {
        // Without anywhere to consent, there is nothing to tell the caller to do.
        Some(response::Answer::ConsentRequired(required)) if required.consents.is_empty() => unavailable(),
        Some(response::Answer::ConsentRequired(required)) => Rejection::ConsentRequired {
            consents: required
                .consents
                .iter()
                .map(|c| Consent { server: c.server.clone(), url: c.url.clone(), message: c.message.clone() })
                .collect(),
        },
        Some(response::Answer::Denied(denied)) => match denied.reason() {
            proto::denied::Reason::Credential => Rejection::CredentialRefused,
            proto::denied::Reason::Policy | proto::denied::Reason::Server => Rejection::ServerNotAllowed,
            proto::denied::Reason::Identity => Rejection::IdentityContested,
            proto::denied::Reason::Token => Rejection::TokenRefused { why: "refused_by_broker" },
            proto::denied::Reason::Unspecified => unavailable(),
        },
        Some(response::Answer::Unavailable(unavailable)) => Rejection::BrokerUnavailable {
            retry_after_ms: unavailable.retry_after_ms,
            message: Some(unavailable.message.clone()).filter(|message| !message.is_empty()),
        },
        // A credential that could not be used, or an answer of a later protocol.
        Some(response::Answer::Credential(_)) | None => unavailable(),
    }
}
