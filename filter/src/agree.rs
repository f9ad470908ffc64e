//! Whether the headers that mirror the body say what the body says.
//!
//! Routers and upstreams may decide by `Mcp-Method` and `Mcp-Name` alone (MCP 2026-07-28); a caller must not be able
//! to show them one tool and the gateway another (R6). The body is what the gateway judges; a header only may agree.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::jsonrpc::{Kind, Message};

/// First version whose requests mirror method and name in headers.
const MIRRORING_SINCE: &str = "2026-07-28";

/// Methods whose requests must carry `Mcp-Name`.
const NAMED: [&str; 3] = ["tools/call", "prompts/get", "resources/read"];

/// The headers as they came; absent is none, repeated is Envoy's list with commas, which agrees with nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mirrored<'a> {
    /// `Mcp-Method`.
    pub method: Option<&'a [u8]>,
    /// `Mcp-Name`.
    pub name: Option<&'a [u8]>,
    /// `MCP-Protocol-Version`.
    pub version: Option<&'a [u8]>,
}

/// Which header disagrees: HTTP 400 and JSON-RPC −32020.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    /// `Mcp-Method` is missing where it is required, or is not the body's method.
    #[error("mcp-method is not the method of the body")]
    Method,
    /// `Mcp-Name` is missing where it is required, is badly encoded, or is not what the body names.
    #[error("mcp-name is not what the body names")]
    Name,
    /// `MCP-Protocol-Version` is not the version in `_meta`, or is malformed.
    #[error("mcp-protocol-version is not the version of the body")]
    Version,
}

/// Compares headers and body. A header that is there must agree whatever the version; from 2026-07-28 on it must be there.
pub fn check(headers: &Mirrored<'_>, message: &Message<'_>) -> Result<(), Disagreement> {
    let mirroring = version(headers, message)?;
    method(headers, message, mirroring)?;
    name(headers, message, mirroring)
}

/// Whether the version asks for mirrored headers. A version that is no date is newer than us: it does.
fn version(headers: &Mirrored<'_>, message: &Message<'_>) -> Result<bool, Disagreement> {
    let in_body = message.meta_version.as_deref();
    let Some(header) = headers.version else {
        return match in_body {
            Some(version) if mirrors(version.as_bytes()) => Err(Disagreement::Version),
            Some(_) | None => Ok(false),
        };
    };
    if header.is_empty() || header.len() > 64 || !header.iter().all(u8::is_ascii_graphic) || header.contains(&b',') {
        return Err(Disagreement::Version);
    }
    if in_body.is_some_and(|version| version.as_bytes() != header) {
        return Err(Disagreement::Version);
    }
    Ok(mirrors(header))
}

fn mirrors(version: &[u8]) -> bool {
    !is_date(version) || version >= MIRRORING_SINCE.as_bytes()
}

fn is_date(version: &[u8]) -> bool {
    version.len() == MIRRORING_SINCE.len()
        && version.iter().zip(MIRRORING_SINCE.bytes()).all(|(byte, like)| match like {
            b'-' => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

fn method(headers: &Mirrored<'_>, message: &Message<'_>, mirroring: bool) -> Result<(), Disagreement> {
    let in_body = match message.kind {
        Kind::Request { .. } | Kind::Notification => Some(message.method.as_bytes()),
        Kind::Response { .. } => None,
    };
    match (headers.method, in_body) {
        (Some(header), Some(method)) if header == method => Ok(()),
        (None, Some(_)) if !mirroring => Ok(()),
        (None, None) => Ok(()),
        (Some(_), _) | (None, Some(_)) => Err(Disagreement::Method),
    }
}

fn name(headers: &Mirrored<'_>, message: &Message<'_>, mirroring: bool) -> Result<(), Disagreement> {
    let Some(header) = headers.name else {
        let required = mirroring && NAMED.contains(&&*message.method);
        return if required { Err(Disagreement::Name) } else { Ok(()) };
    };
    let header = decode(header).ok_or(Disagreement::Name)?;
    match &message.target {
        Some(target) if target.as_bytes() == &*header => Ok(()),
        Some(_) | None => Err(Disagreement::Name),
    }
}

/// A plain value, or the bytes inside `=?base64?…?=`; what begins like the latter must be it.
fn decode(header: &[u8]) -> Option<Cow<'_, [u8]>> {
    match header.strip_prefix(b"=?base64?") {
        Some(rest) => STANDARD.decode(rest.strip_suffix(b"?=")?).ok().map(Cow::Owned),
        None => header.iter().all(|byte| matches!(byte, b' '..=b'~')).then_some(Cow::Borrowed(header)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jsonrpc::read;

    const MODERN: &str = "2026-07-28";
    const LEGACY: &str = "2025-11-25";

    fn call(version: Option<&str>, tool: &str) -> String {
        let meta = version.map_or_else(String::new, |version| {
            format!(r#","_meta":{{"io.modelcontextprotocol/protocolVersion":"{version}"}}"#)
        });
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}"{meta}}}}}"#)
    }

    fn verdict(
        body: &str,
        version: Option<&str>,
        method: Option<&str>,
        name: Option<&str>,
    ) -> Result<(), Disagreement> {
        let headers = Mirrored {
            method: method.map(str::as_bytes),
            name: name.map(str::as_bytes),
            version: version.map(str::as_bytes),
        };
        check(&headers, &read(body.as_bytes()).unwrap())
    }

    #[test]
    fn agreement_passes() {
        let modern = call(Some(MODERN), "echo");
        let legacy = call(None, "echo");
        let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        for (body, version, method, name) in [
            (&*modern, Some(MODERN), Some("tools/call"), Some("echo")),
            (&modern, Some(MODERN), Some("tools/call"), Some("=?base64?ZWNobw==?=")),
            (&legacy, None, None, None),
            (&legacy, Some(LEGACY), None, None),
            (&legacy, Some(LEGACY), Some("tools/call"), Some("echo")),
            (&legacy, Some(MODERN), Some("tools/call"), Some("echo")),
            (&call(Some(LEGACY), "echo"), None, None, None),
            (list, Some(MODERN), Some("tools/list"), None),
            (list, Some(LEGACY), None, None),
            (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, Some(LEGACY), None, None),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"t-1"}}"#,
                Some(MODERN),
                Some("tasks/get"),
                Some("t-1"),
            ),
            (&call(None, "gr\u{fc}\u{df}e"), None, None, Some("=?base64?Z3LDvMOfZQ==?=")),
        ] {
            assert_eq!(verdict(body, version, method, name), Ok(()), "{body} {version:?} {method:?} {name:?}");
        }
    }

    #[test]
    fn r6_disagreement_is_refused() {
        use Disagreement::{Method, Name, Version};
        let modern = call(Some(MODERN), "echo");
        let legacy = call(None, "echo");
        let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        let response = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
        for (flaw, body, version, method, name, expected) in [
            ("no version header", &*modern, None, Some("tools/call"), Some("echo"), Version),
            ("older version header", &modern, Some(LEGACY), Some("tools/call"), Some("echo"), Version),
            ("newer version header", &modern, Some("2027-01-01"), Some("tools/call"), Some("echo"), Version),
            ("two versions", &legacy, Some("2025-11-25,2026-07-28"), None, None, Version),
            ("empty version", &legacy, Some(""), None, None, Version),
            ("version with a space", &legacy, Some("2025-11-25 x"), None, None, Version),
            ("version not ascii", &legacy, Some("2025\u{2d0}"), None, None, Version),
            ("no method header", &modern, Some(MODERN), None, Some("echo"), Method),
            ("another method", &modern, Some(MODERN), Some("tools/list"), Some("echo"), Method),
            ("method in another case", &modern, Some(MODERN), Some("Tools/Call"), Some("echo"), Method),
            ("method encoded", &modern, Some(MODERN), Some("=?base64?dG9vbHMvY2FsbA==?="), Some("echo"), Method),
            ("two methods", &modern, Some(MODERN), Some("tools/call,tools/call"), Some("echo"), Method),
            ("empty method", &modern, Some(MODERN), Some(""), Some("echo"), Method),
            ("no name header", &modern, Some(MODERN), Some("tools/call"), None, Name),
            ("another name", &modern, Some(MODERN), Some("tools/call"), Some("other"), Name),
            ("name in another case", &modern, Some(MODERN), Some("tools/call"), Some("Echo"), Name),
            ("another name encoded", &modern, Some(MODERN), Some("tools/call"), Some("=?base64?b3RoZXI=?="), Name),
            ("bad base64", &modern, Some(MODERN), Some("tools/call"), Some("=?base64?ZWNobw?="), Name),
            ("url-safe base64", &call(None, "\u{3ff}?"), None, None, Some("=?base64?z78_?="), Name),
            ("base64 without an end", &modern, Some(MODERN), Some("tools/call"), Some("=?base64?ZWNobw=="), Name),
            ("empty base64", &modern, Some(MODERN), Some("tools/call"), Some("=?base64??="), Name),
            ("marker in another case", &modern, Some(MODERN), Some("tools/call"), Some("=?BASE64?ZWNobw==?="), Name),
            ("name for a method without", list, Some(MODERN), Some("tools/list"), Some("echo"), Name),
            ("legacy, another method", &legacy, Some(LEGACY), Some("tools/list"), None, Method),
            ("legacy, another name", &legacy, Some(LEGACY), None, Some("allowed"), Name),
            ("no version, another method", &legacy, None, Some("tools/list"), None, Method),
            ("no version, another name", &legacy, None, None, Some("allowed"), Name),
            ("unknown version, no method", &legacy, Some("draft"), None, None, Method),
            ("method for a response", response, Some(LEGACY), Some("tools/call"), None, Method),
            ("name for a response", response, Some(LEGACY), None, Some("echo"), Name),
            ("raw name not ascii", &call(None, "gr\u{fc}n"), None, None, Some("gr\u{fc}n"), Name),
        ] {
            assert_eq!(verdict(body, version, method, name), Err(expected), "{flaw}");
        }
    }

    #[test]
    fn a_literal_that_looks_encoded_must_be_encoded() {
        let body = call(None, "=?base64?ZWNobw==?=");
        assert_eq!(verdict(&body, None, None, Some("=?base64?ZWNobw==?=")), Err(Disagreement::Name));
        let encoded = format!("=?base64?{}?=", STANDARD.encode("=?base64?ZWNobw==?="));
        assert_eq!(verdict(&body, None, None, Some(&encoded)), Ok(()));
    }
}
