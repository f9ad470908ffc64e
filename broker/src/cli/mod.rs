//! Every command of `sallyport`: one file each, and one tree of arguments.

mod apply;
mod audit;
mod backup;
mod client;
mod config;
mod doctor;
mod failure;
mod grants;
mod identities;
mod input;
mod key;
mod progress;
mod secret;
mod serve;
mod servers;
mod signin;
mod store;
mod token;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

pub use failure::Failure;

/// The gate for agents' credentials: runs the broker, and operates one that runs.
#[derive(Debug, Parser)]
#[command(name = "sallyport", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
struct Global {
    /// The broker's configuration.
    #[arg(short, long, global = true, default_value = "sallyport.yaml", value_name = "FILE")]
    config: PathBuf,
    /// The broker's admin socket, where the configuration cannot be read.
    #[arg(long, global = true, value_name = "SOCKET")]
    admin_socket: Option<PathBuf>,
    /// Print JSON, for scripts.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker until it is asked to end.
    #[command(after_help = "Example:\n  sallyport serve -c sallyport.yaml")]
    Serve,
    /// Apply manifests: all of them, or none.
    Apply(apply::Arguments),
    /// Keep secrets that manifests refer to.
    #[command(subcommand)]
    Secret(secret::Command),
    /// Issue and revoke the broker's own tokens.
    #[command(subcommand)]
    Token(token::Command),
    /// Make a link by which a person can sign in at a browser, once and within ten minutes.
    Signin(signin::Arguments),
    /// Say who people are, where a second account has somebody's e-mail address.
    #[command(subcommand)]
    Identities(identities::Command),
    /// See and revoke what people have agreed to.
    #[command(subcommand)]
    Grants(grants::Command),
    /// See, replace and retire the master keys that seal everything stored.
    #[command(subcommand)]
    Key(key::Command),
    /// Copy the embedded store to a file, as it is at one moment, while the broker serves from it.
    ///
    /// It holds what the store holds, sealed as it is there; the key file is not in it.
    Backup(backup::To),
    /// Put a backup in the place of the embedded store, while no broker serves from it.
    ///
    /// It is checked first, its audit and the master keys that it needs, and then is there whole or not at all.
    Restore(backup::From),
    /// Move the store as a whole.
    #[command(subcommand)]
    Store(store::Command),
    /// List the servers that are registered.
    #[command(after_help = "Example:\n  sallyport servers --json")]
    Servers,
    /// Find out who did what.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Find what keeps this broker and its gateway from serving, with what to do about it.
    ///
    /// Looks at the configuration, files, sockets, certificates, the store, master keys, providers, the clock, and calls the
    /// gateway as an agent would, with a request that it must refuse. Exit code 1 if anything is bad.
    #[command(after_help = "Examples:
  sallyport doctor -c sallyport.yaml
  sallyport doctor --quiet
  sallyport doctor --json | jq '.findings[] | select(.verdict != \"good\")'")]
    Doctor(doctor::Arguments),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(config::Command),
}

impl Global {
    /// The configuration's path as it is typed in the commands that hints propose.
    fn config(&self) -> &Path {
        &self.config
    }
}

/// As shells say it of what ended by SIGPIPE.
const NOBODY_READS: i32 = 128 + 13;

/// Parses the arguments of this process and does what they say.
pub fn main() -> ExitCode {
    // One TLS stack for everything this process speaks; without it the first handshake would panic.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return Failure::new("another TLS provider is installed already", "").exit();
    }
    end_when_nobody_reads();
    let Cli { global, command } = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(source) => return Failure::new(format!("cannot start threads: {source}"), "").exit(),
    };
    let done = runtime.block_on(async {
        match command {
            Command::Serve => serve::run(&global).await,
            Command::Apply(arguments) => apply::run(&global, arguments).await,
            Command::Secret(command) => secret::run(&global, command).await,
            Command::Token(command) => token::run(&global, command).await,
            Command::Signin(arguments) => signin::run(&global, arguments).await,
            Command::Identities(command) => identities::run(&global, command).await,
            Command::Grants(command) => grants::run(&global, command).await,
            Command::Key(command) => key::run(&global, command).await,
            Command::Backup(to) => backup::back_up(&global, to).await,
            Command::Restore(from) => backup::restore(&global, from).await,
            Command::Store(command) => store::run(&global, command).await,
            Command::Servers => servers::run(&global).await,
            Command::Audit(command) => audit::run(&global, command).await,
            Command::Doctor(arguments) => doctor::run(&global, arguments).await,
            Command::Config(command) => config::run(&global, &command),
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.exit(),
    }
}

/// Whoever reads what is printed may have seen enough (`| head`): that is the end, and no error to speak of. Not by the
/// signal for it, which a broker that goes away would send, too.
fn end_when_nobody_reads() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload_as_str().unwrap_or_default();
        if text.starts_with("failed printing to stdout") && text.contains("Broken pipe") {
            std::process::exit(NOBODY_READS);
        }
        usual(panic);
    }));
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_tree_of_arguments_holds_together() {
        super::Cli::command().debug_assert();
    }

    #[test]
    fn a_token_whose_id_begins_with_a_hyphen_can_be_revoked() {
        for arguments in [["token", "revoke", "-7wEBAgMEBQYHCAkKCw", "--json"], ["--json", "token", "revoke", "--EBAg"]]
        {
            let parsed = super::Cli::try_parse_from(["sallyport"].into_iter().chain(arguments));
            assert!(parsed.is_ok_and(|parsed| parsed.global.json), "{arguments:?}");
        }
    }
}
