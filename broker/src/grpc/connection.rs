//! A connection of a proxy that has proven who it is, over either transport.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::peer::Peer;

/// Bytes to and from a proxy, and which proxy it is. There is none without a peer.
pub struct Connection {
    peer: Arc<Peer>,
    transport: Transport,
    /// Ends when what proved the peer counts no more; `None` once it has.
    proven: Option<Proven>,
}

/// Ends when what proved a peer counts no more.
pub(super) type Proven = Pin<Box<dyn Future<Output = ()> + Send>>;

enum Transport {
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    pub(super) fn unix(stream: UnixStream, peer: Arc<Peer>) -> Self {
        Self { peer, transport: Transport::Unix(stream), proven: Some(Box::pin(std::future::pending())) }
    }

    pub(super) fn tls(stream: TlsStream<TcpStream>, peer: Arc<Peer>, proven: Proven) -> Self {
        Self { peer, transport: Transport::Tls(Box::new(stream)), proven: Some(proven) }
    }

    /// An error once nothing proves the peer any more; whoever reads is woken then.
    fn still_proven(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.proven.as_mut().is_some_and(|proven| proven.as_mut().poll(cx).is_ready()) {
            tracing::info!(peer = %self.peer.identity, "a connection is closed: the certificate that it began with counts no more");
            self.proven = None;
        }
        match self.proven {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
}

/// Every request of the connection carries its peer.
impl Connected for Connection {
    type ConnectInfo = Arc<Peer>;

    fn connect_info(&self) -> Self::ConnectInfo {
        Arc::clone(&self.peer)
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.still_proven(cx)?;
        match &mut self.transport {
            Transport::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Transport::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.proven.is_none() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        match &mut self.transport {
            Transport::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
