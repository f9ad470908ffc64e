//! HTTP/1.1 byte by byte, for what no client library would send.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const PATIENCE: Duration = Duration::from_secs(40);

/// A TCP connection to the gateway.
pub struct RawConnection(TcpStream);

/// An answer, as far as it came before the connection ended.
#[derive(Debug)]
pub struct RawReply {
    /// Status of the first answer; `None` if the connection ended without one.
    pub status: Option<u16>,
    /// Everything.
    pub text: String,
}

impl RawConnection {
    /// Connects.
    ///
    /// # Panics
    /// When nobody listens.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the gateway listens");
        stream.set_nodelay(true).expect("it is a TCP socket");
        Self(stream)
    }

    /// Sends bytes; false when the other side has closed.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).await.is_ok()
    }

    /// Reads what is there within `patience`; `None` when nothing is.
    pub async fn read_some(&mut self, patience: Duration) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 16_384];
        let size = tokio::time::timeout(patience, self.0.read(&mut buffer)).await.ok()?.unwrap_or(0);
        buffer.truncate(size);
        Some(buffer)
    }

    /// Reads until the answer is whole or the other side closes.
    ///
    /// # Panics
    /// When it does not within 40 seconds.
    pub async fn finish(mut self) -> RawReply {
        let mut bytes = Vec::new();
        let read = async {
            let mut buffer = [0; 16_384];
            // A reset after the answer is an end like any other.
            while !is_whole(&bytes) {
                match self.0.read(&mut buffer).await {
                    Ok(size @ 1..) => bytes.extend_from_slice(&buffer[..size]),
                    Ok(0) | Err(_) => break,
                }
            }
        };
        let ended = tokio::time::timeout(PATIENCE, read).await;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(ended.is_ok(), "no end within {PATIENCE:?}: {text}");
        let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
        RawReply { status, text }
    }

    /// Sends one whole request and reads its answer.
    pub async fn exchange(address: SocketAddr, request: &[u8]) -> RawReply {
        let mut connection = Self::open(address).await;
        // Refusals may come before the request is out.
        let _ = connection.send(request).await;
        connection.finish().await
    }
}

/// Whether these bytes are an answer with its whole body, by length or by chunks.
fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    match length.and_then(|length| length.trim().parse::<usize>().ok()) {
        Some(length) => body.len() >= length,
        None => head.contains("transfer-encoding: chunked") && body.ends_with("0\r\n\r\n"),
    }
}
