//! Where `cargo xtask` has put the parts: binaries, the wasm module, Python environments, Node packages.

use std::{collections::BTreeMap, path::PathBuf, sync::LazyLock};

use serde::Deserialize;

/// `target/setup/setup.json`.
#[derive(Deserialize)]
pub struct Setup {
    /// Envoy's binary.
    pub envoy: PathBuf,
    /// The filter.
    pub wasm: PathBuf,
    /// The filter that traps on request.
    pub wasm_failpoints: PathBuf,
    /// The `sallyport` binary.
    pub broker: PathBuf,
    /// The same, made to end on request.
    pub broker_failpoints: PathBuf,
    /// Python interpreters by environment, for example `fastmcp-2.14`.
    pub python: BTreeMap<String, PathBuf>,
    /// Installed Node packages.
    pub node_modules: PathBuf,
    /// Node's binary.
    pub node: PathBuf,
    /// Chromium's binary.
    pub chromium: Option<PathBuf>,
}

static SETUP: LazyLock<Setup> = LazyLock::new(|| {
    let file = root().join("target/setup/setup.json");
    let text = std::fs::read(&file)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask build` first", file.display()));
    serde_json::from_slice(&text)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask build` again", file.display()))
});

/// What was set up.
///
/// # Panics
/// When nothing was.
pub fn setup() -> &'static Setup {
    &SETUP
}

/// The repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
