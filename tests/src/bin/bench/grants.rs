//! What the number of grants costs: memory, and CPU time for each release.

mod cost;
mod memory;

use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::Broker;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use crate::{
    Options,
    cores::{self, Cores},
    site::{Api, Site, Store},
};

const MEMORY: &str = "memory with 100,000 grants";
const COST: &str = "cost per release against number of grants";
/// Every row.
pub(crate) const ROWS: [&str; 2] = [MEMORY, COST];

/// How many grants there are, fewest first.
const SIZES: [usize; 4] = [100, 1_000, 10_000, 100_000];
/// As GitHub's; up to three quarters of it are over, and nothing falls due while it is measured.
const LIFE: Duration = Duration::from_secs(8 * 3_600);
/// Requests that wait for their answers.
const UNDER_WAY: usize = 64;

/// A gate for what all brokers share, and brokers with a store each: one for each number of grants, stopped.
struct Sizes {
    site: Site,
    brokers: Vec<(usize, Broker)>,
    core: usize,
}

/// Measures the rows that are wanted.
///
/// # Errors
/// When something does not do its work.
pub(crate) async fn measure(options: &Options, cores: Cores) -> Result<Value> {
    println!("\nSQLite with many grants, broker {}, on a core of its own", options.program().file().display());
    let sizes = if options.wants(COST) { &SIZES[..] } else { &SIZES[SIZES.len() - 1..] };
    let mut sizes = Sizes::fill(sizes, options, cores.gateway).await?;
    let mut report = json!({});
    // First: what is called for the memory's sake is renewed from then on.
    if options.wants(COST) {
        report["cost"] = json!(cost::measure(COST, &mut sizes, options).await?);
    }
    if options.wants(MEMORY) {
        report["memory"] = json!(memory::measure(MEMORY, &mut sizes).await?);
    }
    Ok(report)
}

impl Sizes {
    async fn fill(sizes: &[usize], options: &Options, core: usize) -> Result<Self> {
        let mut site = Site::start(Store::Sqlite, options.program(), core).await?;
        site.stop().await;
        let started = Instant::now();
        let mut brokers: Vec<(usize, Broker)> = Vec::new();
        for size in sizes {
            let broker = site.world.another_broker();
            let (there, before) = brokers.last().map_or((0, &site.world.broker), |(there, broker)| (*there, broker));
            broker.take_over(before);
            broker.seed_grants(there..*size, LIFE).await;
            brokers.push((*size, broker));
        }
        println!("  filled in {:.0} s", started.elapsed().as_secs_f64());
        Ok(Self { site, brokers, core })
    }

    /// Starts one of the brokers, with nothing in memory, on its core.
    async fn start(&mut self, at: usize) -> Result<Api> {
        let (_, broker) = &mut self.brokers[at];
        broker.start().await;
        cores::pin(broker.child().pid(), self.core)?;
        self.site.api_of(&self.brokers[at].1).await
    }
}

/// Has a credential released to the holder of each of these tokens.
async fn release_all(api: &Api, tokens: impl Iterator<Item = String>) -> Result<()> {
    let release = |token: String| {
        let mut api = api.clone();
        async move { api.release(&token).await }
    };
    stream::iter(tokens).map(release).buffer_unordered(UNDER_WAY).try_for_each(async |_| Ok(())).await
}
