//! What a broker holds in memory, with many grants in its store.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use e2e::{Algorithm, Broker};
use serde::Serialize;

use super::{Sizes, release_all};

/// People who call within five minutes: a tenth of all, and as many as a broker keeps open.
const CALLERS: usize = 10_000;
/// Of those, people beyond the others whose tokens fall due meanwhile: after eight minutes, up to seven and a half of which are
/// over.
const DUE: usize = 5_000;
const SHORT_LIFE: Duration = Duration::from_secs(600);
/// How long it runs, before and after they call: what it does each second it does so often.
const RUNS: Duration = Duration::from_secs(15);
/// Resident memory that it may have, MiB.
const BUDGET: f64 = 128.0;

/// The row; MiB.
#[derive(Serialize)]
pub(super) struct Memory {
    name: &'static str,
    grants: usize,
    callers: usize,
    /// Resident, once it has run for a while and nobody has called.
    idle: f64,
    /// Once all callers have called, and it has run on.
    called: f64,
    /// Of that, not of files.
    anonymous: f64,
    /// The most it ever had.
    peak: f64,
    /// Tokens that were renewed meanwhile.
    renewed: u64,
}

/// Measures it on the broker with the most grants.
///
/// # Errors
/// When somebody gets no credential.
pub(super) async fn measure(name: &'static str, sizes: &mut Sizes) -> Result<Memory> {
    let at = sizes.brokers.len() - 1;
    let grants = sizes.brokers[at].0;
    sizes.brokers[at].1.seed_grants(grants..grants + DUE, SHORT_LIFE).await;
    sizes.site.provider.adopt(0..grants + DUE);
    let api = sizes.start(at).await?;
    tokio::time::sleep(RUNS).await;
    let broker = &sizes.brokers[at].1;
    let process = broker.child().pid();
    let idle = status(process, "VmRSS")?;
    // Everywhere among them.
    let others = (0..grants).step_by(grants / (CALLERS - DUE));
    let (issuer, server) = (&sizes.site.world.issuer, &sizes.site.server);
    // The signature that is made fastest: what is kept of a caller is the same.
    let token =
        |number| issuer.token_signed(Algorithm::EdDsa, &format!("person-{number}"), server).expires_in(3_600).mint();
    release_all(&api, others.chain(grants..grants + DUE).map(token)).await?;
    tokio::time::sleep(RUNS).await;
    let memory = Memory {
        name,
        grants: grants + DUE,
        callers: CALLERS,
        idle,
        called: status(process, "VmRSS")?,
        anonymous: status(process, "RssAnon")?,
        peak: status(process, "VmHWM")?,
        renewed: renewed(broker).await?,
    };
    memory.print();
    sizes.brokers[at].1.stop().await;
    Ok(memory)
}

impl Memory {
    fn print(&self) {
        let Self { name, grants, callers, idle, called, anonymous, peak, renewed } = self;
        println!("\n{name}");
        println!("  resident with {grants} grants in the store, nobody has called{:>24} {idle:>6.1} MiB", "");
        println!(
            "  the same once {callers} people have called, with {renewed} tokens renewed meanwhile    {called:>6.1} MiB"
        );
        println!("  of that, not of files {anonymous:.1} MiB; the most there ever was {peak:.1} MiB");
        let verdict = if *called <= BUDGET { "met" } else { "missed" };
        println!("  budget ≤ {BUDGET:.0} MiB resident: {verdict}");
    }
}

/// A figure of a process, MiB.
fn status(process: u32, name: &str) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    Ok(kilobytes.with_context(|| format!("the kernel does not tell {name}"))? / 1024.0)
}

async fn renewed(broker: &Broker) -> Result<u64> {
    let metrics = reqwest::get(format!("http://{}/metrics", broker.http)).await?.text().await?;
    let line = metrics.lines().find_map(|line| line.strip_prefix("sallyport_tokens_renewed_total "));
    Ok(line.map(str::parse).transpose()?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_this_process_has() {
        let (now, most) = (status(std::process::id(), "VmRSS").unwrap(), status(std::process::id(), "VmHWM").unwrap());
        assert!(0.0 < now && now <= most, "{now} {most}");
        assert!(status(std::process::id(), "Vm").is_err());
    }
}
