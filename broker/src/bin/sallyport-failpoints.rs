//! The `sallyport` command that ends on request, for the tests: under a name of its own, so that none that ships is ever it.
//!
//! `sallyport-failpoints seed-secrets CONFIGURATION GROUP FIRST COUNT` and `seed-grants CONFIGURATION FIRST COUNT SECONDS` fill
//! a store quickly.

use std::process::ExitCode;
use std::time::Duration;

use sallyport_broker::cli::Failure;
use sallyport_broker::config::Config;
use sallyport_broker::failpoint::seed;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let seeded = match arguments.as_slice() {
        ["seed-secrets", config, group, first, count] => secrets(config, group, first, count),
        ["seed-grants", config, first, count, seconds] => grants(config, first, count, seconds),
        _ => return sallyport_broker::cli::main(),
    };
    match seeded {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.exit(),
    }
}

fn secrets(config: &str, group: &str, first: &str, count: &str) -> Result<(), Failure> {
    let (first, count) = (number(first)?, number(count)?);
    let config = Config::load(config.as_ref())?;
    run(seed::secrets(&config, group, first, count))
}

fn grants(config: &str, first: &str, count: &str, seconds: &str) -> Result<(), Failure> {
    let (first, count, life) = (number(first)?, number(count)?, number(seconds)?);
    let config = Config::load(config.as_ref())?;
    run(seed::grants(&config, first, count, Duration::from_secs(life as u64)))
}

fn number(text: &str) -> Result<usize, Failure> {
    text.parse().map_err(|_| Failure::new(format!("`{text}` is no number"), ""))
}

fn run(seeding: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::of(&error))?;
    runtime.block_on(seeding)
}
