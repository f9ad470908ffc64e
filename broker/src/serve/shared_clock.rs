//! One clock for all brokers of one database: the database's. Theirs may be minutes apart, and be set back (threats L10).

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, SystemClock, UnixTime};
use crate::store::{Store, StoreError};

/// How often the database is asked: what two machines' oscillators drift apart meanwhile is nothing.
const LOOK: Duration = Duration::from_secs(5);
/// An answer that took longer than this says too little of when it was given.
const LIMIT: Duration = Duration::from_millis(500);
/// This machine's clock may differ by as much before it is worth a word; certificates and logs go by it.
pub(super) const WORTH_A_WORD: Duration = Duration::from_secs(30);

/// The time of a database. Between two looks, and while it is away, counted on by a clock that nobody sets.
#[derive(Default)]
pub(super) struct SharedClock(RwLock<Option<Read>>);

#[derive(Clone, Copy)]
struct Read {
    time: UnixTime,
    at: Instant,
}

impl Read {
    fn now(self) -> UnixTime {
        self.time.after(self.at.elapsed())
    }
}

impl Clock for SharedClock {
    fn now(&self) -> UnixTime {
        let read = *self.0.read().unwrap_or_else(PoisonError::into_inner);
        read.map_or_else(|| SystemClock.now(), Read::now)
    }
}

/// The clock that goes with this store: its database's, if brokers share it, and the system's otherwise.
///
/// # Errors
/// If it is a database's, and does not tell.
pub(super) async fn of_store(store: &Arc<dyn Store>, stop: CancellationToken) -> Result<Arc<dyn Clock>, StoreError> {
    let (clock, asked) = (Arc::new(SharedClock::default()), Instant::now());
    let Some(time) = store.time().await? else { return Ok(Arc::new(SystemClock)) };
    clock.learn(asked, time);
    tokio::spawn(Arc::clone(&clock).follow(Arc::clone(store), stop));
    Ok(clock)
}

impl SharedClock {
    async fn follow(self: Arc<Self>, store: Arc<dyn Store>, stop: CancellationToken) {
        while stop.run_until_cancelled(sleep(LOOK)).await.is_some() {
            let asked = Instant::now();
            // While it does not tell, time is counted on.
            if let Ok(Ok(Some(time))) = timeout(LIMIT, store.time()).await {
                self.learn(asked, time);
            }
        }
    }

    /// `time`: of some moment since it was asked for.
    fn learn(&self, asked: Instant, time: UnixTime) {
        let at = Instant::now();
        let may_be_off = at.duration_since(asked) / 2;
        let heard = Read { time: time.after(may_be_off), at };
        let mut read = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let is_off = |known: Read| apart(known.now(), heard.now()) > may_be_off + Duration::from_millis(1);
        if read.is_none_or(is_off) {
            let of_machine = apart(SystemClock.now(), heard.now());
            if of_machine > WORTH_A_WORD {
                let seconds = of_machine.as_secs();
                tracing::warn!(
                    seconds,
                    "this machine's clock and the database's are apart: tokens go by the database's"
                );
            }
            *read = Some(heard);
        }
    }
}

pub(super) fn apart(one: UnixTime, other: UnixTime) -> Duration {
    one.since(other).max(other.since(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn l10_the_databases_time_is_told_whatever_this_machines_clock_says() {
        let clock = SharedClock::default();
        let later = SystemClock.now().after(HOUR);
        assert!(apart(clock.now(), SystemClock.now()) < HOUR / 2, "until anything is heard");
        clock.learn(Instant::now(), later);
        assert!(later <= clock.now() && clock.now() < later.after(HOUR / 2));
    }

    #[test]
    fn what_may_be_due_to_the_way_of_the_answer_moves_no_clock() {
        let clock = SharedClock::default();
        let (time, asked) = (UnixTime(1_800_000_000_000), Instant::now());
        clock.learn(asked, time);
        let long_ago = asked.checked_sub(Duration::from_secs(10)).unwrap();
        clock.learn(long_ago, UnixTime(time.0 - 6_000));
        assert!(clock.now() >= time, "it said so little that it was not believed");
        clock.learn(Instant::now(), UnixTime(time.0 - 6_000));
        assert!(clock.now() < time, "a database that was put right is");
    }
}
