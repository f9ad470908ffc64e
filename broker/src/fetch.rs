//! HTTP to places that somebody else named: identity providers, token endpoints.
//!
//! A URL is an instruction to connect, and whoever writes it must not reach what only this machine can (SSRF). So: https
//! only, except to a loopback address that the operator lists; the addresses behind a name are judged after resolution,
//! and exactly the judged ones are connected to (no second look-up to be given another answer); no redirects; no proxy
//! from the environment; no credentials in URLs; and an end to size and time.

mod address;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures::StreamExt;
use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use url::{Host, Url};
use zeroize::Zeroizing;

use crate::secret::Secret;
pub use address::Lookup;
use address::Reach;

/// The largest answer that is read, in bytes.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// How long one exchange may take, from the look-up to the last byte.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection is kept for the next exchange. Shorter than any server that is known keeps its own (node: 5 s):
/// what was sent over one that its server was just closing has an outcome that nobody knows, and a refresh token may be used
/// up by it.
const IDLE: Duration = Duration::from_secs(2);

/// How long a connection may take to come about. Shorter than any exchange: it must be known that nothing was sent.
const CONNECT: Duration = Duration::from_secs(4);

/// Why nothing was fetched. Holds no URL: it may carry what nobody should read.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Neither https, nor http to a loopback address.
    #[error("only https is fetched, and http from loopback addresses that network.allow lists")]
    Scheme,
    /// A user name or password in the URL.
    #[error("a URL with credentials in it is not fetched")]
    Credentials,
    /// No address of the host may be reached.
    #[error("the host has no address that may be reached; list its network under network.allow if it should be")]
    Address,
    /// No answer in the time that was given.
    #[error("there was no complete answer in time")]
    Timeout,
    /// More than [`MAX_BODY_BYTES`].
    #[error("the answer is larger than 1 MiB")]
    TooLarge,
    /// No connection, so nothing was sent.
    #[error("there is no connection")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// HTTP, or a connection that broke.
    #[error("the exchange failed")]
    Exchange(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Why there is no [`Fetcher`].
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// Not PEM, or no certificate in it.
    #[error("network.ca_file holds no readable certificate")]
    CaFile,
    /// TLS could not be set up.
    #[error("TLS could not be set up")]
    Tls(#[from] rustls::Error),
    /// The client could not be set up.
    #[error("the HTTP client could not be set up")]
    Client(#[from] reqwest::Error),
}

/// What to ask.
pub struct Request {
    /// HTTP method.
    pub method: Method,
    /// Where.
    pub url: Url,
    /// Sent as they are; mark values that are secret as sensitive.
    pub headers: HeaderMap,
    /// Sent as it is; may hold client secrets.
    pub body: Option<Secret>,
    /// For the whole exchange.
    pub timeout: Duration,
}

impl Request {
    /// A GET without anything, answered within [`TIMEOUT`].
    pub fn get(url: Url) -> Self {
        Self { method: Method::GET, url, headers: HeaderMap::new(), body: None, timeout: TIMEOUT }
    }
}

/// What was answered, whatever the status: redirects too are only reported.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The whole body; may hold tokens.
    pub body: Secret,
}

/// The guarded client. Cheap to clone.
#[derive(Clone)]
pub struct Fetcher {
    /// For https: any address that is public or listed.
    secure: reqwest::Client,
    /// For http: loopback addresses that are listed.
    loopback: reqwest::Client,
    allow: Arc<[IpNet]>,
}

impl Fetcher {
    /// A client that reaches public addresses and the networks in `allow`. `ca_pem` replaces the system's certificate
    /// authorities.
    ///
    /// # Errors
    /// [`SetUpError`].
    pub fn new(allow: &[IpNet], ca_pem: Option<&[u8]>) -> Result<Self, SetUpError> {
        Self::with_lookup(allow, ca_pem, Arc::new(address::System), CONNECT)
    }

    /// `connect`: for the look-up, the connection and its handshake.
    pub(crate) fn with_lookup(
        allow: &[IpNet],
        ca_pem: Option<&[u8]>,
        lookup: Arc<dyn Lookup>,
        connect: Duration,
    ) -> Result<Self, SetUpError> {
        let allow: Arc<[IpNet]> = allow.into();
        let tls = tls(ca_pem)?;
        let client = |reach: Reach| {
            let resolver = Guard { lookup: Arc::clone(&lookup), allow: Arc::clone(&allow), reach };
            reqwest::Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .dns_resolver(Arc::new(resolver))
                .https_only(matches!(reach, Reach::PublicOrListed))
                .http1_only()
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .referer(false)
                .connect_timeout(connect)
                .pool_idle_timeout(IDLE)
                .user_agent(concat!("sallyport/", env!("CARGO_PKG_VERSION")))
                .build()
        };
        Ok(Self { secure: client(Reach::PublicOrListed)?, loopback: client(Reach::ListedLoopback)?, allow })
    }

    /// Asks, and reads the whole answer.
    ///
    /// # Errors
    /// [`FetchError`]; nothing was sent if it is `Scheme`, `Credentials` or `Address`.
    pub async fn send(&self, request: Request) -> Result<Answer, FetchError> {
        let client = self.client_for(&request.url)?;
        let mut builder = client.request(request.method, request.url).headers(request.headers).timeout(request.timeout);
        if let Some(body) = request.body {
            builder = builder.body(Bytes::from_owner(Sent(body)));
        }
        let response = builder.send().await.map_err(exchange_error)?;
        let (status, headers) = (response.status(), response.headers().clone());
        if response.content_length().is_some_and(|length| length > MAX_BODY_BYTES as u64) {
            return Err(FetchError::TooLarge);
        }
        let mut body = Zeroizing::new(Vec::new());
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(exchange_error)?;
            if body.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(FetchError::TooLarge);
            }
            append(&mut body, &chunk);
        }
        Ok(Answer { status, headers, body: Secret::new(std::mem::take(&mut *body)) })
    }

    /// Judges what can be judged without a look-up: scheme, credentials, and addresses written as such (which the
    /// resolver never sees). `url` has already turned decimal, octal and short forms into addresses.
    fn client_for(&self, url: &Url) -> Result<&reqwest::Client, FetchError> {
        let (client, reach) = match url.scheme() {
            "https" => (&self.secure, Reach::PublicOrListed),
            "http" => (&self.loopback, Reach::ListedLoopback),
            _ => return Err(FetchError::Scheme),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(FetchError::Credentials);
        }
        let refused = match reach {
            Reach::ListedLoopback => FetchError::Scheme,
            Reach::PublicOrListed => FetchError::Address,
        };
        match url.host() {
            Some(Host::Ipv4(address)) if !reach.permits(address.into(), &self.allow) => Err(refused),
            Some(Host::Ipv6(address)) if !reach.permits(address.into(), &self.allow) => Err(refused),
            Some(Host::Ipv4(_) | Host::Ipv6(_) | Host::Domain(_)) => Ok(client),
            None => Err(FetchError::Scheme),
        }
    }
}

/// Resolves names to permitted addresses only. The client connects to what this answers and to nothing else.
struct Guard {
    lookup: Arc<dyn Lookup>,
    allow: Arc<[IpNet]>,
    reach: Reach,
}

/// Marks a refusal of [`Guard`] inside the client's own error.
#[derive(Debug, thiserror::Error)]
#[error("no permitted address")]
struct NoPermittedAddress;

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (lookup, allow, reach) = (Arc::clone(&self.lookup), Arc::clone(&self.allow), self.reach);
        Box::pin(async move {
            let mut addresses = lookup.lookup(name.as_str()).await?;
            addresses.retain(|address| reach.permits(address.ip(), &allow));
            if addresses.is_empty() {
                return Err(NoPermittedAddress.into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// A body on its way. Not copied, and zeroized once it was sent.
struct Sent(Secret);

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        // Exposed to be sent to the endpoint it is meant for.
        self.0.expose()
    }
}

/// Appends without leaving behind what was outgrown: that may be half a token.
fn append(body: &mut Zeroizing<Vec<u8>>, chunk: &[u8]) {
    let length = body.len() + chunk.len();
    if length > body.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(length.next_power_of_two()));
        larger.extend_from_slice(body);
        *body = larger;
    }
    body.extend_from_slice(chunk);
}

fn exchange_error(error: reqwest::Error) -> FetchError {
    // First: a connection that did not come in time is one over which nothing was sent, and a time-out as well.
    let is_connect = error.is_connect();
    if error.is_timeout() && !is_connect {
        return FetchError::Timeout;
    }
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(inner) = cause {
        if inner.is::<NoPermittedAddress>() {
            return FetchError::Address;
        }
        cause = inner.source();
    }
    // The URL may carry what nobody should read.
    let error = Box::new(error.without_url());
    if is_connect { FetchError::Connection(error) } else { FetchError::Exchange(error) }
}

/// How servers are verified: by these certificate authorities, or by the system's.
pub(crate) fn tls(ca_pem: Option<&[u8]>) -> Result<rustls::ClientConfig, SetUpError> {
    let mut roots = rustls::RootCertStore::empty();
    match ca_pem {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                roots.add(certificate.map_err(|_| SetUpError::CaFile)?).map_err(|_| SetUpError::CaFile)?;
            }
            if roots.is_empty() {
                return Err(SetUpError::CaFile);
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            // No reason not to start: everything may be on loopback. Whatever is https will be refused, and this says why.
            if roots.is_empty() {
                tracing::warn!("the system has no certificate authorities; install them or set network.ca_file");
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
pub(crate) mod tests;
