//! A link to a server that can be slow, or cut in the middle of everything.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the link does with what is sent over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Carries it.
    Open,
    /// Carries it, each piece this much later, to either side.
    Slow(Duration),
    /// Carries nothing, and says nothing of it: neither a connection that is there nor a new one ends.
    Partitioned,
    /// Ends every connection, and each new one at once.
    Cut,
}

/// The link; it ends with this value.
pub struct Link {
    port: u16,
    mode: watch::Sender<Mode>,
    accepting: JoinHandle<()>,
}

impl Link {
    /// To a port of this machine.
    ///
    /// # Panics
    /// When loopback has no port left.
    pub async fn to(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let mode = watch::Sender::new(Mode::Open);
        let told = Arc::new(mode.subscribe());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, server, watch::Receiver::clone(&told)));
            }
        });
        Self { port, mode, accepting }
    }

    /// Where it begins.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From here on.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
        self.set(Mode::Cut);
    }
}

async fn carry(client: TcpStream, server: u16, mode: watch::Receiver<Mode>) {
    let (mut told, mut whole) = (mode.clone(), mode.clone());
    let carried = async {
        whole.wait_for(|mode| *mode != Mode::Partitioned).await.ok()?;
        let server = TcpStream::connect(("127.0.0.1", server)).await.ok()?;
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        tokio::select! {
            _ = pipe(from_client, to_server, mode.clone()) => {}
            _ = pipe(from_server, to_client, mode) => {}
        }
        Some(())
    };
    tokio::select! {
        _ = carried => {}
        _ = told.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

async fn pipe(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
) -> io::Result<()> {
    let mut piece = vec![0; 16 * 1024];
    loop {
        let length = from.read(&mut piece).await?;
        if length == 0 {
            return Ok(());
        }
        let now = *mode.borrow_and_update();
        match now {
            Mode::Open | Mode::Cut => {}
            Mode::Slow(by) => tokio::time::sleep(by).await,
            Mode::Partitioned => {
                // What was sent meanwhile is sent again by TCP, once the network is whole.
                let _ = mode.wait_for(|mode| *mode != Mode::Partitioned).await;
            }
        }
        to.write_all(&piece[..length]).await?;
    }
}
