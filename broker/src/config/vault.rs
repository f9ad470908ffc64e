//! Which master keys there are, and where each is kept.

use std::path::{Path, PathBuf};

use crate::yaml::{Field, Fields, Flaw};

/// Where a master key is kept.
#[derive(Clone, Debug)]
pub enum MasterKey {
    /// In a file here; never below `data_dir`.
    File(PathBuf),
}

/// Those of `vault.keys`, or the one of `key_file`: never none, the first is the current one.
pub(super) fn master_keys(fields: &Fields<'_>, base: &Path, data_dir: Option<&Path>) -> Option<Vec<MasterKey>> {
    let (key_file, vault) = (fields.optional("key_file"), fields.optional("vault"));
    let keys = match (&key_file, &vault) {
        (Some(file), None) => vec![key_file_of(file, base, data_dir)],
        (None, Some(vault)) => {
            let section = vault.fields()?;
            let keys = section.required("keys", "list the master keys, for example `keys: [{ file: key/master.key }]`");
            let items = keys.as_ref().map_or_else(Vec::new, Field::list);
            if let (Some(keys), []) = (&keys, items.as_slice()) {
                keys.report(Flaw::new("names no master key, and nothing starts without one", "name one"));
            }
            section.finish();
            items.iter().map(|item| one(item, base, data_dir)).collect()
        }
        (Some(file), Some(_)) => {
            let hint = "keep one of the two: `key_file: F` is short for `vault: { keys: [{ file: F }] }`";
            file.report(Flaw::new("is given beside `vault`, and both say which master key there is", hint));
            vec![None]
        }
        (None, None) => {
            fields.required("key_file", "name a file outside `data_dir`, for example `key_file: var/key/master.key`");
            vec![None]
        }
    };
    let keys: Option<Vec<_>> = keys.into_iter().collect();
    keys.filter(|keys| !keys.is_empty())
}

fn one(item: &Field<'_>, base: &Path, data_dir: Option<&Path>) -> Option<MasterKey> {
    let fields = item.fields()?;
    let file = fields.required("file", "write for example `{ file: key/master.key }`");
    let key = file.and_then(|file| key_file_of(&file, base, data_dir));
    fields.finish();
    key
}

fn key_file_of(field: &Field<'_>, base: &Path, data_dir: Option<&Path>) -> Option<MasterKey> {
    let path = base.join(field.text()?);
    // Who copies the data directory must not get the key with it.
    if let Some(data_dir) = data_dir
        && (path.starts_with(data_dir) || path.parent() == Some(data_dir))
    {
        field.report(Flaw::new(
            "lies in `data_dir`: a copy of the data would be a copy of the key",
            "keep it in a directory of its own",
        ));
    }
    Some(MasterKey::File(path))
}
