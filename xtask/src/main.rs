//! `cargo xtask`: set-up, build, demo, lints, tests, misfortunes and benchmarks.

mod bench;
mod build;
mod chaos;
mod lint;
mod run;
mod setup;
mod test;
mod tools;
mod up;
mod version;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use workspace::Workspace;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Set-up, build, demo, lints, tests, misfortunes and benchmarks."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what is missing: wasm standard library, Envoy, counterparts of the tests.
    Setup(setup::Options),
    /// Build the filter and the broker, and the parts of the tests (sets up first).
    Build(build::Request),
    /// Start the gateway with demo servers on loopback, until Ctrl-C.
    Up(up::Options),
    /// Check formatting, lints, licences and sources.
    Lint,
    /// Lints and every test; ends with `N passed, N failed`.
    Test(test::Options),
    /// Kill, pause and restart the parts of a fleet, and check its history.
    Chaos(chaos::Options),
    /// Measure the gate beside Envoy's own filters, and the broker by itself, in one run.
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let workspace = Workspace::find();
    let outcome = match Arguments::parse().command {
        Command::Setup(options) => setup::for_tests(&workspace, &options).map(|_| ExitCode::SUCCESS),
        Command::Build(request) => build::requested(&workspace, &request).map(|_| ExitCode::SUCCESS),
        Command::Up(options) => up::run(&workspace, &options),
        Command::Lint => lint::run(&workspace),
        Command::Test(options) => test::run(&workspace, &options),
        Command::Chaos(options) => chaos::run(&workspace, &options),
        Command::Bench(options) => bench::run(&workspace, &options),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("\nerror: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_tree_of_arguments_holds_together() {
        super::Arguments::command().debug_assert();
    }
}
