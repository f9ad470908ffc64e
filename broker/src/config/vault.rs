//! Which master keys there are, and where each is kept.

use std::path::{Path, PathBuf};

use url::Url;

use super::secret::{SecretSource, secret};
use super::value::safe_url;
use crate::vault::AwsKmsKey;
use crate::yaml::{Field, Fields, Flaw};

/// Where a master key is kept.
#[derive(Clone, Debug)]
pub enum MasterKey {
    /// In a file here; never below `data_dir`.
    File(PathBuf),
    /// In AWS KMS.
    AwsKms(AwsKmsKey),
    /// In the transit secrets engine of HashiCorp Vault or OpenBao.
    Transit(Transit),
}

/// A key of a transit secrets engine.
#[derive(Clone, Debug)]
pub struct Transit {
    /// Of the server.
    pub address: Url,
    /// Where the engine is mounted.
    pub mount: String,
    /// Name of the key.
    pub name: String,
    /// Namespace; empty for none.
    pub namespace: String,
    /// What lets the broker use it.
    pub token: SecretSource,
    /// PEM bundle of certificate authorities, in place of the system's.
    pub ca_file: Option<PathBuf>,
}

impl MasterKey {
    /// The file it is in, if it is in one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::AwsKms(_) | Self::Transit(_) => None,
        }
    }

    /// Every file that its use takes, and the field that names it; not the one that it is in, which the first start makes.
    pub(super) fn files(&self) -> Vec<(&'static str, &Path)> {
        let Self::Transit(key) = self else { return Vec::new() };
        let (token, ca_file) = (key.token.file(), key.ca_file.as_deref());
        let named = [("vault.keys.transit.token_file", token), ("vault.keys.transit.ca_file", ca_file)];
        named.into_iter().filter_map(|(field, file)| file.map(|file| (field, file))).collect()
    }
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
    let places = ["file", "aws_kms", "transit"].map(|name| fields.optional(name).map(|field| (name, field)));
    let mut places = places.into_iter().flatten();
    let key = match (places.next(), places.next()) {
        (Some(("file", file)), None) => key_file_of(&file, base, data_dir),
        (Some(("aws_kms", key)), None) => aws_kms_key(&key).map(MasterKey::AwsKms),
        (Some((_, key)), None) => transit_key(&key, base).map(MasterKey::Transit),
        (None, _) => {
            let hint = "write `file: …`, `aws_kms: …` or `transit: …`";
            fields.report(Flaw::new("does not say where the key is kept", hint));
            None
        }
        (Some(_), Some((_, second))) => {
            second.report(Flaw::new("is a second place for one key", "make it an item of its own"));
            None
        }
    };
    fields.finish();
    key
}

fn aws_kms_key(field: &Field<'_>) -> Option<AwsKmsKey> {
    let fields = field.fields()?;
    let named = fields.required("key_id", "write the key's id or its ARN").and_then(|field| field.parse(key_id));
    let region = fields.required("region", "write the key's region, for example `eu-central-1`");
    let of_arn = named.as_ref().and_then(|(named, _)| arn_region(named)).map(str::to_owned);
    let region = region.and_then(|field| {
        let region = field.text()?;
        match &of_arn {
            Some(other) if other != region => {
                field.report(Flaw::new(
                    format!("is not the region of the key's ARN, `{other}`"),
                    "write the key's region",
                ));
                None
            }
            Some(_) | None => Some(region.to_owned()),
        }
    });
    let endpoint = fields.optional("endpoint").map(|field| field.parse(safe_url));
    fields.finish();
    let endpoint = match endpoint {
        Some(url) => Some(url?.to_string()),
        None => None,
    };
    let (named, key_id) = named?;
    Some(AwsKmsKey { key_id, named, region: region?, endpoint })
}

fn transit_key(field: &Field<'_>, base: &Path) -> Option<Transit> {
    let fields = field.fields()?;
    let address =
        fields.required("address", "write the server's address, for example `https://vault.example.com:8200`");
    let address = address.and_then(|field| field.parse(server));
    let name = fields.required("key", "write the key's name").and_then(|field| field.parse(path));
    let mount = match fields.optional("mount") {
        Some(field) => field.parse(path),
        None => Some("transit".to_owned()),
    };
    let namespace = match fields.optional("namespace") {
        Some(field) => field.parse(path),
        None => Some(String::new()),
    };
    let token = secret(&fields, ["token", "token_file", "token_env"], "token", base);
    if token.is_none() {
        fields.report(Flaw::new("says no token", "add `token_file` (best), `token_env` or `token`"));
    }
    let ca_file = fields.optional("ca_file").and_then(|field| field.text()).map(|text| base.join(text));
    fields.finish();
    Some(Transit { address: address?, mount: mount?, name: name?, namespace: namespace?, token: token?.1, ca_file })
}

/// An address without a path: what is asked there has its own.
fn server(text: &str) -> Result<Url, Flaw> {
    let url = safe_url(text)?;
    match (url.path(), url.query()) {
        ("/", None) => Ok(url),
        (_, _) => Err(Flaw::new("has a path", "write the server's address alone; `mount` says where the engine is")),
    }
}

/// What is a part of a path as it stands.
fn path(text: &str) -> Result<String, Flaw> {
    let is_word = |word: &str| {
        !word.is_empty()
            && !word.starts_with('.')
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    match text.split('/').all(is_word) {
        true => Ok(text.to_owned()),
        false => Err(Flaw::new(
            "is no name",
            "write letters, digits, `-`, `_` and `.`, with `/` between, and none at its ends",
        )),
    }
}

/// As given, and the id alone.
fn key_id(text: &str) -> Result<(String, String), Flaw> {
    let flaw =
        |what: &str| Flaw::new(what, "write the id or the ARN of the key itself, as `aws kms describe-key` tells it");
    let id = match text.strip_prefix("arn:") {
        Some(arn) => match arn.split(':').collect::<Vec<_>>().as_slice() {
            [_, "kms", _, _, resource] => resource.strip_prefix("key/"),
            _ => None,
        },
        None => Some(text),
    };
    let is_id = |id: &str| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    match id {
        _ if text.contains("alias/") => {
            Err(flaw("is an alias, which can be pointed at another key, and then nothing opens"))
        }
        Some(id) if is_id(id) => Ok((text.to_owned(), id.to_owned())),
        Some(_) | None => Err(flaw("is no id of a key")),
    }
}

fn arn_region(named: &str) -> Option<&str> {
    named.strip_prefix("arn:")?.split(':').nth(2)
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
