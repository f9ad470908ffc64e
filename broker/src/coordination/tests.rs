//! Against real servers: alone, behind a link that fails, by Sentinels, as a cluster.

use std::collections::BTreeSet;
use std::time::Instant;

use redis_counterpart::{Cluster, Link, MASTER, Mode, PASSWORD, Redis, SENTINEL_USER, Sentinels, USER};
use tokio_util::sync::DropGuard;

use super::*;
use crate::model::GrantKey;
use crate::secret::Secret;

/// What coordination takes of a server, as docs/coordination.md says it.
pub(crate) const RIGHTS: &str = "~sallyport:* &sallyport:* -@all +set +get +del +pexpire +eval +publish +subscribe";

/// What a cluster takes besides.
const OF_CLUSTER: &str = "+cluster|slots +asking +ping";

/// How long anything may take to be noticed.
const NOTICED: Duration = Duration::from_secs(20);

/// One broker's coordination; it ends with this value.
pub(crate) struct Joined {
    pub(crate) coordination: Coordination,
    _until: DropGuard,
}

impl Joined {
    pub(crate) async fn through(address: Address) -> Self {
        let joined = Self::unreached(address);
        joined.until_up().await;
        joined
    }

    pub(crate) fn unreached(address: Address) -> Self {
        // As the process does at its start.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let coordination = Coordination::through(address, tenant("t"));
        let stop = CancellationToken::new();
        tokio::spawn(coordination.clone().run(stop.clone()));
        Self { coordination, _until: stop.drop_guard() }
    }

    pub(crate) async fn until_up(&self) {
        until("it is up", || self.coordination.is_up()).await;
    }

    pub(crate) async fn until_degraded(&self) {
        until("it is degraded", || self.coordination.degraded().is_some()).await;
    }

    async fn is_ours(&self, grant: &GrantKey) -> Option<Lease> {
        match self.coordination.lease(grant).await {
            Leased::Ours(lease) => Some(lease),
            Leased::Theirs | Leased::Unavailable => None,
        }
    }
}

fn tenant(name: &str) -> Tenant {
    Tenant(name.to_owned())
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + NOTICED;
    while !is_so() {
        assert!(Instant::now() < until, "not within {NOTICED:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn address_of(url: &str) -> Address {
    address(url, Nodes::Alone, None)
}

fn address(url: &str, nodes: Nodes<'_>, ca_pem: Option<&[u8]>) -> Address {
    Address::new(&Secret::new(url), nodes, Login::default(), Login::default(), ca_pem).unwrap()
}

fn grant(holder: &str) -> GrantKey {
    GrantKey { provider_client: "client".to_owned(), holder: holder.to_owned() }
}

/// Two brokers, of which one has the lease until it lets go of it, and each hears the other's news.
async fn two_brokers_agree(one: &Joined, other: &Joined) {
    let alice = grant("alice");
    let lease = one.is_ours(&alice).await.expect("nobody has it");
    assert!(matches!(other.coordination.lease(&alice).await, Leased::Theirs));
    assert!(other.is_ours(&grant("bob")).await.is_some(), "another grant is another lease");
    let mut waiting = other.coordination.waiting(&alice);
    drop(lease);
    let started = Instant::now();
    other.coordination.given_back(&mut waiting, NOTICED).await;
    assert!(started.elapsed() < NOTICED / 2, "nobody told");
    assert!(other.is_ours(&alice).await.is_some());
    let mut looks = other.coordination.looks(News::Policy, NOTICED * 100);
    looks.next().await;
    one.coordination.tell(News::Policy);
    tokio::time::timeout(NOTICED, looks.next()).await.expect("the other hears of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_brokers_agree_through_one_server_with_tls_and_no_more_rights_than_documented() {
    let redis = Redis::build().tls().user(RIGHTS).start();
    let ca_pem = std::fs::read(redis.ca_file()).unwrap();
    let join = || Joined::through(address(&redis.url(), Nodes::Alone, Some(&ca_pem)));
    two_brokers_agree(&join().await, &join().await).await;
    assert!(redis.cli(&["acl", "log"]).is_empty(), "it tried more than it may");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_brokers_agree_through_a_cluster_with_no_more_rights_than_documented() {
    let cluster = Cluster::start();
    for node in &cluster.nodes {
        let rights = RIGHTS.split(' ').chain(OF_CLUSTER.split(' '));
        let everybody: Vec<_> =
            ["acl", "setuser", "default", "reset", "on", "nopass"].into_iter().chain(rights).collect();
        assert_eq!(node.cli(&everybody), "OK");
    }
    let join = || Joined::through(address(&cluster.url(), Nodes::Cluster, None));
    two_brokers_agree(&join().await, &join().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn l5_two_brokers_agree_by_sentinels_and_again_after_a_failover_to_an_empty_replica() {
    let mut sentinels = Sentinels::start();
    let join = || Joined::through(address(&sentinels.url(), Nodes::Sentinels(MASTER), None));
    let (one, other) = (join().await, join().await);
    two_brokers_agree(&one, &other).await;
    sentinels.fail_over_to_nothing();
    // What they agreed on is gone; they find the new master, and agree anew.
    until("both have found the new master", || {
        let clients = sentinels.second.cli(&["client", "list"]);
        one.coordination.is_up() && other.coordination.is_up() && clients.matches("cmd=subscribe").count() >= 2
    })
    .await;
    two_brokers_agree(&one, &other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_brokers_agree_through_a_cluster_with_tls_and_a_login() {
    let cluster = Cluster::start_with_tls_and_user(&format!("{RIGHTS} {OF_CLUSTER}"));
    let ca_pem = std::fs::read(cluster.nodes[0].ca_file()).unwrap();
    let join = || Joined::through(address(&cluster.url(), Nodes::Cluster, Some(&ca_pem)));
    two_brokers_agree(&join().await, &join().await).await;
    for node in &cluster.nodes {
        assert!(node.cli(&["acl", "log"]).is_empty(), "it tried more than it may");
    }
    let refused = Joined::unreached(address(&cluster.url().replace("p%40ss", "wrong"), Nodes::Cluster, Some(&ca_pem)));
    refused.until_degraded().await;
    let others = Redis::build().tls().start();
    let others = std::fs::read(others.ca_file()).unwrap();
    Joined::unreached(address(&cluster.url(), Nodes::Cluster, Some(&others))).until_degraded().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn l5_two_brokers_agree_by_sentinels_with_tls_and_logins_and_again_after_a_failover() {
    let mut sentinels = Sentinels::start_with_tls_and_users(RIGHTS);
    let ca_pem = std::fs::read(sentinels.first.ca_file()).unwrap();
    let password = Secret::new(PASSWORD);
    let as_whom = |user| Login { username: Some(user), password: Some(&password) };
    let to = |sentinel_login| {
        let (url, nodes) = (Secret::new(sentinels.url()), Nodes::Sentinels(MASTER));
        Address::new(&url, nodes, Login::default(), sentinel_login, Some(&ca_pem)).unwrap()
    };
    let (one, other) =
        (Joined::through(to(as_whom(SENTINEL_USER))).await, Joined::through(to(as_whom(SENTINEL_USER))).await);
    let (nobody, master) = (Joined::unreached(to(Login::default())), Joined::unreached(to(as_whom(USER))));
    two_brokers_agree(&one, &other).await;
    for refused in [nobody, master] {
        refused.until_degraded().await;
    }
    sentinels.fail_over_to_nothing();
    until("both have found the new master", || {
        let clients = sentinels.second.cli(&["client", "list"]);
        one.coordination.is_up() && other.coordination.is_up() && clients.matches("cmd=subscribe").count() >= 2
    })
    .await;
    two_brokers_agree(&one, &other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn l5_a_server_that_refuses_is_skipped_and_said_to_refuse() {
    let redis = Redis::build().user(RIGHTS).start();
    let wrong = redis.url().replace("p%40ss", "wrong");
    let anonymous = format!("redis://127.0.0.1:{}", redis.port());
    let plain = Redis::start();
    let few = Redis::build().user("~sallyport:* &* -@all +set +get +del +eval +subscribe").start();
    let replica = Redis::build().setting(&format!("replicaof 127.0.0.1 {}", plain.port())).start();
    for (url, why) in [
        (wrong, "refuses user or password"),
        (anonymous, "wants another user or password"),
        (few.url(), "NOPERM"),
        (replica.url(), "READONLY"),
        ("redis://127.0.0.1:1".to_owned(), "refused"),
    ] {
        let joined = Joined::unreached(address_of(&url));
        let told = || joined.coordination.degraded().is_some_and(|told| told.contains(why));
        until(&format!("it says {why:?}"), told).await;
        assert!(matches!(joined.coordination.lease(&grant("alice")).await, Leased::Unavailable));
        let told = joined.coordination.degraded().unwrap();
        assert!(!told.contains("p%40ss") && !told.contains("p@ss"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn l5_what_does_not_answer_costs_a_moment_once_and_nothing_from_then_on() {
    let redis = Redis::start();
    let link = Link::to(redis.port()).await;
    let joined = Joined::through(address_of(&redis.url_by(link.port()))).await;
    for (mode, name) in
        [(Mode::Slow(Duration::from_secs(5)), "slow"), (Mode::Partitioned, "partitioned"), (Mode::Cut, "cut")]
    {
        link.set(mode);
        let started = Instant::now();
        assert!(matches!(joined.coordination.lease(&grant("alice")).await, Leased::Unavailable), "{name}");
        assert!(started.elapsed() < PATIENCE * 4, "{name}: {:?}", started.elapsed());
        joined.until_degraded().await;
        let started = Instant::now();
        for _ in 0..1_000 {
            assert!(matches!(joined.coordination.lease(&grant("alice")).await, Leased::Unavailable), "{name}");
        }
        assert!(started.elapsed() < PATIENCE * 4, "{name}: a thousand in {:?}", started.elapsed());
        link.set(Mode::Open);
        joined.until_up().await;
    }
    // What was sent in vain may have been carried out later: for as long as its time to live.
    until("the lease is to be had again", || redis.cli(&["keys", "sallyport:lease:*"]).is_empty()).await;
    assert!(joined.is_ours(&grant("alice")).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn l4_a_lease_is_renewed_while_it_is_held_and_ends_by_itself_when_its_holder_is_gone() {
    let redis = Redis::start();
    let (one, other) =
        (Joined::through(address_of(&redis.url())).await, Joined::through(address_of(&redis.url())).await);
    let alice = grant("alice");
    let lease = one.is_ours(&alice).await.unwrap();
    let until = Instant::now() + lease::TTL + Duration::from_secs(1);
    while Instant::now() < until {
        assert!(matches!(other.coordination.lease(&alice).await, Leased::Theirs), "it was not renewed");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // Its holder hangs: what it holds is not renewed.
    let key = redis.cli(&["keys", "sallyport:lease:*"]);
    redis.cli(&["set", &key, "somebody-who-is-gone", "px", "300"]);
    let (mut waiting, mut taken) = (other.coordination.waiting(&alice), None);
    let until = Instant::now() + NOTICED;
    while taken.is_none() {
        assert!(Instant::now() < until, "not within {NOTICED:?}: who is gone still has it");
        other.coordination.given_back(&mut waiting, Duration::from_millis(50)).await;
        taken = other.is_ours(&alice).await;
    }
    // The first one's release comes too late, and takes nothing from the second.
    drop(lease);
    one.coordination.end().await;
    assert!(matches!(one.coordination.lease(&alice).await, Leased::Theirs));
}

#[tokio::test(flavor = "multi_thread")]
async fn l12_no_key_is_without_a_time_to_live_and_each_is_of_one_grant() {
    let redis = Redis::start();
    let joined = Joined::through(address_of(&redis.url())).await;
    // Names that run into each other where parts are only joined.
    let names = ["a", "a:b", "b:c", "c", "", ":", "a\0b", "b\0c", "sallyport", "a:b:c", "ä", "*"];
    let mut leases = Vec::new();
    for client in names {
        for holder in names {
            let key = GrantKey { provider_client: client.to_owned(), holder: holder.to_owned() };
            leases.push(joined.is_ours(&key).await.unwrap_or_else(|| panic!("{key:?} is another's")));
        }
    }
    let keys = redis.cli(&["--scan"]);
    let keys: BTreeSet<&str> = keys.lines().filter(|key| !key.contains(":probe:")).collect();
    assert_eq!(keys.len(), names.len() * names.len());
    let without = redis.cli(&[
        "eval",
        "local n = 0 for _, k in ipairs(redis.call('keys', '*')) do if redis.call('pttl', k) == -1 then n = n + 1 end end return n",
        "0",
    ]);
    assert_eq!(without, "0", "keys without a time to live");
    for key in keys {
        let is_hash = key.strip_prefix("sallyport:lease:").is_some_and(|hash| hash.len() == 64);
        assert!(is_hash, "{key} says what it is for");
        let left: i64 = redis.cli(&["pttl", key]).parse().unwrap();
        assert!((1..=5_000).contains(&left), "{key} lives {left} ms");
    }
    drop(leases);
    joined.coordination.end().await;
    assert_eq!(redis.cli(&["keys", "sallyport:lease:*"]), "");
}

#[test]
fn l12_tenants_and_grants_that_differ_have_leases_that_differ() {
    let mut seen = BTreeSet::new();
    let mut random = [0; 3];
    for round in 0..20_000_u32 {
        getrandom::fill(&mut random).unwrap();
        // Of few letters, so that the joined text is often the same.
        let text = format!("{:06b}{:06b}", random[0] & 0x3f, random[1] & 0x3f).replace('0', "a").replace('1', ":");
        let (first, second) = (usize::from(random[2] & 3), 4 + usize::from(random[2] >> 5));
        let parts = (text[..first].to_owned(), text[first..second].to_owned(), text[second..].to_owned());
        let key = GrantKey { provider_client: parts.1.clone(), holder: parts.2.clone() };
        let lease = Key::of_grant(&tenant(&parts.0), Purpose::Lease, &key).to_hex();
        seen.insert((lease, parts, round));
    }
    let of = |leases: bool| {
        let each = seen.iter().map(|(lease, parts, _)| if leases { lease.clone() } else { format!("{parts:?}") });
        each.collect::<BTreeSet<_>>().len()
    };
    assert!(of(false) > 1_000);
    assert_eq!(of(true), of(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_forged_notices_make_a_broker_look_and_do_nothing_else() {
    let redis = Redis::start();
    let joined = Joined::through(address_of(&redis.url())).await;
    let channel = redis.cli(&["pubsub", "channels"]);
    let mut looks = joined.coordination.looks(News::Ended, NOTICED * 100);
    looks.next().await;
    for garbage in ["", "x", "1 x", "1 x drop-everything", "2 x ended", &"1 x ended ".repeat(10_000)] {
        redis.cli(&["publish", &channel, garbage]);
    }
    assert!(tokio::time::timeout(PATIENCE, looks.next()).await.is_err(), "garbage is no news");
    redis.cli(&["publish", &channel, "1 forged ended"]);
    tokio::time::timeout(NOTICED, looks.next()).await.expect("it looks");
    let alice = grant("alice");
    let _lease = joined.is_ours(&alice).await.unwrap();
    let key = redis.cli(&["keys", "sallyport:lease:*"]);
    let mut waiting = joined.coordination.waiting(&alice);
    redis.cli(&["publish", &channel, &format!("1 forged released {key}")]);
    joined.coordination.given_back(&mut waiting, NOTICED).await;
    assert!(matches!(joined.coordination.lease(&alice).await, Leased::Theirs), "nothing was given back by that");
    assert!(joined.coordination.is_up());
}
