//! An HTTP/2 connection on which every frame of a request is chosen by the test.

use std::{net::SocketAddr, time::Duration};

use futures::{StreamExt, stream};
use http_body_util::BodyExt;
use hyper::{
    HeaderMap, Request,
    body::{Bytes, Frame},
    client::conn::http2,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;

use crate::{Body, Reply, empty_body, stream_body};

const PATIENCE: Duration = Duration::from_secs(30);

/// One frame after the headers.
#[derive(Clone, Debug)]
pub enum Piece {
    /// A DATA frame, possibly empty.
    Data(Vec<u8>),
    /// Trailers: these end the request.
    Trailers(HeaderMap),
    /// Nothing more, and no end of stream either.
    Silence,
}

impl Piece {
    /// One trailer.
    pub fn trailer(name: &'static str, value: &'static str) -> Self {
        let mut trailers = HeaderMap::new();
        trailers.insert(name, hyper::header::HeaderValue::from_static(value));
        Self::Trailers(trailers)
    }
}

/// An open connection; clones share it.
#[derive(Clone)]
pub struct Connection {
    sender: http2::SendRequest<Body>,
    authority: String,
}

impl Connection {
    /// Connects with prior knowledge.
    pub async fn open(address: SocketAddr, authority: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        crate::spawn(connection);
        Ok(Self { sender, authority: authority.to_owned() })
    }

    /// Sends a POST with these headers and frames; no pieces: the stream ends at its headers.
    pub async fn post(&self, path: &str, headers: &[(&str, &str)], pieces: Vec<Piece>) -> anyhow::Result<Reply> {
        let mut request = Request::post(format!("http://{}{path}", self.authority));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if pieces.is_empty() { empty_body() } else { frames(pieces) };
        let request = request.body(body)?;
        let mut sender = self.sender.clone();
        let answer = async {
            sender.ready().await?;
            let (parts, body) = sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes().to_vec();
            anyhow::Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body })
        };
        tokio::time::timeout(PATIENCE, answer).await?
    }

    /// One of many interleaved calls, its number for an id: every tenth is cancelled at some moment of the first five
    /// milliseconds, and then nothing is answered.
    ///
    /// # Panics
    /// When it is not cancelled and not answered, or with another call's id.
    pub async fn call_or_cancel(&self, number: usize, path: &str, token: &str) -> Option<Reply> {
        let authorization = format!("Bearer {token}");
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let body = json!({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": "echo"}});
        let sent = self.post(path, &headers, vec![Piece::Data(body.to_string().into_bytes())]);
        let reply = if number % 10 == 7 {
            let patience = Duration::from_micros(u64::try_from(number % 50).expect("small") * 100);
            tokio::time::timeout(patience, sent).await.ok()?
        } else {
            sent.await
        };
        let reply = reply.unwrap_or_else(|error| panic!("call {number}: {error}"));
        assert_eq!(reply.json()["id"], number, "call {number}");
        Some(reply)
    }
}

fn frames(pieces: Vec<Piece>) -> Body {
    let frames = stream::iter(pieces).then(|piece| async {
        match piece {
            Piece::Data(data) => Ok(Frame::data(Bytes::from(data))),
            Piece::Trailers(trailers) => Ok(Frame::trailers(trailers)),
            Piece::Silence => std::future::pending().await,
        }
    });
    stream_body(frames)
}
