//! Where the database is, and by which way it is reached: TLS with the server's name verified, except on this machine.

use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr as _;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use crate::secret::Secret;

/// Where the database is. Never printed whole: it holds the password.
pub struct Address {
    pub(super) options: PgConnectOptions,
    /// Host, port and database, for people.
    pub(super) shown: String,
}

impl Address {
    /// Comes under this name, by which its connections are told from others.
    pub fn named(self, name: &str) -> Self {
        Self { options: self.options.application_name(name), ..self }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Why a URL is not taken. It is not repeated: it may hold a password.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UrlFlaw {
    /// No `postgres` URL.
    #[error(
        "is not a URL of Postgres; write `postgres://user:password@host:5432/database`, with what is special percent-encoded"
    )]
    NotPostgres,
    /// Something is left out that would come from the environment.
    #[error("names no {0}; write `postgres://user:password@host:5432/database`")]
    Lacks(&'static str),
    /// A parameter that means a session's setting, or nothing.
    #[error(
        "has the parameter `{0}`; only `host`, for the directory of the server's Unix socket, is known here: beyond this machine it is always TLS with the server's name verified"
    )]
    Parameter(String),
    /// There is no TLS on a Unix socket.
    #[error("names a Unix socket, on which there is no TLS: remove `ca_file`")]
    SocketWithAuthority,
}

impl Address {
    /// Reads a URL. On a Unix socket, and on loopback without `ca_file`, it is plain; else TLS with the server's name
    /// verified, by the system's authorities and those of `ca_file`.
    ///
    /// # Errors
    /// [`UrlFlaw`].
    pub fn new(url: &Secret, ca_file: Option<&Path>) -> Result<Self, UrlFlaw> {
        // Exposed to be read: the password goes to the driver.
        let text = url.expose_str().ok_or(UrlFlaw::NotPostgres)?.trim();
        let url = Url::parse(text).map_err(|_| UrlFlaw::NotPostgres)?;
        if !matches!(url.scheme(), "postgres" | "postgresql") || url.fragment().is_some() {
            return Err(UrlFlaw::NotPostgres);
        }
        let mut socket = None;
        for (name, value) in url.query_pairs() {
            match (&*name, &*value) {
                ("host", directory) if directory.starts_with('/') => socket = Some(directory.to_owned()),
                ("sslmode", "verify-full") => {}
                _ => return Err(UrlFlaw::Parameter(name.into_owned())),
            }
        }
        let host = url.host_str().unwrap_or_default();
        let database = url.path().trim_start_matches('/');
        for (part, is_there) in [
            ("host", socket.is_some() || !host.is_empty()),
            ("user", !url.username().is_empty()),
            ("database", !database.is_empty()),
        ] {
            if !is_there {
                return Err(UrlFlaw::Lacks(part));
            }
        }
        let options = PgConnectOptions::from_str(text).map_err(|_| UrlFlaw::NotPostgres)?;
        let options = match (&socket, ca_file) {
            (Some(_), Some(_)) => return Err(UrlFlaw::SocketWithAuthority),
            (Some(_), None) => options.ssl_mode(PgSslMode::Disable),
            (None, None) if is_loopback(host) => options.ssl_mode(PgSslMode::Disable),
            (None, None) => options.ssl_mode(PgSslMode::VerifyFull),
            (None, Some(file)) => options.ssl_mode(PgSslMode::VerifyFull).ssl_root_cert(file),
        };
        // No setting is the session's: PgBouncer would refuse it, or give it to somebody else.
        let options = options.application_name("sallyport").extra_float_digits(None).statement_cache_capacity(0);
        let port = url.port().unwrap_or(5432);
        let shown = match socket {
            Some(directory) => format!("Postgres database {database} at {directory}, port {port}"),
            None => format!("Postgres database {database} at {host}:{port}"),
        };
        Ok(Self { options: options.disable_statement_logging(), shown })
    }
}

/// An address of this machine, or the name that is always one (RFC 6761 §6.3).
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(url: &str, ca_file: Option<&str>) -> Result<Address, UrlFlaw> {
        Address::new(&Secret::new(url), ca_file.map(Path::new))
    }

    #[test]
    fn it_is_plain_on_this_machine_only_and_verified_everywhere_else() {
        for (url, ca_file, verified) in [
            ("postgres://u@localhost/d?host=/run/postgresql", None, false),
            ("postgres://u:p@127.0.0.1:5433/d", None, false),
            ("postgres://u:p@[::1]/d", None, false),
            ("postgresql://u:p@localhost/d", None, false),
            ("postgres://u:p@localhost/d", Some("/ca.pem"), true),
            ("postgres://u:p@10.0.0.1/d", None, true),
            ("postgres://u:p@db.example.com/d?sslmode=verify-full", None, true),
            ("postgres://u:p@localhost.example.com/d", None, true),
            ("postgres://u:p@db.example.com/d", Some("/ca.pem"), true),
        ] {
            let mode = address(url, ca_file).unwrap().options.get_ssl_mode();
            let expected = if verified { PgSslMode::VerifyFull } else { PgSslMode::Disable };
            assert!(std::mem::discriminant(&mode) == std::mem::discriminant(&expected), "{url}: {mode:?}");
        }
    }

    #[test]
    fn refuses_what_would_be_weaker_or_come_from_elsewhere() {
        for (url, flaw) in [
            ("mysql://u:p@db/d", UrlFlaw::NotPostgres),
            ("db.example.com", UrlFlaw::NotPostgres),
            ("postgres://u:p@db/d#x", UrlFlaw::NotPostgres),
            ("postgres:///d?host=/run/postgresql", UrlFlaw::Lacks("user")),
            ("postgres://u:p@db", UrlFlaw::Lacks("database")),
            ("postgres:///d", UrlFlaw::Lacks("host")),
            ("postgres://u:p@db/d?sslmode=require", UrlFlaw::Parameter("sslmode".to_owned())),
            ("postgres://u:p@db/d?sslmode=disable", UrlFlaw::Parameter("sslmode".to_owned())),
            ("postgres://u:p@db/d?host=elsewhere.example.com", UrlFlaw::Parameter("host".to_owned())),
            ("postgres://u:p@db/d?options=-csynchronous_commit%3Doff", UrlFlaw::Parameter("options".to_owned())),
        ] {
            assert_eq!(address(url, None).err(), Some(flaw), "{url}");
        }
        let socket = address("postgres://u@localhost/d?host=/run/postgresql", Some("/ca.pem"));
        assert_eq!(socket.err(), Some(UrlFlaw::SocketWithAuthority));
    }

    #[test]
    fn i9_no_part_of_the_password_is_shown() {
        assert!(!address("postgres://u:canary@db/d", None).unwrap().shown.contains("canary"));
        for url in ["postgres://u:canary@db", "postgres://u:canary@db:port/d", "postgres://u:canary@db/d?x=canary"] {
            let flaw = address(url, None).err().unwrap();
            assert!(!format!("{flaw} {flaw:?}").contains("canary"), "{flaw}");
        }
    }
}
