//! `sallyport grants`

use sallyport_proto::admin::revoke_grants_request::Which;
use sallyport_proto::admin::{
    GrantSummary, ListGrantsRequest, ListGrantsResponse, RefreshGrantRequest, RefreshGrantResponse,
    RevokeGrantsRequest, RevokeGrantsResponse, RevokedGrant, ShowGrantRequest,
};
use serde_json::json;

use super::client::{connect, print_json};
use super::{Failure, Global};
use crate::clock::UnixTime;

/// Commands about people's grants.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List grants: whose, at which provider, and which servers they serve.
    #[command(after_help = "Examples:
  sallyport grants list --user alice@example.com
  sallyport grants list --server demo/notes --json")]
    List {
        /// Only this person's.
        #[arg(long, value_name = "EMAIL")]
        user: Option<String>,
        /// Only those that serve this server now.
        #[arg(long, value_name = "GROUP/NAME")]
        server: Option<String>,
    },
    /// Tell all there is to tell of one grant; never its tokens.
    #[command(after_help = "Example:\n  sallyport grants show 5f0c2c9d41aa")]
    Show {
        /// Its id, as `list` tells it.
        id: String,
    },
    /// Refresh one grant now, by the same rules as any refresh, and tell what came of it.
    #[command(after_help = "Examples:
  sallyport grants refresh 5f0c2c9d41aa             # if it is due
  sallyport grants refresh 5f0c2c9d41aa --force     # also if it is not, or its provider failed a moment ago
  sallyport grants refresh 5f0c2c9d41aa --json

Where a refresh token works once, and an answer may have been lost, one attempt is left: not even
--force makes it before its time. Exits with 1 where the provider gave no token.")]
    Refresh {
        /// The grant's id, as `list` tells it.
        id: String,
        /// Also if it is not due, or its provider is left alone for now.
        #[arg(long)]
        force: bool,
    },
    /// Revoke grants: here, at every proxy within two seconds, and at their providers as far as those can be told.
    #[command(after_help = "Examples:
  sallyport grants revoke 5f0c2c9d41aa
  sallyport grants revoke --all-of alice@example.com")]
    Revoke {
        /// The grant's id, as `list` tells it.
        #[arg(required_unless_present = "all_of", conflicts_with = "all_of")]
        id: Option<String>,
        /// Every grant of this person.
        #[arg(long, value_name = "EMAIL")]
        all_of: Option<String>,
    },
}

pub(super) async fn run(global: &Global, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { user, server } => list(global, user.unwrap_or_default(), server.unwrap_or_default()).await,
        Command::Show { id } => show(global, id).await,
        Command::Refresh { id, force } => refresh(global, id, force).await,
        Command::Revoke { id, all_of } => revoke(global, id.map(Which::Id).or(all_of.map(Which::AllOf))).await,
    }
}

async fn list(global: &Global, user: String, server: String) -> Result<(), Failure> {
    let answer = connect(global).await?.list_grants(ListGrantsRequest { user, server }).await;
    let grants = answer.map_err(|status| of_status(status, "see `sallyport grants list` and `sallyport servers`"))?;
    let ListGrantsResponse { grants, corrupt } = grants.into_inner();
    if global.json {
        print_json(&grants.iter().map(as_json).collect());
        return unreadable(&corrupt);
    }
    if grants.is_empty() {
        eprintln!("there is no such grant");
    }
    for grant in &grants {
        println!("{}  {}  {}  {}", grant.id, standing(grant), grant.holder, provider(grant));
        println!(
            "    serves {}",
            if grant.servers.is_empty() { "nothing".to_owned() } else { grant.servers.join(" ") }
        );
    }
    unreadable(&corrupt)
}

/// Fails with each record that cannot be read.
fn unreadable(corrupt: &[String]) -> Result<(), Failure> {
    let hint = "restore the record; or destroy what its holder has here: sallyport key shred --principal ID";
    Failure::of_each(corrupt, hint)
}

async fn show(global: &Global, id: String) -> Result<(), Failure> {
    let answer = connect(global).await?.show_grant(ShowGrantRequest { id }).await;
    let answer = answer.map_err(|status| of_status(status, "see `sallyport grants list`"))?;
    let grant = answer.into_inner().grant.unwrap_or_default();
    if global.json {
        print_json(&as_json(&grant));
        return Ok(());
    }
    let time = |at: Option<u64>| at.map_or_else(|| "-".to_owned(), |at| UnixTime(at).to_rfc3339());
    let words = |words: &[String]| if words.is_empty() { "-".to_owned() } else { words.join(" ") };
    let renewal = match (grant.has_refresh_token, grant.intent_deadline_ms) {
        (_, Some(deadline)) => format!("under way, until {}", time(Some(deadline))),
        (true, None) => format!("after {}", time(grant.refresh_after_ms)),
        (false, None) => "-".to_owned(),
    };
    for (name, value) in [
        ("id", grant.id.clone()),
        ("holder", grant.holder.clone()),
        ("provider", provider(&grant)),
        ("account", if grant.account.is_empty() { "-".to_owned() } else { grant.account.clone() }),
        ("standing", standing(&grant)),
        ("serves", words(&grant.servers)),
        ("scopes", words(&grant.scopes)),
        ("lacks", if grant.lacks.is_empty() { "-".to_owned() } else { grant.lacks.join(", ") }),
        ("generation", grant.generation.to_string()),
        ("consented", consented(&grant)),
        ("issued", time(grant.issued_at_ms)),
        ("expires", time(grant.expires_at_ms)),
        ("refresh", renewal),
    ] {
        println!("{name:<10}  {value}");
    }
    Ok(())
}

async fn refresh(global: &Global, id: String, force: bool) -> Result<(), Failure> {
    let answer = connect(global).await?.refresh_grant(RefreshGrantRequest { id, force }).await;
    let answer = answer.map_err(|status| of_status(status, "see `sallyport grants list`"))?.into_inner();
    if global.json {
        print_json(&refreshed_as_json(&answer));
    }
    let time = |at: Option<u64>| at.map_or_else(|| "-".to_owned(), |at| UnixTime(at).to_rfc3339());
    let RefreshGrantResponse { id, outcome, reason, provider, .. } = &answer;
    let said = match outcome.as_str() {
        "refreshed" => format!(
            "refreshed {id}: generation {}, expires {}, due again after {}",
            answer.generation,
            time(answer.expires_at_ms),
            time(answer.refresh_after_ms)
        ),
        "not_due" => {
            format!("{id} is not due before {}; --force refreshes it all the same", time(answer.refresh_after_ms))
        }
        "no_refresh_token" => format!("{id} has no refresh token: its token serves until it expires"),
        "needs_consent" => {
            let error = format!("{id} was not refreshed: its holder must agree again ({reason})");
            return Err(Failure::new(error, "they are shown the link at their next call"));
        }
        "refused" => {
            let error = format!("{id} was not refreshed: {provider} refuses the configured client ({reason})");
            return Err(Failure::new(error, "see to the client's id, secret and endpoints in the manifest"));
        }
        _ => {
            let wait = answer.retry_after_ms.unwrap_or_default().div_ceil(1000);
            let error = format!("{id} was not refreshed: {provider} is not available ({reason})");
            return Err(Failure::new(error, format!("it is kept as it was, and tried again in {wait} s")));
        }
    };
    if !global.json {
        println!("{said}");
    }
    Ok(())
}

fn refreshed_as_json(answer: &RefreshGrantResponse) -> serde_json::Value {
    json!({
        "id": answer.id, "outcome": answer.outcome, "reason": answer.reason, "provider": answer.provider,
        "generation": answer.generation, "expires_at_ms": answer.expires_at_ms,
        "refresh_after_ms": answer.refresh_after_ms, "retry_after_ms": answer.retry_after_ms,
    })
}

async fn revoke(global: &Global, which: Option<Which>) -> Result<(), Failure> {
    let answer = connect(global).await?.revoke_grants(RevokeGrantsRequest { which }).await;
    let answer = answer.map_err(|status| of_status(status, "see `sallyport grants list`"))?;
    let RevokeGrantsResponse { revoked, corrupt } = answer.into_inner();
    if global.json {
        print_json(&revoked.iter().map(end_as_json).collect());
        return unreadable(&corrupt);
    }
    if revoked.is_empty() {
        println!("there was nothing left to revoke");
    }
    for grant in &revoked {
        println!("revoked {}: {}", grant.id, told(grant));
    }
    unreadable(&corrupt)
}

pub(super) fn end_as_json(grant: &RevokedGrant) -> serde_json::Value {
    json!({
        "id": grant.id, "provider": grant.provider, "at_provider": grant.at_provider, "manage_url": grant.manage_url,
    })
}

/// What the provider did, in words.
pub(super) fn told(grant: &RevokedGrant) -> String {
    let provider = if grant.provider.is_empty() { "the provider" } else { &grant.provider };
    let there = match grant.manage_url.as_str() {
        "" => "end it there as well".to_owned(),
        url => format!("end it there as well, at {url}"),
    };
    match grant.at_provider.as_str() {
        "revoked" => format!("{provider} has ended the access too"),
        "no_tokens" => format!("nothing was left to end at {provider}"),
        "revocation_unsupported" => format!("{provider} cannot be told; {there}"),
        _ => format!("{provider} was asked, and did not do it; {there}"),
    }
}

fn consented(grant: &GrantSummary) -> String {
    match (grant.consented_at_ms, grant.consented_by.as_str()) {
        (None, _) => "-".to_owned(),
        (Some(at), "") => UnixTime(at).to_rfc3339(),
        (Some(at), who) => format!("{} by {who}", UnixTime(at).to_rfc3339()),
    }
}

fn provider(grant: &GrantSummary) -> String {
    match grant.provider.as_str() {
        "" => "not configured any more".to_owned(),
        host => format!("{host} ({})", grant.profile),
    }
}

fn standing(grant: &GrantSummary) -> String {
    if grant.reason.is_empty() { grant.standing.clone() } else { format!("{}: {}", grant.standing, grant.reason) }
}

pub(super) fn as_json(grant: &GrantSummary) -> serde_json::Value {
    json!({
        "id": grant.id, "provider": grant.provider, "profile": grant.profile, "holder": grant.holder,
        "servers": grant.servers, "scopes": grant.scopes, "lacks": grant.lacks, "account": grant.account, "standing": grant.standing,
        "reason": grant.reason, "generation": grant.generation, "consented_at_ms": grant.consented_at_ms,
        "consented_by": grant.consented_by,
        "issued_at_ms": grant.issued_at_ms, "expires_at_ms": grant.expires_at_ms,
        "refresh_after_ms": grant.refresh_after_ms, "has_refresh_token": grant.has_refresh_token,
        "intent_deadline_ms": grant.intent_deadline_ms,
    })
}

fn of_status(status: tonic::Status, hint: &str) -> Failure {
    match status.code() {
        tonic::Code::NotFound => Failure::new(status.message(), hint),
        _ => status.into(),
    }
}
