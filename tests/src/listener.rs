//! An HTTP server on loopback that answers by a closure: HTTP/1.1 and HTTP/2, with or without TLS, every received byte kept.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use futures::Stream;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Request, Response,
    body::{Bytes, Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpListener,
    task::AbortHandle,
};
use tokio_rustls::TlsAcceptor;

/// Body of an answer.
pub type Body = BoxBody<Bytes, io::Error>;
/// An answer; an error cuts the connection without one.
pub type Reply = Result<Response<Body>, io::Error>;

/// A body that is all there.
pub fn bytes_body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed()
}

/// No body.
pub fn empty_body() -> Body {
    bytes_body(Bytes::new())
}

/// A body that comes in pieces; an error cuts it off.
pub fn stream_body(pieces: impl Stream<Item = io::Result<Frame<Bytes>>> + Send + Sync + 'static) -> Body {
    BodyExt::boxed(StreamBody::new(pieces))
}

/// A server that listens until it is dropped.
pub struct Listening {
    /// Where.
    pub address: SocketAddr,
    accepting: AbortHandle,
    received: Arc<Mutex<Vec<u8>>>,
    connections: Arc<AtomicUsize>,
}

impl Listening {
    /// Starts a server that answers each request with what `answer` makes of it.
    pub async fn start<F, A>(tls: Option<TlsAcceptor>, answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Reply> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let received = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let accepting = crate::spawn(accept(listener, tls, answer, received.clone(), connections.clone()));
        Self { address, accepting: accepting.abort_handle(), received, connections }
    }

    /// Every byte received so far, on all connections; after TLS, where there is TLS.
    pub fn received(&self) -> Vec<u8> {
        self.received.lock().expect("no holder panics").clone()
    }

    /// How many connections were opened (and, with TLS, completed the handshake).
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Forgets what was received.
    pub fn forget(&self) {
        self.received.lock().expect("no holder panics").clear();
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept<F, A>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    answer: F,
    received: Arc<Mutex<Vec<u8>>>,
    connections: Arc<AtomicUsize>,
) where
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Reply> + Send + 'static,
{
    // Connections die with the listener: a dropped server is gone at once.
    let mut serving = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, answer, received, connections) = (tls.clone(), answer.clone(), received.clone(), connections.clone());
        serving.spawn(async move {
            let _ = stream.set_nodelay(true);
            match tls {
                None => {
                    connections.fetch_add(1, Ordering::SeqCst);
                    serve(Tee { inner: stream, received }, answer).await;
                }
                Some(tls) => {
                    if let Ok(inner) = tls.accept(stream).await {
                        connections.fetch_add(1, Ordering::SeqCst);
                        serve(Tee { inner, received }, answer).await;
                    }
                }
            }
        });
        while serving.try_join_next().is_some() {}
    }
}

async fn serve<S, F, A>(stream: S, answer: F)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Reply> + Send + 'static,
{
    // A peer that breaks off is not our failure; what it sent is in the records.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}

/// Keeps a copy of what is read.
struct Tee<S> {
    inner: S,
    received: Arc<Mutex<Vec<u8>>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Tee<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buffer))?;
        if let Some(new) = buffer.filled().get(before..) {
            this.received.lock().expect("no holder panics").extend_from_slice(new);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tee<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
