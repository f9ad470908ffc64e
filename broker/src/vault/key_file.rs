//! The master key in a file: 32 random bytes that only their owner may read. Keys that it has replaced stay beside it, as
//! `<name>.retired-<key id>`, until somebody takes them away.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::envelope::KeyId;
use crate::harden::effective_uid;
use crate::secret::Secret;

/// AES-256's key, bytes.
const LENGTH: usize = 32;
/// Between the name of a key file and the id of a key that it held before.
const RETIRED: &str = ".retired-";

/// Where the master key is, and where it must not be.
#[derive(Clone, Debug)]
pub struct KeyFile {
    path: PathBuf,
    outside: Option<PathBuf>,
}

/// A key file that holds a new key now.
pub(super) struct Replaced {
    pub(super) old: Secret,
    /// Where the old key is.
    pub(super) retired: PathBuf,
    pub(super) new: Secret,
}

/// Why there is no master key. Without one nothing starts: there is no key to fall back on.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Others may read or change it.
    #[error("key file {} has mode {mode:04o}: others than its owner may use it; run `chmod 600 {}`", .path.display(), .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others may replace it.
    #[error("directory {} of the key file has mode {mode:04o}: others than its owner may replace the key; run `chmod 700 {}`", .path.display(), .path.display())]
    DirectoryWritable {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Whoever copies the data copies the key.
    #[error("key file {} lies in the data directory {}: a copy of the data would hold its key; move it elsewhere and change `key_file`", .path.display(), .data_dir.display())]
    InDataDirectory {
        /// The file.
        path: PathBuf,
        /// The data directory.
        data_dir: PathBuf,
    },
    /// It is not what it was when this process began.
    #[error("key file {} holds master key {found} now, and {expected} when the broker started; put back the one it was, or restart", .path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// The key that was read before.
        expected: KeyId,
        /// The key that is there.
        found: KeyId,
    },
    /// It is missing, and may not be made.
    #[error("key file {} does not exist, and what is stored was sealed with it; put it back from your copy", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It is a symbolic link, a directory, a device.
    #[error("key file {} is not a regular file (symbolic links are not followed); name the file itself", .path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Its bytes are all the same.
    #[error("key file {} does not hold a random key; remove it to have one made, or put the right one there", .path.display())]
    NotRandom {
        /// The file.
        path: PathBuf,
    },
    /// It is not 32 bytes long.
    #[error("key file {} holds {length} bytes instead of 32; put the right file there", .path.display())]
    WrongLength {
        /// The file.
        path: PathBuf,
        /// Its length, bytes.
        length: u64,
    },
    /// It belongs to another user.
    #[error("key file {} belongs to uid {owner}, this process runs as uid {uid}; run it as uid {owner}, or give it a key file of its own", .path.display())]
    WrongOwner {
        /// The file.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who we are.
        uid: u32,
    },
    /// The system refused.
    #[error("key file {} cannot be {action}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl KeyFile {
    /// A key file at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), outside: None }
    }

    /// Demands that it is not inside `data_dir`.
    pub fn outside(self, data_dir: impl Into<PathBuf>) -> Self {
        Self { outside: Some(data_dir.into()), ..self }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a start would take the key that is there, and those it has replaced.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn check(&self) -> Result<(), KeyFileError> {
        self.read_all().map(drop)
    }

    /// Makes a key if none is there. Of two that make it at once, both get the same key.
    pub(super) fn create_if_missing(&self) -> Result<(), KeyFileError> {
        match self.read() {
            Err(KeyFileError::Missing { .. }) => self.create(),
            found => found.map(drop),
        }
    }

    /// The key and then those that it has replaced, each with its file.
    pub(super) fn read_all(&self) -> Result<Vec<(PathBuf, Secret)>, KeyFileError> {
        let mut keys = vec![(self.path.clone(), self.read()?)];
        let (directory, prefix) = (self.directory(), self.beside(RETIRED));
        let prefix = prefix.file_name().unwrap_or_default().as_encoded_bytes();
        let mut retired = Vec::new();
        for entry in std::fs::read_dir(&directory).map_err(|e| self.io("looked for beside", e))? {
            let entry = entry.map_err(|e| self.io("looked for beside", e))?;
            if entry.file_name().as_encoded_bytes().starts_with(prefix) {
                retired.push(directory.join(entry.file_name()));
            }
        }
        retired.sort();
        for path in retired {
            let key = Self { path: path.clone(), outside: self.outside.clone() }.read()?;
            keys.push((path, key));
        }
        Ok(keys)
    }

    /// Puts a new key in the file's place; the old one, which must be `expected`, stays beside it. A crash leaves the old
    /// key in its place, or the new one with the old one beside it; each of them whole.
    pub(super) fn replace(&self, expected: KeyId) -> Result<Replaced, KeyFileError> {
        let old = self.read()?;
        let found = key_id(&old);
        if found != expected {
            return Err(KeyFileError::Changed { path: self.path.clone(), expected, found });
        }
        let retired = self.beside(&format!("{RETIRED}{expected}"));
        match std::fs::hard_link(&self.path, &retired) {
            Ok(()) => {}
            // An earlier attempt came this far.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                let found = key_id(&Self { path: retired.clone(), outside: self.outside.clone() }.read()?);
                if found != expected {
                    return Err(KeyFileError::Changed { path: retired, expected, found });
                }
            }
            Err(e) => return Err(self.io("kept beside its successor", e)),
        }
        self.sync_directory()?;
        let new = self.write_new()?;
        std::fs::rename(&new, &self.path).map_err(|e| self.io("replaced", e))?;
        self.sync_directory()?;
        Ok(Replaced { old, retired, new: self.read()? })
    }

    /// Reads the key after it was found to be its owner's alone.
    pub(super) fn read(&self) -> Result<Secret, KeyFileError> {
        self.check_place()?;
        let path = self.path.clone();
        let mut options = OpenOptions::new();
        // O_NONBLOCK: a FIFO in the key's place must not hang the start.
        options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let mut file = match options.open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(KeyFileError::Missing { path }),
            Err(e) if e.raw_os_error() == Some(libc::ELOOP) => return Err(KeyFileError::NotAFile { path }),
            Err(e) => return Err(self.io("opened", e)),
        };
        // Asked of the open file: nobody can change what it is between the check and the reading.
        let is = file.metadata().map_err(|e| self.io("examined", e))?;
        if !is.is_file() {
            return Err(KeyFileError::NotAFile { path });
        }
        let uid = effective_uid();
        if is.uid() != uid {
            return Err(KeyFileError::WrongOwner { path, owner: is.uid(), uid });
        }
        let mode = is.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyFileError::Exposed { path, mode });
        }
        if is.len() != LENGTH as u64 {
            return Err(KeyFileError::WrongLength { path, length: is.len() });
        }
        self.check_directory()?;
        let mut key = Zeroizing::new([0; LENGTH]);
        file.read_exact(&mut key[..]).map_err(|e| self.io("read", e))?;
        // A file of one repeated byte is a placeholder, or what a failed disk left.
        if key.iter().all(|byte| *byte == key[0]) {
            return Err(KeyFileError::NotRandom { path });
        }
        Ok(Secret::new(&key[..]))
    }

    /// Writes a new key beside its place, durably, and links it there only if nothing is there yet: a crash leaves
    /// either no key or a whole one.
    fn create(&self) -> Result<(), KeyFileError> {
        let directory = self.directory();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        made.map_err(|e| self.io("given a directory", e))?;
        self.check_directory()?;
        let new = self.write_new()?;
        let linked = match std::fs::hard_link(&new, &self.path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            done => done,
        };
        let removed = std::fs::remove_file(&new);
        linked.map_err(|e| self.io("created", e))?;
        removed.map_err(|e| self.io("created without leaving a copy", e))?;
        self.sync_directory()
    }

    /// A new key beside its place, on disk before this returns.
    fn write_new(&self) -> Result<PathBuf, KeyFileError> {
        // Random, so that a name left behind by a crash is in nobody's way.
        let mut suffix = [0; 8];
        getrandom::fill(&mut suffix).expect("the operating system gives randomness");
        let new = self.beside(&format!(".new-{:016x}", u64::from_be_bytes(suffix)));
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            // Exposed to become the key file's content: this is where the master key is born.
            file.write_all(Secret::random::<LENGTH>().expose())?;
            file.sync_all()
        })();
        match written {
            Ok(()) => Ok(new),
            Err(error) => {
                // Half a key helps nobody; that it cannot be removed either is the lesser trouble.
                let _ = std::fs::remove_file(&new);
                Err(self.io("created", error))
            }
        }
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    }

    fn sync_directory(&self) -> Result<(), KeyFileError> {
        File::open(self.directory()).and_then(|d| d.sync_all()).map_err(|e| self.io("made durable", e))
    }

    fn directory(&self) -> PathBuf {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            Some(_) | None => PathBuf::from("."),
        }
    }

    fn check_directory(&self) -> Result<(), KeyFileError> {
        let path = self.directory();
        let mode = std::fs::metadata(&path).map_err(|e| self.io("examined", e))?.mode() & 0o7777;
        if mode & 0o022 != 0 {
            return Err(KeyFileError::DirectoryWritable { path, mode });
        }
        Ok(())
    }

    fn check_place(&self) -> Result<(), KeyFileError> {
        let Some(data_dir) = &self.outside else { return Ok(()) };
        let place = real_path(&self.path).map_err(|e| self.io("located", e))?;
        let data = real_path(data_dir).map_err(|e| self.io("located", e))?;
        if place.starts_with(&data) {
            return Err(KeyFileError::InDataDirectory { path: self.path.clone(), data_dir: data_dir.clone() });
        }
        Ok(())
    }

    fn io(&self, action: &'static str, source: io::Error) -> KeyFileError {
        KeyFileError::Io { path: self.path.clone(), action, source }
    }
}

impl<P: AsRef<Path>> From<P> for KeyFile {
    fn from(path: P) -> Self {
        Self::at(path.as_ref())
    }
}

/// The id of a master key: what envelopes name it by.
pub(super) fn key_id(key: &Secret) -> KeyId {
    // Exposed to be hashed: 16 bytes of a SHA-256 say nothing about 32 random ones.
    let digest = Sha256::new().chain_update(b"sallyport.master-key.v1").chain_update(key.expose()).finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    KeyId(id)
}

/// `path` without links and `..`, as far as it exists: the rest may be made later.
fn real_path(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let mut real = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                real.pop();
            }
            Component::CurDir => {}
            Component::Normal(_) | Component::Prefix(_) | Component::RootDir => {
                real.push(component);
                // What does not exist yet is what it says.
                match real.canonicalize() {
                    Ok(found) => real = found,
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => return Err(e),
                }
            }
        }
    }
    Ok(real)
}

#[cfg(test)]
mod tests;
