//! How much each provider is asked: so many requests at once, so many a second for what nobody waits for, and none for a
//! while once it fails at everything. A provider is the host and port of a token endpoint; each broker counts its own requests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::due::MAX_PAUSE;
use crate::clock::{Clock, UnixTime};
use crate::oauth::TokenEndpointError;

/// How long to wait for the request that finds out whether a provider is back.
const PROBING: Duration = Duration::from_secs(1);

/// What one provider may be asked by one broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Requests under way at once.
    pub at_once: u32,
    /// Refreshes begun in a second. One that a caller waits for is counted, and not put off.
    pub per_second: u32,
    /// Requests in a row that fail before the provider is left alone.
    pub failures: u32,
    /// How long it is left alone first; doubled each time it fails again, up to five minutes.
    pub pause: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self { at_once: 32, per_second: 20, failures: 5, pause: Duration::from_secs(30) }
    }
}

/// Every provider that was asked.
pub(super) struct Providers {
    budget: Budget,
    clock: Arc<dyn Clock>,
    by_host: Mutex<HashMap<String, Provider>>,
}

struct Provider {
    slots: Arc<Semaphore>,
    /// Refreshes that may begin now, and when that was counted; below zero where callers could not wait.
    left: f64,
    counted_at: UnixTime,
    breaker: Breaker,
}

/// Closed, until requests in a row have failed; open, until a time; then half open, for one request.
#[derive(Default)]
struct Breaker {
    failures: u32,
    open: Option<Open>,
}

struct Open {
    since: UnixTime,
    until: UnixTime,
    times: u32,
    is_probed: bool,
}

/// A provider that is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftAlone {
    /// Its host, and its port if that is not the usual one.
    pub host: String,
    /// Since when.
    pub since: UnixTime,
    /// Until when nobody asks it; then one request finds out.
    pub until: UnixTime,
    /// Requests in a row that failed.
    pub failures: u32,
}

/// The right to one request.
pub(super) struct Admitted {
    providers: Arc<Providers>,
    host: String,
    is_probe: bool,
    _slot: OwnedSemaphorePermit,
}

impl Providers {
    pub(super) fn new(budget: Budget, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { budget, clock, by_host: Mutex::default() })
    }

    /// How many refreshes that nobody waits for may begin now.
    pub(super) fn room(&self, host: &str) -> u32 {
        let now = self.clock.now();
        let mut all = self.all();
        let provider = self.of(&mut all, host, now);
        if provider.breaker.left_alone_for(now).is_some() {
            return 0;
        }
        let free = u32::try_from(provider.slots.available_permits()).unwrap_or(u32::MAX);
        // Whole, and never negative: a cast saturates.
        (provider.left as u32).min(free)
    }

    /// Counts a refresh that begins.
    pub(super) fn begins(&self, host: &str) {
        let now = self.clock.now();
        let mut all = self.all();
        let provider = self.of(&mut all, host, now);
        provider.left = (provider.left - 1.0).max(-f64::from(self.budget.per_second));
    }

    /// How long the provider is left alone.
    pub(super) fn left_alone_for(&self, host: &str) -> Option<Duration> {
        let now = self.clock.now();
        self.of(&mut self.all(), host, now).breaker.left_alone_for(now)
    }

    /// Waits for its turn to ask. Refuses, with how long to wait, where the provider is left alone.
    pub(super) async fn admit(self: &Arc<Self>, host: &str) -> Result<Admitted, Duration> {
        if let Some(left) = self.left_alone_for(host) {
            return Err(left);
        }
        let slots = Arc::clone(&self.of(&mut self.all(), host, self.clock.now()).slots);
        // Never closed.
        let slot = slots.acquire_owned().await.map_err(|_| PROBING)?;
        let now = self.clock.now();
        let is_probe = {
            let mut all = self.all();
            let breaker = &mut self.of(&mut all, host, now).breaker;
            // It may have failed meanwhile.
            if let Some(left) = breaker.left_alone_for(now) {
                return Err(left);
            }
            breaker.open.as_mut().map(|open| open.is_probed = true).is_some()
        };
        Ok(Admitted { providers: Arc::clone(self), host: host.to_owned(), is_probe, _slot: slot })
    }

    /// Providers that are left alone now, or of which one request finds out whether they still fail.
    pub(super) fn left_alone(&self) -> Vec<LeftAlone> {
        let all = self.all();
        let open = all.iter().filter_map(|(host, provider)| {
            let Open { since, until, .. } = *provider.breaker.open.as_ref()?;
            Some(LeftAlone { host: host.clone(), since, until, failures: provider.breaker.failures })
        });
        let mut open: Vec<_> = open.collect();
        open.sort_by(|a, b| a.host.cmp(&b.host));
        open
    }

    /// Has every provider asked again at once: an operator has changed something.
    pub(super) fn reconsider(&self) {
        for (host, provider) in self.all().iter_mut() {
            provider.breaker = Breaker::default();
            tell(host, false);
        }
    }

    fn told(&self, host: &str, is_probe: bool, failed: bool) {
        let now = self.clock.now();
        let mut all = self.all();
        let breaker = &mut self.of(&mut all, host, now).breaker;
        if !failed {
            if breaker.open.is_some() {
                tracing::info!(host, "a provider answers again");
                tell(host, false);
            }
            *breaker = Breaker::default();
            return;
        }
        breaker.failures = breaker.failures.saturating_add(1);
        let times = match &breaker.open {
            // One that was under way when it was found to fail.
            Some(_) if !is_probe => return,
            Some(open) => open.times.saturating_add(1),
            None if breaker.failures < self.budget.failures => return,
            None => 1,
        };
        let pause = self.budget.pause.saturating_mul(1 << (times - 1).min(16)).min(MAX_PAUSE);
        let since = breaker.open.as_ref().map_or(now, |open| open.since);
        breaker.open = Some(Open { since, until: now.after(pause), times, is_probed: false });
        tracing::error!(host, failures = breaker.failures, ?pause, "a provider fails at everything, and is left alone");
        tell(host, true);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Provider>> {
        self.by_host.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of<'a>(&self, all: &'a mut HashMap<String, Provider>, host: &str, now: UnixTime) -> &'a mut Provider {
        let Budget { at_once, per_second, .. } = self.budget;
        let full = f64::from(per_second);
        let provider = all.entry(host.to_owned()).or_insert_with(|| Provider {
            slots: Arc::new(Semaphore::new(at_once as usize)),
            left: full,
            counted_at: now,
            breaker: Breaker::default(),
        });
        provider.left = (provider.left + full * now.since(provider.counted_at).as_secs_f64()).min(full);
        provider.counted_at = now;
        provider
    }
}

impl Breaker {
    fn left_alone_for(&self, now: UnixTime) -> Option<Duration> {
        let open = self.open.as_ref()?;
        match now < open.until {
            true => Some(open.until.since(now)),
            false => open.is_probed.then_some(PROBING),
        }
    }
}

impl Admitted {
    /// What came of the request. Whatever it is: an answer that is not about the provider's own state is an answer.
    pub(super) fn told<T>(self, result: &Result<T, TokenEndpointError>) {
        let failed = match result {
            Ok(_) | Err(TokenEndpointError::Refused { .. } | TokenEndpointError::Malformed(_)) => false,
            Err(
                TokenEndpointError::Transient { .. } | TokenEndpointError::NoAnswer | TokenEndpointError::NoConnection,
            ) => true,
        };
        self.providers.told(&self.host, self.is_probe, failed);
    }
}

impl Drop for Admitted {
    /// Nothing was asked after all: the next one finds out. After [`Admitted::told`] there is nothing left to say.
    fn drop(&mut self) {
        if !self.is_probe {
            return;
        }
        let mut all = self.providers.all();
        if let Some(open) = all.get_mut(&self.host).and_then(|provider| provider.breaker.open.as_mut()) {
            open.is_probed = false;
        }
    }
}

fn tell(host: &str, is_open: bool) {
    let gauge = metrics::gauge!("sallyport_provider_left_alone", "host" => host.to_owned());
    gauge.set(if is_open { 1.0 } else { 0.0 });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::FixedClock;

    const HOST: &str = "login.example.com";
    const BUDGET: Budget = Budget { at_once: 2, per_second: 3, failures: 3, pause: Duration::from_secs(30) };

    fn providers() -> (Arc<Providers>, Arc<FixedClock>) {
        let clock = Arc::new(FixedClock::at(UnixTime(1_800_000_000_000)));
        (Providers::new(BUDGET, Arc::clone(&clock) as Arc<dyn Clock>), clock)
    }

    const DOWN: Result<(), TokenEndpointError> = Err(TokenEndpointError::Transient { retry_after: None });

    async fn fails(providers: &Arc<Providers>, times: usize) {
        for _ in 0..times {
            providers.admit(HOST).await.expect("it is asked").told(&DOWN);
        }
    }

    #[tokio::test]
    async fn a_provider_that_fails_at_everything_is_left_alone_and_then_asked_once() {
        let (providers, clock) = providers();
        fails(&providers, 2).await;
        providers.admit(HOST).await.expect("it is asked").told(&Ok(()));
        fails(&providers, 3).await;
        assert_eq!(providers.admit(HOST).await.err(), Some(BUDGET.pause));
        assert_eq!((providers.room(HOST), providers.left_alone().len()), (0, 1));
        assert!(providers.admit("other.example.com").await.is_ok(), "no other provider is");
        clock.advance(BUDGET.pause);
        let probe = providers.admit(HOST).await.expect("one finds out");
        assert_eq!(providers.admit(HOST).await.err(), Some(PROBING), "and no other");
        probe.told(&DOWN);
        assert_eq!(providers.admit(HOST).await.err(), Some(2 * BUDGET.pause));
        clock.advance(2 * BUDGET.pause);
        providers.admit(HOST).await.expect("one finds out").told(&Ok(()));
        assert_eq!(providers.left_alone(), []);
        assert!(providers.admit(HOST).await.is_ok() && providers.admit(HOST).await.is_ok());
    }

    #[tokio::test]
    async fn a_refusal_is_an_answer() {
        let (providers, _) = providers();
        for _ in 0..10 {
            fails(&providers, 2).await;
            let refused: Result<(), _> =
                Err(TokenEndpointError::Refused { code: crate::oauth::RefusalCode::InvalidGrant });
            providers.admit(HOST).await.expect("it is asked").told(&refused);
        }
        assert_eq!(providers.left_alone(), []);
    }

    #[tokio::test]
    async fn a_probe_that_asked_nothing_leaves_its_place_to_the_next() {
        let (providers, clock) = providers();
        fails(&providers, 3).await;
        clock.advance(BUDGET.pause);
        drop(providers.admit(HOST).await);
        assert!(providers.admit(HOST).await.is_ok());
    }

    #[tokio::test]
    async fn what_an_operator_changed_ends_it() {
        let (providers, _) = providers();
        fails(&providers, 3).await;
        providers.reconsider();
        assert!(providers.admit(HOST).await.is_ok());
    }

    #[tokio::test]
    async fn no_more_requests_at_once_than_allowed() {
        let (providers, _) = providers();
        let (first, _second) = (providers.admit(HOST).await, providers.admit(HOST).await);
        assert_eq!(providers.room(HOST), 0);
        let mut third = Box::pin(providers.admit(HOST));
        assert!(futures::poll!(third.as_mut()).is_pending());
        drop(first);
        assert!(third.await.is_ok());
    }

    #[test]
    fn what_nobody_waits_for_begins_no_more_often_than_allowed_and_makes_up_for_what_somebody_did() {
        let (providers, clock) = providers();
        let begin = |count| (0..count).for_each(|_| providers.begins(HOST));
        assert_eq!(providers.room(HOST), 2, "at once");
        begin(3);
        assert_eq!(providers.room(HOST), 0);
        begin(100);
        clock.advance(Duration::from_secs(1));
        assert_eq!(providers.room(HOST), 0);
        clock.advance(Duration::from_millis(400));
        assert_eq!(providers.room(HOST), 1, "a second's worth is made up for, not more");
        clock.advance(Duration::from_secs(60));
        assert_eq!(providers.room(HOST), 2);
    }
}
