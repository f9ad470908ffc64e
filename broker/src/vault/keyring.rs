//! The master keys that are held: one wraps, all unwrap what they have wrapped.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::aws_kms::{AwsKms, AwsKmsKey};
use super::envelope::KeyId;
use super::error::KeyIds;
use super::key_file::{KeyFile, KeyFileError, Replaced};
use super::local::LocalKey;
use super::master::{Cause, MasterKey};
use super::transit::{Transit, TransitKey};
use super::watched::Watched;
use crate::secret::Secret;

/// Where a master key is kept.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// In a file here.
    File(KeyFile),
    /// In AWS KMS.
    AwsKms(AwsKmsKey),
    /// In the transit secrets engine of HashiCorp Vault or OpenBao.
    Transit(TransitKey),
}

/// Why there is no vault. Without one nothing starts: there is no key to fall back on.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No key was named.
    #[error("no master key is named")]
    None,
    /// A file.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// AWS KMS cannot be asked at all.
    #[error("the client for AWS KMS cannot be made")]
    AwsKms(#[source] Cause),
    /// The transit API cannot be asked at all.
    #[error("the client for the transit API cannot be made")]
    Transit(#[source] Cause),
}

/// Never empty; changed only by being replaced.
pub(super) struct Keyring {
    current: Arc<dyn MasterKey>,
    others: Vec<Arc<dyn MasterKey>>,
    /// Of the current key, if it is in one.
    file: Option<KeyFile>,
}

/// What may be told of a master key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldKey {
    /// What records name it by.
    pub id: KeyId,
    /// Where it is kept.
    pub kept: String,
    /// Whether it wraps what is written now.
    pub is_current: bool,
    /// How many data keys it has wrapped since this process began, where that is ours to count.
    pub wraps: Option<u64>,
    /// Which version of it wraps, where its keeper tells, as far as it has been used.
    pub version: Option<u32>,
}

/// A key file that holds a new key, durably; not used yet.
pub struct NewKeyFile {
    key: Arc<LocalKey>,
    /// What it replaced, as it is kept now.
    old: Arc<LocalKey>,
    /// Where what it replaced is now.
    pub retired: PathBuf,
    /// Where the new key is.
    pub path: PathBuf,
}

/// Why the current key was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// It is not in a file.
    #[error("the current master key is kept elsewhere ({kept}): name another one first under vault.keys")]
    NotAFile {
        /// Where it is kept.
        kept: String,
    },
    /// The file.
    #[error(transparent)]
    File(#[from] KeyFileError),
}

impl Keyring {
    /// The key of the file is current; those that it has replaced are held too.
    pub(super) fn of_file(file: KeyFile) -> Result<Self, KeyFileError> {
        let mut keys = read(&file)?.into_iter();
        let current = keys.next().expect("a key file that can be read holds a key");
        Ok(Self { current, others: keys.collect(), file: Some(file) })
    }

    /// The first one's key is current. Each file brings those that were replaced in its place.
    pub(super) async fn of_sources(sources: Vec<KeySource>, ca_pem: Option<&[u8]>) -> Result<Self, OpenError> {
        let file = match sources.first() {
            Some(KeySource::File(file)) => Some(file.clone()),
            Some(KeySource::AwsKms(_) | KeySource::Transit(_)) | None => None,
        };
        let mut keys: Vec<Arc<dyn MasterKey>> = Vec::new();
        for source in sources {
            match source {
                KeySource::File(file) => keys.extend(read(&file)?),
                KeySource::AwsKms(key) => {
                    let kms = AwsKms::new(key, ca_pem).await.map_err(OpenError::AwsKms)?;
                    keys.push(Arc::new(Watched::new(kms)));
                }
                KeySource::Transit(key) => {
                    let transit = Transit::new(key).map_err(OpenError::Transit)?;
                    keys.push(Arc::new(Watched::new(transit)));
                }
            }
        }
        // The same key may be found twice: a rotation that was cut off leaves it in two files.
        let mut seen = BTreeSet::new();
        keys.retain(|key| seen.insert(key.id()));
        let mut keys = keys.into_iter();
        let current = keys.next().ok_or(OpenError::None)?;
        Ok(Self { current, others: keys.collect(), file })
    }

    #[cfg(test)]
    pub(super) fn of_secret(key: &Secret) -> Self {
        Self { current: of_file(Path::new("none"), key), others: Vec::new(), file: None }
    }

    pub(super) fn current(&self) -> &Arc<dyn MasterKey> {
        &self.current
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<dyn MasterKey>> {
        std::iter::once(&self.current).chain(&self.others)
    }

    pub(super) fn find(&self, id: KeyId) -> Option<&Arc<dyn MasterKey>> {
        self.all().find(|key| key.id() == id)
    }

    pub(super) fn ids(&self) -> KeyIds {
        KeyIds(self.all().map(|key| key.id()).collect())
    }

    pub(super) fn told(&self) -> Vec<HeldKey> {
        let told = |key: &Arc<dyn MasterKey>| HeldKey {
            id: key.id(),
            kept: key.kept().to_owned(),
            is_current: key.id() == self.current.id(),
            wraps: key.wraps(),
            version: key.version(),
        };
        self.all().map(told).collect()
    }

    pub(super) fn replace_file(&self) -> Result<NewKeyFile, RotateError> {
        let file = self.file.as_ref().ok_or_else(|| RotateError::NotAFile { kept: self.current.kept().to_owned() })?;
        let Replaced { old, retired, new } = file.replace(self.current.id())?;
        let path = file.path().to_owned();
        Ok(NewKeyFile { key: of_file(&path, &new), old: of_file(&retired, &old), retired, path })
    }

    pub(super) fn led_by(&self, new: &NewKeyFile) -> Self {
        let others = std::iter::once(Arc::clone(&new.old) as Arc<dyn MasterKey>);
        let others = others.chain(self.all().filter(|key| key.id() != new.old.id()).cloned()).collect();
        Self { current: Arc::clone(&new.key) as Arc<dyn MasterKey>, others, file: self.file.clone() }
    }
}

impl NewKeyFile {
    /// What records will name the new key by.
    pub fn id(&self) -> KeyId {
        self.key.id()
    }

    /// What they name the key by that it replaces.
    pub fn old_id(&self) -> KeyId {
        self.old.id()
    }
}

fn read(file: &KeyFile) -> Result<Vec<Arc<dyn MasterKey>>, KeyFileError> {
    let keys = file.read_all()?;
    Ok(keys.iter().map(|(path, key)| of_file(path, key) as Arc<dyn MasterKey>).collect())
}

fn of_file(path: &Path, key: &Secret) -> Arc<LocalKey> {
    Arc::new(LocalKey::new(key, format!("key file {}", path.display())))
}
