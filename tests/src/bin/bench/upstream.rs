//! The upstream of all sides: answers every call alike, as fast as a read and a write, and looks who it is called as.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use anyhow::Result;

/// Body of every request.
pub(crate) const CALL: &[u8] =
    br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hello"}}}"#;

/// Body of every answer: 186 bytes, as the first figures were taken with.
pub(crate) const ANSWER: &[u8] = br#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"The answer of a tool that had little to say, and said it in as many words as were needed."}],"isError":false,"n":186}}"#;

/// Of so many requests on one connection, one is looked at.
const LOOKED_AT: u64 = 16;

/// The upstream.
pub(crate) struct Upstream {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    tally: Arc<Tally>,
}

#[derive(Default)]
struct Tally {
    calls: AtomicU64,
    swapped: AtomicU64,
    unswapped: AtomicU64,
}

/// What was seen since the last time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// All requests.
    pub(crate) calls: u64,
    /// Of those looked at: with the credential, and no other `authorization`.
    pub(crate) swapped: u64,
    /// Of those looked at: all others.
    pub(crate) unswapped: u64,
}

impl Upstream {
    /// Starts it; calls should come with `Bearer <credential>`.
    ///
    /// # Errors
    /// When no port is free.
    pub(crate) fn start(credential: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let tally = Arc::new(Tally::default());
        let (shared, expected) = (tally.clone(), format!("\r\nauthorization: Bearer {credential}\r\n"));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (tally, expected) = (shared.clone(), expected.clone());
                // A proxy that closes a connection ends its thread, and nothing else.
                thread::spawn(move || serve(stream, &tally, expected.as_bytes()));
            }
        });
        Ok(Self { address, tally })
    }

    /// What was seen since this was asked last.
    pub(crate) fn seen(&self) -> Seen {
        let take = |count: &AtomicU64| count.swap(0, Ordering::SeqCst);
        Seen {
            calls: take(&self.tally.calls),
            swapped: take(&self.tally.swapped),
            unswapped: take(&self.tally.unswapped),
        }
    }
}

fn serve(mut stream: TcpStream, tally: &Tally, expected: &[u8]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", ANSWER.len());
    let answer = [head.as_bytes(), ANSWER].concat();
    let mut buffer = vec![0; 64 * 1024];
    for count in 0.. {
        let mut length = 0;
        while !buffer[..length].ends_with(CALL) {
            match stream.read(&mut buffer[length..])? {
                0 => return Ok(()),
                read => length += read,
            }
        }
        tally.calls.fetch_add(1, Ordering::SeqCst);
        if count % LOOKED_AT == 0 {
            let swapped = is_swapped(&buffer[..length], expected);
            if swapped { &tally.swapped } else { &tally.unswapped }.fetch_add(1, Ordering::SeqCst);
        }
        stream.write_all(&answer)?;
    }
    Ok(())
}

fn is_swapped(request: &[u8], expected: &[u8]) -> bool {
    let count = |wanted: &[u8]| request.windows(wanted.len()).filter(|part| part.eq_ignore_ascii_case(wanted)).count();
    count(b"\r\nauthorization:") == 1 && request.windows(expected.len()).any(|part| part == expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_has_the_length_it_should_have() {
        assert_eq!(ANSWER.len(), 186);
    }

    #[test]
    fn i1_a_token_beside_the_credential_is_noticed() {
        let expected = b"\r\nauthorization: Bearer up\r\n";
        assert!(is_swapped(b"POST /\r\nauthorization: Bearer up\r\n\r\n", expected));
        assert!(!is_swapped(b"POST /\r\nauthorization: Bearer in\r\n\r\n", expected));
        assert!(!is_swapped(b"POST /\r\nauthorization: Bearer up\r\nAuthorization: Bearer in\r\n\r\n", expected));
        assert!(!is_swapped(b"POST /\r\n\r\n", expected));
    }
}
