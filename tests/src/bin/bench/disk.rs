//! What durability costs: the first release after a restart, and a renewed token's way to the store.

use std::{
    fs::File,
    io::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use e2e::{Auth, Browser, Provider, Server, World, acquire, broker_api, eventually};
use sallyport_proto::broker::acquire_credential_response::Answer;
use serde::Serialize;

/// Restarts of the broker, each with one release.
const RESTARTS: usize = 30;
/// People whose tokens are renewed.
const RENEWALS: usize = 100;
/// Budget from the provider's last byte to the durable commit, milliseconds at p99.
const COMMIT_BUDGET: f64 = 5.0;

/// Half of all took no longer, and all but one in a hundred; milliseconds.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Quantiles {
    p50: f64,
    p99: f64,
}

/// Figures of one disk.
#[derive(Serialize)]
pub(crate) struct Disk {
    /// What is measured.
    name: &'static str,
    /// 4 KiB written and synced, beside the broker's store.
    fsync: Quantiles,
    /// By the filter's API: read from SQLite, opened, recorded durably.
    first_release: Quantiles,
    /// From the provider's last byte to the durable commit, as the broker's histogram has it: bounds, not values.
    commit: Quantiles,
}

impl Disk {
    /// Measures it all, with a gate of its own.
    ///
    /// # Errors
    /// When something does not do its work.
    pub(crate) async fn measure(name: &'static str) -> Result<Self> {
        let mut world = World::start().await;
        let provider = Arc::new(Provider::start().await);
        let server = world.server().auth(Auth::authorization_code(&provider)).register().await;
        world.consent(&Browser::of("alice"), &server).await;
        let mut log = File::create(world.broker.data.join("fsync"))?;
        let (mut fsyncs, mut releases) = (Vec::new(), Vec::new());
        for _ in 0..RESTARTS {
            world.broker.stop().await;
            world.broker.start().await;
            // In turn, so that whatever else the disk does meets both.
            fsyncs.push(fsync(&mut log)?);
            releases.push(release(&world, "alice", &server).await?);
        }
        for person in expired(&world, &provider, &server).await? {
            fsyncs.push(fsync(&mut log)?);
            release(&world, &person, &server).await?;
        }
        let metrics = reqwest::get(format!("http://{}/metrics", world.broker.http)).await?.text().await?;
        let commit = histogram(&metrics, "sallyport_refresh_commit_seconds");
        let commit = commit.context("the broker has measured its commits")?;
        Ok(Self { name, fsync: Quantiles::of(fsyncs), first_release: Quantiles::of(releases), commit })
    }

    /// For people.
    pub(crate) fn print(&self) {
        let verdict = if self.commit.p99 <= COMMIT_BUDGET { "met" } else { "missed" };
        println!("\n{}", self.name);
        for (what, sign, Quantiles { p50, p99 }) in [
            ("4 KiB and fsync, on this disk", "", self.fsync),
            ("first release after a restart", "", self.first_release),
            ("provider's last byte to durable commit", "≤ ", self.commit),
        ] {
            println!("  {what:<52} p50 {sign}{p50:.2} ms   p99 {sign}{p99:.2} ms");
        }
        println!("  budget of the last: p99 ≤ {COMMIT_BUDGET:.0} ms: {verdict}");
    }
}

impl Quantiles {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        let [p50, p99] = [2, 100].map(|part| times[times.len() - 1 - times.len() / part].as_secs_f64() * 1e3);
        Self { p50, p99 }
    }
}

/// One append, as to a log of the store's.
fn fsync(log: &mut File) -> Result<Duration> {
    let start = Instant::now();
    log.write_all(&[0x5a; 4096])?;
    log.sync_all()?;
    Ok(start.elapsed())
}

/// How long the broker takes to release a credential that no proxy has.
async fn release(world: &World, person: &str, server: &Server) -> Result<Duration> {
    let request = acquire(&world.broker.grpc, &world.issuer.token(person, server).mint(), server).await;
    let mut api = broker_api(&world.broker.grpc).await?;
    let start = Instant::now();
    let answer = api.acquire_credential(request).await?.into_inner().answer;
    let taken = start.elapsed();
    ensure!(matches!(answer, Some(Answer::Credential(_))), "{person} was given no credential: {answer:?}");
    Ok(taken)
}

/// People who have consented, and whose tokens are over.
async fn expired(world: &World, provider: &Provider, server: &Server) -> Result<Vec<String>> {
    let people: Vec<String> = (0..RENEWALS).map(|number| format!("person-{number}")).collect();
    provider.access_token_life(Duration::from_secs(1));
    for person in &people {
        world.consent(&Browser::of(person), server).await;
    }
    let last = provider.issued().pop().context("they have consented")?;
    eventually("every token is over", async || (!provider.is_live(&last)).then_some(())).await;
    provider.access_token_life(Duration::from_secs(3600));
    Ok(people)
}

/// The bounds of the buckets in which the quantiles are.
fn histogram(metrics: &str, name: &str) -> Option<Quantiles> {
    let bucket = |line: &str| {
        let (bound, count) = line.strip_prefix(name)?.strip_prefix("_bucket{le=\"")?.split_once("\"} ")?;
        // `+Inf`, the last one, is a number as well.
        Some((bound.parse::<f64>().ok()? * 1e3, count.parse::<f64>().ok()?))
    };
    let buckets: Vec<_> = metrics.lines().filter_map(bucket).collect();
    let all = buckets.last()?.1;
    let bound = |part: f64| buckets.iter().find(|(_, count)| *count >= all * part).map(|(bound, _)| *bound);
    (all >= RENEWALS as f64).then_some(Quantiles { p50: bound(0.5)?, p99: bound(0.99)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_a_histogram_are_bounds_of_its_buckets() {
        let metrics = "# TYPE commit histogram\ncommit_bucket{le=\"0.001\"} 40\ncommit_bucket{le=\"0.002\"} 98\n\
                       commit_bucket{le=\"0.005\"} 100\ncommit_bucket{le=\"+Inf\"} 100\ncommit_sum 1\n";
        let Quantiles { p50, p99 } = histogram(metrics, "commit").expect("all are there");
        assert_eq!((p50, p99), (2.0, 5.0));
        assert!(histogram("commit_bucket{le=\"+Inf\"} 7\n", "commit").is_none());
    }
}
