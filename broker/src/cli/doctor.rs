//! `sallyport doctor`

use std::time::Duration;

use sallyport_proto::admin::admin_client::AdminClient;
use sallyport_proto::admin::{
    self as proto, DiagnoseRequest, IssueTokenRequest, ListServersRequest, RevokeTokenRequest,
};
use serde_json::json;
use tonic::transport::Channel;

use super::client::{connect, print_json};
use super::{Failure, Global};
use crate::config::Config;
use crate::doctor::{Finding, Verdict, gateway, keys, machine, redis};
use crate::secret::Secret;

/// Whom the gateway's self-test is made as: nothing it asks for reaches a server.
const ACCOUNT: &str = "sallyport-doctor";

/// Life of its token; it is revoked as soon as it was shown.
const TTL: Duration = Duration::from_secs(60);

/// Arguments of `sallyport doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Tell what needs a remedy only.
    #[arg(long)]
    quiet: bool,
    /// Do not call the gateway.
    #[arg(long)]
    no_gateway: bool,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let findings = findings(global, &arguments).await;
    let (bad, warnings) = (count(&findings, Verdict::Bad), count(&findings, Verdict::Warning));
    if global.json {
        let one = |finding: &Finding| {
            json!({
                "check": finding.check, "verdict": finding.verdict().name(), "told": finding.told,
                "remedy": finding.remedy().unwrap_or_default(),
            })
        };
        print_json(
            &json!({ "findings": findings.iter().map(one).collect::<Vec<_>>(), "bad": bad, "warnings": warnings }),
        );
    } else {
        for finding in findings.iter().filter(|finding| !arguments.quiet || finding.verdict() > Verdict::Good) {
            println!("{:<8} {}: {}", finding.verdict().name(), finding.check, finding.told);
            if let Some(remedy) = finding.remedy() {
                println!("         remedy: {remedy}");
            }
        }
    }
    match bad {
        0 => Ok(()),
        _ => Err(Failure::new(format!("{bad} of {} findings are bad", findings.len()), "each says above what to do")),
    }
}

fn count(findings: &[Finding], verdict: Verdict) -> usize {
    findings.iter().filter(|finding| finding.verdict() == verdict).count()
}

async fn findings(global: &Global, arguments: &Arguments) -> Vec<Finding> {
    let (config, good) = match machine::configuration(global.config()) {
        Ok(read) => read,
        Err(findings) => return findings,
    };
    let mut findings = vec![good];
    findings.extend(machine::files(&config));
    match connect(global).await {
        Ok(mut broker) => {
            findings.extend(of_broker(&mut broker).await);
            if !arguments.no_gateway {
                findings.extend(of_gateway(&mut broker, &config).await);
            }
        }
        Err(failure) => {
            findings.push(Finding::bad("broker", failure.error(), failure.hint()));
            findings.push(machine::store(&config).await);
            findings.extend(keys::seen_from_here(&config).await);
            findings.extend(redis::seen_from_here(&config).await);
        }
    }
    findings
}

async fn of_broker(broker: &mut AdminClient<Channel>) -> Vec<Finding> {
    match broker.diagnose(DiagnoseRequest {}).await {
        Ok(answer) => {
            let good = Finding::good("broker", "it runs, and answers operators");
            std::iter::once(good).chain(answer.into_inner().findings.into_iter().map(finding)).collect()
        }
        Err(status) => {
            let told = format!("it runs, and does not examine itself: {}", status.message());
            vec![Finding::bad("broker", told, "see its log; it may be of an older version than this command")]
        }
    }
}

/// What cannot be read is bad.
fn finding(told: proto::Finding) -> Finding {
    let verdict = told.verdict();
    let proto::Finding { check, told, remedy, .. } = told;
    match verdict {
        proto::finding::Verdict::Good => Finding::good(check, told),
        proto::finding::Verdict::Warning => Finding::warning(check, told, remedy),
        proto::finding::Verdict::Bad | proto::finding::Verdict::Unspecified => Finding::bad(check, told, remedy),
    }
}

/// Calls the gateway as an agent, with a request that it must refuse.
async fn of_gateway(broker: &mut AdminClient<Channel>, config: &Config) -> Vec<Finding> {
    let servers = broker.list_servers(ListServersRequest {}).await.map(|answer| answer.into_inner().servers);
    let path =
        servers.ok().and_then(|servers| servers.first().map(|server| format!("/mcp-server/{}/server", server.name)));
    let issued = match &path {
        Some(_) => {
            let whom = proto::issue_token_request::Whom::VirtualAccount(ACCOUNT.to_owned());
            let ttl_ms = u64::try_from(TTL.as_millis()).unwrap_or(u64::MAX);
            broker
                .issue_token(IssueTokenRequest { whom: Some(whom), ttl_ms })
                .await
                .ok()
                .map(tonic::Response::into_inner)
        }
        None => None,
    };
    let token = issued.as_ref().map(|issued| Secret::new(issued.token.as_str()));
    let ca_file = config.network.ca_file.as_deref();
    let mut findings = gateway::findings(&config.public_url, ca_file, path.as_deref(), token.as_ref()).await;
    if let Some(issued) = issued
        && let Err(status) = broker.revoke_token(RevokeTokenRequest { id: issued.id.clone() }).await
    {
        let told = format!("the token of the self-test was not revoked: {}", status.message());
        findings.push(Finding::warning(
            "gateway",
            told,
            format!("it expires within a minute; or run `sallyport token revoke {}`", issued.id),
        ));
    }
    findings
}
