//! The admin socket: a directory of its own that only its owner may enter.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use crate::harden::effective_uid;

/// Why there is no admin socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Others may enter its directory.
    #[error("{} must belong to the broker's user and be closed to others; run `chmod 700` on it, or name another directory", .0.display())]
    OpenDirectory(PathBuf),
    /// Something else has that name.
    #[error("{} is no socket; move it away, or name another path", .0.display())]
    NotASocket(PathBuf),
    /// Another broker answers there.
    #[error("a broker is serving on {} already; stop it first", .0.display())]
    InUse(PathBuf),
    /// The system refuses.
    #[error("cannot listen on {}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// Listens on `path`, mode 0600, in a directory of mode 0700; what a broker that ended left behind is replaced.
///
/// # Errors
/// If the directory is open to others, or the path is taken.
pub fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    let io = |source| SocketError::Io { path: path.to_owned(), source };
    let directory = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(io)?;
    let of = fs::metadata(directory).map_err(io)?;
    // Closed before the socket is there, so that there is no moment at which others could connect.
    if of.uid() != effective_uid() || of.mode() & 0o077 != 0 {
        return Err(SocketError::OpenDirectory(directory.to_owned()));
    }
    match fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => return Err(SocketError::NotASocket(path.to_owned())),
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            return Err(SocketError::InUse(path.to_owned()));
        }
        Ok(_) => fs::remove_file(path).map_err(io)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io(error)),
    }
    let listener = UnixListener::bind(path).map_err(io)?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(io)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_its_owner_may_reach_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin/admin.sock");
        let _listener = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
    }

    #[tokio::test]
    async fn refuses_a_directory_that_others_may_enter() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(bind(&dir.path().join("admin.sock")), Err(SocketError::OpenDirectory(_))));
    }

    #[tokio::test]
    async fn replaces_what_was_left_behind_but_no_broker_and_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin/admin.sock");
        let first = bind(&path).unwrap();
        assert!(matches!(bind(&path), Err(SocketError::InUse(_))));
        drop(first);
        drop(bind(&path).unwrap());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "notes").unwrap();
        assert!(matches!(bind(&path), Err(SocketError::NotASocket(_))));
    }
}
