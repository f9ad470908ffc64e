//! How much each provider is asked: so many requests at once, so many a second for what nobody waits for, and none for a
//! while once it fails at everything. A provider is the host and port of a token endpoint.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::due::MAX_PAUSE;
use crate::clock::{Clock, UnixTime};
use crate::oauth::TokenEndpointError;

/// How long to wait for the request that finds out whether a provider is back.
const PROBING: Duration = Duration::from_secs(1);

/// What one provider may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Requests under way at once: of one broker, and where nobody waits for them, of all brokers together.
    pub at_once: u32,
    /// Refreshes begun in a second by all brokers together. One that a caller asks for is counted, and not put off.
    pub per_second: u32,
    /// Requests of one broker in a row that fail before it leaves the provider alone.
    pub failures: u32,
    /// How long it is left alone first; doubled each time it fails again, up to five minutes.
    pub pause: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self { at_once: 32, per_second: 20, failures: 5, pause: Duration::from_secs(30) }
    }
}

/// Who has a refresh begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AskedBy {
    /// Somebody who needs it now.
    Caller,
    /// Nobody: it is due.
    Schedule,
}

/// Every provider that was asked.
pub(super) struct Providers {
    budget: Budget,
    clock: Arc<dyn Clock>,
    by_host: Mutex<HashMap<String, Provider>>,
}

struct Provider {
    slots: Arc<Semaphore>,
    /// Refreshes that nobody waits for and that may begin now.
    left: u32,
    /// Requests of which the store does not know yet.
    owed: u32,
    /// Requests that the store has counted, and that turned out not to be needed.
    unused: u32,
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

/// A refresh that has begun, in the budget of its provider: what it asks is counted, and nothing else.
pub(super) struct Begun {
    providers: Arc<Providers>,
    host: String,
    /// Of the next request.
    is_paid: AtomicBool,
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

    /// How many requests may begin at once here: none where the provider is left alone.
    pub(super) fn free(&self, host: &str) -> u32 {
        let now = self.clock.now();
        let mut all = self.all();
        let provider = self.of(&mut all, host);
        match provider.breaker.left_alone_for(now) {
            Some(_) => 0,
            None => u32::try_from(provider.slots.available_permits()).unwrap_or(u32::MAX),
        }
    }

    /// So many refreshes that nobody waits for may begin now, and no more than that.
    pub(super) fn allow(&self, host: &str, count: u32) {
        self.of(&mut self.all(), host).left = count;
    }

    /// Whether one more that nobody waits for may begin.
    pub(super) fn has_room(&self, host: &str) -> bool {
        let left = self.of(&mut self.all(), host).left;
        left > 0 && self.free(host) > 0
    }

    /// A refresh begins, that may ask the provider or find that it need not.
    pub(super) fn begins(self: &Arc<Self>, host: &str, who: AskedBy) -> Begun {
        if who == AskedBy::Schedule {
            let mut all = self.all();
            let provider = self.of(&mut all, host);
            provider.left = provider.left.saturating_sub(1);
        }
        let is_paid = AtomicBool::new(who == AskedBy::Schedule);
        Begun { providers: Arc::clone(self), host: host.to_owned(), is_paid }
    }

    /// Providers that were asked something that the store does not know of.
    pub(super) fn owing(&self) -> Vec<String> {
        let all = self.all();
        all.iter().filter(|(_, provider)| provider.owed > 0).map(|(host, _)| host.clone()).collect()
    }

    /// What was asked that the store does not know of, and what it knows of that was not: it is told now.
    pub(super) fn take_owed(&self, host: &str) -> (u32, u32) {
        let mut all = self.all();
        let provider = self.of(&mut all, host);
        (std::mem::take(&mut provider.owed), std::mem::take(&mut provider.unused))
    }

    /// It was not told.
    pub(super) fn owe(&self, host: &str, (owed, unused): (u32, u32)) {
        let mut all = self.all();
        let provider = self.of(&mut all, host);
        provider.owed = provider.owed.saturating_add(owed);
        provider.unused = provider.unused.saturating_add(unused).min(self.budget.per_second);
    }

    /// How long the provider is left alone.
    pub(super) fn left_alone_for(&self, host: &str) -> Option<Duration> {
        let now = self.clock.now();
        self.of(&mut self.all(), host).breaker.left_alone_for(now)
    }

    /// Waits for its turn to ask. Refuses, with how long to wait, where the provider is left alone.
    pub(super) async fn admit(self: &Arc<Self>, host: &str) -> Result<Admitted, Duration> {
        if let Some(left) = self.left_alone_for(host) {
            return Err(left);
        }
        let slots = Arc::clone(&self.of(&mut self.all(), host).slots);
        // Never closed.
        let slot = slots.acquire_owned().await.map_err(|_| PROBING)?;
        let now = self.clock.now();
        let is_probe = {
            let mut all = self.all();
            let breaker = &mut self.of(&mut all, host).breaker;
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
        let breaker = &mut self.of(&mut all, host).breaker;
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

    fn of<'a>(&self, all: &'a mut HashMap<String, Provider>, host: &str) -> &'a mut Provider {
        all.entry(host.to_owned()).or_insert_with(|| Provider {
            slots: Arc::new(Semaphore::new(self.budget.at_once as usize)),
            left: 0,
            owed: 0,
            unused: 0,
            breaker: Breaker::default(),
        })
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

impl Begun {
    /// The provider is asked now.
    pub(super) fn sends(&self) {
        if !self.is_paid.swap(false, Ordering::Relaxed) {
            self.providers.owe(&self.host, (1, 0));
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if *self.is_paid.get_mut() {
            self.providers.owe(&self.host, (0, 1));
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
        assert_eq!((providers.free(HOST), providers.left_alone().len()), (0, 1));
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
        assert_eq!(providers.free(HOST), 0);
        let mut third = Box::pin(providers.admit(HOST));
        assert!(futures::poll!(third.as_mut()).is_pending());
        drop(first);
        assert!(third.await.is_ok());
    }

    #[test]
    fn what_nobody_waits_for_begins_as_allowed_and_what_is_asked_is_counted_and_nothing_else() {
        let (providers, _) = providers();
        assert!(!providers.has_room(HOST), "nothing is, unless it is allowed");
        providers.allow(HOST, 2);
        let first = providers.begins(HOST, AskedBy::Schedule);
        assert!(providers.has_room(HOST));
        let second = providers.begins(HOST, AskedBy::Schedule);
        assert!(!providers.has_room(HOST));
        first.sends();
        drop(first);
        assert_eq!(providers.take_owed(HOST), (0, 0), "it was paid");
        drop(second);
        assert_eq!(providers.take_owed(HOST), (0, 1), "it asked nobody");
        let caller = providers.begins(HOST, AskedBy::Caller);
        assert!(providers.owing().is_empty());
        caller.sends();
        caller.sends();
        drop(caller);
        drop(providers.begins(HOST, AskedBy::Caller));
        assert_eq!(providers.owing(), [HOST]);
        let owed = providers.take_owed(HOST);
        assert_eq!((owed, providers.owing().len()), ((2, 0), 0));
        providers.owe(HOST, owed);
        assert_eq!(providers.take_owed(HOST), (2, 0));
    }
}
