//! The Unix socket that proxies reach the broker by: who may open it, and who is behind a connection.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use tokio::net::{UnixListener, UnixStream};

use super::connection::Connection;
use crate::config::{Config, MasterKey, Mode, PeerSocket};
use crate::peer::{Peer, PeerIdentity, Scope};

/// Of the directory: its group may go through.
const DIRECTORY_MODE: u32 = 0o750;

/// Of the socket: its group may connect.
const SOCKET_MODE: u32 = 0o660;

/// Pause after a failed accept, for example when there are no file descriptors left.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why the broker does not listen.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// A proxy could read the master key itself.
    #[error(
        "grpc.allowed_peer_uids lists {uid}, which owns the key file; run proxy and broker under different users, or set `mode: demonstration`"
    )]
    PeerOwnsKey {
        /// The user.
        uid: u32,
    },
    /// Nobody could connect.
    #[error("grpc.allowed_peer_uids is empty; list the user that the proxy runs under")]
    NoPeers,
    /// Another process answers there.
    #[error("{} is in use by another process; stop it first", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Its directory is everybody's, such as `/tmp`.
    #[error("{} is a directory that everybody may write to; give the socket a directory of its own", path.display())]
    SharedDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// It is open to others, and closing it could shut them out of what else is in there.
    #[error(
        "{} has mode {mode:04o} and holds more than the socket; give the socket a directory of its own, or run `chmod 750` on this one",
        path.display()
    )]
    OpenDirectory {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Something that is no socket is there; it is left alone.
    #[error("{} exists and is no socket; remove it or choose another path", path.display())]
    NoSocket {
        /// What is in the way.
        path: PathBuf,
    },
    /// The system refused.
    #[error("{} cannot be {action}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The socket, bound. Connections of anybody who is not listed are closed before a byte is read.
#[derive(Debug)]
pub(super) struct SocketListener {
    socket: UnixListener,
    peers: Vec<(u32, Scope)>,
}

/// Binds the socket of the configuration. Needs a running `tokio`, and the key file in its place.
pub(super) fn listener(socket: &PeerSocket, config: &Config) -> Result<SocketListener, SocketError> {
    let peers = &socket.peers;
    if peers.is_empty() {
        return Err(SocketError::NoPeers);
    }
    for path in config.master_keys.iter().filter_map(MasterKey::file) {
        let owner = std::fs::metadata(path).map_err(at(path, "read"))?.uid();
        match config.mode {
            Mode::Standard if peers.iter().any(|(uid, _)| *uid == owner) => {
                return Err(SocketError::PeerOwnsKey { uid: owner });
            }
            Mode::Standard | Mode::Demonstration => {}
        }
    }
    bind(&socket.path, peers)
}

/// Binds a socket for these users.
pub(super) fn bind(path: &Path, peers: &[(u32, Scope)]) -> Result<SocketListener, SocketError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory).map_err(at(directory, "made"))?;
    close_to_others(directory, path)?;
    remove_stale(path)?;
    // Between these two lines the directory is what keeps others out, and the check of each peer.
    let socket = UnixListener::bind(path).map_err(at(path, "bound"))?;
    std::fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE)).map_err(at(path, "protected"))?;
    Ok(SocketListener { socket, peers: peers.to_vec() })
}

/// A directory that everybody uses, or that holds something else (`/run`, `/etc`), is not closed: it is the wrong one.
fn close_to_others(directory: &Path, socket: &Path) -> Result<(), SocketError> {
    let mode = std::fs::metadata(directory).map_err(at(directory, "read"))?.permissions().mode();
    if mode & 0o1000 != 0 {
        return Err(SocketError::SharedDirectory { path: directory.to_owned() });
    }
    if mode & 0o777 == DIRECTORY_MODE {
        return Ok(());
    }
    for entry in std::fs::read_dir(directory).map_err(at(directory, "read"))? {
        if Some(entry.map_err(at(directory, "read"))?.file_name().as_os_str()) != socket.file_name() {
            return Err(SocketError::OpenDirectory { path: directory.to_owned(), mode: mode & 0o7777 });
        }
    }
    std::fs::set_permissions(directory, Permissions::from_mode(DIRECTORY_MODE)).map_err(at(directory, "protected"))
}

/// Removes the socket of a broker that is gone.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(path, "read")(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(SocketError::NoSocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(SocketError::InUse { path: path.to_owned() }),
        Err(_) => std::fs::remove_file(path).map_err(at(path, "removed")),
    }
}

fn at(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> SocketError {
    move |source| SocketError::Io { path: path.to_owned(), action, source }
}

impl SocketListener {
    /// Connections of listed users, for ever.
    pub(super) fn incoming(self) -> impl Stream<Item = io::Result<Connection>> + Send {
        futures::stream::unfold(self, |listener| async move {
            loop {
                match listener.socket.accept().await {
                    Ok((stream, _)) => {
                        if let Some(peer) = listener.peer(&stream) {
                            return Some((Ok(Connection::unix(stream, Arc::new(peer))), listener));
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection was not accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        })
    }

    /// Asks the kernel who connected (SO_PEERCRED): permissions of a file alone are no identity.
    fn peer(&self, stream: &UnixStream) -> Option<Peer> {
        let uid = match stream.peer_cred() {
            Ok(peer) => peer.uid(),
            Err(error) => {
                tracing::warn!(%error, "a peer without credentials was refused");
                return None;
            }
        };
        match self.peers.iter().find(|(listed, _)| *listed == uid) {
            Some((uid, scope)) => Some(Peer { identity: PeerIdentity::Uid(*uid), scope: scope.clone() }),
            None => {
                metrics::counter!("sallyport_peers_refused_total").increment(1);
                tracing::warn!(uid, "a user that grpc.allowed_peer_uids does not list was refused");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;
    use crate::harden::effective_uid;

    fn config(dir: &Path, mode: &str, uid: u32) -> Config {
        std::fs::write(dir.join("master.key"), b"").unwrap();
        let text = format!(
            "mode: {mode}\ntenant: t\npublic_url: http://127.0.0.1:10000\ndata_dir: data\nkey_file: master.key\n\
             grpc: {{ socket: run/broker.sock, allowed_peer_uids: [{uid}] }}\nadmin: {{ socket: adm/admin.sock }}\n\
             http: {{ listen: \"127.0.0.1:10001\" }}\nissuers: []\n"
        );
        Config::from_text(&dir.join("sallyport.yaml"), &text).unwrap()
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[tokio::test]
    async fn h16_directory_and_socket_are_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/broker.sock");
        let _listener = bind(&path, &[(1, Scope::Every)]).unwrap();
        assert_eq!(mode(path.parent().unwrap()), 0o750);
        assert_eq!(mode(&path), 0o660);
    }

    #[tokio::test]
    async fn closes_a_directory_of_its_own_and_leaves_others_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("broker.sock");
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        std::fs::write(dir.path().join("neighbour"), b"").unwrap();
        assert!(matches!(bind(&path, &[(1, Scope::Every)]), Err(SocketError::OpenDirectory { mode: 0o755, .. })));
        assert_eq!((mode(dir.path()), path.exists()), (0o755, false));
        std::fs::remove_file(dir.path().join("neighbour")).unwrap();
        drop(bind(&path, &[(1, Scope::Every)]).unwrap());
        assert_eq!(mode(dir.path()), 0o750);
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        drop(bind(&path, &[(1, Scope::Every)]).unwrap());
        assert_eq!(mode(dir.path()), 0o750, "what a broker left behind is its own");
    }

    #[tokio::test]
    async fn h16_a_user_that_is_not_listed_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/broker.sock");
        let listener = bind(&path, &[(effective_uid() + 1, Scope::Every)]).unwrap();
        let mut connection = UnixStream::connect(&path).await.unwrap();
        let mut incoming = Box::pin(listener.incoming());
        let mut byte = [0];
        tokio::select! {
            _ = incoming.next() => panic!("accepted"),
            read = tokio::io::AsyncReadExt::read(&mut connection, &mut byte) => assert!(matches!(read, Ok(0) | Err(_))),
        }
    }

    #[tokio::test]
    async fn h16_the_owner_of_the_key_is_no_peer_but_in_a_demonstration() {
        let dir = tempfile::tempdir().unwrap();
        let uid = effective_uid();
        let listener = |mode, uid| {
            let config = config(dir.path(), mode, uid);
            listener(config.grpc.socket.as_ref().unwrap(), &config)
        };
        let refused = listener("standard", uid).unwrap_err();
        assert!(matches!(refused, SocketError::PeerOwnsKey { uid: owner } if owner == uid));
        listener("standard", uid + 1).unwrap();
        listener("demonstration", uid).unwrap();
    }

    #[tokio::test]
    async fn takes_over_from_a_broker_that_is_gone_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/broker.sock");
        assert!(matches!(
            bind(Path::new("/tmp/broker.sock"), &[(1, Scope::Every)]),
            Err(SocketError::SharedDirectory { .. })
        ));
        let first = bind(&path, &[(1, Scope::Every)]).unwrap();
        assert!(matches!(bind(&path, &[(1, Scope::Every)]), Err(SocketError::InUse { .. })));
        drop(first);
        bind(&path, &[(1, Scope::Every)]).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, b"precious").unwrap();
        assert!(matches!(bind(&path, &[(1, Scope::Every)]), Err(SocketError::NoSocket { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }
}
