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
/// Most keys of one issuer that are asked for or known not to exist; beyond it, its unknown keys are refused unasked
/// for a while (J14). Per issuer, so that nobody can use up another issuer's.
const UNKNOWN_KEYS: usize = 64;
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
    /// By trusted issuer and `kid`.
    unknown_keys: HashMap<String, HashMap<String, UnknownKey>>,
}

/// What is known of a key that the snapshot does not hold.
struct UnknownKey {
    /// Unix milliseconds; it may be asked for again from then on.
    until_ms: u64,
    /// The broker has said that there is none; else it is being asked.
    denied: bool,
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
                self.credentials.hold(&hold.grant, hold.generation, hold.until_ms, now_ms);
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

    /// Whether the broker may be asked for a key now, or asked already and waited for.
    pub fn may_resolve(&mut self, issuer: &str, kid: &str, now_ms: u64) -> bool {
        let until_ms = now_ms.saturating_add(self.config.deadline_ms);
        let keys = self.unknown_keys.entry(issuer.to_owned()).or_default();
        keys.retain(|_, key| key.until_ms > now_ms);
        if let Some(key) = keys.get(kid) {
            return !key.denied;
        }
        let may = keys.len() < UNKNOWN_KEYS;
        if may {
            keys.insert(kid.to_owned(), UnknownKey { until_ms, denied: false });
        }
        may
    }

    /// Takes the broker's answer for a key in; answers whether there is such a key now.
    pub fn resolved(&mut self, issuer: String, kid: String, key: Option<proto::Key>, now_ms: u64) -> bool {
        let known = match (&mut self.snapshot, key) {
            (Some(snapshot), Some(key)) if key.kid == kid => Rc::make_mut(snapshot).add_key(&issuer, key),
            _ => false,
        };
        let keys = self.unknown_keys.entry(issuer).or_default();
        if known {
            keys.remove(&kid);
        } else {
            keys.insert(kid, UnknownKey { until_ms: now_ms.saturating_add(UNKNOWN_KEY_MS), denied: true });
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{self, ISSUER, NOW_MS, delta, full, key};

    fn beat(version: u64) -> proto::Update {
        proto::Update { update: Some(proto::update::Update::Heartbeat(proto::Heartbeat { version })) }
    }

    fn refusal(worker: &Worker, now_ms: u64) -> Option<Rejection> {
        worker.snapshot(now_ms).err()
    }

    #[test]
    fn nothing_is_decided_before_the_first_snapshot() {
        let mut worker = world::deaf_worker();
        assert_eq!(refusal(&worker, NOW_MS), Some(Rejection::SnapshotMissing));
        worker.update(beat(0), NOW_MS).unwrap();
        assert_eq!(refusal(&worker, NOW_MS), Some(Rejection::SnapshotMissing), "a heartbeat is no snapshot");
    }

    #[test]
    fn i11_silence_beyond_the_limit_makes_it_stale() {
        let mut worker = world::worker();
        assert_eq!(refusal(&worker, NOW_MS + 60_000), None);
        assert_eq!(refusal(&worker, NOW_MS + 60_001), Some(Rejection::SnapshotStale));
        worker.update(beat(7), NOW_MS + 60_001).unwrap();
        assert_eq!(refusal(&worker, NOW_MS + 120_001), None);
    }

    #[test]
    fn i11_what_is_out_of_step_is_no_sign_of_freshness() {
        let mut worker = world::worker();
        let late = NOW_MS + 50_000;
        assert!(worker.update(beat(8), late).is_err());
        assert!(worker.update(delta(proto::Delta { from: 8, to: 9, ..proto::Delta::default() }), late).is_err());
        assert_eq!(worker.update(proto::Update { update: None }, late), Ok(Changed::default()));
        assert_eq!(worker.heard_at_ms(), NOW_MS);
        assert_eq!(refusal(&worker, NOW_MS + 60_001), Some(Rejection::SnapshotStale));
    }

    #[test]
    fn a_delta_before_any_snapshot_is_out_of_step() {
        let mut worker = world::deaf_worker();
        let out_of_step = worker.update(delta(proto::Delta { from: 0, to: 1, ..proto::Delta::default() }), NOW_MS);
        assert_eq!(out_of_step, Err(OutOfStep { from: 0, at: 0 }));
    }

    #[test]
    fn asking_for_a_full_one_serves_the_old_one_meanwhile() {
        let mut worker = world::worker();
        worker.ask_for_full();
        assert_eq!(worker.version(), 0);
        assert_eq!(refusal(&worker, NOW_MS), None);
        assert!(worker.update(beat(7), NOW_MS).is_err(), "only a full one will do");
        worker.update(full(world::snapshot()), NOW_MS).unwrap();
        assert_eq!(worker.version(), 7);
    }

    #[test]
    fn j13_callers_are_dropped_with_keys_identities_and_revocations() {
        let hash = [1; 32];
        for update in [
            world::revocation("t-1"),
            delta(proto::Delta { from: 7, to: 8, issuers: vec![world::issuer(vec![])], ..proto::Delta::default() }),
            delta(proto::Delta { from: 7, to: 8, removed_issuers: vec![ISSUER.into()], ..proto::Delta::default() }),
            delta(proto::Delta { from: 7, to: 8, external_identities: vec![world::shop()], ..proto::Delta::default() }),
            full(world::snapshot()),
        ] {
            let mut worker = world::worker();
            worker.callers.insert(hash, world::shared_caller(&world::alice()), NOW_MS);
            worker.update(update, NOW_MS).unwrap();
            assert!(worker.callers.get(&hash, NOW_MS).is_none());
        }
    }

    #[test]
    fn a_resolved_key_is_found_at_once() {
        let mut worker = world::worker();
        assert!(worker.may_resolve(ISSUER, "k2", NOW_MS));
        assert!(worker.resolved(ISSUER.into(), "k2".into(), Some(key("k2")), NOW_MS));
        assert!(worker.snapshot(NOW_MS).unwrap().issuers.key(ISSUER, "k2").is_some());
    }

    #[test]
    fn j14_a_key_that_does_not_exist_is_not_asked_for_again_for_a_while() {
        let mut worker = world::worker();
        assert!(worker.may_resolve(ISSUER, "x", NOW_MS));
        assert!(worker.may_resolve(ISSUER, "x", NOW_MS), "others wait for the same answer");
        assert!(!worker.resolved(ISSUER.into(), "x".into(), None, NOW_MS));
        assert!(!worker.may_resolve(ISSUER, "x", NOW_MS + 9_999));
        assert!(worker.may_resolve(ISSUER, "x", NOW_MS + 10_000));
    }

    #[test]
    fn a_key_under_another_name_or_of_nobody_is_not_taken() {
        let mut worker = world::worker();
        assert!(!worker.resolved(ISSUER.into(), "k3".into(), Some(key("k2")), NOW_MS));
        assert!(!worker.resolved("https://nobody.example".into(), "k2".into(), Some(key("k2")), NOW_MS));
        assert!(!world::deaf_worker().resolved(ISSUER.into(), "k2".into(), Some(key("k2")), NOW_MS));
        assert!(worker.snapshot(NOW_MS).unwrap().issuers.key(ISSUER, "k2").is_none());
    }

    #[test]
    fn j14_a_flood_of_unknown_keys_is_bounded_and_shuts_out_no_other_issuer() {
        let mut worker = world::worker();
        let asked = (0..10_000).filter(|n| worker.may_resolve(ISSUER, &format!("k{n}"), NOW_MS)).count();
        assert_eq!(asked, UNKNOWN_KEYS);
        assert!(worker.may_resolve("https://other.example", "k", NOW_MS));
        assert!(worker.may_resolve(ISSUER, "k99999", NOW_MS + 3_000), "the unanswered are forgotten at the deadline");
    }
}
