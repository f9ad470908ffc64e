//! `sallyport signin`

use sallyport_proto::admin::CreateSignInLinkRequest;
use sallyport_proto::admin::create_sign_in_link_request::Whom;
use serde_json::json;

use super::client::{connect, print_json};
use super::{Failure, Global};
use crate::clock::UnixTime;

/// Whoever has the link can sign in as that person: hand it over in private. Standard output has the link only.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sallyport signin --user alice@example.com
  sallyport signin --principal 0b5d3c1e9a774f0c8d2e6b1f4a3c5d7e --json")]
pub(super) struct Arguments {
    /// The person it is for.
    #[arg(long, value_name = "EMAIL", required_unless_present = "principal", conflicts_with = "principal")]
    user: Option<String>,
    /// The principal it is for, where there is no e-mail address.
    #[arg(long, value_name = "ID")]
    principal: Option<String>,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let whom = arguments.user.map(Whom::User).or(arguments.principal.map(Whom::Principal));
    let created = connect(global).await?.create_sign_in_link(CreateSignInLinkRequest { whom }).await;
    let link = created
        .map_err(|status| match status.code() {
            tonic::Code::NotFound => Failure::new(status.message(), "virtual accounts do not sign in: their owners do"),
            _ => status.into(),
        })?
        .into_inner();
    if global.json {
        print_json(&json!({ "url": link.url, "expires_at_ms": link.expires_at_ms }));
    } else {
        println!("{}", link.url);
        eprintln!("good once, until {}", UnixTime(link.expires_at_ms).to_rfc3339());
    }
    Ok(())
}
