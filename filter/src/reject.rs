//! The one table of what a caller is told when the answer is no (design: two doors, two ways to say it).
//!
//! The outer door, which checks the token, answers an HTTP status with a challenge. Everything behind it answers a
//! JSON-RPC error with the request's own id, in an HTTP 200, because agents' SDKs show that and keep their session:
//! a 401 or 403 there would make them drop it, or sign in at the wrong place.

mod words;

use crate::agree::Disagreement;
use crate::content::ContentFlaw;
use crate::jsonrpc::{BodyError, Id};
use crate::metadata;

pub use words::Words;

/// Consent to use an account is missing.
pub const CONSENT_REQUIRED: i32 = -31001;
/// Policy does not let this caller use the server or the tool.
pub const NOT_ALLOWED: i32 = -31002;
/// The upstream refused a credential that has been renewed since.
pub const CREDENTIAL_RENEWED: i32 = -31003;
/// The gateway cannot give a verdict or a credential now.
pub const UNAVAILABLE: i32 = -31004;
/// The upstream refuses this caller or the credential that the gateway holds.
pub const UPSTREAM_REFUSED: i32 = -31005;
/// The route does not lead to the server's own cluster (I12).
pub const CLUSTER_MISMATCH: i32 = -31006;
/// The token at the outer door is missing, refused or too narrow.
pub const UNAUTHORIZED: i32 = -31007;
/// The HTTP request itself is not acceptable: path, method, origin, host, size, encoding.
pub const HTTP_REFUSED: i32 = -31008;
/// The body is not JSON (JSON-RPC 2.0).
pub const PARSE_ERROR: i32 = -32700;
/// The body is not one JSON-RPC 2.0 message (JSON-RPC 2.0).
pub const INVALID_REQUEST: i32 = -32600;
/// Headers that mirror the body differ from it (MCP 2026-07-28).
pub const HEADER_MISMATCH: i32 = -32020;

/// Why a request goes no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// No `Authorization`, or a scheme other than `Bearer`.
    TokenMissing,
    /// A bearer token that does not open the outer door.
    TokenRefused {
        /// One word for metrics and the caller, for example `expired`.
        why: &'static str,
    },
    /// `access_token` in the query (RFC 6750 section 2.3; forbidden by MCP).
    TokenInQuery,
    /// More than one `Authorization`.
    AuthorizationRepeated,
    /// The token lacks a scope that its issuer's tokens must carry here.
    ScopeInsufficient,
    /// Policy does not let the caller use the server, or there is none of that name for it.
    ServerNotAllowed,
    /// Policy does not let the caller use the tool.
    ToolNotAllowed {
        /// As the body named it.
        tool: String,
    },
    /// Another account of the same issuer has the caller's address, and only an operator can say whose it is.
    IdentityContested,
    /// The caller must consent first.
    ConsentRequired {
        /// What for, and where; never empty by construction of the broker.
        consents: Vec<Consent>,
    },
    /// The upstream answered 401 to a credential that the broker has renewed since.
    CredentialRenewed,
    /// The upstream refuses what the operator configured; only the operator can mend it.
    CredentialRefused,
    /// The upstream answered 403 for reasons of its own.
    UpstreamForbidden,
    /// The upstream answered with a redirect, which never passes.
    UpstreamRedirected,
    /// The broker did not answer in time, or said that it cannot.
    BrokerUnavailable {
        /// When to try again, in milliseconds.
        retry_after_ms: u64,
        /// In words for the caller, if the broker gave some.
        message: Option<String>,
    },
    /// No snapshot has come yet.
    SnapshotMissing,
    /// The snapshot is older than `max_staleness` (I11).
    SnapshotStale,
    /// Reports of use are not taken off this proxy, and policy says to refuse then (I7).
    ReportsFull,
    /// The route's cluster is not the server's (I12).
    ClusterMismatch,
    /// The body is not JSON.
    BodyNotJson,
    /// The body is JSON, but not one strict JSON-RPC message: a batch, repeated or look-alike keys.
    BodyInvalid,
    /// `Mcp-Method`, `Mcp-Name` or `MCP-Protocol-Version` disagrees with the body.
    HeaderMismatch,
    /// Trailers ended a body that cannot be judged.
    TrailersUnjudged,
    /// The body is longer than `max_body_bytes`.
    BodyTooLarge,
    /// `Content-Encoding` other than identity.
    BodyEncoded,
    /// `Content-Type` other than JSON in UTF-8.
    ContentTypeUnsupported,
    /// Envoy never showed the body: `allow_on_headers_stop_iteration` is not set.
    BodyCallbackMissing,
    /// Header names that are not ASCII, or not exactly one method and path.
    HeadersUnreadable,
    /// No server answers at this path.
    PathUnknown,
    /// Neither POST, GET, DELETE nor OPTIONS.
    MethodNotAllowed,
    /// `Origin` is neither the gateway's nor a listed one.
    OriginRefused,
    /// `Host` is not the gateway's.
    HostRefused,
    /// The session id was not given to this caller at this server; the client must initialize again.
    SessionUnknown,
}

impl From<&BodyError> for Rejection {
    fn from(error: &BodyError) -> Self {
        match error {
            BodyError::Parse { .. } => Self::BodyNotJson,
            BodyError::Invalid { .. } => Self::BodyInvalid,
        }
    }
}

impl From<Disagreement> for Rejection {
    fn from(disagreement: Disagreement) -> Self {
        match disagreement {
            Disagreement::Method | Disagreement::Name | Disagreement::Version => Self::HeaderMismatch,
        }
    }
}

impl From<ContentFlaw> for Rejection {
    fn from(flaw: ContentFlaw) -> Self {
        match flaw {
            ContentFlaw::Type => Self::ContentTypeUnsupported,
            ContentFlaw::Encoding => Self::BodyEncoded,
        }
    }
}

/// One consent that a caller must give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// `<group>/<name>`.
    pub server: String,
    /// The gateway's own page; inert without the person's sign-in.
    pub url: String,
    /// In words for the person; may be empty.
    pub message: String,
}

/// What kind of request is refused, as far as it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestKind {
    /// Not read yet, or unreadable.
    #[default]
    Unknown,
    /// A JSON-RPC request; its id is in [`ReplyContext::id`].
    Request,
    /// A JSON-RPC notification: nothing waits for an answer.
    Notification,
    /// The client's answer to a request of the server.
    Response,
    /// A GET for a stream of events.
    Get,
    /// A DELETE of a session.
    Delete,
}

/// What is known of the request when it is refused; the default knows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplyContext<'a> {
    /// The request's id, if it was read.
    pub id: Option<&'a Id<'a>>,
    /// What the request is.
    pub kind: RequestKind,
    /// Absolute URL of the protected-resource metadata of the server at this path.
    pub resource_metadata: Option<&'a str>,
    /// Scopes a token needs, separated by spaces; empty: none.
    pub scope: &'a str,
    /// `<group>/<name>` of the server at this path.
    pub server: Option<&'a str>,
    /// Envoy's id of the request, told back so that the operator can find it.
    pub request_id: &'a str,
    /// The browser's origin, found allowed: its code may read the answer.
    pub origin: Option<&'a str>,
    /// When the request came, nanoseconds since 1970; 0 if nobody looked.
    pub started_ns: u64,
}

/// A local answer, ready for Envoy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// One stable word for the access log.
    pub code: &'static str,
    /// HTTP status.
    pub status: u16,
    /// Headers besides `content-length`.
    pub headers: Vec<(&'static str, String)>,
    /// Empty, or one JSON object.
    pub body: Vec<u8>,
}

/// How a rejection reaches each kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    /// Before the verdict on the message: an HTTP status for every kind.
    Outer(u16),
    /// Behind the outer door: 200 to a request, 202 to a notification, this status to the rest.
    Inner(u16),
    /// Behind the outer door, but nothing was decided: 200 to a request, this status to the rest.
    Outage(u16),
}

impl Rejection {
    /// One stable word for metrics, audit and access log.
    pub fn code(&self) -> &'static str {
        self.words().code
    }

    fn door(&self) -> Door {
        match self {
            Self::TokenMissing | Self::TokenRefused { .. } => Door::Outer(401),
            Self::TokenInQuery | Self::AuthorizationRepeated | Self::HeadersUnreadable => Door::Outer(400),
            Self::ScopeInsufficient | Self::OriginRefused | Self::HostRefused => Door::Outer(403),
            Self::BodyNotJson | Self::BodyInvalid | Self::HeaderMismatch | Self::TrailersUnjudged => Door::Outer(400),
            Self::PathUnknown | Self::SessionUnknown => Door::Outer(404),
            Self::MethodNotAllowed => Door::Outer(405),
            Self::BodyTooLarge => Door::Outer(413),
            Self::BodyEncoded | Self::ContentTypeUnsupported => Door::Outer(415),
            Self::SnapshotMissing | Self::ClusterMismatch | Self::BodyCallbackMissing => Door::Outer(503),
            Self::ServerNotAllowed | Self::ToolNotAllowed { .. } | Self::IdentityContested => Door::Inner(403),
            Self::CredentialRefused | Self::UpstreamForbidden => Door::Inner(403),
            Self::ConsentRequired { .. } => Door::Inner(405),
            Self::CredentialRenewed | Self::BrokerUnavailable { .. } => Door::Outage(503),
            Self::SnapshotStale | Self::ReportsFull => Door::Outage(503),
            Self::UpstreamRedirected => Door::Outage(502),
        }
    }

    fn status(&self, kind: RequestKind) -> u16 {
        match (self.door(), kind) {
            (Door::Outer(status), _) => status,
            (Door::Inner(_) | Door::Outage(_), RequestKind::Request) => 200,
            (Door::Inner(_), RequestKind::Notification) => 202,
            // A client answering the server's request has no stream of its own to be told to reconnect.
            (Door::Inner(405), RequestKind::Response | RequestKind::Unknown) => 403,
            (
                Door::Inner(status) | Door::Outage(status),
                RequestKind::Unknown
                | RequestKind::Notification
                | RequestKind::Response
                | RequestKind::Get
                | RequestKind::Delete,
            ) => status,
        }
    }

    /// Seconds after which trying again makes sense, on a 503.
    fn retry_after_s(&self) -> u64 {
        match self {
            Self::BrokerUnavailable { retry_after_ms, .. } => retry_after_ms.div_ceil(1_000).clamp(1, 3_600),
            _ => 1,
        }
    }
}

/// The answer to a refused request.
pub fn reply(rejection: &Rejection, context: &ReplyContext<'_>) -> Reply {
    let status = rejection.status(context.kind);
    let mut headers = vec![("cache-control", "no-store".to_owned())];
    headers.extend(context.origin.into_iter().flat_map(metadata::cors));
    match status {
        401 | 403 => headers.extend(challenge(rejection, context).map(|value| ("www-authenticate", value))),
        405 => headers.push(("allow", allowed_methods(rejection).to_owned())),
        503 => headers.push(("retry-after", rejection.retry_after_s().to_string())),
        _ => {}
    }
    // Empty by definition: an accepted notification, and "no stream here" to a GET or DELETE behind missing consent.
    let empty = status == 202 || (status == 405 && matches!(rejection, Rejection::ConsentRequired { .. }));
    if empty {
        return Reply { code: rejection.code(), status, headers, body: Vec::new() };
    }
    headers.push(("content-type", "application/json".to_owned()));
    Reply { code: rejection.code(), status, headers, body: body(rejection, context) }
}

fn body(rejection: &Rejection, context: &ReplyContext<'_>) -> Vec<u8> {
    let words = rejection.words();
    let id = context.id.map_or("null", Id::as_json);
    let message = serde_json::Value::String(rejection.message(context));
    let data = rejection.data(context);
    let code = words.json_rpc;
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{message},"data":{data}}}}}"#).into_bytes()
}

/// RFC 6750 section 3, RFC 9728 section 5.1. `error` only where a token was presented.
fn challenge(rejection: &Rejection, context: &ReplyContext<'_>) -> Option<String> {
    let error = match rejection {
        Rejection::TokenMissing => None,
        Rejection::TokenRefused { .. } => Some("invalid_token"),
        Rejection::ScopeInsufficient => Some("insufficient_scope"),
        // A 403 of policy or origin is not mended by another token: no challenge, or clients would sign in for ever.
        _ => return None,
    };
    let parameters = [
        ("error", error),
        ("resource_metadata", context.resource_metadata),
        ("scope", Some(context.scope).filter(|scope| !scope.is_empty())),
    ];
    let parameters: Vec<String> =
        parameters.iter().filter_map(|(name, value)| value.map(|value| format!("{name}={}", quoted(value)))).collect();
    Some(if parameters.is_empty() { "Bearer".to_owned() } else { format!("Bearer {}", parameters.join(", ")) })
}

/// RFC 9110 quoted-string; what cannot be in a header is left out.
fn quoted(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len().saturating_add(2));
    quoted.push('"');
    for character in value.chars().filter(|character| (' '..='~').contains(character)) {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

fn allowed_methods(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::ConsentRequired { .. } => "POST",
        _ => "POST, GET, DELETE, OPTIONS",
    }
}

#[cfg(test)]
mod tests;
