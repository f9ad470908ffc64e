//! Where everything durable is.

use std::path::{Path, PathBuf};

use super::secret::{SecretError, SecretSource, secret};
use crate::store::postgres::{Address, UrlFlaw};
use crate::yaml::{Field, Fields, Flaw};

/// Connections of one broker to the database, where nothing else is said.
const CONNECTIONS: u32 = 16;

/// Where everything durable is.
#[derive(Clone, Debug)]
pub enum Store {
    /// A file in `data_dir`.
    Sqlite,
    /// A database that several brokers share.
    Postgres(Postgres),
}

/// A database that several brokers share.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// Its URL, which holds the password.
    pub url: SecretSource,
    /// PEM bundle of certificate authorities, besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Connections of this broker at most.
    pub connections: u32,
}

/// Why there is no address of the database.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// The URL is not where the configuration says.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// It is no URL of a database.
    #[error("store.postgres.url {0}")]
    Url(#[from] UrlFlaw),
}

impl Postgres {
    /// Where the database is.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn address(&self) -> Result<Address, AddressError> {
        Ok(Address::new(&self.url.read("store.postgres.url")?, self.ca_file.as_deref())?)
    }
}

pub(super) fn store(field: &Field<'_>, base: &Path) -> Option<Store> {
    let fields = field.fields()?;
    let postgres =
        fields.required("postgres", "write `postgres: { url_file: … }`, or remove `store` for a file in `data_dir`");
    let postgres = postgres.and_then(|field| field.fields()).and_then(|fields| postgres_of(fields, base));
    fields.finish();
    postgres.map(Store::Postgres)
}

fn postgres_of(fields: Fields<'_>, base: &Path) -> Option<Postgres> {
    let url = secret(&fields, ["url", "url_file", "url_env"], "URL", base);
    let ca_file = fields.optional("ca_file").and_then(|field| field.text()).map(|text| base.join(text));
    match &url {
        None => fields.report(Flaw::new("says no URL", "add `url_file` (best), `url_env` or `url`")),
        // What is in a file or a variable is looked at when it is read.
        Some((field, source @ SecretSource::Here(_))) => {
            let read = source.read("url").ok().map(|url| Address::new(&url, ca_file.as_deref()));
            if let Some(Err(flaw)) = read {
                field.report(Flaw::new(flaw.to_string(), "see the section on Postgres in docs/production.md"));
            }
        }
        Some((_, SecretSource::File(_) | SecretSource::Variable(_))) => {}
    }
    let connections = match fields.optional("connections") {
        None => Some(CONNECTIONS),
        Some(field) => match field.number() {
            Some(count @ 2..) => Some(count),
            Some(_) => {
                field.report(Flaw::new("is too few", "write 2 or more; 16 is the default"));
                None
            }
            None => None,
        },
    };
    fields.finish();
    Some(Postgres { url: url?.1, ca_file, connections: connections? })
}
