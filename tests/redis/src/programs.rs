//! Where Redis is.

use std::path::{Path, PathBuf};

pub(crate) fn server() -> PathBuf {
    let recorded = recorded();
    let program = recorded.unwrap_or_else(|| "/usr/bin/redis-server".into());
    assert!(
        program.is_file(),
        "{} is not there; run `cargo xtask build`, which sets up what the tests need",
        program.display()
    );
    program
}

/// Comes with the server, and lies beside it.
pub(crate) fn cli() -> PathBuf {
    server().with_file_name("redis-cli")
}

/// What set-up has found or installed.
fn recorded() -> Option<PathBuf> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/setup/setup.json");
    let setup: serde_json::Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    setup["redis"].as_str().map(PathBuf::from)
}
