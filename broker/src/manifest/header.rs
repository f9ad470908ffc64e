//! Which headers a manifest may set upstream, and to what.

use crate::model::{Template, TemplatePart};
use crate::yaml::Flaw;

/// Headers of one connection only (RFC 9110 §7.6.1), and those that frame or route the request: a second opinion about
/// them is request smuggling.
const CONNECTION: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers that say what the body is, which the gate has judged already.
const MESSAGE: [&str; 6] = ["accept", "accept-encoding", "content-encoding", "content-type", "last-event-id", "origin"];

/// Prefixes of headers that Envoy, the gate or the protocol own.
const OWNED: [&str; 4] = ["x-sallyport-", "x-envoy-", "x-forwarded-", "mcp-"];

/// Words in a header's name that say its value is a secret.
const SECRET: [&str; 15] = [
    "apikey",
    "auth",
    "authentication",
    "authorization",
    "bearer",
    "cookie",
    "credential",
    "credentials",
    "jwt",
    "key",
    "passwd",
    "password",
    "secret",
    "session",
    "token",
];

/// The name in lower case, if it is one that a manifest may set.
pub(super) fn header_name(text: &str) -> Result<String, Flaw> {
    if text.starts_with(':') {
        return Err(Flaw::new("pseudo headers are the proxy's own", "remove it"));
    }
    // RFC 9110 §5.6.2
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if text.is_empty() || text.len() > 128 || !text.chars().all(token) {
        return Err(Flaw::new(
            format!("`{}` is no header name", text.escape_debug()),
            "use letters, digits and hyphens, for example `X-Api-Key`",
        ));
    }
    let name = text.to_ascii_lowercase();
    if CONNECTION.contains(&name.as_str()) {
        return Err(Flaw::new(format!("`{name}` frames or routes the connection"), "remove it: the proxy sets it"));
    }
    if MESSAGE.contains(&name.as_str()) {
        return Err(Flaw::new(format!("`{name}` describes the message, which comes from the caller"), "remove it"));
    }
    if let Some(owner) = OWNED.iter().find(|prefix| name.starts_with(**prefix)) {
        return Err(Flaw::new(format!("headers that begin with `{owner}` are not for manifests"), "use another name"));
    }
    Ok(name)
}

/// Whether the text is one that a header's value can hold (RFC 9110 §5.5), without ends that would be trimmed.
pub(super) fn header_value(template: &Template) -> Result<(), Flaw> {
    let legal = |c: char| c.is_ascii_graphic() || c == ' ';
    let texts = || {
        template.0.iter().filter_map(|part| match part {
            TemplatePart::Text(text) => Some(text),
            TemplatePart::Secret(_) => None,
        })
    };
    if texts().any(|text| text.contains(['\r', '\n', '\0'])) {
        return Err(Flaw::new("holds a line break, which would begin another header", "write it on one line"));
    }
    if !texts().all(|text| text.chars().all(legal)) {
        return Err(Flaw::new("holds a character that headers cannot", "use printable ASCII"));
    }
    if texts().any(|text| text.contains("{{")) {
        return Err(Flaw::new(
            "values that each user fills in (`{{…}}`) are not supported by this version",
            "write a secret reference that all callers share",
        ));
    }
    let at_end = |part: Option<&TemplatePart>, end: fn(&str) -> bool| matches!(part, Some(TemplatePart::Text(text)) if end(text));
    if at_end(template.0.first(), |text| text.starts_with(' ')) || at_end(template.0.last(), |text| text.ends_with(' '))
    {
        return Err(Flaw::new("begins or ends with a space", "remove it"));
    }
    Ok(())
}

/// Whether name or text say that the value is a secret, which must not stand in a manifest in clear (I4).
pub(super) fn is_secret(name: &str, template: &Template) -> bool {
    let named = name.split(['-', '_', '.']).any(|word| {
        SECRET.contains(&word) || ["token", "key", "secret", "auth"].iter().any(|ending| word.ends_with(ending))
    });
    let schemed = matches!(template.0.first(), Some(TemplatePart::Text(text))
        if ["bearer ", "basic ", "token "].iter().any(|scheme| text.to_ascii_lowercase().starts_with(scheme)));
    named || schemed
}
