//! What strangers may cost. Who begins a sign-in makes a row, and who sends a forged answer a record, and neither needs to be
//! anybody: so both are paid for from a budget of where they come from, and from one of all of them together. Whoever
//! turns out to be somebody is paid back, so that only strangers run short.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use moka::sync::Cache;
use tokio_util::sync::CancellationToken;

use super::Pages;
use super::form::request_id;
use super::layout::problem;
use crate::audit::{Audit, Event};
use crate::clock::{Clock, UnixTime};

/// Says where a request comes from: Envoy's word, which the route sets in place of whatever a client sent.
pub const SOURCE: &str = "x-sallyport-source";

/// One source: bursts of a company behind one address, and 17,280 requests of a stranger a day.
const ONE: Size = Size { at_once: 600, every: Duration::from_secs(5) };
/// All together: 172,800 a day, each a row for ten minutes or a record of a kilobyte.
const ALL: Size = Size { at_once: 3_000, every: Duration::from_millis(500) };

/// Sources remembered: those beyond are held to the common budget alone.
const MAX_SOURCES: u64 = 10_000;

/// How often what was refused is recorded.
const TOLD: Duration = Duration::from_secs(60);

/// How many requests there are at once, and after how long there is one more.
#[derive(Clone, Copy)]
struct Size {
    at_once: u32,
    every: Duration,
}

impl Size {
    fn whole(self) -> Duration {
        self.every.saturating_mul(self.at_once)
    }
}

/// A token bucket, told by the moment at which it will be full again (the generic cell rate algorithm).
#[derive(Default)]
struct Bucket(Mutex<UnixTime>);

impl Bucket {
    /// Takes one; or says when there will be one.
    fn take(&self, size: Size, now: UnixTime) -> Result<(), Duration> {
        let mut full = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody is locked out for longer than by an empty bucket, even if the clock was set back.
        *full = (*full).clamp(now, now.after(size.whole()));
        let next = full.after(size.every);
        let wait = next.since(now).saturating_sub(size.whole());
        if wait.is_zero() {
            *full = next;
            return Ok(());
        }
        Err(wait)
    }

    fn give(&self, size: Size, count: u32) {
        let mut full = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let given = u64::try_from(size.every.as_millis()).unwrap_or(u64::MAX).saturating_mul(u64::from(count));
        *full = UnixTime(full.0.saturating_sub(given));
    }
}

/// The budgets. Cheap to clone.
#[derive(Clone)]
pub struct Budget(Arc<Inner>);

struct Inner {
    audit: Audit,
    clock: Arc<dyn Clock>,
    sources: Cache<Source, Arc<Bucket>>,
    all: Bucket,
    /// Refused and not recorded yet.
    refused: AtomicU64,
}

/// Where a request comes from: an IPv4 address, or the network of an IPv6 address, of which one stranger has plenty. One for
/// all of whom that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Source(Option<IpAddr>);

impl Source {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(SOURCE).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Self(None) };
        let address = value.to_str().ok().and_then(|text| text.parse::<IpAddr>().ok());
        Self(address.map(|address| match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        }))
    }
}

impl Budget {
    /// Full.
    pub fn new(audit: Audit, clock: Arc<dyn Clock>) -> Self {
        let sources = Cache::builder().max_capacity(MAX_SOURCES).time_to_idle(ONE.whole()).build();
        let (all, refused) = (Bucket::default(), AtomicU64::new(0));
        Self(Arc::new(Inner { audit, clock, sources, all, refused }))
    }

    /// Records what was refused, one record a minute however much it was, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(TOLD)).await.is_some() {
            self.tell().await;
        }
        self.tell().await;
    }

    pub(super) async fn tell(&self) {
        let count = self.0.refused.swap(0, Ordering::Relaxed);
        if count == 0 {
            return;
        }
        if let Err(error) = self.0.audit.record(Event::pages_refused(count)).await {
            tracing::error!(%error, count, "requests over budget were not recorded, and will be");
            self.0.refused.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Puts on record what came to nothing, if its source can pay for that; if not, it is counted with the rest.
    pub(super) async fn record(&self, source: Source, event: Event) {
        if let Ok(paid) = self.take(source) {
            paid.record(event).await;
        }
    }

    fn take(&self, source: Source) -> Result<Paid, Duration> {
        let (inner, now) = (&*self.0, self.0.clock.now());
        let bucket = inner.sources.get_with(source, Arc::default);
        let taken = bucket.take(ONE, now).map_err(|wait| (wait, "source"));
        let taken = taken.and_then(|()| {
            // What all cannot afford costs the source nothing.
            inner.all.take(ALL, now).map_err(|wait| (wait, "all")).inspect_err(|_| bucket.give(ONE, 1))
        });
        match taken {
            Ok(()) => Ok(Paid { budget: self.clone(), bucket }),
            Err((wait, of)) => {
                inner.refused.fetch_add(1, Ordering::Relaxed);
                metrics::counter!("sallyport_pages_over_budget_total", "budget" => of).increment(1);
                Err(wait)
            }
        }
    }
}

/// A request that was paid for. A handler that takes one is open to strangers and leaves something behind.
pub(super) struct Paid {
    budget: Budget,
    bucket: Arc<Bucket>,
}

impl Paid {
    /// Puts on record what came to nothing.
    pub(super) async fn record(&self, event: Event) {
        if let Err(error) = self.budget.0.audit.record(event).await {
            tracing::error!(%error, "what a browser sent was refused, and not recorded");
        }
    }

    /// It was somebody: this request and the one that began it cost nothing.
    pub(super) fn back(self, count: u32) {
        self.bucket.give(ONE, count);
        self.budget.0.all.give(ALL, count);
    }
}

impl FromRequestParts<Pages> for Paid {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, pages: &Pages) -> Result<Self, Response> {
        match pages.budget.take(Source::of(&parts.headers)) {
            Ok(paid) => Ok(paid),
            Err(wait) => Err(too_many(wait, parts).await),
        }
    }
}

async fn too_many(wait: Duration, parts: &mut Parts) -> Response {
    let sentence = "Too many sign-ins were begun and not finished, from your network or from everywhere. Nothing was stored \
                    or used up: wait a moment, and load this page again.";
    let mut response = problem(StatusCode::TOO_MANY_REQUESTS, sentence, &request_id(parts).await);
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}
