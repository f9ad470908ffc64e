//! The vault, of the master keys that the configuration names.

use crate::config::{Config, MasterKey, Mode};
use crate::vault::{KeyFile, KeyFileError, Vault};

/// Opens it. Only a broker whose store was never made may make its key: where records are, a key file that was lost is
/// named, never silently replaced.
pub(super) fn open(config: &Config, is_first_start: bool) -> Result<Vault, KeyFileError> {
    let files: Vec<_> = config.master_keys.iter().map(|MasterKey::File(path)| key_file(config, path)).collect();
    match files.as_slice() {
        [only] if is_first_start => Vault::open_or_create(only.clone(), &config.tenant),
        files => Vault::with_key_files(files, &config.tenant),
    }
}

/// In a demonstration the key may lie anywhere; else never beside the data it opens.
fn key_file(config: &Config, path: &std::path::Path) -> KeyFile {
    let file = KeyFile::at(path);
    match config.mode {
        Mode::Demonstration => file,
        Mode::Standard => file.outside(&config.data_dir),
    }
}
