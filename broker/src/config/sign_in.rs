//! Where people sign in: this gateway as a client of one of the login issuers.

use std::path::Path;

use super::issuer::Issuer;
use super::secret::{SecretSource, secret};
use crate::yaml::{Field, Flaw};

/// Asked for where nothing else is said: who it is, and the address that makes them a user.
const SCOPES: [&str; 3] = ["openid", "email", "profile"];

/// This gateway as a client of a login issuer.
#[derive(Clone, Debug)]
pub struct SignIn {
    /// The exact `iss`; one of the issuers with `login: true`.
    pub issuer: String,
    /// As registered there.
    pub client_id: String,
    /// As registered there; none for a public client.
    pub client_secret: Option<SecretSource>,
    /// Asked for; `openid` is among them.
    pub scopes: Vec<String>,
    /// The issuer supports PKCE with S256 although its metadata may not say so.
    pub assume_pkce: bool,
}

impl SignIn {
    pub(super) fn client_secret_file(&self) -> Option<&Path> {
        self.client_secret.as_ref().and_then(SecretSource::file)
    }
}

pub(super) fn sign_in(field: &Field<'_>, issuers: &[&Issuer], base: &Path) -> Option<SignIn> {
    let fields = field.fields()?;
    let issuer = fields.required("issuer", "write the exact `issuer` of one of `issuers` with `login: true`");
    let issuer = issuer.and_then(|field| field.parse(|text| login_issuer(text, issuers)));
    let client_id = fields.required("client_id", "write the client id that this gateway has at the issuer");
    let client_id = client_id.and_then(|field| field.text()).map(str::to_owned);
    let names = ["client_secret", "client_secret_file", "client_secret_env"];
    let client_secret = secret(&fields, names, "client secret", base).map(|(_, source)| source);
    let scopes = match fields.optional("scopes") {
        None => SCOPES.map(str::to_owned).to_vec(),
        Some(field) => {
            let scopes = field.list_of(scope);
            if !scopes.iter().any(|scope| scope == "openid") {
                field.report(Flaw::new("lacks `openid`, so the issuer would not say who signs in", "add `openid`"));
            }
            scopes
        }
    };
    let assume_pkce = fields.optional("assume_pkce").and_then(|field| field.bool()).unwrap_or(false);
    fields.finish();
    Some(SignIn { issuer: issuer?, client_id: client_id?, client_secret, scopes, assume_pkce })
}

fn login_issuer(text: &str, issuers: &[&Issuer]) -> Result<String, Flaw> {
    let hint = || {
        let login: Vec<_> = issuers.iter().filter(|one| one.login).map(|one| format!("`{}`", one.issuer)).collect();
        match login.is_empty() {
            true => "set `login: true` for the issuer of your own people".to_owned(),
            false => format!("use {}", login.join(" or ")),
        }
    };
    match issuers.iter().find(|issuer| issuer.issuer == text) {
        None => Err(Flaw::new(format!("`{text}` is not among `issuers`"), hint())),
        Some(issuer) if !issuer.login => {
            Err(Flaw::new(format!("`{text}` has no `login: true`, so nobody there is a user of this gateway"), hint()))
        }
        Some(_) => Ok(text.to_owned()),
    }
}

fn scope(text: &str) -> Result<String, Flaw> {
    // RFC 6749 appendix A.4.
    match text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\') {
        true => Ok(text.to_owned()),
        false => Err(Flaw::new("is no scope", "write one scope an item, without spaces")),
    }
}
