//! `sallyport identities`

use sallyport_proto::admin::{
    IdentitySummary, LinkIdentityRequest, ListIdentitiesRequest, ListIdentitiesResponse, ReleaseUserRequest,
    ReleaseUserResponse,
};
use serde_json::json;

use super::client::{connect, print_json};
use super::{Failure, Global, grants};
use crate::clock::UnixTime;

/// A verified e-mail address links accounts of different login issuers to one person, but never a second account of one
/// issuer: an address changes hands, and must not hand over what its last owner has connected. Whoever has such an account is
/// refused until `link` says that it is the same person, or `release` that it is somebody else. Their subject stands in the
/// record of the refusal: `sallyport audit query --event call.refused`, or `signin.refused`, with reason
/// `identity_contested`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List by which issuers and subjects people are known, how that came about, and when.
    #[command(after_help = "Examples:
  sallyport identities list --user alice@example.com
  sallyport identities list --json")]
    List {
        /// Only this person's.
        #[arg(long, value_name = "EMAIL")]
        user: Option<String>,
    },
    /// The same person has a new account: let its subject be them, beside the one before.
    #[command(after_help = "Example:
  sallyport identities link --user alice@example.com --issuer https://login.example.com --subject 00u1f9xk2")]
    Link {
        /// Who it is; somebody who is known by it, or somebody without a name, whose subject gets it.
        #[arg(long, value_name = "EMAIL")]
        user: String,
        /// The login issuer, by its exact `iss`.
        #[arg(long, value_name = "URL")]
        issuer: String,
        /// The subject there.
        #[arg(long, value_name = "SUBJECT", allow_hyphen_values = true)]
        subject: String,
    },
    /// The address belongs to somebody else now: end what its last owner had here. Nobody can take that back.
    ///
    /// Revokes their grants and tokens, signs them out, and takes the name from the subjects by which they were known:
    /// another subject that comes with the address is somebody new. Manifests that name `user:<email>` mean the new owner from then on. Grants of
    /// virtual accounts that they agreed to as an owner go on, and are told.
    #[command(after_help = "Example:\n  sallyport identities release --user alice@example.com")]
    Release {
        /// The address.
        #[arg(long, value_name = "EMAIL")]
        user: String,
    },
}

pub(super) async fn run(global: &Global, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { user } => list(global, user.unwrap_or_default()).await,
        Command::Link { user, issuer, subject } => link(global, LinkIdentityRequest { user, issuer, subject }).await,
        Command::Release { user } => release(global, user).await,
    }
}

async fn list(global: &Global, user: String) -> Result<(), Failure> {
    let answer = connect(global).await?.list_identities(ListIdentitiesRequest { user }).await;
    let ListIdentitiesResponse { identities, corrupt } = answer.map_err(of_status)?.into_inner();
    let corrupt = || Failure::of_each(&corrupt, "restore the record; whoever it is of is refused until then");
    if global.json {
        print_json(&identities.iter().map(as_json).collect());
        return corrupt();
    }
    if identities.is_empty() {
        eprintln!("nobody has come from an issuer yet by that name");
    }
    for identity in &identities {
        println!("{}  {}", identity.whom, told(identity));
    }
    corrupt()
}

async fn link(global: &Global, request: LinkIdentityRequest) -> Result<(), Failure> {
    let (user, issuer, subject) = (request.user.clone(), request.issuer.clone(), request.subject.clone());
    let linked = connect(global).await?.link_identity(request).await.map_err(of_status)?.into_inner();
    if global.json {
        print_json(&json!({ "principal": linked.principal, "is_new": linked.is_new }));
    } else if linked.is_new {
        println!("subject {subject} of {issuer} is {user}");
    } else {
        println!("subject {subject} of {issuer} was {user} already");
    }
    Ok(())
}

async fn release(global: &Global, user: String) -> Result<(), Failure> {
    let request = ReleaseUserRequest { user: user.clone() };
    let released = connect(global).await?.release_user(request).await.map_err(of_status)?.into_inner();
    if global.json {
        print_json(&released_as_json(&released));
        return Ok(());
    }
    println!("{user} names nobody any more; it was principal {}", released.principal);
    for identity in &released.identities {
        println!("they were {}", told(identity));
    }
    for grant in &released.revoked {
        println!("revoked grant {}: {}", grant.id, grants::told(grant));
    }
    for token in &released.tokens {
        println!("revoked token {token}");
    }
    for grant in &released.agreed {
        println!(
            "grant {} of {} goes on, which they agreed to; end it with `sallyport grants revoke {}`",
            grant.id, grant.holder, grant.id
        );
    }
    Ok(())
}

fn told(identity: &IdentitySummary) -> String {
    let at = UnixTime(identity.linked_at_ms).to_rfc3339();
    format!("subject {} of {}, {} {at}", identity.subject, identity.issuer, identity.linked)
}

fn as_json(identity: &IdentitySummary) -> serde_json::Value {
    json!({
        "whom": identity.whom, "principal": identity.principal, "issuer": identity.issuer, "subject": identity.subject,
        "linked": identity.linked, "linked_at_ms": identity.linked_at_ms,
    })
}

fn released_as_json(released: &ReleaseUserResponse) -> serde_json::Value {
    json!({
        "principal": released.principal, "tokens": released.tokens,
        "identities": released.identities.iter().map(as_json).collect::<Vec<_>>(),
        "revoked": released.revoked.iter().map(grants::end_as_json).collect::<Vec<_>>(),
        "agreed": released.agreed.iter().map(grants::as_json).collect::<Vec<_>>(),
    })
}

fn of_status(status: tonic::Status) -> Failure {
    match status.code() {
        tonic::Code::NotFound => Failure::new(status.message(), "see `sallyport identities list`"),
        tonic::Code::FailedPrecondition => Failure::new(status.message(), "see `sallyport identities list`"),
        _ => status.into(),
    }
}
