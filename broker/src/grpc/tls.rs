//! The TCP listener for proxies on other machines: mutual TLS, and a list of the names that may come in (H16).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::Stream;
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::certificates::{CertificateError, Certificates};
use super::connection::Connection;
use super::socket::ACCEPT_PAUSE;
use crate::config::PeerTls;
use crate::peer::{Peer, PeerIdentity, San, Scope};

/// How long a handshake may take: whoever is silent must not hold a place.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Handshakes at once; more wait in the kernel's queue.
const HANDSHAKES: usize = 256;

/// How often the files of certificates are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Longest time that a timer is set for.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Why the broker does not listen there.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The system refused.
    #[error("grpc.listen: {address} cannot be listened on")]
    Bind {
        /// As configured.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Its certificates.
    #[error("grpc.tls")]
    Certificates(#[from] CertificateError),
}

/// The listener, bound, with good certificates.
#[derive(Debug)]
pub(super) struct TlsListener {
    tcp: TcpListener,
    certificates: Certificates,
    peers: Vec<(San, Scope)>,
}

impl TlsListener {
    /// Binds it, after its files were found good.
    pub(super) async fn bind(config: &PeerTls) -> Result<Self, TlsError> {
        let certificates = Certificates::load(config)?;
        let address = config.listen;
        let tcp = TcpListener::bind(address).await.map_err(|source| TlsError::Bind { address, source })?;
        Ok(Self { tcp, certificates, peers: config.peers.clone() })
    }

    /// Connections of listed proxies, until the stream is dropped.
    pub(super) fn incoming(self) -> impl Stream<Item = io::Result<Connection>> + Send {
        let (sender, receiver) = mpsc::channel(1);
        let listener = Arc::new(self);
        tokio::spawn(Arc::clone(&listener).look_at_files(sender.clone()));
        tokio::spawn(listener.accept(sender));
        ReceiverStream::new(receiver)
    }

    /// So that authorities that were taken out are felt where no new proxy comes in.
    async fn look_at_files(self: Arc<Self>, taken: mpsc::Sender<io::Result<Connection>>) {
        loop {
            tokio::select! {
                () = taken.closed() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let _ = self.certificates.handshakes();
        }
    }

    async fn accept(self: Arc<Self>, taken: mpsc::Sender<io::Result<Connection>>) {
        let places = Arc::new(Semaphore::new(HANDSHAKES));
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let accepted = tokio::select! {
                () = taken.closed() => return,
                accepted = self.tcp.accept() => accepted,
            };
            let (stream, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (listener, taken) = (Arc::clone(&self), taken.clone());
            // On a task of its own: one that dawdles keeps nobody waiting.
            tokio::spawn(async move {
                let done = tokio::time::timeout(HANDSHAKE, listener.shake_hands(stream)).await;
                drop(place);
                match done.unwrap_or(Err(Stranger::Silent)) {
                    Ok(connection) => drop(taken.send(Ok(connection)).await),
                    Err(why) => {
                        metrics::counter!("sallyport_peers_refused_total").increment(1);
                        tracing::warn!(%from, %why, "a proxy was refused");
                    }
                }
            });
        }
    }

    async fn shake_hands(&self, stream: TcpStream) -> Result<Connection, Stranger> {
        // Snapshots and credentials are small and awaited.
        stream.set_nodelay(true).map_err(Stranger::Handshake)?;
        let handshakes = self.certificates.handshakes();
        let stream = TlsAcceptor::from(handshakes.config).accept(stream).await.map_err(Stranger::Handshake)?;
        let peer = self.peer(&stream)?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let lasts = lasts(chain, SystemTime::now()).ok_or(Stranger::Nameless)?;
        let proven = async move {
            let _ = tokio::time::timeout(lasts, handshakes.replaced.cancelled()).await;
        };
        Ok(Connection::tls(stream, Arc::new(peer), Box::pin(proven)))
    }

    fn peer(&self, stream: &TlsStream<TcpStream>) -> Result<Peer, Stranger> {
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).ok_or(Stranger::Nameless)?;
        let named = sans(certificate).ok_or(Stranger::Nameless)?;
        match self.peers.iter().find(|(san, _)| named.contains(san)) {
            Some((san, scope)) => Ok(Peer { identity: PeerIdentity::San(san.clone()), scope: scope.clone() }),
            None => Err(Stranger::NotListed(named)),
        }
    }
}

/// Why a connection was closed.
#[derive(Debug, thiserror::Error)]
enum Stranger {
    #[error("no handshake in time")]
    Silent,
    #[error("no handshake: {0}")]
    Handshake(io::Error),
    #[error("its certificate has no readable subject alternative name")]
    Nameless,
    #[error("`grpc.allowed_peers` lists none of the names in its certificate: {0:?}")]
    NotListed(Vec<San>),
}

/// How long a chain that was checked is valid still: as long as each certificate of it that was shown.
fn lasts(chain: &[CertificateDer<'_>], now: SystemTime) -> Option<Duration> {
    let now = now.duration_since(UNIX_EPOCH).ok()?;
    let ends = chain.iter().map(|certificate| {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        u64::try_from(certificate.validity().not_after.timestamp()).ok().map(Duration::from_secs)
    });
    // The second that it names belongs to it (RFC 5280 §4.1.2.5).
    let end = ends.collect::<Option<Vec<_>>>()?.into_iter().min()? + Duration::from_secs(1);
    Some(end.saturating_sub(now).min(LONGEST))
}

/// Names of a certificate whose chain was checked; none if any part cannot be read.
fn sans(certificate: &[u8]) -> Option<Vec<San>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let known = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(San::Dns(name.to_ascii_lowercase())),
        GeneralName::URI(uri) => Some(San::Uri((*uri).to_owned())),
        _ => None,
    };
    Some(names.value.general_names.iter().filter_map(known).collect())
}

#[cfg(test)]
mod tests;
