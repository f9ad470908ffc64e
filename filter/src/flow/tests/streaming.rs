//! What was let go ends when its caller would not be let in again; until then it goes on.

use super::*;

const EVENTS: [(&str, &str); 2] = [(":status", "200"), ("content-type", "text/event-stream")];
const BEYOND_EXPIRY_MS: u64 = 15 * 60 * 1_000;

fn until_upstream(gate: &mut Gate, request: &Request) -> Flow {
    gate.released(request, CALL).0
}

/// A call whose answer has begun.
fn stream(gate: &mut Gate, request: &Request) -> Flow {
    let flow = until_upstream(gate, request);
    let (flow, step) = gate.on(|env| flow.on_response_headers(&world::head(&EVENTS), env));
    assert_eq!(name_of(&step), "pass response");
    flow
}

fn is_outdated(gate: &Gate, flow: &Flow) -> bool {
    flow.is_outdated(gate.now_ms(), gate.worker.snapshot(gate.now_ms()).ok().as_ref())
}

fn tick(gate: &mut Gate, flow: Flow) -> (Flow, Step) {
    assert!(is_outdated(gate, &flow), "nobody would look at it");
    gate.on(|env| flow.on_tick(env))
}

/// Is still on its way after a tick, and needs none until something changes.
fn goes_on(gate: &mut Gate, flow: Flow) -> Flow {
    let flow = waits(tick(gate, flow));
    assert!(!is_outdated(gate, &flow));
    flow
}

#[track_caller]
fn closed((flow, step): (Flow, Step)) -> &'static str {
    assert!(matches!(flow, Flow::Done), "one terminal action");
    match step {
        Step::Close(code) => code,
        other => panic!("{}", name_of(&other)),
    }
}

fn delta(delta: proto::Delta) -> proto::Update {
    world::delta(proto::Delta { from: 7, to: 8, ..delta })
}

fn closed_to_alice() -> proto::Update {
    let server = world::server("demo/echo", proto::AuthKind::ClientCredentials, &["user:bob@example.com"]);
    delta(proto::Delta { servers: vec![server], ..proto::Delta::default() })
}

/// Whatever takes the caller's access away, and the word for it.
fn ends() -> Vec<(proto::Update, &'static str)> {
    let removed_servers = vec!["demo/echo".to_owned()];
    let removed_issuers = vec![world::ISSUER.to_owned()];
    vec![
        (world::revocation("t-1"), "token_refused"),
        (closed_to_alice(), "server_not_allowed"),
        (delta(proto::Delta { removed_servers, ..proto::Delta::default() }), "path_unknown"),
        (delta(proto::Delta { removed_issuers, ..proto::Delta::default() }), "token_refused"),
        (delta(proto::Delta { issuers: vec![world::issuer(vec![])], ..proto::Delta::default() }), "token_refused"),
    ]
}

#[test]
fn i11_an_answer_is_cut_off_by_whatever_takes_its_caller_s_access_away() {
    for (update, code) in ends() {
        let mut gate = Gate::new();
        let flow = stream(&mut gate, &Request::post("demo/echo"));
        assert!(!is_outdated(&gate, &flow), "{code}");
        gate.worker.update(update, NOW_MS).unwrap();
        assert_eq!(closed(tick(&mut gate, flow)), code);
        let batch = gate.worker.reports.next_batch().unwrap();
        let refusal = &batch.refusals[0];
        assert_eq!(
            (refusal.subject.as_str(), refusal.reason.as_str(), refusal.method.as_str()),
            ("alice", code, "tools/call")
        );
    }
}

#[test]
fn i11_a_caller_that_still_waits_for_the_answer_is_refused_in_its_place() {
    for ((update, code), status) in ends().into_iter().zip([401, 200, 404, 401, 401]) {
        let mut gate = Gate::new();
        let flow = until_upstream(&mut gate, &Request::post("demo/echo"));
        gate.worker.update(update, NOW_MS).unwrap();
        assert_eq!(refused(tick(&mut gate, flow)).0, status, "{code}");
    }
}

#[test]
fn what_takes_nothing_from_its_caller_leaves_an_answer_as_it_is() {
    let other = world::server("demo/other", proto::AuthKind::None, &["user:bob@example.com"]);
    for update in [
        world::revocation("t-2"),
        delta(proto::Delta { servers: vec![other], ..proto::Delta::default() }),
        delta(proto::Delta { external_identities: vec![world::shop()], ..proto::Delta::default() }),
        world::full(proto::Snapshot { version: 9, ..world::snapshot() }),
    ] {
        let mut gate = Gate::new();
        let (begun, waiting) =
            (stream(&mut gate, &Request::post("demo/echo")), until_upstream(&mut gate, &Request::post("demo/open")));
        gate.worker.update(update, NOW_MS).unwrap();
        goes_on(&mut gate, begun);
        goes_on(&mut gate, waiting);
    }
}

#[test]
fn an_answer_outlives_its_caller_s_token_by_fifteen_minutes_and_no_longer() {
    let mut gate = Gate::new();
    let token = world::token_of("k1", json!({"exp": NOW_MS / 1_000 + 300}));
    let request = Request::post("demo/echo").having("authorization", &format!("Bearer {token}"));
    let flow = stream(&mut gate, &request);
    gate.later(300_000 + BEYOND_EXPIRY_MS - 1);
    gate.worker.update(closed_to_bob(), gate.now_ms()).unwrap();
    let flow = goes_on(&mut gate, flow);
    gate.later(1);
    assert_eq!(closed(tick(&mut gate, flow)), "token_refused");
}

/// A change that makes everybody be verified anew.
fn closed_to_bob() -> proto::Update {
    world::revocation("t-of-bob")
}

#[test]
fn i11_what_was_allowed_by_a_stale_snapshot_ends_with_it() {
    let mut gate = Gate::new();
    let flow = stream(&mut gate, &Request::post("demo/echo"));
    gate.later(60_000);
    assert!(!is_outdated(&gate, &flow));
    gate.later(1);
    assert_eq!(closed(tick(&mut gate, flow)), "snapshot_stale");
}

#[test]
fn an_answer_keeps_no_older_snapshot_than_the_one_in_force() {
    let mut gate = Gate::new();
    let first = Rc::downgrade(&gate.worker.snapshot(NOW_MS).unwrap());
    let flow = stream(&mut gate, &Request::post("demo/echo"));
    gate.worker.update(world::revocation("t-2"), NOW_MS).unwrap();
    assert!(first.upgrade().is_some(), "the stream was let go by it");
    let _flow = goes_on(&mut gate, flow);
    assert!(first.upgrade().is_none());
}
