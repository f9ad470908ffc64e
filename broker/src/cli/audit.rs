//! `sallyport audit`

use std::path::{Path, PathBuf};

use sallyport_proto::admin::verify_audit_response::Found;
use sallyport_proto::admin::{AuditBreak, AuditHead, FingerprintRequest, QueryAuditRequest, VerifyAuditRequest};
use serde_json::json;

use super::client::{connect, print_json};
use super::input::value;
use super::{Failure, Global};

/// Commands about the audit.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print records, oldest first, one JSON object a line.
    #[command(after_help = "Examples:
  sallyport audit query --server demo/echo --event credential.release
  sallyport audit query --actor 'http://127.0.0.1:10000#runtime' --limit 20
  sallyport audit query --fingerprint \"$(sallyport audit fingerprint --from-file leaked.txt)\"")]
    Query {
        /// Only what this actor did: `<issuer>#<subject>`, or `unix#<uid>` for an operator.
        #[arg(long, default_value = "")]
        actor: String,
        /// Only what is about this server: `<group>/<name>`.
        #[arg(long, default_value = "")]
        server: String,
        /// Only this kind of event, for example `credential.release`.
        #[arg(long, default_value = "")]
        event: String,
        /// Only releases of the token that `sallyport audit fingerprint` names so.
        #[arg(long, default_value = "", value_name = "HEX")]
        fingerprint: String,
        /// Only records after this sequence.
        #[arg(long, default_value_t = 0, value_name = "SEQUENCE")]
        after: u64,
        /// At most so many; 0 for all.
        #[arg(long, default_value_t = 0, value_name = "NUMBER")]
        limit: u32,
    },
    /// Print what the audit calls a token by, to find the releases of one that turned up somewhere.
    ///
    /// The token comes from standard input or a file, never from an argument, which others could see; without `Bearer`.
    #[command(after_help = "Examples:
  sallyport audit fingerprint --from-file leaked.txt
  printf %s \"$TOKEN\" | sallyport audit fingerprint --json")]
    Fingerprint {
        /// Read the token from here; one line break at its end is left out.
        #[arg(long, value_name = "FILE")]
        from_file: Option<PathBuf>,
    },
    /// Follow the chain of records from the first to the last; code 1 and the first bad one if it is broken.
    ///
    /// A chain cut off at its end looks whole. Keep the number and the hash that this prints somewhere else, and compare
    /// later: `sallyport audit query --after <number - 1> --limit 1` must show the same hash.
    #[command(after_help = "Examples:
  sallyport audit verify
  sallyport audit verify --json")]
    Verify,
}

pub(super) async fn run(global: &Global, command: Command) -> Result<(), Failure> {
    match command {
        Command::Query { actor, server, event, fingerprint, after, limit } => {
            query(global, QueryAuditRequest { after_sequence: after, actor, server, event, limit, fingerprint }).await
        }
        Command::Fingerprint { from_file } => fingerprint(global, from_file.as_deref()).await,
        Command::Verify => verify(global).await,
    }
}

async fn query(global: &Global, request: QueryAuditRequest) -> Result<(), Failure> {
    let mut records = connect(global).await?.query_audit(request).await?.into_inner();
    while let Some(record) = records.message().await? {
        println!("{}", record.json);
    }
    Ok(())
}

async fn fingerprint(global: &Global, from_file: Option<&Path>) -> Result<(), Failure> {
    let request = FingerprintRequest { token: value(from_file)? };
    let fingerprint = connect(global).await?.fingerprint(request).await?.into_inner().fingerprint;
    if global.json {
        print_json(&json!({ "fingerprint": fingerprint }));
    } else {
        println!("{fingerprint}");
    }
    Ok(())
}

async fn verify(global: &Global) -> Result<(), Failure> {
    match connect(global).await?.verify_audit(VerifyAuditRequest {}).await?.into_inner().found {
        Some(Found::Whole(AuditHead { sequence, hash })) => {
            if global.json {
                print_json(&json!({ "whole": true, "sequence": sequence, "hash": hash }));
            } else {
                println!("whole: {sequence} records, the last with hash {hash}");
            }
            Ok(())
        }
        Some(Found::Broken(AuditBreak { sequence, problem })) => {
            if global.json {
                print_json(&json!({ "whole": false, "sequence": sequence, "problem": problem }));
            }
            let hint = "keep the database as it is, and compare it with a backup from that record on";
            Err(Failure::new(problem, hint))
        }
        None => Err(Failure::new("the broker does not say whether the audit is whole", "use the broker's own version")),
    }
}
