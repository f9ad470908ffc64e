use sallyport_caller::NoHost;

use super::*;
use crate::world::{self, ISSUER, NOW_MS, key, server};

const ECHO: &str = "/mcp-server/demo/echo/server";

fn of(message: proto::Snapshot) -> (Snapshot, Changed) {
    Snapshot::full(message)
}

fn good() -> Snapshot {
    of(world::snapshot()).0
}

fn echo() -> proto::Server {
    server("demo/echo", proto::AuthKind::ClientCredentials, &["user:alice@example.com"])
}

#[test]
fn a_server_is_found_at_its_exact_paths_only() {
    let snapshot = good();
    assert_eq!(snapshot.server_at(ECHO).unwrap().name, "demo/echo");
    for path in [
        "",
        "/",
        "/mcp-server/demo/echo/server/",
        "//mcp-server/demo/echo/server",
        "/mcp-server/demo/echo/Server",
        "/mcp-server/demo/echo",
        "/mcp-server/demo/echo/server/x",
        "/mcp-server/demo/%65cho/server",
    ] {
        assert!(snapshot.server_at(path).is_none(), "{path}");
    }
}

#[test]
fn i8_a_server_that_is_not_understood_does_not_exist() {
    for (flaw, broken) in [
        ("name", proto::Server { name: String::new(), ..echo() }),
        ("paths", proto::Server { paths: vec![], ..echo() }),
        ("cluster", proto::Server { cluster: String::new(), ..echo() }),
        ("resource", proto::Server { resource: String::new(), ..echo() }),
        ("auth", proto::Server { auth: 0, ..echo() }),
        ("auth of a later protocol", proto::Server { auth: 99, ..echo() }),
        (
            "passthrough without audience",
            proto::Server { auth: proto::AuthKind::Passthrough.into(), passthrough_audience: String::new(), ..echo() },
        ),
    ] {
        let (snapshot, changed) = of(proto::Snapshot { servers: vec![broken], ..world::snapshot() });
        assert!(snapshot.server_at(ECHO).is_none(), "{flaw}");
        assert_eq!(changed.refused, 1, "{flaw}");
    }
}

#[test]
fn i8_a_server_that_is_not_understood_takes_its_old_self_with_it() {
    let mut snapshot = good();
    let broken = proto::Server { auth: 99, ..echo() };
    let delta = proto::Delta { from: 7, to: 8, servers: vec![broken], ..proto::Delta::default() };
    assert_eq!(snapshot.apply(delta).unwrap().refused, 1);
    assert!(snapshot.server_at(ECHO).is_none());
}

#[test]
fn i8_a_path_that_two_servers_claim_is_nobodys() {
    let thief = proto::Server { paths: vec!["/mcp-server/demo/thief/server".into(), ECHO.into()], ..echo() };
    let thief = proto::Server { name: "demo/thief".into(), ..thief };
    let (mut snapshot, _) = of(proto::Snapshot { servers: vec![echo(), thief], ..world::snapshot() });
    assert!(snapshot.server_at(ECHO).is_none());
    assert_eq!(snapshot.server_at("/mcp-server/demo/thief/server").unwrap().name, "demo/thief");
    let removed_servers = vec!["demo/thief".to_owned()];
    snapshot.apply(proto::Delta { from: 7, to: 8, removed_servers, ..proto::Delta::default() }).unwrap();
    assert_eq!(snapshot.server_at(ECHO).unwrap().name, "demo/echo", "nobody disputes it any more");
}

#[test]
fn a_server_without_policy_admits_nobody() {
    let (snapshot, _) =
        of(proto::Snapshot { servers: vec![proto::Server { policy: None, ..echo() }], ..world::snapshot() });
    assert_eq!(snapshot.server_at(ECHO).unwrap().policy, Policy::default());
}

#[test]
fn a_delta_that_starts_elsewhere_changes_nothing() {
    let mut snapshot = good();
    for from in [0, 6, 8, u64::MAX] {
        let removed_servers = vec!["demo/echo".to_owned()];
        let delta = proto::Delta { from, to: 9, removed_servers, ..proto::Delta::default() };
        assert_eq!(snapshot.apply(delta), Err(OutOfStep { from, at: 7 }));
        assert!(snapshot.server_at(ECHO).is_some());
        assert_eq!(snapshot.version, 7);
    }
}

#[test]
fn what_a_stream_holds_stays_as_it_was() {
    let mut now = Rc::new(good());
    let held = Rc::clone(&now);
    let removed_servers = vec!["demo/echo".to_owned()];
    Rc::make_mut(&mut now).apply(proto::Delta { from: 7, to: 8, removed_servers, ..proto::Delta::default() }).unwrap();
    assert!(held.server_at(ECHO).is_some());
    assert!(now.server_at(ECHO).is_none());
}

#[test]
fn j13_every_change_of_issuers_or_revocations_drops_callers() {
    let delta = proto::Delta { from: 7, to: 8, ..proto::Delta::default() };
    for (what, delta, drops) in [
        ("nothing", delta.clone(), false),
        ("servers", proto::Delta { servers: vec![echo()], ..delta.clone() }, false),
        ("an issuer", proto::Delta { issuers: vec![world::issuer(vec![])], ..delta.clone() }, true),
        ("an external identity", proto::Delta { external_identities: vec![world::shop()], ..delta.clone() }, true),
        (
            "an external identity gone",
            proto::Delta { removed_external_identities: vec!["shop".into()], ..delta.clone() },
            true,
        ),
        ("an issuer gone", proto::Delta { removed_issuers: vec![ISSUER.into()], ..delta.clone() }, true),
        ("revocations", proto::Delta { revocations: Some(proto::Revocations::default()), ..delta }, true),
    ] {
        assert_eq!(good().apply(delta).unwrap().callers, drops, "{what}");
    }
    assert!(of(world::snapshot()).1.callers);
}

#[test]
fn an_issuer_that_is_gone_has_no_keys() {
    let mut snapshot = good();
    let delta = proto::Delta { from: 7, to: 8, removed_issuers: vec![ISSUER.into()], ..proto::Delta::default() };
    snapshot.apply(delta).unwrap();
    assert!(snapshot.issuers.key(ISSUER, "k1").is_none());
    assert!(!snapshot.add_key(ISSUER, key("k2")), "nobody's key is added to nobody");
}

#[test]
fn a_replaced_issuer_keeps_none_of_its_old_keys() {
    let mut snapshot = good();
    let issuers = vec![world::issuer(vec![key("k2")])];
    snapshot.apply(proto::Delta { from: 7, to: 8, issuers, ..proto::Delta::default() }).unwrap();
    assert!(snapshot.issuers.key(ISSUER, "k1").is_none());
    assert!(snapshot.issuers.key(ISSUER, "k2").is_some());
}

#[test]
fn i8_keys_and_revocations_that_are_not_understood_are_counted() {
    let bad = proto::Key { algorithm: "HS256".into(), ..key("k2") };
    let short = proto::Key { spki: vec![1, 2, 3], ..key("k3") };
    let message = proto::Snapshot {
        issuers: vec![world::issuer(vec![key("k1"), bad.clone(), short])],
        revocations: vec![proto::Revocation::default()],
        ..world::snapshot()
    };
    let (mut snapshot, changed) = of(message);
    assert_eq!(changed.refused, 3);
    assert!(snapshot.issuers.key(ISSUER, "k2").is_none());
    assert!(!snapshot.add_key(ISSUER, bad));
}

#[test]
fn i11_staleness_has_bounds_whatever_the_broker_says() {
    for (said, held) in [(0, 2_000), (1_999, 2_000), (60_000, 60_000), (u64::MAX, 300_000)] {
        let (snapshot, _) = of(proto::Snapshot { max_staleness_ms: said, ..world::snapshot() });
        assert_eq!(snapshot.max_staleness_ms, held);
    }
}

#[test]
fn memberships_come_and_go() {
    let mut snapshot = good();
    let alice = "user:alice@example.com";
    let member = proto::Membership { subject: alice.into(), teams: vec!["ops".into()] };
    snapshot.apply(proto::Delta { from: 7, to: 8, memberships: vec![member], ..proto::Delta::default() }).unwrap();
    assert_eq!(snapshot.memberships.teams_of(alice), ["ops"]);
    let removed_memberships = vec![alice.to_owned()];
    snapshot.apply(proto::Delta { from: 8, to: 9, removed_memberships, ..proto::Delta::default() }).unwrap();
    assert!(snapshot.memberships.teams_of(alice).is_empty());
}

#[test]
fn external_identities_come_and_go() {
    let subjects = |snapshot: &Snapshot| {
        let token = world::token_of("k1", serde_json::json!({}));
        let (issuers, identities) = (&snapshot.issuers, &snapshot.external_identities);
        let caller = sallyport_caller::verify(token.as_bytes(), issuers, identities, NOW_MS, &NoHost).unwrap();
        caller.subjects().to_vec()
    };
    let external = proto::Issuer { login: false, ..world::issuer(vec![key("k1")]) };
    let (mut snapshot, _) = of(proto::Snapshot { issuers: vec![external], ..world::snapshot() });
    assert_eq!(subjects(&snapshot), ["team:everyone"]);
    let external_identities = vec![world::shop()];
    snapshot.apply(proto::Delta { from: 7, to: 8, external_identities, ..proto::Delta::default() }).unwrap();
    assert_eq!(subjects(&snapshot), ["external-identity:shop", "team:everyone"]);
    let narrowed = proto::ExternalIdentity { claims: [("tenant".into(), "acme".into())].into(), ..world::shop() };
    snapshot
        .apply(proto::Delta { from: 8, to: 9, external_identities: vec![narrowed], ..proto::Delta::default() })
        .unwrap();
    assert_eq!(subjects(&snapshot), ["team:everyone"]);
    let removed_external_identities = vec!["shop".to_owned()];
    snapshot.apply(proto::Delta { from: 9, to: 10, removed_external_identities, ..proto::Delta::default() }).unwrap();
    assert_eq!(*snapshot.external_identities, ExternalIdentities::default());
}

#[test]
fn metadata_is_at_the_gateway_s_own_origin() {
    assert_eq!(
        good().server_at(ECHO).unwrap().metadata_url,
        "https://gate.example/.well-known/oauth-protected-resource/mcp-server/demo/echo/server"
    );
}
