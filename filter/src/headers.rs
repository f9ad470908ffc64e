//! Header names and rules on headers: what never reaches an upstream, what never comes back, who may ask from where.

/// Carries the inbound token; never forwarded, except to a `passthrough` server (I1).
pub const AUTHORIZATION: &str = "authorization";
/// Set on a 401 or 403 of ours; an upstream's own never passes.
pub const WWW_AUTHENTICATE: &str = "www-authenticate";
/// Session id of the eras up to 2025-11-25.
pub const MCP_SESSION_ID: &str = "mcp-session-id";
/// Version of MCP that the client speaks.
pub const MCP_PROTOCOL_VERSION: &str = "mcp-protocol-version";
/// JSON-RPC method, mirrored from the body.
pub const MCP_METHOD: &str = "mcp-method";
/// Tool, prompt, resource or task, mirrored from the body.
pub const MCP_NAME: &str = "mcp-name";
/// Envoy's id of the request.
pub const REQUEST_ID: &str = "x-request-id";
/// Time spent by part, for the client.
pub const SERVER_TIMING: &str = "server-timing";

/// What happens to a header of the client's request on its way upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestHeader {
    /// Goes upstream as it came.
    Pass,
    /// Removed: a credential of the client, or a name that only the gateway may speak.
    Strip,
    /// `mcp-session-id`: goes upstream without the binding to the caller.
    Session,
}

/// Names removed from a request besides the prefixes below, lower case.
pub const STRIPPED: [&str; 25] = [
    AUTHORIZATION,
    "proxy-authorization",
    "x-authorization",
    "cookie",
    "cookie2",
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "x-original-url",
    "x-rewrite-url",
    "x-original-method",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-api-key",
    "api-key",
    "x-access-token",
    "x-auth-token",
    "x-amzn-oidc-data",
    "x-goog-iap-jwt-assertion",
    "cf-access-jwt-assertion",
    "dpop",
];

/// Prefixes of names that only the gateway, or a proxy it trusts, may speak; lower case, and each begins with `x`.
pub const STRIPPED_PREFIXES: [&str; 11] = [
    "x-tfy-",
    "x-sallyport-",
    "x-upstream-",
    "x-forwarded-",
    "x-envoy-",
    "x-user",
    "x-mcpgw-",
    "x-auth-request-",
    "x-jwt-",
    "x-ms-client-principal",
    "x-ms-token-",
];

/// What Envoy itself sets on a request after the filter, or needs to forward it; they are under a prefix above, and kept.
const ENVOYS_OWN: [&str; 2] = ["x-forwarded-proto", "x-envoy-expected-rq-timeout-ms"];

/// Decides about one request header by its name; case does not matter, `_` counts as `-`.
///
/// A CGI-like upstream reads `x_user` and `x-user` as one name, so the look-alike is stripped with the name (H10).
pub fn request_header(name: &[u8]) -> RequestHeader {
    if same_name(name, MCP_SESSION_ID) {
        return RequestHeader::Session;
    }
    if ENVOYS_OWN.iter().any(|own| name.eq_ignore_ascii_case(own.as_bytes())) {
        return RequestHeader::Pass;
    }
    let stripped = STRIPPED.iter().any(|stripped| same_name(name, stripped))
        // All of them begin like that, and most names do not.
        || (matches!(name, [b'x' | b'X', ..]) && STRIPPED_PREFIXES.iter().any(|prefix| has_prefix(name, prefix)));
    if stripped { RequestHeader::Strip } else { RequestHeader::Pass }
}

/// Names removed from an upstream's answer: they would speak to the client in the gateway's name, lower case.
pub const WITHHELD: [&str; 17] = [
    WWW_AUTHENTICATE,
    "proxy-authenticate",
    "authentication-info",
    "proxy-authentication-info",
    "set-cookie",
    "set-cookie2",
    "location",
    "content-location",
    "refresh",
    "server",
    "x-powered-by",
    "via",
    "alt-svc",
    "strict-transport-security",
    "clear-site-data",
    "public-key-pins",
    "report-to",
];

/// Whether a header of an upstream's answer is kept from the client, by its name; case does not matter.
pub fn is_withheld(name: &[u8]) -> bool {
    WITHHELD.iter().any(|withheld| same_name(name, withheld))
        || ["x-envoy-", "x-sallyport-", "access-control-"].iter().any(|prefix| has_prefix(name, prefix))
}

/// Whether `origin` may use the gateway from a browser: the gateway's own origin or a listed one, byte for byte.
///
/// MCP asks for 403 otherwise (2025-11-25 transports, DNS rebinding). Without an `Origin` the client is no browser.
pub fn origin_allowed<'a>(
    origin: Option<&[u8]>,
    public_url: &str,
    listed: impl IntoIterator<Item = &'a String>,
) -> bool {
    match origin {
        None => true,
        Some(origin) => {
            origin == public_url.as_bytes() || listed.into_iter().any(|allowed| allowed.as_bytes() == origin)
        }
    }
}

/// Whether `authority` (`Host`, `:authority`) is the gateway's: that of `public_url` or a listed one.
///
/// Case does not matter in names. Userinfo, lists, a trailing dot or another port match nothing, and so are refused.
pub fn host_allowed<'a>(
    authority: Option<&[u8]>,
    public_url: &str,
    listed: impl IntoIterator<Item = &'a String>,
) -> bool {
    let Some(authority) = authority.filter(|authority| !authority.is_empty()) else {
        return false;
    };
    let own = authority_of(public_url);
    own.is_some_and(|own| same_authority(authority, own, default_port(public_url)))
        || listed.into_iter().any(|allowed| same_authority(authority, allowed, default_port(public_url)))
}

/// Whether a path with query carries an access token as a parameter (RFC 6750 section 2.3), which MCP forbids.
///
/// `access_token` is found in any case, percent-encoded in part or whole, and behind `;` as well as `&`.
pub fn has_query_token(path_and_query: &[u8]) -> bool {
    let Some(start) = path_and_query.iter().position(|byte| *byte == b'?') else {
        return false;
    };
    let query = path_and_query.get(start..).unwrap_or_default();
    query.split(|byte| matches!(byte, b'?' | b'&' | b';' | b'#')).any(|pair| {
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        is_token_parameter(name)
    })
}

/// Decodes percent-encoding twice over, since a proxy behind us may decode what we let through.
fn is_token_parameter(name: &[u8]) -> bool {
    const PARAMETER: &[u8] = b"access_token";
    // Each decoding shortens by two thirds at most: longer names cannot become the parameter.
    if name.len() > PARAMETER.len().saturating_mul(9) {
        return false;
    }
    let mut decoded = name.to_vec();
    for _ in 0..3 {
        let bare: &[u8] = decoded.trim_ascii();
        let bare = bare.strip_suffix(b"[]").unwrap_or(bare);
        if bare.eq_ignore_ascii_case(PARAMETER) {
            return true;
        }
        decoded = percent_decoded(&decoded);
    }
    false
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        let pair = match (first, tail) {
            (b'%', [high, low, after @ ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| (high, low, after)),
            _ => None,
        };
        match pair {
            Some((high, low, after)) => {
                decoded.push((high << 4) | low);
                rest = after;
            }
            None => decoded.push(if *first == b'+' { b' ' } else { *first }),
        }
    }
    decoded
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn authority_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    Some(rest.split_once('/').map_or(rest, |(authority, _)| authority))
}

fn default_port(url: &str) -> &'static str {
    if url.starts_with("https://") { ":443" } else { ":80" }
}

/// An absent port means the scheme's own, on either side.
fn same_authority(presented: &[u8], allowed: &str, default_port: &str) -> bool {
    let presented = presented.strip_suffix(default_port.as_bytes()).unwrap_or(presented);
    let allowed = allowed.strip_suffix(default_port).unwrap_or(allowed);
    !allowed.is_empty() && presented.eq_ignore_ascii_case(allowed.as_bytes())
}

/// Whether `name` is `wanted` (lower case) to an upstream that ignores case and reads `_` as `-`.
pub fn same_name(name: &[u8], wanted: &str) -> bool {
    name.len() == wanted.len() && has_prefix(name, wanted)
}

fn has_prefix(name: &[u8], prefix: &str) -> bool {
    name.len() >= prefix.len()
        && name.iter().zip(prefix.bytes()).all(|(byte, wanted)| match byte {
            b'_' => wanted == b'-',
            other => other.to_ascii_lowercase() == wanted,
        })
}

#[cfg(test)]
mod tests;
