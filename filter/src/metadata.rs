//! Protected-resource metadata (RFC 9728) and what browsers ask before they call (CORS).
//!
//! Clients look here for the authorization server after a 401, so it is public. Every URL is built from
//! configuration, never from `Host`: else whoever sends the request chooses where others sign in.

use serde_json::json;

use crate::reject::Reply;

/// What RFC 9728 section 3.1 puts between origin and path of the resource.
pub const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// Headers a browser client may send to a server.
const ALLOWED_HEADERS: &str = "authorization, content-type, accept, mcp-protocol-version, mcp-method, mcp-name, \
    mcp-session-id, last-event-id, traceparent, tracestate, baggage";
/// Headers of an answer a browser client may read.
const EXPOSED_HEADERS: &str =
    "www-authenticate, mcp-session-id, mcp-protocol-version, server-timing, retry-after, x-request-id";

/// What the metadata of one server says.
#[derive(Clone, Copy, Debug)]
pub struct Resource<'a> {
    /// The server's resource URI, exactly as clients are given it.
    pub resource: &'a str,
    /// `<group>/<name>`.
    pub server: &'a str,
    /// `iss` of each issuer at which a client can sign in: all but the self-issued one.
    pub authorization_servers: &'a [&'a str],
    /// Scopes a token needs.
    pub scopes: &'a [&'a str],
}

/// The server's path inside a path below the well-known one; none for other paths, and for the well-known path alone.
pub fn server_path(path: &str) -> Option<&str> {
    path.strip_prefix(WELL_KNOWN).filter(|rest| rest.starts_with('/') && rest.len() > 1)
}

/// The absolute URL of the metadata of `resource`; none if that is no absolute URL with a path.
pub fn url(resource: &str) -> Option<String> {
    let (scheme, rest) = resource.split_once("://")?;
    let (authority, path) = rest.split_once('/')?;
    let complete = !scheme.is_empty() && !authority.is_empty();
    complete.then(|| format!("{scheme}://{authority}{WELL_KNOWN}/{path}"))
}

/// The document; none where no authorization server is left to name, which MCP requires.
pub fn document(resource: &Resource<'_>) -> Option<Reply> {
    if resource.authorization_servers.is_empty() {
        return None;
    }
    let mut document = json!({
        "resource": resource.resource,
        "authorization_servers": resource.authorization_servers,
        "bearer_methods_supported": ["header"],
        "resource_name": resource.server,
    });
    if let Some(object) = document.as_object_mut().filter(|_| !resource.scopes.is_empty()) {
        object.insert("scopes_supported".to_owned(), json!(resource.scopes));
    }
    let headers = vec![
        ("content-type", "application/json".to_owned()),
        ("cache-control", "public, max-age=60".to_owned()),
        ("access-control-allow-origin", "*".to_owned()),
    ];
    Some(Reply { code: "metadata", status: 200, headers, body: document.to_string().into_bytes() })
}

/// Answers OPTIONS on the metadata: anyone may read it.
pub fn document_preflight() -> Reply {
    let headers = vec![
        ("access-control-allow-origin", "*".to_owned()),
        ("access-control-allow-methods", "GET, OPTIONS".to_owned()),
        ("access-control-allow-headers", "mcp-protocol-version, content-type, accept".to_owned()),
        ("access-control-max-age", "600".to_owned()),
    ];
    Reply { code: "preflight", status: 204, headers, body: Vec::new() }
}

/// Answers OPTIONS on a server's path; `origin` has been found allowed, none without one.
pub fn preflight(origin: Option<&str>) -> Reply {
    let mut headers = vec![("allow", "POST, GET, DELETE, OPTIONS".to_owned())];
    if let Some(origin) = origin {
        headers.extend([
            ("access-control-allow-origin", origin.to_owned()),
            ("access-control-allow-methods", "POST, GET, DELETE, OPTIONS".to_owned()),
            ("access-control-allow-headers", ALLOWED_HEADERS.to_owned()),
            ("access-control-max-age", "600".to_owned()),
            ("vary", "origin".to_owned()),
        ]);
    }
    Reply { code: "preflight", status: 204, headers, body: Vec::new() }
}

/// What every answer to a browser of an allowed origin carries, refusals included, or its code could not read them.
pub fn cors(origin: &str) -> [(&'static str, String); 3] {
    [
        ("access-control-allow-origin", origin.to_owned()),
        ("access-control-expose-headers", EXPOSED_HEADERS.to_owned()),
        ("vary", "origin".to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const RESOURCE: &str = "https://gw.example/mcp-server/demo/echo/server";

    fn reply(scopes: &[&str]) -> Value {
        let resource = Resource {
            resource: RESOURCE,
            server: "demo/echo",
            authorization_servers: &["https://idp.example/realms/x"],
            scopes,
        };
        serde_json::from_slice(&document(&resource).unwrap().body).unwrap()
    }

    #[test]
    fn the_document_names_resource_and_issuers() {
        assert_eq!(
            reply(&["mcp:use"]),
            json!({
                "resource": RESOURCE,
                "authorization_servers": ["https://idp.example/realms/x"],
                "scopes_supported": ["mcp:use"],
                "bearer_methods_supported": ["header"],
                "resource_name": "demo/echo",
            })
        );
        assert!(reply(&[]).get("scopes_supported").is_none());
    }

    #[test]
    fn there_is_no_document_without_an_authorization_server() {
        let resource = Resource { resource: RESOURCE, server: "demo/echo", authorization_servers: &[], scopes: &[] };
        assert_eq!(document(&resource), None);
    }

    #[test]
    fn path_and_url_are_exact_inverses() {
        let url = url(RESOURCE).unwrap();
        assert_eq!(url, "https://gw.example/.well-known/oauth-protected-resource/mcp-server/demo/echo/server");
        let path = url.strip_prefix("https://gw.example").unwrap();
        assert_eq!(server_path(path), Some("/mcp-server/demo/echo/server"));
    }

    #[test]
    fn other_paths_are_not_metadata() {
        for path in [
            "/",
            "/.well-known/oauth-protected-resource",
            "/.well-known/oauth-protected-resource/",
            "/.well-known/oauth-protected-resourceful/x",
            "/mcp-server/demo/echo/server/.well-known/oauth-protected-resource",
            "/.WELL-KNOWN/oauth-protected-resource/x",
        ] {
            assert_eq!(server_path(path), None, "{path}");
        }
        for resource in ["", "gw.example/x", "://gw/x", "https:///x", "https://gw.example"] {
            assert_eq!(url(resource), None, "{resource}");
        }
    }

    #[test]
    fn metadata_is_readable_from_any_page_and_servers_only_from_allowed_ones() {
        let any = ("access-control-allow-origin", "*".to_owned());
        assert!(document_preflight().headers.contains(&any));
        let listed = preflight(Some("https://inspector.example"));
        assert_eq!((listed.status, listed.body.len()), (204, 0));
        assert!(listed.headers.contains(&("access-control-allow-origin", "https://inspector.example".to_owned())));
        assert!(!preflight(None).headers.iter().any(|(name, _)| name.starts_with("access-control")));
        assert!(cors("https://inspector.example").iter().all(|(_, value)| value != "*"));
    }
}
