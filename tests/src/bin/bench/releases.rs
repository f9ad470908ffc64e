//! Credentials that the broker has in memory, released as fast as it can.

use anyhow::{Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;

use crate::{
    Options, cores,
    figures::Spread,
    site::{Api, Site},
};

/// People who call in turn.
pub(crate) const PEOPLE: usize = 100;
/// Requests that wait for their answers: what is recorded together in one commit.
const UNDER_WAY: usize = 256;
/// Connections that they go through.
const CONNECTIONS: usize = 4;
/// Of the requests of a round: what counts is CPU time, of which it takes less to know it well.
const PART: usize = 4;
/// Releases that a core should do in a second.
const BUDGET: f64 = 10_000.0;

/// The row.
#[derive(Serialize)]
pub(crate) struct Released {
    name: &'static str,
    under_way: usize,
    /// By the CPU time of the broker's process: as many as one core would do that did nothing else.
    per_core_second: Spread,
    /// CPU time of the broker for each, microseconds.
    cpu_us: Spread,
    /// By the clock, as fast as this load came.
    per_second: Spread,
    /// Share of its core that the broker had, 0 to 1.
    busy: Spread,
}

/// Measures it, with the credentials of these tokens' holders.
///
/// # Errors
/// When one is not released, or not recorded.
pub(crate) async fn measure(name: &'static str, site: &Site, options: &Options) -> Result<Released> {
    let tokens = site.tokens(0..PEOPLE);
    let mut apis = Vec::new();
    for _ in 0..CONNECTIONS {
        apis.push(site.api().await?);
    }
    let process = site.world.broker.child().pid();
    // One after the other, into memory: together they would be a flood for the key service.
    for token in &tokens {
        apis[0].release(token).await?;
    }
    let (mut cpu_us, mut per_second, mut busy) = (Vec::new(), Vec::new(), Vec::new());
    let requests = usize::try_from(options.requests)? / PART;
    for _ in 0..options.rounds {
        let (recorded, before) = (site.records().await, cores::cpu_time(process)?);
        let started = std::time::Instant::now();
        burst(&apis, &tokens, requests).await?;
        let taken = started.elapsed().as_secs_f64();
        let cpu = (cores::cpu_time(process)? - before).as_secs_f64();
        let recorded = site.records().await - recorded;
        ensure!(recorded >= i64::try_from(requests)?, "{requests} were released, and {recorded} are on record");
        cpu_us.push(cpu / requests as f64 * 1e6);
        per_second.push(requests as f64 / taken);
        busy.push(cpu / taken);
    }
    let released = Released {
        name,
        under_way: UNDER_WAY,
        per_core_second: Spread::of(cpu_us.iter().map(|us| 1e6 / us)),
        cpu_us: Spread::of(cpu_us),
        per_second: Spread::of(per_second),
        busy: Spread::of(busy),
    };
    released.print();
    Ok(released)
}

/// So many releases, to each in turn.
async fn burst(apis: &[Api], tokens: &[String], count: usize) -> Result<()> {
    let release = |number: usize| {
        let (mut api, token) = (apis[number % apis.len()].clone(), &tokens[number % tokens.len()]);
        async move { api.release(token).await }
    };
    stream::iter(0..count).map(release).buffer_unordered(UNDER_WAY).try_for_each(async |_| Ok(())).await
}

impl Released {
    fn print(&self) {
        let Self { name, under_way, per_core_second, cpu_us, per_second, busy } = self;
        println!("\n{name}");
        println!(
            "  each recorded before it is answered, {under_way} under way, {PEOPLE} people in turn; median (least–most)"
        );
        println!(
            "  per second of the broker's CPU {}, {} µs each; by the clock {}/s, its core {:.0}% busy",
            per_core_second.show(0),
            cpu_us.show(1),
            per_second.show(0),
            busy.median * 100.0
        );
        let verdict = if per_core_second.median >= BUDGET { "met" } else { "missed" };
        println!("  budget ≥ {BUDGET:.0}/s per core: {verdict}");
    }
}
