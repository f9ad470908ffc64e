//! The root context of one VM: configuration, the snapshot stream and the clock.

use std::cell::RefCell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::Rc;
use std::time::Duration;

use prost::Message;
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{BufferType, ContextType, MetricType};
use sallyport_proto::broker as proto;

use super::hub::{Counts, Hub};
use super::{Envoy, Stream, calls, property};
use crate::config::Config;
use crate::flow::Host;
use crate::worker::Worker;

/// How often the clock is looked at. A watchdog may be late by this much.
const TICK: Duration = Duration::from_millis(50);
/// A stream this silent is dead, whatever TCP says: heartbeats come each second.
const SILENCE_MS: u64 = 3_500;
/// First and longest wait between attempts to open the snapshot stream.
const BACKOFF_MS: (u64, u64) = (50, 400);

/// The root context.
pub(crate) struct Root {
    id: u32,
    hub: Option<Rc<RefCell<Hub>>>,
    watch: Watch,
    metrics: Option<Metrics>,
}

/// The snapshot stream.
enum Watch {
    Closed {
        again_at_ms: u64,
        backoff_ms: u64,
    },
    /// `backoff_ms` grows until the broker has said something.
    Open {
        token: u32,
        heard_ms: u64,
        backoff_ms: u64,
    },
}

struct Metrics {
    forwarded: u32,
    replied: u32,
    closed: u32,
    broker_calls: u32,
    broker_silent: u32,
    snapshot_refused: u32,
    streams: u32,
    version: u32,
}

impl Root {
    /// A root context that waits for its configuration.
    pub(crate) fn new(id: u32) -> Self {
        Self { id, hub: None, watch: Watch::Closed { again_at_ms: 0, backoff_ms: BACKOFF_MS.0 }, metrics: None }
    }

    fn open_watch(&mut self, now_ms: u64) {
        let Some(hub) = &self.hub else { return };
        let hub = hub.borrow();
        let request = proto::WatchSnapshotRequest {
            proxy: hub.worker.proxy.clone(),
            version: hub.worker.version(),
            filter_version: crate::VERSION.into(),
        };
        self.watch = match calls::watch(&hub.worker.config.broker_cluster, &request) {
            Ok(token) => Watch::Open { token, heard_ms: now_ms, backoff_ms: self.watch.backoff_ms() },
            Err(calls::NotSent) => self.watch.closed(now_ms),
        };
    }

    fn watch_on(&mut self, now_ms: u64) {
        match self.watch {
            Watch::Closed { again_at_ms, .. } if now_ms >= again_at_ms => self.open_watch(now_ms),
            Watch::Open { token, heard_ms, .. } if now_ms.saturating_sub(heard_ms) > SILENCE_MS => {
                log::warn!("the broker has been silent for {SILENCE_MS} ms: opening the snapshot stream anew");
                let _ = hostcalls::cancel_grpc_stream(token);
                self.watch = self.watch.closed(now_ms);
            }
            Watch::Closed { .. } | Watch::Open { .. } => {}
        }
    }
}

impl Watch {
    fn backoff_ms(&self) -> u64 {
        match self {
            Self::Open { backoff_ms, .. } | Self::Closed { backoff_ms, .. } => *backoff_ms,
        }
    }

    /// Closed now, to be opened after a while that doubles and has jitter, so that proxies do not come back at once.
    fn closed(&self, now_ms: u64) -> Self {
        let wait_ms = self.backoff_ms();
        let jitter = random().checked_rem(wait_ms.max(1)).unwrap_or_default() / 4;
        let again_at_ms = now_ms.saturating_add(wait_ms).saturating_sub(jitter);
        Self::Closed { again_at_ms, backoff_ms: wait_ms.saturating_mul(2).min(BACKOFF_MS.1) }
    }
}

/// From the host's generator, through the seed of the standard library's hasher.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        let bytes = hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size).ok().flatten().unwrap_or_default();
        let config = match Config::parse(&bytes) {
            Ok(config) => config,
            Err(error) => {
                log::error!("plugin configuration refused: {error}");
                return false;
            }
        };
        let proxy = property(&["xds", "node", "id"]).or_else(|| property(&["node", "id"]));
        let proxy = proxy.and_then(|id| String::from_utf8(id).ok()).unwrap_or_default();
        let now_ms = Envoy.now_ns() / 1_000_000;
        let worker = Worker::new(config, proxy, format!("{:016x}", random()), now_ms);
        self.hub = Some(Rc::new(RefCell::new(Hub::new(worker, self.id))));
        self.metrics = Metrics::define();
        if hostcalls::set_tick_period(TICK).is_err() {
            log::error!("the host gives no ticks");
            return false;
        }
        self.open_watch(now_ms);
        true
    }

    fn on_tick(&mut self) {
        let now_ms = Envoy.now_ns() / 1_000_000;
        self.watch_on(now_ms);
        if let Some(hub) = &self.hub {
            let mut hub = hub.borrow_mut();
            hub.tick();
            let counts = std::mem::take(&mut hub.counts);
            if let Some(metrics) = &self.metrics {
                metrics.add(&counts, hub.streams(), hub.worker.version());
            }
        }
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        let hub = Rc::clone(self.hub.as_ref()?);
        Some(Box::new(Stream { id, hub }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Context for Root {
    fn on_grpc_stream_message(&mut self, token_id: u32, message_size: usize) {
        let Watch::Open { token, heard_ms, backoff_ms } = &mut self.watch else { return };
        if *token != token_id {
            return;
        }
        let now_ms = Envoy.now_ns() / 1_000_000;
        (*heard_ms, *backoff_ms) = (now_ms, BACKOFF_MS.0);
        let Some(hub) = &self.hub else { return };
        let update = calls::response(0, message_size).and_then(|bytes| proto::Update::decode(bytes.as_slice()).ok());
        let mut hub = hub.borrow_mut();
        let outcome = update.map(|update| hub.worker.update(update, now_ms));
        match outcome {
            Some(Ok(changed)) => {
                if changed.refused > 0 {
                    log::error!("{} items of the snapshot were not understood, and are denied", changed.refused);
                    if let Some(metrics) = &self.metrics {
                        let _ = hostcalls::increment_metric(metrics.snapshot_refused, i64::from(changed.refused));
                    }
                }
            }
            Some(Err(out_of_step)) => {
                log::info!("asking for a full snapshot: {out_of_step}");
                hub.worker.ask_for_full();
                let _ = hostcalls::cancel_grpc_stream(token_id);
                self.watch = Watch::Closed { again_at_ms: now_ms, backoff_ms: BACKOFF_MS.0 };
            }
            None => log::error!("a message of the snapshot stream cannot be read"),
        }
    }

    fn on_grpc_stream_close(&mut self, token_id: u32, status_code: u32) {
        if let Watch::Open { token, backoff_ms, .. } = self.watch
            && token == token_id
        {
            // Once for each loss, not once for each attempt to mend it.
            if backoff_ms == BACKOFF_MS.0 {
                log::warn!("the snapshot stream was closed (gRPC status {status_code}): trying again until it opens");
            }
            self.watch = self.watch.closed(Envoy.now_ns() / 1_000_000);
        }
    }

    fn on_grpc_call_response(&mut self, token_id: u32, status_code: u32, response_size: usize) {
        if let Some(hub) = &self.hub {
            hub.borrow_mut().answered(token_id, calls::response(status_code, response_size), self.id);
        }
    }
}

impl Metrics {
    fn define() -> Option<Self> {
        let counter = |name| hostcalls::define_metric(MetricType::Counter, name).ok();
        let gauge = |name| hostcalls::define_metric(MetricType::Gauge, name).ok();
        Some(Self {
            forwarded: counter("sallyport.forwarded")?,
            replied: counter("sallyport.replied")?,
            closed: counter("sallyport.closed")?,
            broker_calls: counter("sallyport.broker_calls")?,
            broker_silent: counter("sallyport.broker_silent")?,
            snapshot_refused: counter("sallyport.snapshot_refused")?,
            streams: gauge("sallyport.streams")?,
            version: gauge("sallyport.snapshot_version")?,
        })
    }

    fn add(&self, counts: &Counts, streams: usize, version: u64) {
        let counters = [
            (self.forwarded, counts.forwarded),
            (self.replied, counts.replied),
            (self.closed, counts.closed),
            (self.broker_calls, counts.broker_calls),
            (self.broker_silent, counts.broker_silent),
        ];
        for (metric, count) in counters.into_iter().filter(|(_, count)| *count > 0) {
            let _ = hostcalls::increment_metric(metric, i64::try_from(count).unwrap_or(i64::MAX));
        }
        let _ = hostcalls::record_metric(self.streams, u64::try_from(streams).unwrap_or(u64::MAX));
        let _ = hostcalls::record_metric(self.version, version);
    }
}
