//! What can be seen of a broker's machine whether or not it runs: configuration, files and their owners, sockets,
//! certificates, and, where no broker answers for it, the store.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::{Finding, certificate};
use crate::causes;
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, ConfigError, MasterKey, Mode, Store};
use crate::harden::effective_uid;
use crate::store::postgres::PostgresStore;
use crate::store::sqlite::SqliteStore;
use crate::vault::{KeyFile, KeyFileError};

/// With less space left the disk is worth a look; the audit grows by about a kilobyte for each release.
const LITTLE_SPACE: u64 = 1024 * 1024 * 1024;

/// With less than this SQLite cannot even grow its log.
const NO_SPACE: u64 = 64 * 1024 * 1024;

/// The configuration, or every flaw of it.
pub fn configuration(file: &Path) -> Result<(Config, Finding), Vec<Finding>> {
    const CHECK: &str = "configuration";
    let read = Config::load(file).and_then(|config| config.check_files().map(|()| config));
    match read {
        Ok(config) => {
            let told = format!("{} is good", config.file.display());
            Ok((config, Finding::good(CHECK, told)))
        }
        Err(ConfigError::Bad { problems, .. }) => {
            Err(problems.iter().map(|problem| Finding::bad(CHECK, problem.to_string(), problem.hint.clone())).collect())
        }
        Err(error @ ConfigError::Unreadable { .. }) => {
            Err(vec![Finding::bad(CHECK, causes::told(&error), "name it with `-c FILE`")])
        }
        Err(error @ ConfigError::Named { .. }) => {
            Err(vec![Finding::bad(CHECK, causes::told(&error), "name a file that the broker's user can read")])
        }
    }
}

/// Files, directories and certificates that the configuration names.
pub fn files(config: &Config) -> Vec<Finding> {
    let mut findings = vec![data_dir(&config.data_dir)];
    findings.extend(config.master_keys.iter().filter_map(MasterKey::file).map(|file| key_file(config, file)));
    if let Some(socket) = &config.grpc.socket {
        findings.push(directory("socket for proxies", &socket.path, 0o750));
    }
    findings.push(directory("socket for operators", &config.admin.socket, 0o700));
    if let Some(tls) = &config.grpc.tls {
        findings.push(certificate::finding("certificate for proxies", &tls.certificate_file, SystemClock.now()));
    }
    if config.mode == Mode::Demonstration {
        let told = "one Unix user for everything, who can read every secret";
        findings.push(Finding::warning("mode", told, "serve no real accounts like this: docs/production.md"));
    }
    findings
}

/// Of a store that no broker answers for. Opens nothing for writing, and brings no table forward.
pub async fn store(config: &Config) -> Finding {
    const CHECK: &str = "store";
    match &config.store {
        Store::Sqlite => match SqliteStore::examine(&config.data_dir).await {
            Ok(None) => Finding::good(CHECK, "there is none yet; the first start makes it"),
            Ok(Some(said)) if said == "ok" => Finding::good(CHECK, "the SQLite file is whole"),
            Ok(Some(said)) => {
                let told = format!("the SQLite file is damaged: {said}");
                Finding::bad(CHECK, told, "keep a copy of it as it is, and restore a backup")
            }
            Err(error) => Finding::bad(CHECK, causes::told(&error), "mend what the cause names"),
        },
        Store::Postgres(postgres) => {
            let address = match postgres.address() {
                Ok(address) => address,
                Err(error) => return Finding::bad(CHECK, causes::told(&error), "mend store.postgres"),
            };
            match PostgresStore::examine(&address).await {
                Ok(()) => Finding::good(CHECK, format!("{address} answers, takes writes and keeps them")),
                Err(error) => Finding::bad(
                    CHECK,
                    causes::told(&error),
                    "mend what the cause names; user, password and pg_hba.conf are the database's",
                ),
            }
        }
    }
}

fn data_dir(path: &Path) -> Finding {
    const CHECK: &str = "data_dir";
    let shown = path.display();
    let is = match std::fs::metadata(path) {
        Ok(is) => is,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Finding::good(CHECK, format!("{shown} is not there yet; the first start makes it"));
        }
        Err(error) => return Finding::bad(CHECK, format!("{shown}: {error}"), "run this as the broker's user"),
    };
    let (uid, mode) = (effective_uid(), is.mode() & 0o7777);
    if is.uid() != uid {
        let told = format!("{shown} belongs to uid {}, this process runs as uid {uid}", is.uid());
        return Finding::bad(CHECK, told, format!("run this, and the broker, as uid {}", is.uid()));
    }
    if mode & 0o077 != 0 {
        return Finding::bad(CHECK, format!("{shown} has mode {mode:04o}"), format!("chmod 700 {shown}"));
    }
    let space = match rustix::fs::statvfs(path) {
        Ok(space) => space.f_bavail.saturating_mul(space.f_frsize),
        Err(error) => {
            return Finding::warning(
                CHECK,
                format!("{shown}: its free space is not known: {error}"),
                "look at its disk",
            );
        }
    };
    let told = format!("{shown} has {} MiB of free space", space / 1024 / 1024);
    let remedy = "make space: once the disk is full nothing is released, since no release can be recorded";
    match space {
        ..NO_SPACE => Finding::bad(CHECK, told, remedy),
        NO_SPACE..LITTLE_SPACE => Finding::warning(CHECK, told, remedy),
        _ => Finding::good(CHECK, told),
    }
}

fn key_file(config: &Config, path: &Path) -> Finding {
    const CHECK: &str = "key file";
    let file = KeyFile::at(path);
    let file = if config.mode == Mode::Standard { file.outside(&config.data_dir) } else { file };
    match file.check() {
        Ok(()) => Finding::good(CHECK, format!("{} is its owner's alone", path.display())),
        Err(KeyFileError::Missing { .. }) if is_new(config) => {
            Finding::good(CHECK, format!("{} is not there yet; the first start makes it", path.display()))
        }
        Err(error) => Finding::bad(
            CHECK,
            causes::told(&error),
            "a new store makes its own key file; for one that has records, put back the file they were sealed with",
        ),
    }
}

/// Whether no start has made the store yet, as far as can be seen from here.
fn is_new(config: &Config) -> bool {
    matches!(config.store, Store::Sqlite) && !config.data_dir.exists()
}

/// Nobody else may go where the socket is. The broker makes the directory; what is there must be as it would make it.
fn directory(check: &str, socket: &Path, most: u32) -> Finding {
    let directory = socket.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let shown = directory.display();
    let is = match std::fs::metadata(directory) {
        Ok(is) => is,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Finding::good(check, format!("{shown} is not there yet; the start makes it"));
        }
        Err(error) => return Finding::bad(check, format!("{shown}: {error}"), "run this as the broker's user"),
    };
    let (uid, mode) = (effective_uid(), is.mode() & 0o7777);
    if is.uid() != uid {
        let told = format!("{shown} belongs to uid {}, this process runs as uid {uid}", is.uid());
        return Finding::bad(
            check,
            told,
            format!("run this, and the broker, as uid {}, or name another directory", is.uid()),
        );
    }
    if mode & 0o777 & !most != 0 {
        return Finding::bad(
            check,
            format!("{shown} has mode {mode:04o}, and others may enter it"),
            format!("chmod {most:o} {shown}"),
        );
    }
    Finding::good(check, format!("{} in a directory of mode {mode:04o}", socket.display()))
}
