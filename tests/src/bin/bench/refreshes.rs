//! Tokens that are over: each is refreshed at the provider while its caller waits.
//!
//! The provider notes the moment before it gives the last byte of its answer to the kernel. The broker says in its log, once the commit
//! has come back, that the pair is durable; the time of that line, in microseconds of the same clock, is taken for the commit's.

use std::{
    collections::HashMap,
    ops::Range,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use e2e::provider::Answered;
use serde::Serialize;
use serde_json::Value;

use crate::{
    quantiles::{Disk, Quantiles},
    site::Site,
};

/// Operations of the key service that a refresh takes: for the old token, and for the new ones.
const OPERATIONS: [&str; 2] = ["Decrypt", "GenerateDataKey"];
/// Microseconds.
const DAY: u128 = 24 * 3600 * 1_000_000;

/// What the broker says once a pair is durable.
const DURABLE: &str = "a renewed token is durable";

/// The rows, which are measured together.
#[derive(Serialize)]
pub(crate) struct Refreshed {
    /// From the request to its answer, without the provider's own time: from the last byte it read to the last it sent.
    pub(crate) overhead: Quantiles,
    /// The provider's own time.
    provider: Quantiles,
    /// From the last byte that the provider sent until the pair is durable.
    pub(crate) commit: Quantiles,
    /// 4 KiB written and synced beside the store, in turn with the refreshes.
    fsync: Quantiles,
    /// The key service's times, by operation.
    kms: Vec<(&'static str, Quantiles)>,
}

/// Measures them, with people whose tokens are over, one after the other.
///
/// # Errors
/// When one gets no credential, or is refreshed otherwise than once.
pub(crate) async fn measure(site: &mut Site, people: Range<usize>) -> Result<Refreshed> {
    let tokens = site.tokens(people.clone());
    site.world.broker.change(|config| config["log"]["level"] = "debug".into());
    site.restart().await?;
    let mut api = site.api().await?;
    let mut disk = Disk::of(site.world.dir())?;
    let times_of = |operation| site.kms.as_ref().map(|kms| kms.take_times(operation)).unwrap_or_default();
    let _before = OPERATIONS.map(times_of);
    let (mut released, mut fsyncs) = (Vec::new(), Vec::new());
    for token in &tokens {
        // In turn, so that whatever else the disk does meets both.
        fsyncs.push(disk.fsync()?);
        let (taken, credential) = api.release(token).await?;
        ensure!(credential.source == "refresh", "nobody refreshed this token: {}", credential.source);
        released.push((taken, credential.grant));
    }
    let kms = OPERATIONS.map(|operation| (operation, times_of(operation)));
    let durable = durable(&site.world.broker.log());
    let (mut overhead, mut provider, mut commit) = (Vec::new(), Vec::new(), Vec::new());
    for ((taken, grant), answered) in released.iter().zip(answers(site, people)?) {
        let at = durable.get(grant).with_context(|| format!("the log does not say when {grant} was durable"))?;
        overhead.push(taken.saturating_sub(answered.after));
        provider.push(answered.after);
        commit.push(since(answered.at, *at)?);
    }
    Ok(Refreshed {
        overhead: Quantiles::of(overhead),
        provider: Quantiles::of(provider),
        commit: Quantiles::of(commit),
        fsync: Quantiles::of(fsyncs),
        kms: kms
            .into_iter()
            .filter(|(_, times)| !times.is_empty())
            .map(|(of, times)| (of, Quantiles::of(times)))
            .collect(),
    })
}

impl Refreshed {
    /// The row of what a refresh takes beyond its provider.
    pub(crate) fn print_overhead(&self, name: &str) {
        println!("\n{name}");
        self.overhead.print("a waiting caller's release, without the provider's own time");
        self.provider.print("the provider's own time: request read to last byte sent");
        for (operation, times) in &self.kms {
            times.print(&format!("{operation} at the key service (moto, with the way there)"));
        }
        self.fsync.print("4 KiB and fsync, on this disk");
        println!(
            "  durable before that answer, one after the other: intent, pair, record of the refresh, record of the release"
        );
    }

    /// The row of what is lost where a broker dies over it.
    pub(crate) fn print_commit(&self, name: &str, budget: f64) {
        println!("\n{name}");
        self.commit.print("from the provider's last byte to the durable commit");
        self.fsync.print("4 KiB and fsync, on this disk");
        println!(
            "  measured from just before the provider's write of that byte to the broker's log line after the commit, in µs"
        );
        let verdict = if self.commit.p99 <= budget { "met" } else { "missed" };
        println!("  budget: p99 ≤ {budget:.0} ms: {verdict}");
    }
}

/// When the provider answered the refresh of each of these people.
fn answers(site: &Site, people: Range<usize>) -> Result<Vec<Answered>> {
    let mut answers = HashMap::new();
    for request in site.provider.token_requests_by("refresh_token") {
        let token = request.form.get("refresh_token").unwrap_or_default().to_owned();
        ensure!(answers.insert(token, request.answered).is_none(), "somebody was refreshed twice");
    }
    let of = |number| answers.get(&format!("seeded-refresh-token-of-person-{number}")).copied().flatten();
    people.map(|number| of(number).with_context(|| format!("person-{number} was not refreshed"))).collect()
}

/// When each grant's pair was durable, as microseconds of its day.
fn durable(log: &str) -> HashMap<String, u128> {
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        let is_it = line["fields"]["message"] == DURABLE;
        let grant = line["fields"]["grant"].as_str().filter(|_| is_it)?;
        Some((grant.to_owned(), time_of_day(line["timestamp"].as_str()?)?))
    };
    log.lines().filter_map(line).collect()
}

/// Of a time as logs tell it: `2026-01-01T12:34:56.789012Z`.
fn time_of_day(text: &str) -> Option<u128> {
    let time = text.split_once('T')?.1.strip_suffix('Z')?;
    let (time, fraction) = time.split_once('.')?;
    let mut seconds = 0;
    for part in time.split(':') {
        seconds = seconds * 60 + part.parse::<u128>().ok()?;
    }
    let fraction = fraction.parse().ok().filter(|_| fraction.len() == 6);
    fraction.map(|fraction: u128| seconds * 1_000_000 + fraction)
}

/// From one moment to a later one of the same day, or of the next.
fn since(from: SystemTime, to: u128) -> Result<Duration> {
    let from = from.duration_since(UNIX_EPOCH)?.as_micros() % DAY;
    let micros = (to + DAY - from) % DAY;
    ensure!(micros < DAY / 2, "a pair was durable before the provider had answered");
    Ok(Duration::from_micros(u64::try_from(micros)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_time_of_the_line_that_says_so() {
        let line = |message: &str, at: &str| {
            serde_json::json!({"timestamp": at, "fields": {"message": message, "grant": "g"}}).to_string()
        };
        let log = [line("something else", "2026-01-01T00:00:00.000000Z"), line(DURABLE, "2026-01-01T01:02:03.000004Z")];
        assert_eq!(durable(&log.join("\n")), HashMap::from([("g".to_owned(), 3_723_000_004)]));
        assert_eq!(time_of_day("2026-01-01T01:02:03.004Z"), None, "not as fine as it must be");
    }

    #[test]
    fn a_commit_after_midnight_is_of_the_next_day() {
        let before_midnight = UNIX_EPOCH + Duration::from_micros(u64::try_from(DAY).unwrap() * 9 - 300);
        assert_eq!(since(before_midnight, 200).unwrap(), Duration::from_micros(500));
        assert!(since(before_midnight, DAY - 301).is_err());
    }
}
