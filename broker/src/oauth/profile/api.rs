//! Where a provider's API is that knows the tokens of a token endpoint.

use url::Url;

/// How the API is found. Always one of whoever gave the token: a manifest that borrows a profile for another provider must
/// not send its tokens to the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// There is none that is known.
    Unknown,
    /// Here, for tokens of the provider's own token endpoints.
    At(&'static str),
    /// As GitHub has it at each of its kinds: github.com, GHE.com with data residency, and Enterprise Server.
    GitHub,
}

/// Path of every token endpoint of GitHub, wherever it runs.
const GITHUB_TOKEN_PATH: &str = "/login/oauth/access_token";

/// The root of GitHub's REST API for tokens of this endpoint.
pub(super) fn github(token_url: &Url) -> Option<Url> {
    let is_https = token_url.scheme() == "https";
    let root = match token_url.domain() {
        Some("github.com") if is_https => "https://api.github.com/".to_owned(),
        Some(domain) if is_https && domain.ends_with(".ghe.com") => format!("https://api.{domain}/"),
        // A server of one's own answers at the same place as its token endpoint.
        _ if token_url.path() == GITHUB_TOKEN_PATH => token_url.join("/api/v3/").ok()?.into(),
        _ => return None,
    };
    root.parse().ok()
}
