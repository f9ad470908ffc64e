//! Where people sign in: this gateway as a client of one of the login issuers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::issuer::Issuer;
use crate::secret::Secret;
use crate::yaml::{Field, Fields, Flaw};

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
    pub client_secret: Option<ClientSecret>,
    /// Asked for; `openid` is among them.
    pub scopes: Vec<String>,
}

/// Where a client secret is.
#[derive(Clone, Debug)]
pub enum ClientSecret {
    /// In the configuration.
    Here(Arc<Secret>),
    /// In a file, alone.
    File(PathBuf),
    /// In an environment variable.
    Variable(String),
}

/// Why there is no client secret where the configuration says.
#[derive(Debug, thiserror::Error)]
pub enum ClientSecretError {
    /// The file cannot be read.
    #[error("sign_in.client_secret_file: cannot read {}", .0.display())]
    File(PathBuf, #[source] std::io::Error),
    /// The variable is not set, or is no text.
    #[error("sign_in.client_secret_env: `{0}` is not set")]
    Variable(String),
    /// There is nothing in it.
    #[error("the client secret of sign_in is empty")]
    Empty,
}

impl SignIn {
    pub(super) fn client_secret_file(&self) -> Option<&Path> {
        match &self.client_secret {
            Some(ClientSecret::File(file)) => Some(file),
            Some(ClientSecret::Here(_) | ClientSecret::Variable(_)) | None => None,
        }
    }
}

impl ClientSecret {
    /// Reads it; a line break at its end is the editor's.
    ///
    /// # Errors
    /// [`ClientSecretError`].
    pub fn read(&self) -> Result<Secret, ClientSecretError> {
        let read = match self {
            // Exposed to be copied: the configuration keeps its own.
            Self::Here(secret) => Secret::new(secret.expose()),
            Self::File(file) => {
                Secret::new(std::fs::read(file).map_err(|error| ClientSecretError::File(file.clone(), error))?)
            }
            Self::Variable(name) => {
                Secret::new(std::env::var(name).map_err(|_| ClientSecretError::Variable(name.clone()))?)
            }
        };
        // Exposed to be cut to what it is.
        match read.expose().trim_ascii() {
            [] => Err(ClientSecretError::Empty),
            secret => Ok(Secret::new(secret)),
        }
    }
}

pub(super) fn sign_in(field: &Field<'_>, issuers: &[&Issuer], base: &Path) -> Option<SignIn> {
    let fields = field.fields()?;
    let issuer = fields.required("issuer", "write the exact `issuer` of one of `issuers` with `login: true`");
    let issuer = issuer.and_then(|field| field.parse(|text| login_issuer(text, issuers)));
    let client_id = fields.required("client_id", "write the client id that this gateway has at the issuer");
    let client_id = client_id.and_then(|field| field.text()).map(str::to_owned);
    let client_secret = client_secret(&fields, base);
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
    fields.finish();
    Some(SignIn { issuer: issuer?, client_id: client_id?, client_secret, scopes })
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

/// At most one of three.
fn client_secret(fields: &Fields<'_>, base: &Path) -> Option<ClientSecret> {
    let read = |name, make: &dyn Fn(&str) -> ClientSecret| {
        fields.optional(name).and_then(|field| field.text().map(|text| (field.clone(), make(text))))
    };
    let given = [
        read("client_secret", &|text| ClientSecret::Here(Arc::new(Secret::new(text)))),
        read("client_secret_file", &|text| ClientSecret::File(base.join(text))),
        read("client_secret_env", &|text| ClientSecret::Variable(text.to_owned())),
    ];
    let mut given = given.into_iter().flatten();
    let first = given.next();
    for (field, _) in given {
        field.report(Flaw::new("is a second client secret", "keep one of the fields that hold it"));
    }
    first.map(|(_, secret)| secret)
}

fn scope(text: &str) -> Result<String, Flaw> {
    // RFC 6749 appendix A.4.
    match text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\') {
        true => Ok(text.to_owned()),
        false => Err(Flaw::new("is no scope", "write one scope an item, without spaces")),
    }
}
