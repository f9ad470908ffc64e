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
    time::{Instant, SystemTime},
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

/// Among the extensions of every request: what is to happen once its reply is in the kernel's hands, where even a peer that
/// is killed in that instant leaves the reply sent.
#[derive(Clone, Default)]
pub(crate) struct Sent {
    deed: Arc<Mutex<Deed>>,
    last_write: Arc<Mutex<Option<Moment>>>,
}

/// By both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) instant: Instant,
    pub(crate) time: SystemTime,
}

#[derive(Default)]
enum Deed {
    #[default]
    None,
    WhenWritten(Box<dyn FnOnce() + Send>),
    WhenFlushed(Box<dyn FnOnce() + Send>),
}

impl Sent {
    /// Does this once the reply is sent.
    pub(crate) fn then(&self, deed: impl FnOnce() + Send + 'static) {
        *self.deed.lock().expect("no holder panics") = Deed::WhenWritten(Box::new(deed));
    }

    /// When something was last about to be given to the kernel: no later than anybody could read it.
    pub(crate) fn last_write(&self) -> Option<Moment> {
        *self.last_write.lock().expect("no holder panics")
    }

    fn writes(&self) {
        let now = Moment { instant: Instant::now(), time: SystemTime::now() };
        *self.last_write.lock().expect("no holder panics") = Some(now);
    }

    fn written(&self) {
        let mut state = self.deed.lock().expect("no holder panics");
        *state = match std::mem::take(&mut *state) {
            Deed::WhenWritten(deed) => Deed::WhenFlushed(deed),
            other => other,
        };
    }

    fn flushed(&self) {
        let mut state = self.deed.lock().expect("no holder panics");
        match std::mem::take(&mut *state) {
            Deed::WhenFlushed(deed) => deed(),
            other => *state = other,
        }
    }
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
                    serve(stream, received, answer).await;
                }
                Some(tls) => {
                    if let Ok(inner) = tls.accept(stream).await {
                        connections.fetch_add(1, Ordering::SeqCst);
                        serve(inner, received, answer).await;
                    }
                }
            }
        });
        while serving.try_join_next().is_some() {}
    }
}

async fn serve<S, F, A>(inner: S, received: Arc<Mutex<Vec<u8>>>, answer: F)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Reply> + Send + 'static,
{
    let sent = Sent::default();
    let stream = TokioIo::new(Tee { inner, received, sent: sent.clone() });
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(sent.clone());
        answer(request)
    });
    // A peer that breaks off is not our failure; what it sent is in the records.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await;
}

/// Keeps a copy of what is read, and notices when a reply is out.
struct Tee<S> {
    inner: S,
    received: Arc<Mutex<Vec<u8>>>,
    sent: Sent,
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
        let this = self.get_mut();
        this.sent.writes();
        let count = ready!(Pin::new(&mut this.inner).poll_write(cx, bytes))?;
        this.sent.written();
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.inner).poll_flush(cx))?;
        this.sent.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
