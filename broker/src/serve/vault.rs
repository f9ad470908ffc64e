//! The vault, of the master keys that the configuration names.

use crate::config::{Config, MasterKey, Mode, Transit};
use crate::vault::{KeyFile, KeySource, OpenError, TokenSource, TransitKey, Vault};

/// Opens it. Only a broker whose store was never made may make its key: where records are, a key file that was lost is
/// named, never silently replaced.
pub(super) async fn open(config: &Config, ca_pem: Option<&[u8]>, is_first_start: bool) -> Result<Vault, OpenError> {
    let source = |key: &MasterKey| match key {
        MasterKey::File(path) => KeySource::File(key_file(config, path)),
        MasterKey::AwsKms(key) => KeySource::AwsKms(key.clone()),
        MasterKey::Transit(key) => KeySource::Transit(transit(key)),
    };
    let sources: Vec<_> = config.master_keys.iter().map(source).collect();
    match sources.as_slice() {
        [KeySource::File(only)] if is_first_start => Ok(Vault::open_or_create(only.clone(), &config.tenant)?),
        _ => Vault::with_keys(sources, &config.tenant, ca_pem).await,
    }
}

fn transit(key: &Transit) -> TransitKey {
    let token = key.token.clone();
    TransitKey {
        address: key.address.clone(),
        mount: key.mount.clone(),
        name: key.name.clone(),
        namespace: key.namespace.clone(),
        token: TokenSource::new(move || Ok(token.read("vault.keys.transit.token")?)),
        ca_file: key.ca_file.clone(),
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
