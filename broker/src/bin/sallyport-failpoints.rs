//! The `sallyport` command that ends on request, for the tests: under a name of its own, so that none that ships is ever it.

use std::process::ExitCode;

fn main() -> ExitCode {
    sallyport_broker::cli::main()
}
