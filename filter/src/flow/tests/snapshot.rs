//! What the broker says meanwhile counts: revocations, keys, policy, silence.

use super::*;

#[test]
fn i11_a_stale_snapshot_refuses_though_caller_and_credential_are_cached() {
    let mut gate = Gate::new();
    gate.released(&Request::post("demo/echo"), CALL);
    gate.later(60_001);
    assert_eq!(refused(gate.headers(&Request::post("demo/echo"))), (503, -31004, "snapshot_stale".into()));
}

#[test]
fn nothing_is_served_before_the_first_snapshot() {
    let mut gate = Gate { worker: world::deaf_worker(), host: FakeHost::new() };
    assert_eq!(refused(gate.headers(&Request::post("demo/echo"))), (503, -31004, "snapshot_missing".into()));
    let ready = Request::get("demo/echo").having(":path", "/sallyport/ready");
    assert_eq!(replied(gate.headers(&ready).1).status, 503);
}

#[test]
fn i11_a_revoked_token_is_refused_though_its_caller_was_cached() {
    let mut gate = Gate::new();
    gate.released(&Request::post("demo/echo"), CALL);
    gate.worker.update(world::revocation("t-1"), NOW_MS).unwrap();
    assert_eq!(refused(gate.headers(&Request::post("demo/echo"))).0, 401);
}

#[test]
fn j13_a_removed_key_vouches_for_nobody() {
    let mut gate = Gate::new();
    gate.released(&Request::post("demo/echo"), CALL);
    let issuers = vec![world::issuer(vec![])];
    let update = world::delta(proto::Delta { from: 7, to: 8, issuers, ..proto::Delta::default() });
    gate.worker.update(update, NOW_MS).unwrap();
    assert_eq!(name_of(&gate.headers(&Request::post("demo/echo")).1), "resolve key");
}

#[test]
fn j13_a_removed_issuer_vouches_for_nobody() {
    let mut gate = Gate::new();
    gate.released(&Request::post("demo/echo"), CALL);
    let removed_issuers = vec![world::ISSUER.to_owned()];
    let update = world::delta(proto::Delta { from: 7, to: 8, removed_issuers, ..proto::Delta::default() });
    gate.worker.update(update, NOW_MS).unwrap();
    assert_eq!(refused(gate.headers(&Request::post("demo/echo"))).0, 401);
}

#[test]
fn i11_who_is_revoked_while_the_body_comes_is_refused_at_its_end() {
    let mut gate = Gate::new();
    gate.released(&Request::post("demo/echo"), CALL);
    let flow = waits(gate.headers(&Request::post("demo/echo")));
    let flow = waits(gate.data(flow, CALL.as_bytes(), false));
    gate.worker.update(world::revocation("t-1"), NOW_MS).unwrap();
    assert_eq!(refused(gate.data(flow, b"", true)).0, 401);
}

#[test]
fn i11_what_goes_stale_while_the_body_comes_is_refused_at_its_end() {
    let mut gate = Gate::new();
    gate.released(&Request::post("demo/echo"), CALL);
    let flow = waits(gate.headers(&Request::post("demo/echo")));
    gate.later(60_001);
    assert_eq!(reason(gate.data(flow, CALL.as_bytes(), true)), "snapshot_stale");
}

#[test]
fn a_server_or_key_that_goes_while_the_body_comes_is_gone_at_its_end() {
    for (what, delta, status) in [
        ("server", proto::Delta { removed_servers: vec!["demo/echo".into()], ..proto::Delta::default() }, 404),
        ("key", proto::Delta { issuers: vec![world::issuer(vec![])], ..proto::Delta::default() }, 401),
        ("issuer", proto::Delta { removed_issuers: vec![world::ISSUER.into()], ..proto::Delta::default() }, 401),
    ] {
        let mut gate = Gate::new();
        let flow = waits(gate.headers(&Request::post("demo/echo")));
        gate.worker.update(world::delta(proto::Delta { from: 7, to: 8, ..delta }), NOW_MS).unwrap();
        assert_eq!(refused(gate.data(flow, CALL.as_bytes(), true)).0, status, "{what}");
    }
}

#[test]
fn a_changed_policy_counts_for_a_body_that_was_on_its_way() {
    let mut gate = Gate::new();
    gate.released(&Request::post("demo/echo"), CALL);
    let flow = waits(gate.headers(&Request::post("demo/echo")));
    let closed = world::server("demo/echo", proto::AuthKind::ClientCredentials, &["user:bob@example.com"]);
    let update = world::delta(proto::Delta { from: 7, to: 8, servers: vec![closed], ..proto::Delta::default() });
    gate.worker.update(update, NOW_MS).unwrap();
    assert_eq!(refused(gate.data(flow, CALL.as_bytes(), true)).1, -31002);
}

#[test]
fn i6_a_credential_of_another_revision_is_not_used() {
    let mut gate = Gate::new();
    gate.released(&Request::post("demo/echo"), CALL);
    let server = proto::Server {
        revision: "r2".into(),
        ..world::server("demo/echo", proto::AuthKind::ClientCredentials, &["user:alice@example.com"])
    };
    let update = world::delta(proto::Delta { from: 7, to: 8, servers: vec![server], ..proto::Delta::default() });
    gate.worker.update(update, NOW_MS).unwrap();
    assert_eq!(asked(gate.send(&Request::post("demo/echo"), CALL).1).request.server_revision, "r2");
}

#[test]
fn a_held_credential_is_not_used_any_more() {
    let mut gate = Gate::new();
    gate.released(&Request::post("demo/echo"), CALL);
    let hold = proto::Hold { grant: "g".into(), generation: 3, until_ms: NOW_MS + 5_000 };
    let update = proto::Update { update: Some(proto::update::Update::Hold(hold)) };
    gate.worker.update(update, NOW_MS).unwrap();
    asked(gate.send(&Request::post("demo/echo"), CALL).1);
}

#[test]
fn a_membership_opens_and_closes_a_door() {
    let mut gate = Gate::new();
    let bearer = format!("Bearer {}", world::mallory());
    let request = Request::post("demo/echo").having("authorization", &bearer);
    let team = world::server("demo/echo", proto::AuthKind::ClientCredentials, &["team:ops"]);
    let member = proto::Membership { subject: "user:mallory@example.com".into(), teams: vec!["ops".into()] };
    let opens =
        proto::Delta { from: 7, to: 8, servers: vec![team], memberships: vec![member], ..proto::Delta::default() };
    gate.worker.update(world::delta(opens), NOW_MS).unwrap();
    asked(gate.send(&request, CALL).1);
    let removed_memberships = vec!["user:mallory@example.com".to_owned()];
    let closes = proto::Delta { from: 8, to: 9, removed_memberships, ..proto::Delta::default() };
    gate.worker.update(world::delta(closes), NOW_MS).unwrap();
    assert_eq!(refused(gate.send(&request, CALL)).1, -31002);
}
