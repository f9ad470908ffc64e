//! The authorization request (RFC 6749 §4.1.1, RFC 7636 §4.3, RFC 8707 §2.1): where a person's browser is sent.

use url::{Host, Url};

use super::pkce::Verifier;
use super::profile::Profile;
use crate::secret::Secret;

/// Parameters that the request sets itself, besides the profile's: none may stand in the authorization URL (RFC 6749 §3.1
/// forbids one to come twice), nor could a profile replace one.
const OWN_PARAMS: [&str; 13] = [
    "client_id",
    "code_challenge",
    "code_challenge_method",
    "nonce",
    "redirect_uri",
    "request",
    "request_uri",
    "resource",
    "response_mode",
    "response_type",
    "scope",
    "state",
    "user_scope",
];

/// Why nobody is sent to an authorization URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorizationUrlError {
    /// Neither https nor http on loopback: a browser would follow `javascript:` as well.
    #[error("it is neither https nor http on a loopback address")]
    Scheme,
    /// A user name or password.
    #[error("it has credentials in it")]
    Credentials,
    /// RFC 6749 §3.1.
    #[error("it has a fragment")]
    Fragment,
    /// One of the request's own parameters.
    #[error("its query has `{0}`, which the broker sets")]
    Parameter(&'static str),
}

/// Judges an authorization URL as it is configured.
///
/// # Errors
/// [`AuthorizationUrlError`].
pub fn check_authorization_url(url: &Url) -> Result<(), AuthorizationUrlError> {
    let is_loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        // RFC 6761 §6.3; browsers resolve it to loopback themselves.
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if !(url.scheme() == "https" || (url.scheme() == "http" && is_loopback)) {
        return Err(AuthorizationUrlError::Scheme);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(AuthorizationUrlError::Credentials);
    }
    if url.fragment().is_some() {
        return Err(AuthorizationUrlError::Fragment);
    }
    match OWN_PARAMS.into_iter().find(|own| url.query_pairs().any(|(name, _)| name == *own)) {
        Some(own) => Err(AuthorizationUrlError::Parameter(own)),
        None => Ok(()),
    }
}

/// One request for a person's consent.
pub struct AuthorizationRequest<'a> {
    /// Authorization endpoint.
    pub authorization_url: &'a Url,
    /// As registered.
    pub client_id: &'a Secret,
    /// Where the answer comes to: one for each provider client.
    pub redirect_uri: &'a Url,
    /// Asked for; none asks for the client's default.
    pub scopes: &'a [String],
    /// Ties the answer to the browser and the flow.
    pub state: &'a Secret,
    /// Kept for the token request; only its challenge is sent.
    pub verifier: &'a Verifier,
    /// RFC 8707.
    pub resource: Option<&'a str>,
    /// What the provider wants besides.
    pub profile: &'static Profile,
}

impl AuthorizationRequest<'_> {
    /// The URL for the person's browser, which nobody else may see: it holds the state.
    ///
    /// # Errors
    /// [`AuthorizationUrlError`].
    pub fn url(&self) -> Result<Secret, AuthorizationUrlError> {
        check_authorization_url(self.authorization_url)?;
        let mut url = self.authorization_url.clone();
        let brought: Vec<String> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
        {
            // Exposed because a browser carries them to the provider.
            let (client_id, state) = (self.client_id.expose_str(), self.state.expose_str());
            let mut query = url.query_pairs_mut();
            query.append_pair("response_type", "code");
            query.append_pair("client_id", client_id.unwrap_or_default());
            query.append_pair("redirect_uri", self.redirect_uri.as_str());
            if !self.scopes.is_empty() {
                query.append_pair(self.profile.scope_parameter, &self.scopes.join(self.profile.scope_separator));
            }
            query.append_pair("state", state.unwrap_or_default());
            query.append_pair("code_challenge", &self.verifier.challenge());
            query.append_pair("code_challenge_method", "S256");
            if let Some(resource) = self.resource {
                query.append_pair("resource", resource);
            }
            for (name, value) in self.profile.authorization_params {
                if !brought.iter().any(|brought| brought == name) {
                    query.append_pair(name, value);
                }
            }
        }
        Ok(Secret::new(String::from(url)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::profile::{ALL, ATLASSIAN, GENERIC, GOOGLE, NOTION, SLACK, SLACK_USER};

    fn query(authorization_url: &str, scopes: &[&str], profile: &'static Profile) -> Vec<(String, String)> {
        let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let verifier = Verifier::restored(Secret::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")).expect("one");
        let request = AuthorizationRequest {
            authorization_url: &authorization_url.parse().expect("a URL"),
            client_id: &Secret::new("gate&1"),
            redirect_uri: &"https://gate.example.com/oauth/callback/1".parse().expect("a URL"),
            scopes: &scopes,
            state: &Secret::new("s+1"),
            verifier: &verifier,
            resource: Some("https://mcp.example.com/mcp"),
            profile,
        };
        let url: Url = request.url().expect("allowed").expose_str().expect("text").parse().expect("a URL");
        assert!(!url.as_str().contains("dBjftJeZ4CVP"), "the verifier stays here");
        url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
    }

    fn value<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
        let mut values = query.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let value = values.next();
        assert_eq!(values.next(), None, "{name} comes twice");
        value
    }

    #[test]
    fn o4_every_profile_asks_for_a_code_with_s256_and_state_once() {
        for profile in ALL {
            let query = query("https://login.example.com/authorize?tenant=a%20b", &["read", "write"], profile);
            assert_eq!(value(&query, "tenant"), Some("a b"));
            assert_eq!(value(&query, "response_type"), Some("code"));
            assert_eq!(value(&query, "client_id"), Some("gate&1"));
            assert_eq!(value(&query, "redirect_uri"), Some("https://gate.example.com/oauth/callback/1"));
            assert_eq!(value(&query, "state"), Some("s+1"));
            assert_eq!(value(&query, "code_challenge"), Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"));
            assert_eq!(value(&query, "code_challenge_method"), Some("S256"));
            assert_eq!(value(&query, "resource"), Some("https://mcp.example.com/mcp"));
        }
    }

    #[test]
    fn asks_in_the_words_of_the_provider() {
        let asked = |profile| query("https://login.example.com/authorize", &["read", "write"], profile);
        assert_eq!(value(&asked(&GENERIC), "scope"), Some("read write"));
        assert_eq!(value(&asked(&SLACK), "user_scope"), Some("read,write"));
        // A scope of the outer parameter would install a bot.
        assert_eq!(value(&asked(&SLACK), "scope"), None);
        assert_eq!(value(&asked(&SLACK_USER), "scope"), Some("read write"));
        assert_eq!(value(&asked(&GOOGLE), "access_type"), Some("offline"));
        assert_eq!(value(&asked(&GOOGLE), "prompt"), Some("consent"));
        assert_eq!(value(&asked(&ATLASSIAN), "audience"), Some("api.atlassian.com"));
        assert_eq!(value(&asked(&NOTION), "owner"), Some("user"));
        assert_eq!(value(&query("https://login.example.com/", &[], &GENERIC), "scope"), None);
    }

    #[test]
    fn the_url_of_the_manifest_may_change_what_a_profile_adds() {
        let query = query("https://login.example.com/authorize?prompt=select_account", &[], &GOOGLE);
        assert_eq!(value(&query, "prompt"), Some("select_account"));
        assert_eq!(value(&query, "access_type"), Some("offline"));
    }

    #[test]
    fn refuses_urls_that_no_browser_should_open() {
        use AuthorizationUrlError::{Credentials, Fragment, Parameter, Scheme};
        for (url, why) in [
            ("javascript:alert(1)", Scheme),
            ("data:text/html,x", Scheme),
            ("file:///etc/passwd", Scheme),
            ("ftp://login.example.com/", Scheme),
            ("http://login.example.com/", Scheme),
            ("http://127.0.0.1.example.com/", Scheme),
            ("http://localhost.example.com/", Scheme),
            ("http://0.0.0.0/", Scheme),
            ("http://10.0.0.1/", Scheme),
            ("http://[::ffff:127.0.0.1]/", Scheme),
            ("https://login.example.com@evil.example/", Credentials),
            ("https://a:b@login.example.com/", Credentials),
            ("https://login.example.com/#a", Fragment),
            ("https://login.example.com/?state=1", Parameter("state")),
            ("https://login.example.com/?a=1&code%5Fchallenge=x", Parameter("code_challenge")),
            ("https://login.example.com/?request_uri=https://evil.example", Parameter("request_uri")),
            ("https://login.example.com/?redirect_uri=https://evil.example", Parameter("redirect_uri")),
            ("https://login.example.com/?response_type=token", Parameter("response_type")),
        ] {
            assert_eq!(check_authorization_url(&url.parse().expect("a URL")), Err(why), "{url}");
        }
        for url in
            ["https://login.example.com/a?b=c", "http://127.0.0.1:8080/a", "http://[::1]/", "http://localhost:1/"]
        {
            assert_eq!(check_authorization_url(&url.parse().expect("a URL")), Ok(()), "{url}");
        }
    }
}
