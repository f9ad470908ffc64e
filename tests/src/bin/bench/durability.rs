//! Whether what the broker acknowledges is on disk, as the kernel says.
//!
//! A release is answered once its record is committed. Then no page of the files that commits go to may still be dirty: had
//! the power failed, it would be gone. The kernel tells which are by `cachestat` (Linux 6.5). A store that does not sync leaves
//! them dirty for many seconds, until the kernel writes them by itself.

use std::{
    fs::File,
    io,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use crate::site::Site;

/// Releases that are looked after.
const RELEASES: usize = 20;
/// What somebody else has written meanwhile may be on its way; what is not synced stays for much longer.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(2);

/// The same number on every architecture.
const CACHESTAT: libc::c_long = 451;

/// What was seen.
#[derive(Serialize)]
pub(crate) struct Durable {
    /// Releases, each of which was on disk when it was answered or within [`PATIENCE`].
    releases: usize,
    /// How many were when that was first looked at.
    at_once: usize,
    /// What the database says of itself.
    settings: Vec<String>,
}

/// Looks after a few releases.
///
/// # Errors
/// When what was acknowledged is not on disk, or the kernel does not tell.
pub(crate) async fn check(site: &Site) -> Result<Durable> {
    let (mut api, token, mut at_once) = (site.api().await?, site.token("alice"), 0);
    for release in 1..=RELEASES {
        api.release(&token).await?;
        let since = Instant::now();
        while let Some((file, pages)) = unwritten(&site.world.broker.commit_logs())? {
            if since.elapsed() > PATIENCE {
                bail!(
                    "the broker acknowledges what is not on disk: {PATIENCE:?} after release {release} was answered, {pages} \
                     pages of {} were in memory only. No figure of a broker that is not durable counts.",
                    file.display()
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
        at_once += usize::from(since.elapsed() < PAUSE);
    }
    let settings = site.settings().await;
    let durable = Durable { releases: RELEASES, at_once, settings };
    durable.print();
    Ok(durable)
}

impl Durable {
    fn print(&self) {
        let Self { releases, at_once, settings } = self;
        println!("  durable: {releases} of {releases} acknowledged releases were on disk, {at_once} at the first look");
        if !settings.is_empty() {
            println!("  the database says: {}", settings.join(", "));
        }
    }
}

/// A file with pages that are only in memory, and how many.
fn unwritten(files: &[PathBuf]) -> Result<Option<(&Path, u64)>> {
    let mut seen = 0;
    for file in files {
        match dirty_pages(file) {
            Ok(0) => seen += 1,
            Ok(pages) => return Ok(Some((file, pages))),
            // Taken away since it was listed: whoever did has no more use for it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let what =
                    format!("whether {} is on disk is not known (the kernel must be 6.5 or later)", file.display());
                return Err(error).context(what);
            }
        }
    }
    ensure!(seen > 0, "there are no files that commits go to: {files:?}");
    Ok(None)
}

/// `struct cachestat_range`: all of the file.
#[repr(C)]
#[derive(Default)]
struct Range {
    offset: u64,
    length: u64,
}

/// `struct cachestat`, in pages.
#[repr(C)]
#[derive(Default)]
struct Pages {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// Pages that the disk does not have, or not yet.
fn dirty_pages(file: &Path) -> io::Result<u64> {
    let file = File::open(file)?;
    let (range, mut pages) = (Range::default(), Pages::default());
    #[expect(unsafe_code, reason = "the standard library does not know this call")]
    // SAFETY: the file is open, and both structures are the kernel's and live for the whole call.
    let outcome = unsafe { libc::syscall(CACHESTAT, file.as_raw_fd(), &raw const range, &raw mut pages, 0) };
    match outcome {
        0 => Ok(pages.dirty + pages.writeback),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn tells_what_is_synced_from_what_is_not() {
        // Not among temporary files, which may have no disk at all.
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").join(e2e::unique("bench-dirty"));
        let mut file = File::create(&path).unwrap();
        file.write_all(&[1; 20_000]).unwrap();
        let before = unwritten(std::slice::from_ref(&path)).unwrap().map(|(_, pages)| pages);
        file.sync_all().unwrap();
        let after = unwritten(std::slice::from_ref(&path)).unwrap().map(|(_, pages)| pages);
        std::fs::remove_file(&path).unwrap();
        assert!(before.is_some() && after.is_none(), "{before:?} {after:?}");
        assert!(unwritten(&[path]).is_err(), "nothing to look at");
    }
}
