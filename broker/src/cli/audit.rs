//! `sallyport audit`

use sallyport_proto::admin::QueryAuditRequest;

use super::client::connect;
use super::{Failure, Global};

/// Commands about the audit.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print records, oldest first, one JSON object a line.
    #[command(after_help = "Examples:
  sallyport audit query --server demo/echo --event credential.release
  sallyport audit query --actor 'http://127.0.0.1:10000#runtime' --limit 20")]
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
        /// Only records after this sequence.
        #[arg(long, default_value_t = 0, value_name = "SEQUENCE")]
        after: u64,
        /// At most so many; 0 for all.
        #[arg(long, default_value_t = 0, value_name = "NUMBER")]
        limit: u32,
    },
}

pub(super) async fn run(global: &Global, command: Command) -> Result<(), Failure> {
    let Command::Query { actor, server, event, after, limit } = command;
    let request = QueryAuditRequest { after_sequence: after, actor, server, event, limit };
    let mut records = connect(global).await?.query_audit(request).await?.into_inner();
    while let Some(record) = records.message().await? {
        println!("{}", record.json);
    }
    Ok(())
}
