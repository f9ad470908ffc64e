//! `sallyport secret`

use std::path::{Path, PathBuf};

use sallyport_proto::admin::{ListSecretsRequest, SetSecretRequest};
use serde_json::json;

use super::client::{connect, print_json};
use super::input::value;
use super::{Failure, Global};

/// Commands about secrets.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Set a secret. Its value comes from standard input or a file, never from an argument, which others could see.
    #[command(after_help = "Examples:
  printf %s \"$API_KEY\" | sallyport secret set keys:echo --owner demo
  sallyport secret set keys:echo --owner demo --from-file api-key.txt")]
    Set {
        /// Group and key, as in `tfy-secret://<tenant>:<group>:<key>`.
        #[arg(value_name = "GROUP:KEY")]
        name: String,
        /// A manifest that may refer to the group; added to those that may.
        #[arg(long = "owner", num_args = 1.., value_name = "NAME")]
        owners: Vec<String>,
        /// Read the value from here; one line break at its end is left out.
        #[arg(long, alias = "value-file", value_name = "FILE")]
        from_file: Option<PathBuf>,
    },
    /// List secrets and who may refer to them, without values.
    #[command(after_help = "Example:\n  sallyport secret list")]
    List,
}

pub(super) async fn run(global: &Global, command: Command) -> Result<(), Failure> {
    match command {
        Command::Set { name, owners, from_file } => set(global, &name, owners, from_file.as_deref()).await,
        Command::List => list(global).await,
    }
}

async fn set(global: &Global, name: &str, owners: Vec<String>, from_file: Option<&Path>) -> Result<(), Failure> {
    let Some((group, key)) = name.split_once(':') else {
        return Err(Failure::new(format!("`{name}` is not GROUP:KEY"), "write for example `keys:echo`"));
    };
    let mut client = connect(global).await?;
    let request = SetSecretRequest { group: group.to_owned(), key: key.to_owned(), value: value(from_file)?, owners };
    let reference = client.set_secret(request).await.map_err(|status| match status.code() {
        tonic::Code::InvalidArgument if status.message().contains("owner") => {
            Failure::new(status.message(), "add `--owner NAME`, with the name of the manifest that refers to it")
        }
        _ => status.into(),
    })?;
    let reference = reference.into_inner().reference;
    if global.json {
        print_json(&json!({ "reference": reference }));
    } else {
        println!("{reference}");
    }
    Ok(())
}

async fn list(global: &Global) -> Result<(), Failure> {
    let secrets = connect(global).await?.list_secrets(ListSecretsRequest {}).await?.into_inner().secrets;
    if global.json {
        let secrets: Vec<_> =
            secrets.iter().map(|secret| json!({ "reference": secret.reference, "owners": secret.owners })).collect();
        print_json(&secrets.into());
        return Ok(());
    }
    for secret in secrets {
        println!("{}  {}", secret.reference, secret.owners.join(" "));
    }
    Ok(())
}
