//! Where Postgres and PgBouncer are.

use std::path::{Path, PathBuf};

const REMEDY: &str = "run `cargo xtask build`, which sets up what the tests need";

/// A program of Postgres.
pub(crate) fn postgres(name: &str) -> PathBuf {
    let directory = recorded("postgres").or_else(newest_of_debian);
    let directory = directory.unwrap_or_else(|| panic!("Postgres is not installed; {REMEDY}"));
    existing(directory.join(name))
}

pub(crate) fn pgbouncer() -> PathBuf {
    existing(recorded("pgbouncer").unwrap_or_else(|| "/usr/sbin/pgbouncer".into()))
}

fn existing(program: PathBuf) -> PathBuf {
    assert!(program.is_file(), "{} is not there; {REMEDY}", program.display());
    program
}

/// What set-up has found or installed.
fn recorded(name: &str) -> Option<PathBuf> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/setup/setup.json");
    let setup: serde_json::Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    setup[name].as_str().map(PathBuf::from)
}

fn newest_of_debian() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").is_file()).max()
}
