//! The words of each rejection: its code, its JSON-RPC error code, its message and data.

use serde_json::json;

use super::{
    CLUSTER_MISMATCH, CONSENT_REQUIRED, CREDENTIAL_RENEWED, Consent, HEADER_MISMATCH, HTTP_REFUSED, INVALID_REQUEST,
    NOT_ALLOWED, PARSE_ERROR, Rejection, ReplyContext, UNAUTHORIZED, UNAVAILABLE, UPSTREAM_REFUSED,
};

/// Longest name of a tool that is told back, in characters: it came from the caller.
const TOLD_BACK: usize = 128;

/// What never varies about a rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// One stable word for metrics, audit and access log.
    pub code: &'static str,
    /// JSON-RPC error code.
    pub json_rpc: i32,
}

impl Rejection {
    /// The code in metrics and the code in JSON-RPC.
    pub fn words(&self) -> Words {
        let (code, json_rpc) = match self {
            Self::TokenMissing => ("token_missing", UNAUTHORIZED),
            Self::TokenRefused { .. } => ("token_refused", UNAUTHORIZED),
            Self::TokenInQuery => ("token_in_query", UNAUTHORIZED),
            Self::AuthorizationRepeated => ("authorization_repeated", UNAUTHORIZED),
            Self::ScopeInsufficient => ("scope_insufficient", UNAUTHORIZED),
            Self::ServerNotAllowed => ("server_not_allowed", NOT_ALLOWED),
            Self::ToolNotAllowed { .. } => ("tool_not_allowed", NOT_ALLOWED),
            Self::IdentityContested => ("identity_contested", NOT_ALLOWED),
            Self::ConsentRequired { .. } => ("consent_required", CONSENT_REQUIRED),
            Self::CredentialRenewed => ("credential_renewed", CREDENTIAL_RENEWED),
            Self::CredentialRefused => ("credential_refused", UPSTREAM_REFUSED),
            Self::UpstreamForbidden => ("upstream_forbidden", UPSTREAM_REFUSED),
            Self::UpstreamRedirected => ("upstream_redirected", UNAVAILABLE),
            Self::BrokerUnavailable { .. } => ("broker_unavailable", UNAVAILABLE),
            Self::SnapshotMissing => ("snapshot_missing", UNAVAILABLE),
            Self::SnapshotStale => ("snapshot_stale", UNAVAILABLE),
            Self::ReportsFull => ("reports_full", UNAVAILABLE),
            Self::ClusterMismatch => ("cluster_mismatch", CLUSTER_MISMATCH),
            Self::BodyNotJson => ("body_not_json", PARSE_ERROR),
            Self::BodyInvalid => ("body_invalid", INVALID_REQUEST),
            Self::HeaderMismatch => ("header_mismatch", HEADER_MISMATCH),
            Self::TrailersUnjudged => ("trailers_unjudged", INVALID_REQUEST),
            Self::BodyTooLarge => ("body_too_large", HTTP_REFUSED),
            Self::BodyEncoded => ("body_encoded", HTTP_REFUSED),
            Self::ContentTypeUnsupported => ("content_type_unsupported", HTTP_REFUSED),
            Self::BodyCallbackMissing => ("body_callback_missing", UNAVAILABLE),
            Self::HeadersUnreadable => ("headers_unreadable", HTTP_REFUSED),
            Self::PathUnknown => ("path_unknown", HTTP_REFUSED),
            Self::MethodNotAllowed => ("method_not_allowed", HTTP_REFUSED),
            Self::OriginRefused => ("origin_refused", HTTP_REFUSED),
            Self::HostRefused => ("host_refused", HTTP_REFUSED),
            Self::SessionUnknown => ("session_unknown", INVALID_REQUEST),
        };
        Words { code, json_rpc }
    }

    /// For a person: what is the matter and, where there is something, what to do. Never says who else may.
    pub(super) fn message(&self, context: &ReplyContext<'_>) -> String {
        let server = context.server.unwrap_or("this server");
        match self {
            Self::TokenMissing => "an access token is required: send Authorization: Bearer <token>".to_owned(),
            Self::TokenRefused { why } => format!("the access token was refused ({why}): get a new one"),
            Self::TokenInQuery => {
                "an access token in the query is refused: send it in the Authorization header".to_owned()
            }
            Self::AuthorizationRepeated => "more than one Authorization header: send one".to_owned(),
            Self::ScopeInsufficient => format!("the access token lacks a scope that {server} needs"),
            Self::ServerNotAllowed => format!("you are not allowed to use {server}: ask its owner for access"),
            Self::ToolNotAllowed { tool } => {
                let tool: String = tool.chars().take(TOLD_BACK).collect();
                format!("you are not allowed to use the tool {tool} of {server}: ask its owner for access")
            }
            Self::IdentityContested => format!(
                "you are not allowed to use {server} yet: another account of your identity provider has your e-mail \
                 address here, and an operator of the gateway must decide whose it is"
            ),
            Self::ConsentRequired { consents } => consent(consents),
            Self::CredentialRenewed => format!("credential was renewed, try again: {server} refused the old one"),
            Self::CredentialRefused => {
                format!("{server} refuses the credential that the gateway holds for it: tell its owner")
            }
            Self::UpstreamForbidden => format!("{server} itself refused this call (403)"),
            Self::UpstreamRedirected => format!("{server} answered with a redirect, which the gateway does not follow"),
            Self::BrokerUnavailable { message: Some(message), .. } => one_line(message),
            Self::BrokerUnavailable { message: None, .. } => {
                "the gateway cannot get a credential now: try again later".to_owned()
            }
            Self::SnapshotMissing => "the gateway is starting: try again in a moment".to_owned(),
            Self::SnapshotStale => "the gateway has not heard its policy for too long: try again later".to_owned(),
            Self::ReportsFull => "the gateway cannot record calls now: try again later".to_owned(),
            Self::ClusterMismatch => format!("the route does not lead to {server}: tell the gateway's operator"),
            Self::BodyNotJson => "the body is not JSON in UTF-8".to_owned(),
            Self::BodyInvalid => "the body is not one JSON-RPC 2.0 message with unambiguous keys".to_owned(),
            Self::HeaderMismatch => "Mcp-Method, Mcp-Name or MCP-Protocol-Version differs from the body".to_owned(),
            Self::TrailersUnjudged => "a body that ends with trailers could not be read: send it without".to_owned(),
            Self::BodyTooLarge => "the body is too large for this gateway".to_owned(),
            Self::BodyEncoded => "an encoded body is refused: send it without Content-Encoding".to_owned(),
            Self::ContentTypeUnsupported => "Content-Type must be application/json".to_owned(),
            Self::BodyCallbackMissing => {
                "the proxy does not show bodies to the filter: set allow_on_headers_stop_iteration".to_owned()
            }
            Self::HeadersUnreadable => "the headers of this request cannot be read".to_owned(),
            Self::PathUnknown => "no server answers at this path".to_owned(),
            Self::MethodNotAllowed => "this HTTP method is not allowed here".to_owned(),
            Self::OriginRefused => "this Origin may not use the gateway".to_owned(),
            Self::HostRefused => "the gateway does not answer to this Host".to_owned(),
            Self::SessionUnknown => "there is no such session for you: initialize a new one".to_owned(),
        }
    }

    /// A string for consent, which clients search for the marker; an object for all else.
    pub(super) fn data(&self, context: &ReplyContext<'_>) -> serde_json::Value {
        match self {
            Self::ConsentRequired { consents } => serde_json::Value::String(consent(consents)),
            _ => json!({ "request_id": context.request_id, "reason": self.code() }),
        }
    }
}

/// One line whose end is the marker `Please visit:` and the URLs, separated by ` , `: deployed clients take
/// everything behind the marker for URLs.
fn consent(consents: &[Consent]) -> String {
    let join = |part: fn(&Consent) -> &str, separator| {
        consents.iter().map(|consent| one_line(part(consent))).collect::<Vec<_>>().join(separator)
    };
    let servers = join(|consent| &consent.server, ", ");
    let urls = join(|consent| &consent.url, " , ");
    format!("Authorization required for {servers}. Please visit: {urls}")
}

fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}
