//! `sallyport config`

use super::client::print_json;
use super::{Failure, Global};
use crate::config::Config;

/// Commands about the configuration.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Read the configuration as `serve` would, and tell everything that is wrong with it.
    #[command(after_help = "Example:\n  sallyport config check -c sallyport.yaml")]
    Check,
}

pub(super) fn run(global: &Global, command: &Command) -> Result<(), Failure> {
    let Command::Check = command;
    let config = Config::load(global.config())?;
    config.check_files()?;
    if global.json {
        print_json(
            &serde_json::json!({ "file": config.file, "tenant": config.tenant.0, "public_url": config.public_url }),
        );
    } else {
        println!("{} is good", config.file.display());
    }
    Ok(())
}
