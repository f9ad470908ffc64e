//! One identity provider whose tokens callers may show.

use std::time::Duration;

use url::Url;

use super::value::{duration, one_of, safe_url};
use crate::yaml::{Field, Flaw};

/// One identity provider whose tokens callers may show.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The exact `iss`.
    pub issuer: String,
    /// Where its keys are; found by OIDC discovery if absent.
    pub jwks_uri: Option<Url>,
    /// Accepted besides the resource URI of the server that is called.
    pub audiences: Vec<String>,
    /// Its people are this company's: its e-mail claim names users.
    pub login: bool,
    /// Which tokens of it are accepted.
    pub profile: Profile,
    /// JOSE names of the signature algorithms it may use; each is one that the gate verifies, and there is at least one.
    pub algorithms: Vec<String>,
    /// Claim that identifies the caller.
    pub subject_claim: String,
    /// Claim with the e-mail address, believed only with `email_verified`.
    pub email_claim: Option<String>,
    /// Claim that lists teams.
    pub teams_claim: Option<String>,
    /// Longest time between `iat` and `exp`.
    pub max_lifetime: Duration,
    /// Scopes a token must carry.
    pub required_scopes: Vec<String>,
}

/// Which tokens of an issuer are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// `typ` must be `at+jwt` (RFC 9068).
    AccessToken,
    /// `typ` may also be `JWT` or absent.
    PlainJwt,
}

pub(super) fn issuer(field: &Field<'_>) -> Option<Issuer> {
    let fields = field.fields()?;
    let issuer = fields.required("issuer", "write the exact `iss` of its tokens").and_then(|field| field.parse(exact));
    let texts = |name| fields.optional(name).map_or_else(Vec::new, |field| field.list_of(text));
    let claim = |name, default: Option<&str>| match fields.optional(name) {
        Some(field) => field.text().map(str::to_owned),
        None => default.map(str::to_owned),
    };
    let read = Issuer {
        issuer: String::new(),
        jwks_uri: fields.optional("jwks_uri").and_then(|field| field.parse(safe_url)),
        audiences: texts("audiences"),
        login: fields.optional("login").and_then(|field| field.bool()).unwrap_or(false),
        profile: fields.optional("profile").and_then(|field| field.parse(profile)).unwrap_or(Profile::AccessToken),
        algorithms: match fields.optional("algorithms") {
            None => ["RS256", "ES256", "EdDSA"].map(str::to_owned).to_vec(),
            Some(field) => algorithms(&field),
        },
        subject_claim: claim("subject_claim", Some("sub")).unwrap_or_default(),
        email_claim: claim("email_claim", Some("email")),
        teams_claim: claim("teams_claim", None),
        max_lifetime: fields
            .optional("max_lifetime")
            .and_then(|field| field.parse(lifetime))
            .unwrap_or(Duration::from_secs(24 * 3600)),
        required_scopes: texts("required_scopes"),
    };
    fields.finish();
    Some(Issuer { issuer: issuer?, ..read })
}

/// Kept as written, since `iss` is compared exactly.
fn exact(text: &str) -> Result<String, Flaw> {
    let url = safe_url(text)?;
    match url.query() {
        Some(_) => Err(Flaw::new("has a query", "write the exact `iss`, which has none (RFC 8414 §2)")),
        None => Ok(text.to_owned()),
    }
}

fn text(text: &str) -> Result<String, Flaw> {
    Ok(text.to_owned())
}

fn profile(text: &str) -> Result<Profile, Flaw> {
    one_of(text, &[("access_token", Profile::AccessToken), ("plain_jwt", Profile::PlainJwt)])
}

fn algorithms(field: &Field<'_>) -> Vec<String> {
    let items = field.list();
    if items.is_empty() {
        field.report(Flaw::new("names no algorithm, so no token could be verified", "name one, for example `RS256`"));
    }
    items.iter().filter_map(|item| item.parse(algorithm)).collect()
}

/// Asymmetric ones only: with a symmetric one, who verifies could also sign.
fn algorithm(text: &str) -> Result<String, Flaw> {
    const KNOWN: [&str; 9] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
    one_of(text, &KNOWN.map(|name| (name, name))).map(str::to_owned)
}

fn lifetime(text: &str) -> Result<Duration, Flaw> {
    match duration(text)? {
        Duration::ZERO => {
            Err(Flaw::new("is zero, so no token would be accepted", "write the longest life of its tokens"))
        }
        lifetime => Ok(lifetime),
    }
}
