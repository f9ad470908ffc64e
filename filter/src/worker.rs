//! What the streams of one worker share: the snapshot and the caches under it. Nothing here touches the host.

use std::collections::HashMap;
use std::rc::Rc;

use sallyport_proto::broker as proto;

use crate::callers::Callers;
use crate::config::Config;
use crate::credentials::Credentials;
use crate::reject::Rejection;
use crate::reports::Reports;
use crate::snapshot::{Changed, OutOfStep, Snapshot};

/// How long a key that the broker does not know is not asked for again.
const UNKNOWN_KEY_MS: u64 = 10_000;
/// Most keys that are remembered as unknown; beyond it, unknown keys are refused unasked for a while (J14).
const UNKNOWN_KEYS: usize = 256;
/// Most uses that wait to be reported.
const REPORTS: usize = 20_000;

/// The state of one worker's VM.
pub struct Worker {
    /// The plugin's configuration.
    pub config: Config,
    /// Callers verified before.
    pub callers: Callers,
    /// Credentials released before.
    pub credentials: Credentials,
    /// What the broker must still hear.
    pub reports: Reports,
    /// Envoy's node id.
    pub proxy: String,
    /// A body callback was seen: Envoy shows bodies to this VM.
    pub body_seen: bool,
    snapshot: Option<Rc<Snapshot>>,
    heard_at_ms: u64,
    unknown_keys: HashMap<(String, String), u64>,
}

impl Worker {
    /// A worker that has heard nothing yet.
    pub fn new(config: Config, proxy: String, worker: String, now_ms: u64) -> Self {
        Self {
            callers: Callers::new(config.cache.entries, config.cache.max_age_ms),
            credentials: Credentials::new(config.cache.entries, config.cache.max_age_ms),
            reports: Reports::new(proxy.clone(), worker, now_ms, REPORTS),
            config,
            proxy,
            body_seen: false,
            snapshot: None,
            heard_at_ms: 0,
            unknown_keys: HashMap::new(),
        }
    }

    /// The snapshot to decide by, if it may still be decided by (I11).
    ///
    /// # Errors
    /// `SnapshotMissing` before the first one, `SnapshotStale` when the broker was silent for `max_staleness`.
    pub fn snapshot(&self, now_ms: u64) -> Result<Rc<Snapshot>, Rejection> {
        let snapshot = self.snapshot.as_ref().ok_or(Rejection::SnapshotMissing)?;
        if now_ms.saturating_sub(self.heard_at_ms) > snapshot.max_staleness_ms {
            return Err(Rejection::SnapshotStale);
        }
        Ok(Rc::clone(snapshot))
    }

    /// The version held; 0 for none.
    pub fn version(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.version)
    }

    /// When the broker was last heard, Unix milliseconds; 0 if never.
    pub fn heard_at_ms(&self) -> u64 {
        self.heard_at_ms
    }

    /// Takes one message of the snapshot stream in.
    ///
    /// # Errors
    /// [`OutOfStep`] when a delta or heartbeat speaks of another version: the stream must be opened anew for a full one.
    pub fn update(&mut self, update: proto::Update, now_ms: u64) -> Result<Changed, OutOfStep> {
        let changed = match update.update {
            Some(proto::update::Update::Full(full)) => {
                let (snapshot, changed) = Snapshot::full(full);
                self.snapshot = Some(Rc::new(snapshot));
                changed
            }
            Some(proto::update::Update::Delta(delta)) => match &mut self.snapshot {
                Some(snapshot) => Rc::make_mut(snapshot).apply(delta)?,
                None => return Err(OutOfStep { from: delta.from, at: 0 }),
            },
            Some(proto::update::Update::Heartbeat(beat)) if beat.version != self.version() => {
                let at = self.version();
                // What is held may be anything: a full snapshot must come before the next decision is renewed.
                return Err(OutOfStep { from: beat.version, at });
            }
            Some(proto::update::Update::Heartbeat(_)) => Changed::default(),
            Some(proto::update::Update::Hold(hold)) => {
                self.credentials.hold(&hold.grant, hold.generation);
                Changed::default()
            }
            // A message of a later protocol: it says nothing about freshness either.
            None => return Ok(Changed::default()),
        };
        self.heard_at_ms = now_ms;
        if changed.callers {
            self.callers.clear();
            self.unknown_keys.clear();
        }
        Ok(changed)
    }

    /// Forgets the version, so that the broker sends everything.
    pub fn ask_for_full(&mut self) {
        if let Some(snapshot) = &mut self.snapshot {
            Rc::make_mut(snapshot).version = 0;
        }
    }

    /// Whether the broker may be asked for a key now.
    pub fn may_resolve(&mut self, issuer: &str, kid: &str, now_ms: u64) -> bool {
        self.unknown_keys.retain(|_, until| *until > now_ms);
        self.unknown_keys.len() < UNKNOWN_KEYS && !self.unknown_keys.contains_key(&(issuer.to_owned(), kid.to_owned()))
    }

    /// Takes the broker's answer for a key in; answers whether there is such a key now.
    pub fn resolved(&mut self, issuer: String, kid: String, key: Option<proto::Key>, now_ms: u64) -> bool {
        let known = match (&mut self.snapshot, key) {
            (Some(snapshot), Some(key)) if key.kid == kid => Rc::make_mut(snapshot).add_key(&issuer, key),
            _ => false,
        };
        if !known {
            self.unknown_keys.insert((issuer, kid), now_ms.saturating_add(UNKNOWN_KEY_MS));
        }
        known
    }
}
