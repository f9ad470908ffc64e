//! The standard library of wasm32-wasip1: rustup's, or built from Debian's sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::run::{self, step};
use crate::setup::apt;
use crate::version::Version;
use crate::workspace::Workspace;

/// The target of the filter.
pub(crate) const TARGET: &str = "wasm32-wasip1";

/// Longest wait for rustup's server: a machine without network must not hang here.
const RUSTUP_LIMIT: Duration = Duration::from_secs(90);

/// A compiler, its library sources and a linker that belong together.
const PACKAGES: [&str; 5] = ["rustc-web", "rust-web-src", "libstd-rust-web-dev", "lld", "wasi-libc"];
const RUSTC: &str = "/usr/bin/rustc";
const PARTS: [&str; 4] =
    [RUSTC, "/usr/lib/rustlib/src/rust/library/std/Cargo.toml", "/usr/bin/wasm-ld", "/usr/lib/wasm32-wasi/libc.a"];
/// As `rust-version` of the workspace.
const LEAST: Version = Version(1, 95, 0);

/// Where the standard library comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    /// `rustup target add wasm32-wasip1`.
    Rustup,
    /// Debian's compiler and library sources.
    Debian,
}

/// Makes one of the sources usable: what is there already, else rustup, else Debian's packages.
///
/// # Errors
/// Why neither works, and what to run by hand.
pub(crate) fn install(workspace: &Workspace, forced: Option<Source>) -> Result<Source> {
    let there = |source: Source| match source {
        Source::Rustup => rustup_has_it(workspace),
        Source::Debian => debian_has_it(),
    };
    let candidates: Vec<Source> = forced.map_or_else(|| vec![Source::Rustup, Source::Debian], |source| vec![source]);
    if let Some(source) = candidates.iter().copied().find(|source| there(*source)) {
        println!("  wasm standard library: already there ({})", name(source));
        return Ok(source);
    }
    let log = |name: &str| workspace.setup().join("log").join(name);
    let mut failures = Vec::new();
    for source in candidates {
        let attempt = step(&format!("wasm standard library ({})", name(source)), || match source {
            Source::Rustup => add_target(workspace, &log("rustup.log")),
            Source::Debian => apt::install(&PACKAGES, &log("apt-wasm.log")),
        });
        match attempt {
            Ok(()) if there(source) => return Ok(source),
            Ok(()) => failures.push(format!("{}: installed, but not usable for {TARGET}", name(source))),
            Err(error) => failures.push(format!("{}: {error:#}", name(source))),
        }
    }
    bail!(
        "the wasm standard library is missing; run `rustup target add {TARGET}`, or on Debian `apt-get install --no-install-recommends {}`\n{}",
        PACKAGES.join(" "),
        failures.join("\n")
    )
}

/// `cargo build` for the target, in a target directory of its own: two compilers would evict each other's work.
pub(crate) fn cargo_build(workspace: &Workspace, source: Source) -> Command {
    let mut cargo = run::cargo();
    cargo.args(["build", "--target", TARGET, "--target-dir"]).arg(target_directory(workspace));
    // Flags meant for the machine itself would replace those of the target.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo.env("CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS", flags(source));
    if source == Source::Debian {
        cargo
            .arg("-Zbuild-std=std,panic_abort")
            .env("RUSTC", RUSTC)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_WASM32_WASIP1_LINKER", "wasm-ld")
            // `cargo run` puts the libraries of the other compiler there.
            .env_remove("LD_LIBRARY_PATH");
    }
    cargo
}

/// Envoy's V8 has SIMD: each request's token is hashed and read byte by byte, in a third less time with it.
fn flags(source: Source) -> &'static str {
    match source {
        Source::Rustup => "-C target-feature=+simd128",
        Source::Debian => "-C target-feature=+simd128 -C link-self-contained=no -L native=/usr/lib/wasm32-wasi",
    }
}

/// Where [`cargo_build`] puts its results.
pub(crate) fn target_directory(workspace: &Workspace) -> PathBuf {
    workspace.target.join("wasm")
}

fn name(source: Source) -> &'static str {
    match source {
        Source::Rustup => "rustup",
        Source::Debian => "Debian's rustc",
    }
}

fn rustup_has_it(workspace: &Workspace) -> bool {
    run::output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(&workspace.root)).is_some_and(
        |sysroot| {
            let library = Path::new(&sysroot).join("lib/rustlib").join(TARGET).join("lib");
            fs::read_dir(library).is_ok_and(|files| {
                files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
            })
        },
    )
}

fn debian_has_it() -> bool {
    let new_enough = || {
        run::output(Command::new(RUSTC).arg("--version"))
            .and_then(|text| Version::find(&text))
            .is_some_and(|found| found >= LEAST)
    };
    PARTS.iter().all(|part| Path::new(part).exists()) && new_enough()
}

fn add_target(workspace: &Workspace, log: &Path) -> Result<()> {
    run::output(Command::new("rustup").arg("--version")).context("rustup is not installed")?;
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", TARGET]).current_dir(&workspace.root).env("RUSTUP_MAX_RETRIES", "1");
    run::logged(&mut rustup, log, RUSTUP_LIMIT)
}
