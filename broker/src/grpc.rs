//! The filter's API over gRPC: limits, and the mapping of use cases to messages. Decides nothing.

mod certificates;
mod connection;
mod socket;
mod tls;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use sallyport_proto::broker::broker_server::{Broker, BrokerServer};
use sallyport_proto::broker::{
    AcquireCredentialRequest, AcquireCredentialResponse, RecordCallsRequest, RecordCallsResponse,
    RejectCredentialRequest, ResolveKeyRequest, ResolveKeyResponse, Update, WatchSnapshotRequest,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tonic::{Request, Response, Status};

#[cfg(test)]
mod tests;

pub use certificates::CertificateError;
pub use connection::Connection;
pub use socket::SocketError;
pub use tls::TlsError;

use socket::SocketListener;
use tls::TlsListener;

use crate::config::Config;
use crate::peer::Peer;
use crate::service::{ReportError, Service};
use crate::xds::Ads;

/// Largest message taken; the largest that is sent by a well-behaved filter is a batch of reports.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// Calls at work at once, over all connections; more are told to come back.
const MAX_CALLS: usize = 2048;

/// Snapshot streams open at once: one for each worker of each proxy.
const MAX_WATCHERS: usize = 32 * 1024;

/// Streams of one connection.
const MAX_STREAMS: u32 = 1024;

/// Longest name of a proxy.
const MAX_NAME: usize = 256;

/// What is logged of a filter's version.
const MAX_VERSION: usize = 64;

/// How often a silent connection is asked whether it lives.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// The gRPC service.
pub struct Grpc {
    service: Service,
    calls: Arc<Semaphore>,
    watchers: Arc<Semaphore>,
    stop: CancellationToken,
}

/// Why proxies cannot reach the broker.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The Unix socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The TCP listener.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Where proxies come in, bound.
pub struct Listeners {
    socket: Option<SocketListener>,
    tls: Option<TlsListener>,
}

/// Binds what the configuration says. Needs a running `tokio`, and the key file in its place.
///
/// # Errors
/// If one of them cannot be bound; then none is.
pub async fn listen(config: &Config) -> Result<Listeners, ListenError> {
    let socket = config.grpc.socket.as_ref();
    let socket = socket.map(|socket| socket::listener(socket, config)).transpose()?;
    let tls = match &config.grpc.tls {
        Some(tls) => Some(TlsListener::bind(tls).await?),
        None => None,
    };
    Ok(Listeners { socket, tls })
}

impl Listeners {
    /// Connections of proxies that have proven who they are.
    pub fn incoming(self) -> impl Stream<Item = std::io::Result<Connection>> + Send {
        let socket = self.socket.map(|socket| socket.incoming().boxed());
        let tls = self.tls.map(|tls| tls.incoming().boxed());
        futures::stream::select_all(socket.into_iter().chain(tls))
    }
}

/// Whose request it is. One that came by no connection of ours is nobody's (I8).
pub(crate) fn peer<T>(request: &Request<T>) -> Result<Arc<Peer>, Status> {
    let peer = request.extensions().get::<Arc<Peer>>();
    peer.cloned().ok_or_else(|| Status::permission_denied("nobody has proven who asks"))
}

/// All that proxies reach, and nobody else: the filter's API, Envoy's own, and the pages that they pass on to people, whose
/// addresses only a proxy may tell. Its streams end with `stop`.
pub fn router(service: Service, ads: Ads, pages: axum::Router, stop: CancellationToken) -> Router {
    let grpc = Grpc {
        service,
        calls: Arc::new(Semaphore::new(MAX_CALLS)),
        watchers: Arc::new(Semaphore::new(MAX_WATCHERS)),
        stop,
    };
    let broker = BrokerServer::new(grpc).max_decoding_message_size(MAX_MESSAGE);
    // Whatever else is asked for gets the pages' answer to it, if they have one.
    let apis = Routes::new(broker).add_service(ads.service()).into_axum_router().reset_fallback();
    Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_routes(Routes::from(apis.merge(pages)))
}

impl Grpc {
    fn call(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Status> {
        self.calls.try_acquire().map_err(|_| Status::resource_exhausted("too many calls at once"))
    }
}

#[tonic::async_trait]
impl Broker for Grpc {
    type WatchSnapshotStream = Pin<Box<dyn Stream<Item = Result<Update, Status>> + Send>>;

    async fn watch_snapshot(
        &self,
        request: Request<WatchSnapshotRequest>,
    ) -> Result<Response<Self::WatchSnapshotStream>, Status> {
        let peer = peer(&request)?;
        let WatchSnapshotRequest { proxy, version, filter_version } = request.into_inner();
        if proxy.is_empty() || proxy.len() > MAX_NAME {
            return Err(Status::invalid_argument("the proxy must say its node id"));
        }
        let watcher = Arc::clone(&self.watchers).try_acquire_owned();
        let watcher = watcher.map_err(|_| Status::resource_exhausted("too many snapshot streams"))?;
        let filter_version: String = filter_version.chars().take(MAX_VERSION).collect();
        tracing::info!(peer = %peer.identity, proxy = ?proxy, version, ?filter_version, "a proxy watches");
        let updates = self.service.publisher().updates(version, peer.scope.clone()).map(move |update| {
            let _watching = &watcher;
            Ok(update)
        });
        Ok(Response::new(Box::pin(updates.take_until(self.stop.clone().cancelled_owned()))))
    }

    async fn acquire_credential(
        &self,
        request: Request<AcquireCredentialRequest>,
    ) -> Result<Response<AcquireCredentialResponse>, Status> {
        let _call = self.call()?;
        Ok(Response::new(self.service.acquire(&*peer(&request)?, request.get_ref()).await))
    }

    async fn resolve_key(&self, request: Request<ResolveKeyRequest>) -> Result<Response<ResolveKeyResponse>, Status> {
        let (_call, _) = (self.call()?, peer(&request)?);
        Ok(Response::new(self.service.resolve_key(request.get_ref()).await))
    }

    async fn reject_credential(
        &self,
        request: Request<RejectCredentialRequest>,
    ) -> Result<Response<AcquireCredentialResponse>, Status> {
        let _call = self.call()?;
        Ok(Response::new(self.service.reject(&*peer(&request)?, request.get_ref()).await))
    }

    async fn record_calls(
        &self,
        request: Request<RecordCallsRequest>,
    ) -> Result<Response<RecordCallsResponse>, Status> {
        let (_call, peer) = (self.call()?, peer(&request)?);
        let service = self.service.clone();
        // Detached: a proxy that hangs up must not come between a batch and the row that says what it lacks.
        let recording = tokio::spawn(async move { service.record_calls(&peer, request.into_inner()).await });
        match recording.await {
            Ok(Ok(recorded)) => Ok(Response::new(recorded)),
            Ok(Err(ReportError::Malformed)) => Err(Status::invalid_argument(ReportError::Malformed.to_string())),
            Ok(Err(error @ ReportError::Store(_))) => Err(Status::unavailable(error.to_string())),
            Err(_) => Err(Status::internal("the broker failed")),
        }
    }
}
