//! Installs what is missing, once: every part remembers what it was installed from.

mod apt;
mod cargo_deny;
mod chromium;
mod compose;
mod envoy;
mod node;
mod postgres;
mod python;
mod redis;
mod stamp;
pub(crate) mod wasm;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::tools;
use crate::workspace::Workspace;
use postgres::Postgres;

pub(crate) use cargo_deny::cargo_deny;
pub(crate) use stamp::{replace, replace_private};

/// What `setup` and the commands that begin with it can be told.
#[derive(Args, Clone, Default)]
#[group(skip)]
pub(crate) struct Options {
    /// Where the wasm standard library comes from; without it, whichever works.
    #[arg(long, value_enum)]
    pub(crate) wasm: Option<wasm::Source>,
}

/// What is where: `target/setup/setup.json`, read by the tests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Installed {
    /// Envoy 1.40.
    pub(crate) envoy: PathBuf,
    /// The filter, once built.
    pub(crate) wasm: PathBuf,
    /// The filter that traps on request, once built for the tests.
    pub(crate) wasm_failpoints: PathBuf,
    /// The broker, once built.
    pub(crate) broker: PathBuf,
    /// The broker that ends on request, once built for the tests.
    pub(crate) broker_failpoints: PathBuf,
    /// Interpreters that have fastmcp, by `fastmcp-<major>.<minor>`.
    pub(crate) python: BTreeMap<String, PathBuf>,
    /// Packages of the Node.js counterparts.
    pub(crate) node_modules: PathBuf,
    /// Node.js.
    pub(crate) node: PathBuf,
    /// Chromium, if it is there: only the tests look at pages.
    pub(crate) chromium: Option<PathBuf>,
    /// Directory of Postgres's programs, if it is there: only the tests start one.
    pub(crate) postgres: Option<PathBuf>,
    /// PgBouncer, likewise.
    pub(crate) pgbouncer: Option<PathBuf>,
    /// `redis-server`, likewise; `redis-cli` lies beside it.
    pub(crate) redis: Option<PathBuf>,
    /// `docker-compose`, likewise.
    pub(crate) compose: Option<PathBuf>,
    /// Where the wasm standard library comes from.
    pub(crate) wasm_source: wasm::Source,
}

/// Checks the tools and installs what the demo needs. Several at once wait for each other.
///
/// # Errors
/// What is missing and how to get it.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<Installed> {
    let found = || {
        Ok(Packages {
            chromium: chromium::find(),
            postgres: postgres::find(),
            redis: redis::find(),
            compose: compose::find(),
        })
    };
    install(workspace, options, python::install, found)
}

/// The same, with the browser and the servers that only the tests need.
///
/// # Errors
/// As [`run`].
pub(crate) fn for_tests(workspace: &Workspace, options: &Options) -> Result<Installed> {
    install(workspace, options, python::install_for_tests, || {
        Ok(Packages {
            chromium: Some(chromium::install(workspace)?),
            postgres: Some(postgres::install(workspace)?),
            redis: Some(redis::install(workspace)?),
            compose: Some(compose::install(workspace)?),
        })
    })
}

/// What Debian packages, for the tests only.
struct Packages {
    chromium: Option<PathBuf>,
    postgres: Option<Postgres>,
    redis: Option<PathBuf>,
    compose: Option<PathBuf>,
}

fn install(
    workspace: &Workspace,
    options: &Options,
    python: impl FnOnce(&Workspace) -> Result<BTreeMap<String, PathBuf>>,
    packages: impl FnOnce() -> Result<Packages> + Send,
) -> Result<Installed> {
    println!("set-up");
    tools::check()?;
    let directory = workspace.setup();
    fs::create_dir_all(&directory).with_context(|| format!("cannot write {}", directory.display()))?;
    let _lock = exclusive(&directory)?;
    let file = directory.join("setup.json");
    let before = fs::read(&file).ok().and_then(|bytes| serde_json::from_slice::<Installed>(&bytes).ok());
    let installed = std::thread::scope(|scope| -> Result<Installed> {
        // One after the other among themselves, since apt lets one in at a time; beside all else.
        let packages = scope.spawn(packages);
        let (wasm_source, envoy) = (wasm::install(workspace, options.wasm)?, envoy::install(workspace)?);
        let (python, node_modules) = (python(workspace)?, node::install(workspace)?);
        let Packages { chromium, postgres, redis, compose } =
            packages.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let (postgres, pgbouncer) = postgres.map(|found| (found.programs, found.pgbouncer)).unzip();
        Ok(Installed {
            wasm_source,
            envoy,
            python: with_those_of_before(python, before),
            node_modules,
            node: node::program()?,
            chromium,
            postgres,
            pgbouncer,
            redis,
            compose,
            wasm: workspace.wasm(),
            wasm_failpoints: workspace.wasm_failpoints(),
            broker: workspace.broker(),
            broker_failpoints: workspace.broker_failpoints(),
        })
    })?;
    stamp::replace(&file, &serde_json::to_vec_pretty(&installed)?)?;
    Ok(installed)
}

/// Those that were set up before stay known while they are there: `up` asks for fewer than the tests, and may run in their
/// midst.
fn with_those_of_before(now: BTreeMap<String, PathBuf>, before: Option<Installed>) -> BTreeMap<String, PathBuf> {
    let mut all = before.map(|before| before.python).unwrap_or_default();
    all.retain(|_, python| python.exists());
    all.extend(now);
    all
}

/// Held until dropped, or until this process ends in whatever way.
fn exclusive(directory: &std::path::Path) -> Result<File> {
    let path = directory.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    if file.try_lock().is_err() {
        println!("  another set-up is running; waiting for it ...");
        file.lock()?;
    }
    Ok(file)
}
