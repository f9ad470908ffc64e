//! Where a test may have this process end, as if its power had failed: with the feature `failpoints`, and nowhere else.

use crate::clock::UnixTime;

/// A moment in a refresh; in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The intent is durable.
    IntentTaken,
    /// Nothing has left yet.
    BeforeSend,
    /// The provider's answer is in memory.
    ReplyRead,
    /// It is sealed, and not stored.
    BeforeCommit,
    /// It is stored, and nobody knows.
    AfterCommit,
    /// Everything is done but the answer.
    BeforeRelease,
}

/// Ends the process if `SALLYPORT_FAILPOINT=<point>[:<nth time>]` says so.
#[cfg(not(feature = "failpoints"))]
pub fn reached(_: Point) {}

#[cfg(feature = "failpoints")]
pub use armed::reached;

/// How long what is open in memory is kept: as usual, unless `SALLYPORT_OPENED_MS` says otherwise.
#[cfg(not(feature = "failpoints"))]
pub fn opened_age(usual: std::time::Duration) -> std::time::Duration {
    usual
}

#[cfg(feature = "failpoints")]
pub use armed::opened_age;

/// Whether what is committed is on disk before that is answered: it is, unless `SALLYPORT_WITHOUT_DURABILITY` is set, to see that
/// the benchmark notices.
#[cfg(not(feature = "failpoints"))]
pub const fn is_durable() -> bool {
    true
}

#[cfg(feature = "failpoints")]
pub use armed::is_durable;

/// What this machine's clock says: the time, unless `SALLYPORT_CLOCK_OFF_MS` says by how much it is ahead, or behind.
#[cfg(not(feature = "failpoints"))]
pub fn set_clock(time: UnixTime) -> UnixTime {
    time
}

#[cfg(feature = "failpoints")]
pub use armed::set_clock;

#[cfg(feature = "failpoints")]
pub mod seed;

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{Point, UnixTime};

    /// Where, and how many times it is still to be passed.
    static ARMED: OnceLock<Option<(Point, AtomicUsize)>> = OnceLock::new();

    /// Ends the process if `SALLYPORT_FAILPOINT=<point>[:<nth time>]` says so.
    ///
    /// # Panics
    /// If it says what is no point: a test that ends nothing shows nothing.
    pub fn reached(point: Point) {
        let armed = ARMED.get_or_init(|| std::env::var("SALLYPORT_FAILPOINT").ok().map(|text| parse(&text)));
        if let Some((at, left)) = armed
            && *at == point
            && left.fetch_sub(1, Ordering::SeqCst) == 1
        {
            kill();
        }
    }

    /// How long what is open in memory is kept: as usual, unless `SALLYPORT_OPENED_MS` says otherwise.
    ///
    /// # Panics
    /// If it says what is no number.
    pub fn opened_age(usual: std::time::Duration) -> std::time::Duration {
        let said = std::env::var("SALLYPORT_OPENED_MS").ok();
        let said = said.map(|text| text.parse().expect("SALLYPORT_OPENED_MS is a number"));
        said.map_or(usual, std::time::Duration::from_millis)
    }

    /// Whether what is committed is on disk before that is answered: it is, unless `SALLYPORT_WITHOUT_DURABILITY` is set.
    pub fn is_durable() -> bool {
        std::env::var_os("SALLYPORT_WITHOUT_DURABILITY").is_none()
    }

    /// What this machine's clock says, with `SALLYPORT_CLOCK_OFF_MS` added.
    ///
    /// # Panics
    /// If it says what is no number.
    pub fn set_clock(time: UnixTime) -> UnixTime {
        static OFF: OnceLock<i64> = OnceLock::new();
        let said = || std::env::var("SALLYPORT_CLOCK_OFF_MS").map_or(0, |text| text.parse().expect("it is a number"));
        UnixTime(time.0.saturating_add_signed(*OFF.get_or_init(said)))
    }

    fn parse(text: &str) -> (Point, AtomicUsize) {
        let (name, nth) = text.split_once(':').unwrap_or((text, "1"));
        let point = match name {
            "intent-taken" => Point::IntentTaken,
            "before-send" => Point::BeforeSend,
            "reply-read" => Point::ReplyRead,
            "before-commit" => Point::BeforeCommit,
            "after-commit" => Point::AfterCommit,
            "before-release" => Point::BeforeRelease,
            _ => panic!("SALLYPORT_FAILPOINT names no point: {text}"),
        };
        (point, AtomicUsize::new(nth.parse().expect("SALLYPORT_FAILPOINT counts in numbers")))
    }

    /// As the system would: no destructor runs, nothing is flushed.
    fn kill() -> ! {
        #[expect(unsafe_code, reason = "the standard library sends no signals")]
        // SAFETY: touches no memory of ours.
        unsafe {
            libc::kill(libc::getpid(), libc::SIGKILL);
        }
        loop {
            std::thread::park();
        }
    }
}
