//! The outer door: everything that is decided at the request's headers.

use std::rc::Rc;
use std::sync::Arc;

use sallyport_caller::{Caller, Door, TokenError};
use sha2::{Digest, Sha256};

use super::{
    AwaitBody, AwaitKey, Env, Flow, Host, Message, Opened, Session, Step, Verb, refuse, request_id, unavailable,
};
use crate::callers::TokenHash;
use crate::head::{Head, Once};
use crate::reject::{Rejection, Reply, ReplyContext, RequestKind};
use crate::snapshot::{Server, Snapshot};
use crate::{content, headers, metadata, session};

/// Answers whether this worker could serve, for load balancers.
const READY_PATH: &str = "/sallyport/ready";

/// What an inbound token came to.
enum Inbound {
    Caller(Arc<Caller>),
    UnknownKey { issuer: String, kid: String },
}

impl Flow {
    /// The request's headers have come; `ended` says that there is no body. `cluster` is the route's.
    pub fn on_headers(head: Head, cluster: Option<Vec<u8>>, ended: bool, env: &mut Env<'_>) -> (Self, Step) {
        let started_ns = env.now_ns();
        let now_ms = started_ns / 1_000_000;
        let context = ReplyContext { request_id: request_id(&head), started_ns, ..ReplyContext::default() };
        let Some((method, target)) = request_line(&head) else {
            return refuse(&Rejection::HeadersUnreadable, &context, env);
        };
        let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
        let Ok(path) = std::str::from_utf8(path) else {
            return refuse(&Rejection::PathUnknown, &context, env);
        };
        let snapshot = env.worker.snapshot(now_ms);
        if path == READY_PATH {
            let status = if snapshot.is_ok() { 200 } else { 503 };
            return answer(Reply {
                code: "ready",
                status,
                headers: vec![("cache-control", "no-store".into())],
                body: Vec::new(),
            });
        }
        let snapshot = match snapshot {
            Ok(snapshot) => snapshot,
            Err(rejection) => return refuse(&rejection, &context, env),
        };
        if let Err(rejection) = check_peer(&head, &snapshot) {
            return refuse(&rejection, &context, env);
        }
        let context = ReplyContext { origin: super::origin(&head), ..context };
        if let Some(server) = metadata::server_path(path).and_then(|path| snapshot.server_at(path)) {
            return match (method, describe(server, &snapshot)) {
                (b"GET" | b"HEAD", Some(document)) => answer(document),
                (b"OPTIONS", Some(_)) => answer(metadata::document_preflight()),
                (_, Some(_)) => refuse(&Rejection::MethodNotAllowed, &context, env),
                (_, None) => refuse(&Rejection::PathUnknown, &context, env),
            };
        }
        let Some(server) = snapshot.server_at(path).cloned() else {
            return refuse(&Rejection::PathUnknown, &context, env);
        };
        let context = ReplyContext {
            resource_metadata: Some(&server.metadata_url),
            scope: &snapshot.scope,
            server: Some(&server.name),
            ..context
        };
        let verb = match method {
            b"DELETE" => Verb::Delete,
            b"GET" => Verb::Get,
            b"OPTIONS" => return answer(metadata::preflight(super::origin(&head))),
            b"POST" => Verb::Post,
            _ => return refuse(&Rejection::MethodNotAllowed, &context, env),
        };
        if headers::has_query_token(target) {
            return refuse(&Rejection::TokenInQuery, &context, env);
        }
        let inbound = bearer(&head).and_then(|token| {
            let hash = TokenHash::from(Sha256::digest(token));
            authenticate(token, &hash, &snapshot, now_ms, env).map(|inbound| (inbound, hash))
        });
        let (inbound, token_hash) = match inbound {
            Ok(inbound) => inbound,
            Err(rejection) => return refuse(&rejection, &context, env),
        };
        let cluster = cluster.unwrap_or_default();
        let opened = Opened { cluster, server, snapshot, verb, session: None, started_ns, token_hash, head };
        match inbound {
            Inbound::Caller(caller) => opened.enter(caller, ended, env),
            Inbound::UnknownKey { issuer, kid } => {
                let deadline_ms = now_ms.saturating_add(env.worker.config.deadline_ms);
                let waiting = AwaitKey { opened, body_ended: ended, deadline_ms };
                (Self::AwaitKey(Box::new(waiting)), Step::ResolveKey { issuer, kid })
            }
        }
    }

    /// The host cannot give this request's headers.
    pub fn on_unreadable_headers(env: &mut Env<'_>) -> (Self, Step) {
        refuse(&Rejection::HeadersUnreadable, &ReplyContext::default(), env)
    }

    /// The key this request waits for is in the snapshot, or there is none; `answered` says that the broker told so.
    pub fn on_key(self, answered: bool, env: &mut Env<'_>) -> (Self, Step) {
        match self {
            Self::AwaitKey(waiting) => waiting.on_key(answered, env),
            other => (other, Step::Wait),
        }
    }
}

impl AwaitKey {
    fn on_key(mut self, answered: bool, env: &mut Env<'_>) -> (Flow, Step) {
        let now_ms = env.now_ms();
        // Only the snapshot in force has the key.
        if let Err(rejection) = self.opened.renew(env) {
            return refuse(&rejection, &self.opened.context(), env);
        }
        let inbound = bearer(&self.opened.head)
            .and_then(|token| authenticate(token, &self.opened.token_hash, &self.opened.snapshot, now_ms, env));
        let caller = match inbound {
            Ok(Inbound::Caller(caller)) => caller,
            // Nobody has said that there is no such key: a 401 would make the client throw a good token away.
            Ok(Inbound::UnknownKey { .. }) if !answered => return refuse(&unavailable(), &self.opened.context(), env),
            Ok(Inbound::UnknownKey { .. }) => {
                let unknown = Rejection::TokenRefused { why: "unknown_key" };
                return refuse(&unknown, &self.opened.context(), env);
            }
            Err(rejection) => return refuse(&rejection, &self.opened.context(), env),
        };
        let body_at_headers = self.body_ended && env.host.body().is_none_or(|body| body.is_empty());
        match self.opened.enter(caller, body_at_headers, env) {
            (Flow::AwaitBody(waiting), Step::Wait) if self.body_ended => match env.host.body() {
                Some(body) => waiting.judge(&body, env),
                None => refuse(&Rejection::BodyInvalid, &waiting.opened.context(), env),
            },
            next => next,
        }
    }
}

impl Opened {
    /// A verified caller is at the door of this server.
    fn enter(mut self, caller: Arc<Caller>, ended: bool, env: &mut Env<'_>) -> (Flow, Step) {
        let now_ms = env.now_ms();
        if let Err(rejection) = self.admit(&caller, now_ms) {
            return refuse(&rejection, &self.context(), env);
        }
        match self.open_session(&caller) {
            Ok(session) => self.session = session,
            Err(rejection) => return refuse(&rejection, &self.context(), env),
        }
        let entered_ns = env.now_ns();
        let auth_ns = entered_ns.saturating_sub(self.started_ns);
        match self.verb {
            Verb::Post => {
                if let Err(rejection) = self.check_content(ended, env.worker.config.max_body_bytes) {
                    return refuse(&rejection, &self.context(), env);
                }
                let waiting = AwaitBody { opened: self, caller, since_ms: now_ms, auth_ns };
                (Flow::AwaitBody(Box::new(waiting)), Step::Wait)
            }
            // Neither has a body in MCP: one that comes is not judged, and so goes nowhere.
            Verb::Get | Verb::Delete if !ended => refuse(&Rejection::BodyInvalid, &self.context(), env),
            Verb::Get => self.authorize(&caller, Message::without_body(RequestKind::Get), auth_ns, entered_ns, env),
            Verb::Delete => {
                self.authorize(&caller, Message::without_body(RequestKind::Delete), auth_ns, entered_ns, env)
            }
        }
    }

    /// Audience, expiry and scopes, at this server.
    pub(super) fn admit(&self, caller: &Caller, now_ms: u64) -> Result<(), Rejection> {
        let Some(issuer) = self.snapshot.issuers.get(caller.issuer()) else {
            return Err(Rejection::TokenRefused { why: "unknown_issuer" });
        };
        caller.enter(&self.door(), issuer, now_ms).map(|_| ()).map_err(|error| token_rejection(&error))
    }

    pub(super) fn door(&self) -> Door<'_> {
        Door { resource: &self.server.resource, passthrough_audience: self.server.passthrough_audience.as_deref() }
    }

    /// Moves on to the snapshot in force; answers whether it is another one.
    pub(super) fn renew(&mut self, env: &Env<'_>) -> Result<bool, Rejection> {
        let snapshot = env.worker.snapshot(env.now_ms())?;
        if Rc::ptr_eq(&snapshot, &self.snapshot) {
            return Ok(false);
        }
        let server = self.path().and_then(|path| snapshot.server_at(path)).cloned().ok_or(Rejection::PathUnknown)?;
        (self.snapshot, self.server) = (snapshot, server);
        Ok(true)
    }

    /// The caller of this request's token by the snapshot that it holds now.
    pub(super) fn verified_again(&self, as_of_ms: u64, env: &mut Env<'_>) -> Result<Arc<Caller>, Rejection> {
        match authenticate(bearer(&self.head)?, &self.token_hash, &self.snapshot, as_of_ms, env)? {
            Inbound::Caller(caller) => Ok(caller),
            // The key that vouched for it is gone.
            Inbound::UnknownKey { .. } => Err(Rejection::TokenRefused { why: "unknown_key" }),
        }
    }

    fn path(&self) -> Option<&str> {
        let target = self.head.once(":path").one()?;
        std::str::from_utf8(target.split(|byte| *byte == b'?').next()?).ok()
    }

    /// The upstream's session id, if the one that came was given to this caller at this server.
    pub(super) fn open_session(&self, caller: &Caller) -> Result<Option<Session>, Rejection> {
        let bound = match self.head.once(headers::MCP_SESSION_ID) {
            Once::Absent => return Ok(None),
            Once::One(bound) => bound,
            Once::Repeated => return Err(Rejection::SessionUnknown),
        };
        let owner = self.session_owner(caller.issuer(), caller.subject());
        let (upstream_id, flags) =
            session::unbind(bound, self.session_keys(), &owner).ok_or(Rejection::SessionUnknown)?;
        Ok(Some(Session { upstream_id: upstream_id.to_owned(), flags }))
    }

    fn check_content(&self, ended: bool, max_body_bytes: usize) -> Result<(), Rejection> {
        // A repetition is a list to some readers: a value that is no media type and no coding stands for it.
        let single = |name| match self.head.once(name) {
            Once::Absent => None,
            Once::One(value) => Some(value),
            Once::Repeated => Some(b",".as_slice()),
        };
        content::check(single("content-type"), single("content-encoding"))?;
        let length = self.head.first("content-length").and_then(|length| std::str::from_utf8(length).ok());
        if length.and_then(|length| length.parse::<u64>().ok()).is_some_and(|length| length > wide(max_body_bytes)) {
            return Err(Rejection::BodyTooLarge);
        }
        // A POST that ends at its headers says nothing: there will be no body callback to judge it in.
        if ended { Err(Rejection::BodyNotJson) } else { Ok(()) }
    }
}

/// RFC 9728 document of one server; `None` where there is nobody to name who could issue a token.
fn describe(server: &Server, snapshot: &Snapshot) -> Option<Reply> {
    let issuers = snapshot.issuers.iter().filter(|issuer| !issuer.self_issued);
    let authorization_servers: Vec<_> = issuers.map(|issuer| issuer.issuer.as_str()).collect();
    let scopes: Vec<_> = snapshot.scope.split_ascii_whitespace().collect();
    metadata::document(&metadata::Resource {
        resource: &server.resource,
        server: &server.name,
        authorization_servers: &authorization_servers,
        scopes: &scopes,
    })
}

fn wide(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

fn answer(reply: Reply) -> (Flow, Step) {
    (Flow::Done, Step::Reply(reply))
}

/// Method and path with query, if there is exactly one of each, every header name is one the host can be told, and no
/// value has a byte that ends a header for some reader (RFC 9110 §5.5).
fn request_line(head: &Head) -> Option<(&[u8], &[u8])> {
    let is_bad = |byte: u8| matches!(byte, 0 | b'\r' | b'\n');
    // Without a branch for each byte: a token alone has about a thousand.
    let ends_early = |value: &[u8]| value.iter().fold(false, |bad, byte| bad | is_bad(*byte));
    if head.iter().any(|(name, value)| !name.is_ascii() || ends_early(value)) {
        return None;
    }
    Some((head.once(":method").one()?, head.once(":path").one()?))
}

/// `Host` and `Origin` (MCP 2025-11-25 transports: DNS rebinding).
fn check_peer(head: &Head, snapshot: &Snapshot) -> Result<(), Rejection> {
    let authority = head.once(":authority").one();
    if !headers::host_allowed(authority, &snapshot.public_url, snapshot.allowed_hosts.iter()) {
        return Err(Rejection::HostRefused);
    }
    let origin = match head.once("origin") {
        Once::Absent => None,
        Once::One(origin) => Some(origin),
        Once::Repeated => return Err(Rejection::OriginRefused),
    };
    if !headers::origin_allowed(origin, &snapshot.public_url, snapshot.allowed_origins.iter()) {
        return Err(Rejection::OriginRefused);
    }
    Ok(())
}

/// The token of exactly one `Authorization: Bearer <token>` (RFC 6750 §2.1).
pub(super) fn bearer(head: &Head) -> Result<&[u8], Rejection> {
    let value = match head.once(headers::AUTHORIZATION) {
        Once::Absent => return Err(Rejection::TokenMissing),
        Once::One(value) => value,
        Once::Repeated => return Err(Rejection::AuthorizationRepeated),
    };
    // Envoy joins repetitions of this header with commas.
    if value.contains(&b',') {
        return Err(Rejection::AuthorizationRepeated);
    }
    sallyport_caller::bearer(value).map_err(|error| match error {
        TokenError::NotBearer => Rejection::TokenMissing,
        error => token_rejection(&error),
    })
}

fn authenticate(
    token: &[u8],
    hash: &TokenHash,
    snapshot: &Snapshot,
    now_ms: u64,
    env: &mut Env<'_>,
) -> Result<Inbound, Rejection> {
    if token.len() > env.worker.config.max_token_bytes {
        return Err(Rejection::TokenRefused { why: "too_long" });
    }
    if let Some(caller) = env.worker.callers.get(hash, now_ms) {
        return Ok(Inbound::Caller(caller));
    }
    let verified = sallyport_caller::verify(
        token,
        &snapshot.issuers,
        &snapshot.external_identities,
        now_ms,
        as_signatures(env.host),
    );
    env.look_again();
    match verified {
        Ok(caller) if snapshot.revocations.revokes(&caller) => Err(Rejection::TokenRefused { why: "revoked" }),
        Ok(caller) => {
            let caller = Arc::new(caller);
            env.worker.callers.insert(*hash, Arc::clone(&caller), now_ms);
            Ok(Inbound::Caller(caller))
        }
        Err(TokenError::UnknownKey { issuer, kid }) if env.worker.may_resolve(&issuer, &kid, now_ms) => {
            Ok(Inbound::UnknownKey { issuer, kid })
        }
        Err(error) => Err(token_rejection(&error)),
    }
}

fn as_signatures(host: &dyn Host) -> &dyn sallyport_caller::HostSignatures {
    host
}

pub(super) fn token_rejection(error: &TokenError) -> Rejection {
    match error {
        TokenError::Scope => Rejection::ScopeInsufficient,
        other => Rejection::TokenRefused { why: other.reason() },
    }
}

impl Message {
    fn without_body(kind: RequestKind) -> Self {
        Self { kind, id: None, method: String::new(), target: String::new(), initialize: false, elicits_by_url: false }
    }
}
