//! The values of a configuration: durations, names, origins, URLs.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use url::{Host, Url};

use crate::yaml::Flaw;

/// `500ms`, `60s`, `5m`, `24h`, `7d`.
pub(crate) fn duration(text: &str) -> Result<Duration, Flaw> {
    let flaw = || {
        Flaw::new(
            format!("`{text}` is not a duration"),
            "write a whole number and a unit: ms, s, m, h or d, for example `60s`",
        )
    };
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(flaw)?;
    let (number, unit) = text.split_at(unit_at);
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(flaw()),
    };
    let number: u64 = number.parse().map_err(|_| flaw())?;
    number.checked_mul(milliseconds).map(Duration::from_millis).ok_or_else(flaw)
}

/// A name as tenants, teams, groups and servers have it: lower-case letters, digits and inner hyphens, at most 64.
pub(crate) fn name(text: &str) -> Result<String, Flaw> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() || text.len() > 64 || !text.chars().all(inner) || text.starts_with('-') || text.ends_with('-') {
        return Err(Flaw::new(
            format!("`{}` is not a name", text.escape_debug()),
            "use 1 to 64 lower-case letters, digits and hyphens, with a letter or digit at each end",
        ));
    }
    Ok(text.to_owned())
}

/// An origin, in the form browsers send it: no path, no trailing slash, no default port.
pub fn origin(text: &str) -> Result<String, Flaw> {
    let url = http_url(text)?;
    if url.path() != "/" || url.query().is_some() || text.ends_with('/') {
        return Err(Flaw::new(
            format!("`{text}` is more than an origin"),
            format!("write scheme, host and port only: `{}`", url.origin().ascii_serialization()),
        ));
    }
    Ok(url.origin().ascii_serialization())
}

/// An http or https URL with a host, and without user, password or fragment.
pub(crate) fn http_url(text: &str) -> Result<Url, Flaw> {
    let url = Url::parse(text).map_err(|error| {
        Flaw::new(format!("not a URL: {error}"), "write it whole, for example `https://example.com/mcp`")
    })?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(Flaw::new("not an http or https URL", "write it whole, for example `https://example.com/mcp`"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // The text is not repeated: it holds a password.
        return Err(Flaw::new(
            "holds a user or password",
            "remove it from the URL; give credentials by secret reference",
        ));
    }
    if url.fragment().is_some() {
        return Err(Flaw::new("has a fragment", "remove `#` and what follows"));
    }
    Ok(url)
}

/// Where to listen.
pub(crate) fn listen_address(text: &str) -> Result<SocketAddr, Flaw> {
    text.parse().map_err(|_| {
        Flaw::new(format!("`{text}` is no address with a port"), "write for example `\"127.0.0.1:10001\"`")
    })
}

/// An https URL, or http to this machine.
pub(crate) fn safe_url(text: &str) -> Result<Url, Flaw> {
    let url = http_url(text)?;
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err(Flaw::new("plain http to another machine", "use https; http is for loopback addresses only"));
    }
    Ok(url)
}

/// Whether the URL names this machine: an address in 127.0.0.0/8, `::1`, or `localhost` (RFC 6761 §6.3).
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        Some(Host::Domain(domain)) => domain == "localhost",
        None => false,
    }
}

/// `host` or `host:port`, lower case.
pub(super) fn authority(text: &str) -> Result<String, Flaw> {
    let flaw = || Flaw::new(format!("`{text}` is not a host"), "write `host` or `host:port`, without a scheme");
    if text.contains(['/', '@', '?', '#', '\\']) || text.contains(char::is_whitespace) {
        return Err(flaw());
    }
    let url = Url::parse(&format!("http://{text}/")).map_err(|_| flaw())?;
    match (url.host_str(), url.path()) {
        (Some(_), "/") => Ok(text.to_ascii_lowercase()),
        _ => Err(flaw()),
    }
}

/// One of a few words.
pub(crate) fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, Flaw> {
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        Flaw::new(format!("`{}` is not known here", text.escape_debug()), format!("use {}", known.join(" or ")))
    })
}
