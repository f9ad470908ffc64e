//! Whom the gate believes: identity providers with the keys they publish, and the broker's own issuer.
//!
//! Keys are fetched every ten minutes and when a token names one that is not known, at most every 30 seconds per
//! issuer however many ask (J14). While an issuer cannot be reached its last keys serve for a day (J15); then none does.

pub mod jwks;
pub mod own;
pub mod provider;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use sallyport_caller::{MAX_KID_BYTES, PublicKey};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, UnixTime};
use crate::fetch::Fetcher;
pub use provider::{LoginEndpoints, Provider, ProviderError};

/// How long keys are taken for current.
pub const TTL: Duration = Duration::from_secs(10 * 60);

/// How long keys serve when their issuer cannot be reached.
pub const MAX_STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// Between two fetches that unknown keys cause.
pub const COOL_DOWN: Duration = Duration::from_secs(30);

/// How long an unknown key causes no other fetch.
pub const NEGATIVE_TTL: Duration = Duration::from_secs(5 * 60);

/// How long anybody waits for a key; the fetch itself goes on.
const WAIT: Duration = Duration::from_secs(1);

/// Unknown keys remembered per issuer.
const MAX_UNKNOWN: usize = 128;

/// First and longest pause after a failed fetch.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(2 * 60));

/// All issuers, and their keys as they change.
pub struct Issuers {
    sources: HashMap<String, Arc<Source>>,
    own: sallyport_caller::Issuer,
    published: watch::Sender<Arc<sallyport_caller::Issuers>>,
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
}

struct Source {
    provider: Provider,
    state: Mutex<State>,
}

/// A fetch that any number may wait for.
type Flight = Shared<BoxFuture<'static, ()>>;

#[derive(Default)]
struct State {
    keys: Vec<Arc<PublicKey>>,
    /// The last success.
    fetched_at: Option<UnixTime>,
    /// When to fetch next without being asked.
    due_at: UnixTime,
    failures: u32,
    /// The last fetch that an unknown key caused.
    asked_at: Option<UnixTime>,
    /// Keys that were not there, oldest first.
    unknown: VecDeque<(String, UnixTime)>,
    flight: Option<Flight>,
}

impl Source {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Every change to the state is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Issuers {
    /// Knows `providers`, without keys yet, and the broker's own issuer, with its keys.
    pub fn new(
        providers: Vec<Provider>,
        own: sallyport_caller::Issuer,
        fetcher: Fetcher,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let source = |provider: Provider| Arc::new(Source { provider, state: Mutex::default() });
        let sources = providers.into_iter().map(|one| (one.rules.issuer.clone(), source(one))).collect();
        let (published, _) = watch::channel(Arc::default());
        let issuers = Arc::new(Self { sources, own, published, fetcher, clock });
        issuers.publish();
        issuers
    }

    /// The issuers with their keys, now and after each change.
    pub fn subscribe(&self) -> watch::Receiver<Arc<sallyport_caller::Issuers>> {
        self.published.subscribe()
    }

    /// The issuers with their keys, now.
    pub fn current(&self) -> Arc<sallyport_caller::Issuers> {
        Arc::clone(&self.published.borrow())
    }

    /// Issuers whose keys were never had since the start.
    pub fn waiting_for(&self) -> Vec<&str> {
        let waiting = self.sources.iter().filter(|(_, source)| source.state().fetched_at.is_none());
        waiting.map(|(issuer, _)| issuer.as_str()).collect()
    }

    /// Each issuer, and where a fetch of its keys begins.
    pub fn places(&self) -> Vec<(&str, url::Url)> {
        let sources = self.sources.iter();
        sources.filter_map(|(issuer, source)| source.provider.begins_at().map(|url| (issuer.as_str(), url))).collect()
    }

    /// A key by issuer and `kid`. If it is not known, its issuer is asked, once for all who wait and not again for
    /// [`COOL_DOWN`]; nobody waits longer than a second.
    pub async fn resolve_key(self: &Arc<Self>, issuer: &str, kid: &str) -> Option<Arc<PublicKey>> {
        if let Some(key) = self.current().key(issuer, kid) {
            return Some(Arc::clone(key));
        }
        let source = self.sources.get(issuer)?;
        if kid.is_empty() || kid.len() > MAX_KID_BYTES {
            return None;
        }
        let (flight, is_own) = self.flight_for(source, kid)?;
        tokio::time::timeout(WAIT, flight).await.ok()?;
        let key = self.current().key(issuer, kid).cloned();
        // A fetch that failed, or that began before the key was asked for, says nothing about it.
        let mut state = source.state();
        if key.is_none() && is_own && state.failures == 0 {
            state.remember_unknown(kid, self.clock.now());
        }
        key
    }

    /// The fetch that is under way, or a new one if this unknown key may cause it; and whether it did.
    fn flight_for(self: &Arc<Self>, source: &Arc<Source>, kid: &str) -> Option<(Flight, bool)> {
        let now = self.clock.now();
        let mut state = source.state();
        if let Some(flight) = &state.flight {
            return Some((flight.clone(), false));
        }
        let is_cool = state.asked_at.is_none_or(|asked| now.since(asked) >= COOL_DOWN);
        if !is_cool || state.is_known_unknown(kid, now) {
            return None;
        }
        state.asked_at = Some(now);
        Some((self.take_off(source, &mut state), true))
    }

    /// Starts a fetch that outlives whoever asked for it.
    fn take_off(self: &Arc<Self>, source: &Arc<Source>, state: &mut State) -> Flight {
        let (issuers, source) = (Arc::clone(self), Arc::clone(source));
        let task = tokio::spawn(async move { issuers.fetch(&source).await });
        let flight = task.map(|_| ()).boxed().shared();
        state.flight = Some(flight.clone());
        flight
    }

    async fn fetch(&self, source: &Source) {
        let result = source.provider.fetch(&self.fetcher).await;
        let issuer = source.provider.rules.issuer.as_str();
        let now = self.clock.now();
        let mut state = source.state();
        state.flight = None;
        match result {
            Ok(set) => {
                for (kid, reason) in &set.left_out {
                    tracing::warn!(issuer, kid, %reason, "a published key is left out");
                }
                state.keys = set.keys;
                state.fetched_at = Some(now);
                state.failures = 0;
                state.due_at = now.after(TTL);
                metrics::counter!("sallyport_jwks_fetches_total", "result" => "fetched").increment(1);
            }
            Err(error) => {
                let pause = BACK_OFF.0.saturating_mul(1 << state.failures.min(10)).min(BACK_OFF.1);
                state.failures = state.failures.saturating_add(1);
                state.due_at = now.after(pause);
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::warn!(issuer, %error, cause, failures = state.failures, "keys were not fetched; the last ones stay");
                metrics::counter!("sallyport_jwks_fetches_total", "result" => "failed").increment(1);
            }
        }
        drop(state);
        self.publish();
    }

    /// Fetches the keys that are due, and drops those that have been stale for too long.
    pub async fn refresh_due(self: &Arc<Self>) {
        let now = self.clock.now();
        let mut flights = Vec::new();
        let mut dropped = false;
        for source in self.sources.values() {
            let mut state = source.state();
            if !state.keys.is_empty() && state.fetched_at.is_none_or(|fetched| now.since(fetched) > MAX_STALE) {
                tracing::error!(
                    issuer = source.provider.rules.issuer,
                    "no keys for a day; the last ones serve no longer"
                );
                state.keys.clear();
                dropped = true;
            }
            if state.flight.is_none() && state.due_at <= now {
                flights.push(self.take_off(source, &mut state));
            }
        }
        if dropped {
            self.publish();
        }
        futures::future::join_all(flights).await;
    }

    /// Keeps keys fresh until cancelled.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            self.refresh_due().await;
        }
    }

    fn publish(&self) {
        self.published.send_if_modified(|published| {
            // Read inside, so that of two publications at once the later one has the later keys.
            let with_keys = self.sources.values().map(|source| {
                let keys = source.state().keys.clone();
                sallyport_caller::Issuer { keys, ..source.provider.rules.clone() }
            });
            let all = sallyport_caller::Issuers::new(with_keys.chain([self.own.clone()]));
            let changed = **published != all;
            if changed {
                *published = Arc::new(all);
            }
            changed
        });
    }
}

impl State {
    fn is_known_unknown(&mut self, kid: &str, now: UnixTime) -> bool {
        self.unknown.retain(|(_, since)| now.since(*since) < NEGATIVE_TTL);
        self.unknown.iter().any(|(unknown, _)| unknown == kid)
    }

    fn remember_unknown(&mut self, kid: &str, now: UnixTime) {
        if self.is_known_unknown(kid, now) {
            return;
        }
        if self.unknown.len() == MAX_UNKNOWN {
            self.unknown.pop_front();
        }
        self.unknown.push_back((kid.to_owned(), now));
    }
}

#[cfg(test)]
mod tests;
