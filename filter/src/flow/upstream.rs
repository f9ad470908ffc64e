//! The way back: what an upstream's response may say to a client.

use sallyport_proto::broker as proto;

use super::judge::refuse_caller;
use super::question::question;
use super::{Answer, Env, Flow, Forwarded, Step, unavailable};
use crate::challenge::{Challenge, ChallengeError};
use crate::head::Head;
use crate::reject::Rejection;
use crate::session::{self, SessionFlags};
use crate::snapshot::Auth;
use crate::{headers, metadata};

/// One change to the headers of a response.
#[derive(Debug, PartialEq, Eq)]
pub enum ResponseEdit {
    /// Drop every header of this name.
    Remove(String),
    /// Put this in place of every header of this name.
    Set(&'static str, String),
}

impl Flow {
    /// The upstream's response headers have come, or a local reply is on its way out.
    pub fn on_response_headers(self, head: &Head, env: &mut Env<'_>) -> (Self, Step) {
        match self {
            Self::AwaitUpstream(forwarded) => forwarded.on_response_headers(head, env),
            // A reply of our own, or Envoy's to a request that we still held.
            Self::AwaitKey(_)
            | Self::AwaitBody(_)
            | Self::AwaitCredential(_)
            | Self::Streaming(_)
            | Self::Start
            | Self::Done => (Self::Done, Step::PassResponse(Vec::new())),
            Self::AwaitRejection(forwarded) => (Self::AwaitRejection(forwarded), Step::Wait),
        }
    }

    /// The broker has said what to do about a credential that the upstream refused.
    pub fn on_rejected(self, answer: &Answer, renewed: bool, env: &mut Env<'_>) -> (Self, Step) {
        match self {
            Self::AwaitRejection(forwarded) => {
                let rejection = if renewed { Rejection::CredentialRenewed } else { super::release::refusal(answer) };
                forwarded.replace(&rejection, env)
            }
            other => (other, Step::Wait),
        }
    }

    /// The key of the credential that was refused, while its fate is asked for.
    pub fn refused_key(&self) -> Option<&crate::credentials::CredentialKey> {
        match self {
            Self::AwaitRejection(forwarded) => Some(&forwarded.key),
            _ => None,
        }
    }
}

impl Forwarded {
    fn on_response_headers(mut self: Box<Self>, head: &Head, env: &mut Env<'_>) -> (Flow, Step) {
        let status = head.first(":status").and_then(|status| std::str::from_utf8(status).ok()).unwrap_or_default();
        match status {
            "401" => self.credential_refused(401, Challenge::of(head), env),
            "403" => self.forbidden(Challenge::of(head), env),
            redirect if redirect.starts_with('3') && redirect != "304" => {
                self.replace(&Rejection::UpstreamRedirected, env)
            }
            _ => match self.pass(head, env) {
                Some(edits) => (self.streams(), Step::PassResponse(edits)),
                // A session that cannot be bound to its caller must not be opened.
                None => self.replace(&Rejection::SessionUnknown, env),
            },
        }
    }

    fn forbidden(self: Box<Self>, challenge: Challenge, env: &mut Env<'_>) -> (Flow, Step) {
        match challenge.error {
            Some(ChallengeError::InvalidToken) => self.credential_refused(403, challenge, env),
            // A grant can be widened, by consent to the scopes that are asked for.
            Some(ChallengeError::InsufficientScope) if self.opened.server.auth.has_grant() => {
                self.credential_refused(403, challenge, env)
            }
            Some(ChallengeError::InsufficientScope | ChallengeError::InvalidRequest) | None => {
                self.replace(&Rejection::UpstreamForbidden, env)
            }
        }
    }

    fn credential_refused(mut self: Box<Self>, status: u32, challenge: Challenge, env: &mut Env<'_>) -> (Flow, Step) {
        match self.opened.server.auth {
            Auth::None | Auth::Passthrough => return self.replace(&Rejection::UpstreamForbidden, env),
            Auth::AuthorizationCode | Auth::ClientCredentials | Auth::Header => {}
        }
        env.worker.credentials.remove_released(&self.key, &self.credential.use_handle);
        let Some(request) = question(&self.opened, &self.message, false, env) else {
            return self.replace(&unavailable(), env);
        };
        self.deadline_ms = env.now_ms().saturating_add(env.worker.config.deadline_ms);
        let request = proto::RejectCredentialRequest {
            request: Some(request),
            use_handle: self.credential.use_handle.to_string(),
            grant: self.credential.grant.clone(),
            generation: self.credential.generation,
            status,
            error: challenge.error.map(ChallengeError::code).unwrap_or_default().to_owned(),
            scope: challenge.scope,
        };
        (Flow::AwaitRejection(self), Step::RejectCredential(Box::new(request)))
    }

    /// Answers in the upstream's place.
    pub(super) fn replace(self, rejection: &Rejection, env: &mut Env<'_>) -> (Flow, Step) {
        let (issuer, subject) = (self.allowed.issuer(), self.allowed.subject());
        refuse_caller(rejection, issuer, subject, &self.message, &self.opened, env)
    }

    /// What changes about a response that passes; `None` if it must not.
    fn pass(&mut self, head: &Head, env: &Env<'_>) -> Option<Vec<ResponseEdit>> {
        let mut edits = Vec::new();
        for (name, _) in head.iter().filter(|(name, _)| headers::is_withheld(name)) {
            edits.push(ResponseEdit::Remove(String::from_utf8_lossy(name).into_owned()));
        }
        match head.once(headers::MCP_SESSION_ID) {
            crate::head::Once::Absent => {}
            crate::head::Once::One(upstream_id) => {
                edits.push(ResponseEdit::Set(headers::MCP_SESSION_ID, self.bind(upstream_id)?));
            }
            crate::head::Once::Repeated => return None,
        }
        if let Some(origin) = super::origin(&self.opened.head) {
            edits.extend(metadata::cors(origin).map(|(name, value)| ResponseEdit::Set(name, value)));
        }
        edits.push(ResponseEdit::Set(headers::SERVER_TIMING, self.timing.header(env.now_ns())));
        Some(edits)
    }

    fn bind(&self, upstream_id: &[u8]) -> Option<String> {
        let owner = self.opened.session_owner(self.allowed.issuer(), self.allowed.subject());
        let flags = match &self.opened.session {
            Some(session) if !self.message.initialize => session.flags,
            Some(_) | None => SessionFlags { elicits_by_url: self.message.elicits_by_url },
        };
        session::bind(upstream_id, flags, self.opened.session_keys(), &owner)
    }
}
