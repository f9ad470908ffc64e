//! Credentials of this worker: which ones it may still use, and which ones it is waiting for.

use std::collections::HashMap;
use std::rc::Rc;

use sallyport_caller::Allowed;

use crate::snapshot::{Server, Snapshot};

/// Names one caller's credential at one server, at one revision of it. Made by [`CredentialKey::of`] alone (I6).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CredentialKey(Rc<[u8]>);

impl CredentialKey {
    /// The key of tenant, issuer, subject, server and its revision, each with its length before it.
    pub fn of(snapshot: &Snapshot, allowed: &Allowed, server: &Server) -> Self {
        let parts = [&*snapshot.tenant, allowed.issuer(), allowed.subject(), &server.name, &server.revision];
        let mut key = Vec::with_capacity(parts.iter().map(|part| part.len().saturating_add(4)).sum());
        for part in parts {
            // A part is bounded far below u32 by the caps on tokens and manifests.
            key.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            key.extend_from_slice(part.as_bytes());
        }
        Self(key.into())
    }
}

/// What to set on a request in place of the inbound credential.
pub struct Credential {
    /// Names lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Names its release in audit.
    pub use_handle: Rc<str>,
    /// Where it came from, for [`crate::flow`] to tell the broker when an upstream refuses it.
    pub grant: String,
    /// Of that grant.
    pub generation: u64,
    /// Unix milliseconds; never used from then on.
    pub expires_at_ms: u64,
}

/// A cached credential, and when it is renewed.
struct Entry {
    credential: Rc<Credential>,
    /// Unix milliseconds; `None` while somebody renews it.
    refresh_after_ms: Option<u64>,
    /// How many holds had been told by then.
    after_holds: u64,
}

/// What the cache says of a key.
pub enum Cached {
    /// Use it.
    Hit(Rc<Credential>),
    /// Use it; and this once, have it renewed.
    Due(Rc<Credential>),
    /// Ask the broker.
    Miss,
}

/// How often holds that are over are dropped.
const TIDY_MS: u64 = 1_000;

/// Credentials by key: two generations of a bounded map, so that what is not used goes without a search.
pub struct Credentials {
    recent: HashMap<CredentialKey, Entry>,
    older: HashMap<CredentialKey, Entry>,
    half: usize,
    max_age_ms: u64,
    /// By grant: its generations that are about to stop working, or have.
    holds: HashMap<String, Vec<Hold>>,
    /// How many were told.
    told: u64,
    /// When those that are over are next dropped, Unix milliseconds.
    tidy_at_ms: u64,
}

struct Hold {
    generation: u64,
    /// Unix milliseconds: no credential that comes before then is used.
    until_ms: u64,
    /// Its place among those told: what was kept before it is not used, even once it has ended.
    number: u64,
    /// Unix milliseconds: it has ended by then, and so has all that was kept before it.
    over_ms: u64,
}

impl Credentials {
    /// Holds at most `entries`, each for at most `max_age_ms`.
    pub fn new(entries: usize, max_age_ms: u64) -> Self {
        Self {
            recent: HashMap::new(),
            older: HashMap::new(),
            half: entries.div_ceil(2).max(1),
            max_age_ms,
            holds: HashMap::new(),
            told: 0,
            tidy_at_ms: 0,
        }
    }

    /// Looks a credential up at `now_ms`.
    pub fn get(&mut self, key: &CredentialKey, now_ms: u64) -> Cached {
        if !self.recent.contains_key(key) {
            match self.older.remove(key) {
                Some(entry) => self.put(key.clone(), entry),
                None => return Cached::Miss,
            }
        }
        let Some(entry) = self.recent.get_mut(key) else { return Cached::Miss };
        let Credential { grant, generation, expires_at_ms, .. } = &*entry.credential;
        let forbids = |hold: &Hold| *generation <= hold.generation && entry.after_holds < hold.number;
        let is_held = self.holds.get(grant).is_some_and(|holds| holds.iter().any(forbids));
        if is_held || now_ms >= *expires_at_ms {
            self.remove(key);
            return Cached::Miss;
        }
        if entry.refresh_after_ms.is_some_and(|due| now_ms >= due) {
            entry.refresh_after_ms = None;
            return Cached::Due(Rc::clone(&entry.credential));
        }
        Cached::Hit(Rc::clone(&entry.credential))
    }

    /// Keeps a credential that was released at `now_ms` and is due for renewal at `refresh_after_ms`; none of a generation
    /// on hold.
    pub fn insert(
        &mut self,
        key: CredentialKey,
        mut credential: Credential,
        refresh_after_ms: u64,
        now_ms: u64,
    ) -> Rc<Credential> {
        credential.expires_at_ms = credential.expires_at_ms.min(now_ms.saturating_add(self.max_age_ms));
        let credential = Rc::new(credential);
        if self.is_on_hold(&credential, now_ms) {
            return credential;
        }
        // From both, or the predecessor would come back when its successor goes.
        self.remove(&key);
        let (refresh_after_ms, after_holds) = (Some(refresh_after_ms), self.told);
        self.put(key, Entry { credential: Rc::clone(&credential), refresh_after_ms, after_holds });
        credential
    }

    /// Renewal came to nothing: a request at `retry_ms` or later may try again.
    pub fn renewal_failed(&mut self, key: &CredentialKey, retry_ms: u64) {
        let entry = self.recent.get_mut(key).or_else(|| self.older.get_mut(key));
        // One that is not being renewed keeps its own moment: another token's failure says nothing about it.
        if let Some(entry) = entry.filter(|entry| entry.refresh_after_ms.is_none()) {
            entry.refresh_after_ms = Some(retry_ms);
        }
    }

    /// Uses no credential of a grant up to this generation any more, which is about to stop working or has been revoked,
    /// and none that comes before `until_ms`: an answer may be on its way already. Earlier ones too: who has not
    /// used the grant since its last renewal has one that some providers leave alive (O13). A proxy that was away is told
    /// many at once, so that one must not cost more the more there are, or the more credentials.
    pub fn hold(&mut self, grant: &str, generation: u64, until_ms: u64, now_ms: u64) {
        if now_ms >= self.tidy_at_ms {
            self.holds.retain(|_, holds| holds.iter().any(|hold| now_ms < hold.over_ms));
            self.tidy_at_ms = now_ms.saturating_add(TIDY_MS);
        }
        self.told = self.told.saturating_add(1);
        let over_ms = until_ms.max(now_ms.saturating_add(self.max_age_ms));
        let holds = self.holds.entry(grant.to_owned()).or_default();
        // The same generation is told anew, or lifted.
        holds.retain(|earlier| earlier.generation != generation && now_ms < earlier.over_ms);
        holds.push(Hold { generation, until_ms, number: self.told, over_ms });
    }

    /// Whether a credential that has just come must not be used.
    pub fn is_on_hold(&self, credential: &Credential, now_ms: u64) -> bool {
        let forbids = |hold: &Hold| credential.generation <= hold.generation && now_ms < hold.until_ms;
        self.holds.get(&credential.grant).is_some_and(|holds| holds.iter().any(forbids))
    }

    /// Forgets the credential of `key` if it is still the one released under `use_handle`: the upstream refused it.
    pub fn remove_released(&mut self, key: &CredentialKey, use_handle: &str) {
        let same = |entry: &Entry| &*entry.credential.use_handle == use_handle;
        if self.recent.get(key).or_else(|| self.older.get(key)).is_some_and(same) {
            self.remove(key);
        }
    }

    /// Forgets the credential of `key`: the broker has refused another.
    pub fn remove(&mut self, key: &CredentialKey) {
        self.recent.remove(key);
        self.older.remove(key);
    }

    fn put(&mut self, key: CredentialKey, entry: Entry) {
        if self.recent.len() >= self.half {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(key, entry);
    }
}

#[cfg(test)]
mod tests {
    use sallyport_proto::broker as proto;

    use super::*;
    use crate::world::{self, NOW_MS};

    fn key_of(tenant: &str, issuer: &str, subject: &str, server: &str, revision: &str) -> CredentialKey {
        let server = proto::Server {
            revision: revision.into(),
            ..world::server(server, proto::AuthKind::ClientCredentials, &["team:everyone"])
        };
        let message = proto::Snapshot { tenant: tenant.into(), servers: vec![server.clone()], ..world::snapshot() };
        let (snapshot, _) = Snapshot::full(message);
        let server = snapshot.server_at(&server.paths[0]).unwrap();
        CredentialKey::of(&snapshot, &world::allowed(issuer, subject), server)
    }

    fn key(subject: &str) -> CredentialKey {
        key_of("demo", world::ISSUER, subject, "demo/echo", "r1")
    }

    fn credential(handle: &str, generation: u64, expires_at_ms: u64) -> Credential {
        Credential {
            headers: vec![("authorization".into(), b"Bearer up".to_vec())],
            use_handle: handle.into(),
            grant: "g".into(),
            generation,
            expires_at_ms,
        }
    }

    fn cache() -> Credentials {
        Credentials::new(4, 300_000)
    }

    fn handle(cached: &Cached) -> Option<&str> {
        match cached {
            Cached::Hit(credential) | Cached::Due(credential) => Some(&credential.use_handle),
            Cached::Miss => None,
        }
    }

    #[test]
    fn i6_keys_differ_when_any_part_differs() {
        let same = || key_of("t", "https://i", "s", "g/n", "r");
        assert_eq!(same(), same());
        for (part, other) in [
            ("tenant", key_of("u", "https://i", "s", "g/n", "r")),
            ("issuer", key_of("t", "https://j", "s", "g/n", "r")),
            ("subject", key_of("t", "https://i", "S", "g/n", "r")),
            ("server", key_of("t", "https://i", "s", "g/m", "r")),
            ("revision", key_of("t", "https://i", "s", "g/n", "q")),
        ] {
            assert_ne!(same(), other, "{part}");
        }
    }

    #[test]
    fn i6_no_part_of_a_key_runs_into_the_next() {
        let keys = [
            key_of("ab", "c", "d", "e", "f"),
            key_of("a", "bc", "d", "e", "f"),
            key_of("a", "b", "cd", "e", "f"),
            key_of("a", "b", "c", "de", "f"),
            key_of("a", "b", "c", "d", "ef"),
            key_of("a", "b", "c", "d\0\0\0\u{1}e", "f"),
            key_of("", "abc", "d", "e", "f"),
            key_of("abcd", "e", "f", "x", ""),
        ];
        for (at, one) in keys.iter().enumerate() {
            assert!(keys.iter().enumerate().all(|(other, two)| at == other || one != two), "{at}");
        }
    }

    #[test]
    fn o11_a_person_and_a_server_that_read_alike_when_joined_are_two() {
        for (one, other) in [(("a:b", "c"), ("a", "b:c")), (("a/b", "c"), ("a", "b/c"))] {
            let key = |(subject, server)| key_of("t", "https://i", subject, server, "r");
            assert_ne!(key(one), key(other), "{one:?}");
        }
    }

    #[test]
    fn an_expired_credential_is_never_used() {
        let mut cache = cache();
        cache.insert(key("a"), credential("1", 1, NOW_MS + 1_000), NOW_MS + 800, NOW_MS);
        assert_eq!(handle(&cache.get(&key("a"), NOW_MS + 799)), Some("1"));
        assert_eq!(handle(&cache.get(&key("a"), NOW_MS + 1_000)), None);
        assert_eq!(handle(&cache.get(&key("a"), NOW_MS)), None, "once gone, gone");
    }

    #[test]
    fn i11_no_credential_outlives_the_cache_s_age() {
        let mut cache = Credentials::new(4, 10_000);
        cache.insert(key("a"), credential("1", 1, u64::MAX), u64::MAX, NOW_MS);
        assert_eq!(handle(&cache.get(&key("a"), NOW_MS + 9_999)), Some("1"));
        assert_eq!(handle(&cache.get(&key("a"), NOW_MS + 10_000)), None);
    }

    #[test]
    fn due_is_said_to_one_request_while_the_others_go_on() {
        let mut cache = cache();
        cache.insert(key("a"), credential("1", 1, NOW_MS + 10_000), NOW_MS + 8_000, NOW_MS);
        let due = (0..50).filter(|_| matches!(cache.get(&key("a"), NOW_MS + 8_000), Cached::Due(_))).count();
        assert_eq!(due, 1);
        assert!(matches!(cache.get(&key("a"), NOW_MS + 9_999), Cached::Hit(_)));
    }

    #[test]
    fn a_renewal_that_failed_is_tried_again_later() {
        let mut cache = cache();
        cache.insert(key("a"), credential("1", 1, NOW_MS + 10_000), NOW_MS, NOW_MS);
        assert!(matches!(cache.get(&key("a"), NOW_MS), Cached::Due(_)));
        cache.renewal_failed(&key("a"), NOW_MS + 2_000);
        assert!(matches!(cache.get(&key("a"), NOW_MS + 1_999), Cached::Hit(_)));
        assert!(matches!(cache.get(&key("a"), NOW_MS + 2_000), Cached::Due(_)));
        assert!(matches!(cache.get(&key("a"), NOW_MS + 2_000), Cached::Hit(_)));
    }

    #[test]
    fn a_failure_says_nothing_about_a_credential_that_is_not_being_renewed() {
        let mut cache = cache();
        cache.insert(key("a"), credential("1", 1, NOW_MS + 10_000), NOW_MS + 8_000, NOW_MS);
        cache.renewal_failed(&key("a"), NOW_MS);
        assert!(matches!(cache.get(&key("a"), NOW_MS + 7_999), Cached::Hit(_)));
    }

    #[test]
    fn a_predecessor_does_not_come_back_when_its_successor_goes() {
        let mut cache = Credentials::new(2, 300_000);
        cache.insert(key("a"), credential("1", 1, NOW_MS + 10_000), NOW_MS + 9_000, NOW_MS);
        cache.insert(key("a"), credential("2", 2, NOW_MS + 5_000), NOW_MS + 4_000, NOW_MS);
        assert_eq!(handle(&cache.get(&key("a"), NOW_MS)), Some("2"));
        assert_eq!(handle(&cache.get(&key("a"), NOW_MS + 5_000)), None);
        assert_eq!(handle(&cache.get(&key("a"), NOW_MS + 5_000)), None);
    }

    #[test]
    fn a_refused_credential_goes_and_its_successor_stays() {
        let mut cache = cache();
        cache.insert(key("a"), credential("2", 2, NOW_MS + 10_000), NOW_MS + 8_000, NOW_MS);
        cache.remove_released(&key("a"), "1");
        assert_eq!(handle(&cache.get(&key("a"), NOW_MS)), Some("2"), "the late refusal of its predecessor");
        cache.remove_released(&key("a"), "2");
        assert_eq!(handle(&cache.get(&key("a"), NOW_MS)), None);
    }

    /// Credentials of three callers: generation 1 and 2 of grant `g`, and generation 1 of grant `h`.
    fn three() -> Credentials {
        let mut cache = Credentials::new(20, 300_000);
        let other = Credential { grant: "h".into(), ..credential("3", 1, NOW_MS + 10_000) };
        cache.insert(key("a"), credential("1", 1, NOW_MS + 10_000), NOW_MS + 8_000, NOW_MS);
        cache.insert(key("b"), credential("2", 2, NOW_MS + 10_000), NOW_MS + 8_000, NOW_MS);
        cache.insert(key("c"), other, NOW_MS + 8_000, NOW_MS);
        cache
    }

    fn handles(cache: &mut Credentials, now_ms: u64) -> [Option<String>; 3] {
        ["a", "b", "c"].map(|subject| handle(&cache.get(&key(subject), now_ms)).map(str::to_owned))
    }

    #[test]
    fn a_hold_drops_a_generation_of_one_grant_and_those_before_it() {
        let mut cache = three();
        cache.hold("g", 1, NOW_MS + 1_000, NOW_MS);
        assert_eq!(handles(&mut cache, NOW_MS), [None, Some("2".into()), Some("3".into())]);
        assert_eq!(handles(&mut cache, NOW_MS + 1_000)[0], None, "what is gone does not come back");
        for generation in [2, 3] {
            let mut cache = three();
            cache.hold("g", generation, NOW_MS + 1_000, NOW_MS);
            assert_eq!(handles(&mut cache, NOW_MS), [None, None, Some("3".into())], "o13");
            cache.insert(key("a"), credential("1", 1, NOW_MS + 10_000), NOW_MS + 8_000, NOW_MS);
            assert_eq!(handle(&cache.get(&key("a"), NOW_MS)), None, "o13: an answer that was on its way");
        }
    }

    #[test]
    fn a_hold_for_another_grant_or_an_earlier_generation_drops_nothing() {
        for (grant, generation) in [("g", 0), ("h", 0), ("i", 1), ("", 1), ("G", 1)] {
            let mut cache = three();
            cache.hold(grant, generation, NOW_MS + 1_000, NOW_MS);
            assert!(handles(&mut cache, NOW_MS).iter().all(Option::is_some), "{grant} {generation}");
        }
    }

    #[test]
    fn an_answer_that_was_on_its_way_is_not_kept_while_its_generation_is_on_hold() {
        let mut cache = cache();
        cache.hold("g", 1, NOW_MS + 1_000, NOW_MS);
        let late = cache.insert(key("a"), credential("1", 1, NOW_MS + 10_000), NOW_MS + 8_000, NOW_MS + 999);
        assert!(cache.is_on_hold(&late, NOW_MS + 999) && !cache.is_on_hold(&late, NOW_MS + 1_000));
        assert_eq!(handle(&cache.get(&key("a"), NOW_MS + 999)), None);
        let next = cache.insert(key("a"), credential("2", 2, NOW_MS + 10_000), NOW_MS + 8_000, NOW_MS + 999);
        assert!(!cache.is_on_hold(&next, NOW_MS + 999));
        cache.insert(key("a"), credential("1", 1, NOW_MS + 10_000), NOW_MS + 8_000, NOW_MS + 999);
        assert_eq!(handle(&cache.get(&key("a"), NOW_MS + 999)), Some("2"), "its successor is kept");
    }

    #[test]
    fn o13_what_was_dropped_stays_dropped_whatever_is_held_after_it() {
        let mut cache = three();
        cache.hold("g", 2, NOW_MS + 1_000, NOW_MS);
        cache.hold("g", 1, NOW_MS + 1_000, NOW_MS);
        assert_eq!(handles(&mut cache, NOW_MS), [None, None, Some("3".into())]);
        assert!(cache.is_on_hold(&credential("2", 2, NOW_MS + 10_000), NOW_MS));
    }

    #[test]
    fn a_generation_whose_hold_is_lifted_is_used_and_those_that_have_ended_are_not() {
        let mut cache = cache();
        cache.hold("g", 4, NOW_MS + 9_000, NOW_MS);
        cache.hold("g", 5, NOW_MS + 1_000, NOW_MS);
        cache.hold("g", 4, NOW_MS + 9_500, NOW_MS);
        let on_hold =
            |cache: &Credentials, generation| cache.is_on_hold(&credential("1", generation, u64::MAX), NOW_MS);
        assert!(on_hold(&cache, 4) && on_hold(&cache, 5) && !on_hold(&cache, 6));
        cache.hold("g", 5, NOW_MS, NOW_MS);
        assert!(on_hold(&cache, 4) && !on_hold(&cache, 5));
        cache.insert(key("a"), credential("5", 5, NOW_MS + 10_000), NOW_MS + 8_000, NOW_MS);
        assert_eq!(handle(&cache.get(&key("a"), NOW_MS)), Some("5"));
        cache.hold("g", 4, NOW_MS + 9_000, NOW_MS);
        assert_eq!(handle(&cache.get(&key("a"), NOW_MS)), Some("5"), "of the one before");
    }

    #[test]
    fn a_hold_that_came_to_nothing_ends() {
        let mut cache = cache();
        cache.hold("g", 1, NOW_MS + 1_000, NOW_MS);
        cache.insert(key("a"), credential("1", 1, NOW_MS + 10_000), NOW_MS + 8_000, NOW_MS + 1_000);
        assert_eq!(handle(&cache.get(&key("a"), NOW_MS + 1_000)), Some("1"));
        cache.hold("h", 1, NOW_MS + 3_000, NOW_MS + 2_000);
        cache.hold("i", 1, NOW_MS + 301_000, NOW_MS + 300_000);
        assert_eq!(cache.holds.len(), 2, "what is over is forgotten: nothing is left that was kept before it");
    }

    #[test]
    fn it_stays_within_its_bounds_and_keeps_what_is_used() {
        let mut cache = Credentials::new(10, 300_000);
        let keys: Vec<_> = (0..40).map(|n| key(&format!("s{n}"))).collect();
        for key in &keys {
            cache.insert(key.clone(), credential("1", 1, NOW_MS + 10_000), NOW_MS + 8_000, NOW_MS);
            assert!(matches!(cache.get(&keys[0], NOW_MS), Cached::Hit(_)), "used all the time");
            assert!(cache.recent.len() + cache.older.len() <= 10);
        }
        assert!(matches!(cache.get(&keys[1], NOW_MS), Cached::Miss));
    }
}
