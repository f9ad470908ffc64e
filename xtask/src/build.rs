//! Builds the filter for Envoy and the broker.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::run::{self, step};
use crate::setup::wasm::{self, Source};
use crate::setup::{self, Installed, Options};
use crate::workspace::Workspace;

/// Sets up and builds both.
///
/// # Errors
/// Those of the set-up, or that a build failed (its errors are on the terminal).
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<Installed> {
    let installed = setup::run(workspace, options)?;
    println!("build");
    step("filter", || filter(workspace, installed.wasm_source))?;
    step("broker", || broker(workspace))?;
    Ok(installed)
}

fn filter(workspace: &Workspace, source: Source) -> Result<()> {
    let mut cargo = wasm::cargo_build(workspace, source);
    cargo.args(["--package", "sallyport-filter", "--profile", "wasm", "--lib"]).current_dir(&workspace.root);
    if !run::shown(&mut cargo)?.success() {
        bail!("the filter does not build");
    }
    let built = wasm::target_directory(workspace).join(wasm::TARGET).join("wasm/sallyport_filter.wasm");
    let module = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    if fs::read(workspace.wasm()).is_ok_and(|present| present == module) {
        return Ok(());
    }
    setup::replace(&workspace.wasm(), &module)
}

fn broker(workspace: &Workspace) -> Result<()> {
    let mut cargo = run::cargo();
    // With the features of the whole workspace, so that `cargo test --workspace` finds its dependencies built.
    cargo.args(["build", "--workspace", "--bin", "sallyport"]).current_dir(&workspace.root);
    if !run::shown(&mut cargo)?.success() {
        bail!("the broker does not build");
    }
    Ok(())
}
