//! How long single things took.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde::Serialize;

/// Half of all took no longer, and all but one in a hundred; milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Quantiles {
    /// Of so many.
    pub(crate) count: usize,
    /// Half took no longer.
    pub(crate) p50: f64,
    /// One in a hundred took longer.
    pub(crate) p99: f64,
}

impl Quantiles {
    /// Of at least one.
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        let [p50, p99] = [2, 100].map(|part| times[times.len() - 1 - times.len() / part].as_secs_f64() * 1e3);
        Self { count: times.len(), p50, p99 }
    }

    /// For people.
    pub(crate) fn print(&self, what: &str) {
        let Self { count, p50, p99 } = self;
        println!("  {what:<60} p50 {p50:>7.2} ms   p99 {p99:>7.2} ms   of {count}");
    }
}

/// What the disk of a store takes to keep 4 KiB.
pub(crate) struct Disk(File);

impl Disk {
    /// That of this directory.
    ///
    /// # Errors
    /// When nothing can be written there.
    pub(crate) fn of(directory: &Path) -> Result<Self> {
        let file = directory.join("bench-fsync");
        let disk = File::options().create(true).append(true).open(&file)?;
        // It is of no use but to whoever holds it.
        fs::remove_file(file)?;
        Ok(Self(disk))
    }

    /// One append, as to a log of the store's.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub(crate) fn fsync(&mut self) -> Result<Duration> {
        let start = Instant::now();
        self.0.write_all(&[0x5a; 4096])?;
        self.0.sync_all()?;
        Ok(start.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_hundred_is_longer_than_the_second_quantile() {
        let times = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(Quantiles::of(times), Quantiles { count: 200, p50: 100.0, p99: 198.0 });
        assert_eq!(Quantiles::of(vec![Duration::from_millis(3)]), Quantiles { count: 1, p50: 3.0, p99: 3.0 });
    }
}
