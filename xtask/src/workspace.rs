//! Where things are.

use std::path::{Path, PathBuf};

/// The paths every command works with.
pub(crate) struct Workspace {
    /// The checkout.
    pub(crate) root: PathBuf,
    /// Cargo's target directory.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// The workspace this program was started in by cargo, else the one it was built from.
    pub(crate) fn find() -> Self {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().map_or_else(|| manifest.clone(), Path::to_path_buf);
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(chosen) => root.join(chosen),
            None => root.join("target"),
        };
        Self { root, target }
    }

    /// What set-up installed, and what it remembers.
    pub(crate) fn setup(&self) -> PathBuf {
        self.target.join("setup")
    }

    /// Real programs of the tests, and their lock files.
    pub(crate) fn counterparts(&self) -> PathBuf {
        self.root.join("tests/counterparts")
    }

    /// The filter as Envoy loads it.
    pub(crate) fn wasm(&self) -> PathBuf {
        self.setup().join("sallyport_filter.wasm")
    }

    /// The filter that traps on request, for the tests.
    pub(crate) fn wasm_failpoints(&self) -> PathBuf {
        self.setup().join("sallyport_filter_failpoints.wasm")
    }

    /// The broker that ends on request, for the tests.
    pub(crate) fn broker_failpoints(&self) -> PathBuf {
        self.target.join("debug/sallyport-failpoints")
    }

    /// The broker, and every operator command.
    pub(crate) fn broker(&self) -> PathBuf {
        self.target.join("debug/sallyport")
    }
}
