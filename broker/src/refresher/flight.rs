//! Single flight: one task per key, detached from whoever asked for it (I5).

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::keys::Key;

type Running<T> = Arc<Mutex<HashMap<Key, watch::Receiver<Option<T>>>>>;

/// Tasks under way, one per key.
pub struct Flights<T> {
    running: Running<T>,
    tasks: TaskTracker,
}

/// One task, as seen by a caller that waits for it. Dropping it changes nothing for the task.
pub struct Flight<T>(watch::Receiver<Option<T>>);

/// Takes a key off the map when its task ends, however it ends.
struct Landing<T> {
    key: Key,
    running: Running<T>,
}

impl<T> Drop for Landing<T> {
    fn drop(&mut self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self { running: Arc::default(), tasks: TaskTracker::new() }
    }
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    /// The flight of `key`: the one under way, or a new one; `None` when draining has begun and none is under way.
    pub fn join<F>(&self, key: &Key, start: impl FnOnce() -> F) -> Option<Flight<T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = running.get(key) {
            return Some(Flight(flight.clone()));
        }
        if self.tasks.is_closed() {
            return None;
        }
        let (done, flight) = watch::channel(None);
        running.insert(key.clone(), flight.clone());
        let landing = Landing { key: key.clone(), running: Arc::clone(&self.running) };
        let task = start();
        self.tasks.spawn(async move {
            let result = task.await;
            // Off the map first: who comes after this reads what the task left behind, not its result.
            drop(landing);
            done.send_replace(Some(result));
        });
        Some(Flight(flight))
    }

    /// True if a task of this key is under way.
    pub fn under_way(&self, key: &Key) -> bool {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).contains_key(key)
    }

    /// Whether no more tasks are started.
    pub fn is_draining(&self) -> bool {
        self.tasks.is_closed()
    }

    /// How many tasks are under way.
    pub fn count(&self) -> usize {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Starts no more tasks and waits for those under way, up to `limit`; answers how many are left.
    pub async fn drain(&self, limit: Duration) -> usize {
        self.tasks.close();
        let _ = tokio::time::timeout(limit, self.tasks.wait()).await;
        self.tasks.len()
    }
}

impl<T: Clone> Flight<T> {
    /// What the task gave; `None` if it ended without giving anything.
    pub async fn landed(mut self) -> Option<T> {
        self.0.wait_for(Option::is_some).await.ok().and_then(|result| result.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::keys::Purpose;
    use crate::model::Tenant;

    fn key(name: &str) -> Key {
        Key::new(&Tenant("t".into()), Purpose::Grant, &[name.as_bytes()])
    }

    #[tokio::test]
    async fn one_task_for_all_who_ask_while_it_runs() {
        let flights = Flights::default();
        let runs = Arc::new(AtomicUsize::new(0));
        let (go, gate) = watch::channel(false);
        let mut waiting = Vec::new();
        for _ in 0..50 {
            let runs = Arc::clone(&runs);
            let mut gate = gate.clone();
            let flight = flights.join(&key("a"), || async move {
                let _ = gate.wait_for(|go| *go).await;
                runs.fetch_add(1, Ordering::SeqCst)
            });
            waiting.push(flight.expect("not draining").landed());
        }
        assert!(flights.under_way(&key("a")) && !flights.under_way(&key("b")));
        go.send_replace(true);
        assert!(futures::future::join_all(waiting).await.iter().all(|result| *result == Some(0)));
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        assert!(!flights.under_way(&key("a")));
    }

    #[tokio::test]
    async fn i5_goes_on_when_nobody_waits() {
        let flights = Flights::default();
        let (done, mut seen) = watch::channel(false);
        drop(flights.join(&key("a"), || async move {
            tokio::task::yield_now().await;
            done.send_replace(true);
        }));
        assert_eq!(flights.drain(Duration::from_secs(5)).await, 0);
        assert!(*seen.borrow_and_update());
    }

    #[tokio::test]
    async fn a_task_that_panics_blocks_nobody() {
        let flights = Flights::<u8>::default();
        let first = flights.join(&key("a"), || async { panic!("as a test") }).expect("not draining");
        assert_eq!(first.landed().await, None);
        let second = flights.join(&key("a"), || async { 2 }).expect("not draining");
        assert_eq!(second.landed().await, Some(2));
    }

    #[tokio::test]
    async fn starts_nothing_once_it_drains() {
        let flights = Flights::<u8>::default();
        assert_eq!(flights.drain(Duration::from_secs(1)).await, 0);
        assert!(flights.join(&key("a"), || async { 1 }).is_none());
    }
}
