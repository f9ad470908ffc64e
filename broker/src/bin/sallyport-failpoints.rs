//! The `sallyport` command that ends on request, for the tests: under a name of its own, so that none that ships is ever it.
//!
//! `sallyport-failpoints seed-secrets CONFIGURATION GROUP FIRST COUNT` fills a store quickly.

use std::process::ExitCode;

use sallyport_broker::cli::Failure;
use sallyport_broker::config::Config;
use sallyport_broker::failpoint::seed;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["seed-secrets", config, group, first, count] => match seeded(config, group, first, count) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.exit(),
        },
        _ => sallyport_broker::cli::main(),
    }
}

fn seeded(config: &str, group: &str, first: &str, count: &str) -> Result<(), Failure> {
    let number = |text: &str| text.parse().map_err(|_| Failure::new(format!("`{text}` is no number"), ""));
    let (first, count) = (number(first)?, number(count)?);
    let config = Config::load(config.as_ref())?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::of(&error))?;
    runtime.block_on(seed::secrets(&config, group, first, count))
}
