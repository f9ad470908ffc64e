//! Builds the filter for Envoy and the broker; for the tests also a filter that traps and a broker that ends on request.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::run::{self, step};
use crate::setup::wasm::{self, Source};
use crate::setup::{self, Installed, Options};
use crate::workspace::Workspace;

/// What to build.
#[derive(Args)]
pub(crate) struct Request {
    /// Only what ships: neither the parts of the tests nor what they need.
    #[arg(long)]
    only_what_ships: bool,
    #[command(flatten)]
    setup: Options,
}

/// Builds what was asked for.
///
/// # Errors
/// As [`run`].
pub(crate) fn requested(workspace: &Workspace, request: &Request) -> Result<Installed> {
    match request.only_what_ships {
        true => run(workspace, &request.setup),
        false => with_test_parts(workspace, &request.setup),
    }
}

/// Sets up and builds what ships.
///
/// # Errors
/// Those of the set-up, or that a build failed (its errors are on the terminal).
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<Installed> {
    let installed = setup::run(workspace, options)?;
    what_ships(workspace, &installed)?;
    Ok(installed)
}

/// The same, and what only the tests load.
///
/// # Errors
/// As [`run`].
pub(crate) fn with_test_parts(workspace: &Workspace, options: &Options) -> Result<Installed> {
    let installed = setup::for_tests(workspace, options)?;
    what_ships(workspace, &installed)?;
    let features = ["--features", "failpoints"];
    step("filter that traps on request", || {
        filter(workspace, installed.wasm_source, &features, &workspace.wasm_failpoints())
    })?;
    step("broker that ends on request", || {
        broker(workspace, "sallyport-failpoints", &["--features", "sallyport-broker/failpoints"])
    })?;
    Ok(installed)
}

/// Builds the broker as images of it are built, and beside it what fills its store; answers where it is.
///
/// # Errors
/// That one of them does not build.
pub(crate) fn optimised_broker(workspace: &Workspace) -> Result<PathBuf> {
    step("broker, optimised", || broker(workspace, "sallyport", &["--release"]))?;
    step("what fills its store, optimised", || {
        broker(workspace, "sallyport-failpoints", &["--release", "--features", "sallyport-broker/failpoints"])
    })?;
    Ok(workspace.target.join("release/sallyport"))
}

fn what_ships(workspace: &Workspace, installed: &Installed) -> Result<()> {
    println!("build");
    step("filter", || filter(workspace, installed.wasm_source, &[], &workspace.wasm()))?;
    step("broker", || broker(workspace, "sallyport", &[]))
}

/// In one target directory for all features: dependencies are compiled once.
fn filter(workspace: &Workspace, source: Source, features: &[&str], module_file: &Path) -> Result<()> {
    let mut cargo = wasm::cargo_build(workspace, source);
    cargo.args(["--package", "sallyport-filter", "--profile", "wasm", "--lib"]).args(features);
    cargo.current_dir(&workspace.root);
    if !run::shown(&mut cargo)?.success() {
        bail!("the filter does not build");
    }
    let built = wasm::target_directory(workspace).join(wasm::TARGET).join("wasm/sallyport_filter.wasm");
    let module = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    if fs::read(module_file).is_ok_and(|present| present == module) {
        return Ok(());
    }
    setup::replace(module_file, &module)
}

fn broker(workspace: &Workspace, program: &str, features: &[&str]) -> Result<()> {
    let mut cargo = run::cargo();
    // With the features of the whole workspace, so that `cargo test --workspace` finds its dependencies built.
    cargo.args(["build", "--workspace", "--bin", program]).args(features).current_dir(&workspace.root);
    if !run::shown(&mut cargo)?.success() {
        bail!("the broker does not build");
    }
    Ok(())
}
