//! `sallyport token`

use std::time::Duration;

use sallyport_proto::admin::issue_token_request::Whom;
use sallyport_proto::admin::{IssueTokenRequest, ListTokensRequest, ListTokensResponse, RevokeTokenRequest};
use serde_json::json;

use super::client::{connect, print_json};
use super::{Failure, Global};
use crate::clock::UnixTime;

/// Commands about the broker's own tokens.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Issue a token, and print it this once. Standard output has the token only.
    #[command(after_help = "Examples:
  sallyport token issue --user alice@example.com --ttl 8h
  TOKEN=$(sallyport token issue --virtual-account runtime --ttl 30d)")]
    Issue {
        /// The person it is for.
        #[arg(
            long,
            value_name = "EMAIL",
            required_unless_present = "virtual_account",
            conflicts_with = "virtual_account"
        )]
        user: Option<String>,
        /// The virtual account it is for.
        #[arg(long, value_name = "NAME")]
        virtual_account: Option<String>,
        /// How long it lives, for example `8h` or `30d`.
        #[arg(long, value_name = "DURATION", value_parser = ttl)]
        ttl: Duration,
    },
    /// List the tokens that have not expired.
    #[command(after_help = "Example:\n  sallyport token list --json")]
    List,
    /// Revoke a token: every proxy refuses it within two seconds.
    #[command(after_help = "Example:\n  sallyport token revoke 3q2-7wEBAgMEBQYHCAkKCw")]
    Revoke {
        /// Its id, as `issue` and `list` tell it.
        // One of 64 ids begins with a hyphen.
        #[arg(allow_hyphen_values = true)]
        id: String,
    },
}

fn ttl(text: &str) -> Result<Duration, String> {
    crate::config::duration(text).map_err(|flaw| format!("{}; {}", flaw.message, flaw.hint))
}

pub(super) async fn run(global: &Global, command: Command) -> Result<(), Failure> {
    match command {
        Command::Issue { user, virtual_account, ttl } => {
            let whom = user.map(Whom::User).or(virtual_account.map(Whom::VirtualAccount));
            issue(global, whom, ttl).await
        }
        Command::List => list(global).await,
        Command::Revoke { id } => {
            let request = RevokeTokenRequest { id: id.clone() };
            connect(global).await?.revoke_token(request).await.map_err(|status| match status.code() {
                tonic::Code::NotFound => Failure::new(status.message(), "see `sallyport token list`"),
                _ => status.into(),
            })?;
            if global.json {
                print_json(&json!({ "revoked": id }))
            } else {
                println!("revoked {id}")
            }
            Ok(())
        }
    }
}

async fn issue(global: &Global, whom: Option<Whom>, ttl: Duration) -> Result<(), Failure> {
    let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    let issued = connect(global).await?.issue_token(IssueTokenRequest { whom, ttl_ms }).await?.into_inner();
    if global.json {
        print_json(&json!({ "token": issued.token, "id": issued.id, "expires_at_ms": issued.expires_at_ms }));
    } else {
        println!("{}", issued.token);
        eprintln!("id {}, expires {}", issued.id, UnixTime(issued.expires_at_ms).to_rfc3339());
    }
    Ok(())
}

async fn list(global: &Global) -> Result<(), Failure> {
    let answer = connect(global).await?.list_tokens(ListTokensRequest {}).await?.into_inner();
    let ListTokensResponse { tokens, corrupt } = answer;
    if global.json {
        let token = |token: &sallyport_proto::admin::TokenSummary| {
            json!({
                "id": token.id, "whom": token.whom, "issued_at_ms": token.issued_at_ms,
                "expires_at_ms": token.expires_at_ms, "revoked": token.revoked,
            })
        };
        print_json(&tokens.iter().map(token).collect());
        return unreadable(&corrupt);
    }
    for token in tokens {
        let state = if token.revoked { "revoked" } else { "valid" };
        println!("{}  {state}  {}  expires {}", token.id, token.whom, UnixTime(token.expires_at_ms).to_rfc3339());
    }
    unreadable(&corrupt)
}

/// Fails with each record that cannot be read.
fn unreadable(corrupt: &[String]) -> Result<(), Failure> {
    Failure::of_each(corrupt, "restore the record; `sallyport token revoke ID` refuses the token until then")
}
