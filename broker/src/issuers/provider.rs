//! One identity provider: where its keys are, and fetching them.

use sallyport_caller::{Algorithm, TokenProfile};
use serde::Deserialize;
use url::Url;

use super::jwks::{KeySet, KeySetError};
use crate::config;
use crate::fetch::{Answer, FetchError, Fetcher, Request};

/// An identity provider whose tokens callers may show.
#[derive(Clone, Debug)]
pub struct Provider {
    /// The rules for its tokens; its keys are filled in from what it publishes.
    pub rules: sallyport_caller::Issuer,
    /// Where its keys are; found by OpenID Connect discovery if absent.
    pub jwks_uri: Option<Url>,
    /// The algorithms it may use.
    pub algorithms: Vec<Algorithm>,
}

/// Why an identity provider's keys were not had.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// `iss` is no URL that a discovery document could be at.
    #[error("the issuer is not a URL; set jwks_uri")]
    NotAUrl,
    /// Nothing, or not enough, came back.
    #[error("{what} was not fetched")]
    Fetch {
        /// `the discovery document` or `the key set`.
        what: &'static str,
        /// Why.
        #[source]
        source: FetchError,
    },
    /// Something else than 200.
    #[error("{what} was answered with status {status}")]
    Status {
        /// `the discovery document` or `the key set`.
        what: &'static str,
        /// The status.
        status: u16,
    },
    /// Not JSON, or without `issuer` and `jwks_uri`.
    #[error("the discovery document cannot be read")]
    Discovery,
    /// The document at the issuer's address is somebody else's (OpenID Connect Discovery 1.0 §4.3).
    #[error("the discovery document names another issuer")]
    OtherIssuer,
    /// A code that is stolen there could be redeemed by the thief (RFC 8414 §2, RFC 9700 §2.1.1).
    #[error(
        "the discovery document does not say that PKCE with S256 is supported (`code_challenge_methods_supported`); if it lists nothing there and the issuer supports it all the same, set `sign_in.assume_pkce: true`"
    )]
    NoPkce,
    /// The key set cannot be read.
    #[error("the key set cannot be read")]
    KeySet(#[from] KeySetError),
}

const DISCOVERY: &str = "the discovery document";
const KEY_SET: &str = "the key set";

#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    jwks_uri: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    authorization_response_iss_parameter_supported: Option<bool>,
    code_challenge_methods_supported: Option<Vec<String>>,
}

/// Where people sign in at an issuer, and how its clients do, as its discovery document says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginEndpoints {
    /// Where browsers go.
    pub authorization: Url,
    /// Where codes are exchanged.
    pub token: Url,
    /// Whether clients may authenticate by HTTP Basic, which they do where nothing else is said.
    pub takes_basic: bool,
    /// Whether its answers always carry `iss` (RFC 9207 §3).
    pub names_itself: bool,
}

impl LoginEndpoints {
    /// Asks the issuer. `assume_pkce`: it supports PKCE although it may not say so.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn discover(issuer: &str, assume_pkce: bool, fetcher: &Fetcher) -> Result<Self, ProviderError> {
        let document = discover(issuer, fetcher).await?;
        let has_pkce = match document.code_challenge_methods_supported {
            Some(methods) => methods.iter().any(|method| method == "S256"),
            None => assume_pkce,
        };
        if !has_pkce {
            return Err(ProviderError::NoPkce);
        }
        let url = |text: Option<String>| text.and_then(|text| Url::parse(&text).ok()).ok_or(ProviderError::Discovery);
        let methods = document.token_endpoint_auth_methods_supported;
        Ok(Self {
            authorization: url(document.authorization_endpoint)?,
            token: url(document.token_endpoint)?,
            takes_basic: methods.is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic")),
            names_itself: document.authorization_response_iss_parameter_supported == Some(true),
        })
    }
}

impl From<&config::Issuer> for Provider {
    fn from(issuer: &config::Issuer) -> Self {
        let rules = sallyport_caller::Issuer {
            issuer: issuer.issuer.clone(),
            keys: Vec::new(),
            audiences: issuer.audiences.clone(),
            profile: match issuer.profile {
                config::Profile::AccessToken => TokenProfile::AccessToken,
                config::Profile::PlainJwt => TokenProfile::PlainJwt,
            },
            subject_claim: issuer.subject_claim.clone(),
            email_claim: issuer.email_claim.clone(),
            teams_claim: issuer.teams_claim.clone(),
            max_lifetime_ms: u64::try_from(issuer.max_lifetime.as_millis()).unwrap_or(u64::MAX),
            required_scopes: issuer.required_scopes.clone(),
            self_issued: false,
            login: issuer.login,
        };
        let algorithms = issuer.algorithms.iter().filter_map(|name| Algorithm::from_name(name)).collect();
        Self { rules, jwks_uri: issuer.jwks_uri.clone(), algorithms }
    }
}

impl Provider {
    /// Where a fetch of its keys begins; nowhere if the issuer is no URL and nothing else is said.
    pub(super) fn begins_at(&self) -> Option<Url> {
        self.jwks_uri.clone().or_else(|| discovery_url(&self.rules.issuer))
    }

    /// Fetches the keys it publishes now.
    pub(super) async fn fetch(&self, fetcher: &Fetcher) -> Result<KeySet, ProviderError> {
        let jwks_uri = match &self.jwks_uri {
            Some(uri) => uri.clone(),
            None => {
                let document = discover(&self.rules.issuer, fetcher).await?;
                Url::parse(&document.jwks_uri).map_err(|_| ProviderError::Discovery)?
            }
        };
        let answer = get(fetcher, jwks_uri, KEY_SET).await?;
        // Exposed to be read: public keys.
        Ok(KeySet::read(answer.body.expose(), &self.algorithms)?)
    }
}

async fn discover(issuer: &str, fetcher: &Fetcher) -> Result<Discovered, ProviderError> {
    let address = discovery_url(issuer).ok_or(ProviderError::NotAUrl)?;
    let answer = get(fetcher, address, DISCOVERY).await?;
    // Exposed to be read: public metadata.
    let document: Discovered = serde_json::from_slice(answer.body.expose()).map_err(|_| ProviderError::Discovery)?;
    match document.issuer == issuer {
        true => Ok(document),
        false => Err(ProviderError::OtherIssuer),
    }
}

/// OpenID Connect Discovery 1.0 §4.
fn discovery_url(issuer: &str) -> Option<Url> {
    Url::parse(&format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))).ok()
}

async fn get(fetcher: &Fetcher, url: Url, what: &'static str) -> Result<Answer, ProviderError> {
    let answer = fetcher.send(Request::get(url)).await.map_err(|source| ProviderError::Fetch { what, source })?;
    if answer.status != reqwest::StatusCode::OK {
        return Err(ProviderError::Status { what, status: answer.status.as_u16() });
    }
    Ok(answer)
}
