//! Credentials that the broker has to read and open first: each of a caller whom it sees for the first time.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::{
    cores,
    quantiles::{Disk, Quantiles},
    site::Site,
};

/// What a miss may take beyond the disk's own time, milliseconds at p50 and p99: of one broker with everything on its disk.
const BUDGET: [f64; 2] = [1.0, 5.0];

/// The row.
#[derive(Serialize)]
pub(crate) struct Missed {
    name: &'static str,
    /// From the request to its answer, by the filter's API.
    released: Quantiles,
    /// The same without the key service's time, where there is one.
    without_kms: Option<Quantiles>,
    /// 4 KiB written and synced beside the store, in turn with the releases.
    fsync: Quantiles,
    /// The key service's time for one `Decrypt`.
    kms_decrypt: Option<Quantiles>,
    /// Of that, as the broker tells it: verifying the caller.
    verified: Quantiles,
    /// Reading and opening the token, and recording its release.
    store: Quantiles,
    /// CPU time of the broker for each, microseconds.
    cpu_us: f64,
}

/// Measures it: the broker starts again, and these people come, one after the other.
///
/// # Errors
/// When one gets no credential.
pub(crate) async fn measure(name: &'static str, site: &mut Site, people: std::ops::Range<usize>) -> Result<Missed> {
    let tokens = site.tokens(people);
    site.restart().await?;
    let mut api = site.api().await?;
    let mut disk = Disk::of(site.world.dir())?;
    let process = site.world.broker.child().pid();
    let decrypts = || site.kms.as_ref().map(|kms| kms.take_times("Decrypt"));
    decrypts();
    let (mut released, mut without_kms, mut fsyncs, mut in_kms) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut verified, mut store) = (Vec::new(), Vec::new());
    let before = cores::cpu_time(process)?;
    for token in &tokens {
        // In turn, so that whatever else the disk does meets both.
        fsyncs.push(disk.fsync()?);
        let (taken, credential, timings) = api.release_told(token).await?;
        ensure!(credential.source == "stored", "a miss was to be of a stored token: {}", credential.source);
        released.push(taken);
        verified.push(Duration::from_micros(timings.verify_us));
        store.push(Duration::from_micros(timings.store_us));
        if let Some(times) = decrypts() {
            // Of those that were answered; the last is that of the release.
            let time = *times.last().context("a miss asked the key service for nothing")?;
            without_kms.push(taken.saturating_sub(time));
            in_kms.push(time);
        }
    }
    let cpu = cores::cpu_time(process)? - before;
    let some = |times: Vec<_>| (!times.is_empty()).then(|| Quantiles::of(times));
    let missed = Missed {
        name,
        cpu_us: cpu.as_secs_f64() / released.len() as f64 * 1e6,
        released: Quantiles::of(released),
        verified: Quantiles::of(verified),
        store: Quantiles::of(store),
        without_kms: some(without_kms),
        fsync: Quantiles::of(fsyncs),
        kms_decrypt: some(in_kms),
    };
    missed.print();
    Ok(missed)
}

impl Missed {
    fn print(&self) {
        let Self { name, released, without_kms, fsync, kms_decrypt, verified, store, cpu_us } = self;
        println!("\n{name}");
        released.print("first release: caller verified, token read, opened, recorded");
        verified.print("  of that, verifying the caller's token");
        store.print("  of that, reading and opening the token, recording the release");
        fsync.print("4 KiB and fsync, on this disk");
        if let (Some(decrypt), Some(without)) = (kms_decrypt, without_kms) {
            decrypt.print("Decrypt at the key service (moto, with the way there)");
            without.print("first release without the key service's time");
        } else {
            let [p50, p99] = [fsync.p50 + BUDGET[0], fsync.p99 + BUDGET[1]];
            let verdict = if released.p50 <= p50 && released.p99 <= p99 { "met" } else { "missed" };
            println!("  budget: fsync and {:.0} ms at p50, {:.0} ms at p99: {verdict}", BUDGET[0], BUDGET[1]);
        }
        println!("  CPU of the broker {cpu_us:.0} µs each");
    }
}
