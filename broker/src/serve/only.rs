//! One broker at a time on one data directory.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::ServeError;

/// Takes the data directory for this process, until the file is dropped or the process ends, however it ends. Two brokers
/// would take each other's unfinished refreshes for those of the dead.
pub(crate) fn lock(data_dir: &Path) -> Result<File, ServeError> {
    DirBuilder::new().recursive(true).mode(0o700).create(data_dir)?;
    let path = data_dir.join("broker.lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ServeError::Taken(data_dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// The same at every start of the broker of this directory, and no other broker's, were its machine a copy of this one: the
/// first start draws a part of it.
pub(super) fn broker_name(data_dir: &Path) -> io::Result<String> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let path = data_dir.join("broker.id");
    let id = match std::fs::read_to_string(&path) {
        Ok(id) => id,
        Err(error) if error.kind() == io::ErrorKind::NotFound => draw(&path)?,
        Err(error) => return Err(error),
    };
    Ok(format!("{}:{}:{id}", host.trim(), data_dir.canonicalize()?.display()))
}

/// Draws it, and has it on disk whole before it is used.
fn draw(path: &Path) -> io::Result<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let id = format!("{:032x}", u128::from_be_bytes(random));
    let unfinished = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(id.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(unfinished, path)?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_broker_on_the_same_data_does_not_start() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let first = lock(&data).unwrap();
        assert!(matches!(lock(&data), Err(ServeError::Taken(taken)) if taken == data));
        lock(&dir.path().join("other")).unwrap();
        drop(first);
        lock(&data).unwrap();
    }

    #[test]
    fn a_broker_has_the_same_name_at_every_start() {
        let dir = tempfile::tempdir().unwrap();
        let (data, other) = (dir.path().join("data"), dir.path().join("other"));
        for path in [&data, &other] {
            std::fs::create_dir(path).unwrap();
        }
        let name = broker_name(&data).unwrap();
        assert_eq!(name, broker_name(&data.join(".")).unwrap());
        assert_ne!(name, broker_name(&other).unwrap());
        std::fs::remove_file(data.join("broker.id")).unwrap();
        assert_ne!(name, broker_name(&data).unwrap(), "as on another machine, at the same path");
    }
}
