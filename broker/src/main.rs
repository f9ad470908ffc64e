//! The `sallyport` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    // One TLS stack for everything this process speaks; without it the first handshake would panic.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("error: another TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    sallyport_broker::cli::main()
}
