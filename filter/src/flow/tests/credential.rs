//! The inner door: policy, clusters, and every answer of the broker.

use sallyport_proto::broker::acquire_credential_response::Answer as Said;

use super::*;

fn denied(reason: proto::denied::Reason) -> Answer {
    said(Said::Denied(proto::Denied { reason: reason.into(), message: String::new() }))
}

#[test]
fn policy_refuses_whom_it_does_not_name_with_the_request_s_id_and_a_report() {
    let mut gate = Gate::new();
    let request = Request::post("demo/echo").having("authorization", &format!("Bearer {}", world::mallory()));
    let (_, step) = gate.send(&request, CALL);
    let reply = replied(step);
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!((reply.status, &body["id"], &body["error"]["code"]), (200, &json!(1), &json!(-31002)));
    assert!(!String::from_utf8_lossy(&reply.body).contains("alice"), "never who else may");
    let refusal = &gate.worker.reports.next_batch().unwrap().refusals[0];
    assert_eq!((refusal.subject.as_str(), refusal.reason.as_str()), ("mallory", "server_not_allowed"));
    assert_eq!((refusal.method.as_str(), refusal.target.as_str()), ("tools/call", "echo"));
}

#[test]
fn policy_refuses_each_kind_of_request_in_its_own_way() {
    let mallory = format!("Bearer {}", world::mallory());
    let mut gate = Gate::new();
    let post = Request::post("demo/echo").having("authorization", &mallory);
    assert_eq!(refused(gate.send(&post, NOTE)).0, 202);
    assert_eq!(refused(gate.headers(&Request::get("demo/echo").having("authorization", &mallory))).0, 403);
}

#[test]
fn i12_another_cluster_gets_nothing() {
    for cluster in [None, Some(""), Some("cluster demo/other"), Some("cluster demo/echo2"), Some("cluster demo/ech")] {
        let mut gate = Gate::new();
        gate.released(&Request::post("demo/echo"), CALL);
        let request = Request { cluster: cluster.map(str::to_owned), ..Request::post("demo/echo") };
        assert_eq!(refused(gate.send(&request, CALL)), (503, -31006, "cluster_mismatch".into()), "{cluster:?}");
        let refusal = &gate.worker.reports.next_batch().unwrap().refusals[0];
        assert_eq!((refusal.subject.as_str(), refusal.reason.as_str()), ("alice", "cluster_mismatch"));
    }
}

#[test]
fn i12_servers_without_a_credential_are_no_exception() {
    for server in ["demo/none", "demo/pass", "demo/header"] {
        let token = if server == "demo/pass" { passing_token() } else { alice() };
        let request = Request { cluster: Some("other".into()), ..Request::post(server) };
        let request = request.having("authorization", &format!("Bearer {token}"));
        assert_eq!(refused(Gate::new().send(&request, CALL)).1, -31006, "{server}");
    }
}

#[test]
fn i8_every_answer_that_is_no_credential_is_a_refusal() {
    use proto::denied::Reason;
    let consent = proto::Consent {
        server: "demo/echo".into(),
        url: "https://gate.example/connect/1".into(),
        message: String::new(),
    };
    let unavailable =
        |message: &str| said(Said::Unavailable(proto::Unavailable { retry_after_ms: 500, message: message.into() }));
    for (what, answer, status, code) in [
        ("token", denied(Reason::Token), 401, -31007),
        ("policy", denied(Reason::Policy), 200, -31002),
        ("server", denied(Reason::Server), 200, -31002),
        ("identity", denied(Reason::Identity), 200, -31002),
        ("credential", denied(Reason::Credential), 200, -31005),
        ("no reason", denied(Reason::Unspecified), 200, -31004),
        (
            "a reason of a later protocol",
            said(Said::Denied(proto::Denied { reason: 99, message: String::new() })),
            200,
            -31004,
        ),
        ("consent", said(Said::ConsentRequired(proto::ConsentRequired { consents: vec![consent] })), 200, -31001),
        ("consent to nothing", said(Said::ConsentRequired(proto::ConsentRequired::default())), 200, -31004),
        ("unavailable", unavailable("the provider is slow"), 200, -31004),
        ("unavailable without words", unavailable(""), 200, -31004),
        ("empty", Answer::Said(proto::AcquireCredentialResponse::default()), 200, -31004),
        ("silence", Answer::Silent, 200, -31004),
    ] {
        let mut gate = Gate::new();
        let (flow, step) = gate.send(&Request::post("demo/echo"), CALL);
        let ask = asked(step);
        let outcome = refused(gate.answer(flow, &ask.key, &answer));
        assert_eq!((outcome.0, outcome.1), (status, code), "{what}");
        assert!(gate.worker.reports.next_batch().unwrap().uses.is_empty(), "{what}");
        asked(gate.send(&Request::post("demo/echo"), CALL).1);
    }
}

#[test]
fn i8_a_credential_that_could_not_be_read_is_a_refusal() {
    let mut gate = Gate::new();
    let (flow, _) = gate.send(&Request::post("demo/echo"), CALL);
    let answer = given("h", NOW_MS + 1_000, NOW_MS + 800);
    assert_eq!(refused(gate.on(|env| flow.on_credential(&answer, None, env))).1, -31004);
}

#[test]
fn an_expired_credential_is_not_used_even_once() {
    let mut gate = Gate::new();
    let (flow, step) = gate.send(&Request::post("demo/echo"), CALL);
    let ask = asked(step);
    gate.later(1_000);
    assert_eq!(refused(gate.answer(flow, &ask.key, &given("h", NOW_MS + 1_000, NOW_MS + 800))).1, -31004);
    asked(gate.send(&Request::post("demo/echo"), CALL).1);
}

/// Alice waits for the broker's answer, and then her grant is held up to this generation.
fn held_while_waiting(generation: u64) -> (Gate, Flow, CredentialKey) {
    let mut gate = Gate::new();
    let (flow, step) = gate.send(&Request::post("demo/echo"), CALL);
    gate.worker.update(world::hold("g", generation, NOW_MS + 60_000), NOW_MS).unwrap();
    (gate, flow, asked(step).key)
}

#[test]
fn i11_an_answer_that_a_revocation_overtook_is_not_used_and_the_broker_is_asked_once_more() {
    let (mut gate, flow, key) = held_while_waiting(3);
    let late = given("h", NOW_MS + 100_000, NOW_MS + 80_000);
    let (flow, step) = gate.answer(flow, &key, &late);
    assert_eq!(asked(step).key, key);
    let required = proto::Consent { url: "https://gate.example/connect/1".into(), ..proto::Consent::default() };
    let answer = said(Said::ConsentRequired(proto::ConsentRequired { consents: vec![required] }));
    assert_eq!(refused(gate.answer(flow, &key, &answer)).1, -31001);
    assert!(gate.worker.reports.next_batch().unwrap().uses.is_empty());
    asked(gate.send(&Request::post("demo/echo"), CALL).1);
}

#[test]
fn i11_who_asked_again_and_hears_the_same_is_refused() {
    let (mut gate, flow, key) = held_while_waiting(3);
    let late = given("h", NOW_MS + 100_000, NOW_MS + 80_000);
    let (flow, step) = gate.answer(flow, &key, &late);
    asked(step);
    assert_eq!(refused(gate.answer(flow, &key, &late)).1, -31004);
}

#[test]
fn who_asked_again_goes_on_with_the_next_generation() {
    let (mut gate, flow, key) = held_while_waiting(3);
    let (flow, step) = gate.answer(flow, &key, &given("h", NOW_MS + 100_000, NOW_MS + 80_000));
    asked(step);
    granted(gate.answer(flow, &key, &given_of(4, "h4", NOW_MS + 100_000, NOW_MS + 80_000)).1);
    granted(gate.send(&Request::post("demo/echo"), CALL).1);
}

#[test]
fn an_answer_of_a_generation_that_nothing_holds_is_used() {
    let (mut gate, flow, key) = held_while_waiting(2);
    granted(gate.answer(flow, &key, &given("h", NOW_MS + 100_000, NOW_MS + 80_000)).1);
}

#[test]
fn a_cached_credential_is_not_used_from_its_expiry_on() {
    let mut gate = Gate::new();
    gate.released(&Request::post("demo/echo"), CALL);
    gate.later(99_999);
    let now_ms = gate.now_ms();
    gate.worker.update(world::full(world::snapshot()), now_ms).unwrap();
    granted(gate.send(&Request::post("demo/echo"), CALL).1);
    gate.later(1);
    asked(gate.send(&Request::post("demo/echo"), CALL).1);
}

#[test]
fn i7_every_use_is_reported_under_its_handle() {
    let mut gate = Gate::new();
    gate.released(&Request::post("demo/echo"), CALL);
    granted(gate.send(&Request::post("demo/echo"), CALL).1);
    let uses = &gate.worker.reports.next_batch().unwrap().uses;
    assert_eq!(uses.len(), 2);
    for used in uses {
        assert_eq!((used.use_handle.as_str(), used.server.as_str()), ("h-1", "demo/echo"));
        assert_eq!((used.method.as_str(), used.target.as_str()), ("tools/call", "echo"));
        assert_eq!((used.request_id.as_str(), used.at_ms), ("rq-1", NOW_MS));
    }
}

#[test]
fn i7_nothing_is_used_that_could_not_be_reported() {
    let mut gate = Gate::new();
    gate.released(&Request::post("demo/echo"), CALL);
    gate.worker.reports = crate::reports::Reports::new("edge".into(), "0".into(), NOW_MS, 1);
    granted(gate.send(&Request::post("demo/echo"), CALL).1);
    assert_eq!(refused(gate.send(&Request::post("demo/echo"), CALL)), (200, -31004, "reports_full".into()));
}

#[test]
fn a_due_credential_is_renewed_once_while_requests_go_on() {
    let mut gate = Gate::new();
    gate.released(&Request::post("demo/echo"), CALL);
    gate.later(80_000);
    let now_ms = gate.now_ms();
    gate.worker.update(world::full(world::snapshot()), now_ms).unwrap();
    let mut renewals: Vec<Box<Ask>> =
        (0..20).filter_map(|_| granted(gate.send(&Request::post("demo/echo"), CALL).1).renewal).collect();
    assert_eq!(renewals.len(), 1);
    let renewal = renewals.remove(0);
    assert!(renewal.request.background);
    gate.worker.credentials.renewal_failed(&renewal.key, now_ms + 2_000);
    assert!(granted(gate.send(&Request::post("demo/echo"), CALL).1).renewal.is_none());
    gate.later(2_000);
    assert!(granted(gate.send(&Request::post("demo/echo"), CALL).1).renewal.is_some(), "tried again");
}

#[test]
fn i6_questions_are_shared_by_the_same_token_at_the_same_server_only() {
    let mut gate = Gate::new();
    let mut ask = |server: &str, token: &str| {
        let request = Request::post(server).having("authorization", &format!("Bearer {token}"));
        let ask = asked(gate.send(&request, CALL).1);
        assert_eq!(ask.request.token, token);
        (ask.key, ask.token_hash)
    };
    let again = world::token_of("k1", json!({"jti": "t-9"}));
    let one = ask("demo/open", &alice());
    assert!(one == ask("demo/open", &alice()));
    let (key, hash) = ask("demo/open", &again);
    assert!(key == one.0 && hash != one.1, "the broker judges each token");
    assert!(ask("demo/echo", &alice()).0 != one.0);
    assert!(ask("demo/open", &world::mallory()).0 != one.0);
}

#[test]
fn i6_one_caller_s_credential_is_not_another_s() {
    let mut gate = Gate::new();
    gate.released(&Request::post("demo/open"), CALL);
    let mallory = Request::post("demo/open").having("authorization", &format!("Bearer {}", world::mallory()));
    asked(gate.send(&mallory, CALL).1);
    asked(gate.send(&Request::post("demo/echo"), CALL).1);
}

#[test]
fn who_waits_may_ask_again_when_the_asker_has_gone() {
    let mut gate = Gate::new();
    let (flow, step) = gate.send(&Request::post("demo/echo"), CALL);
    let first = asked(step);
    let again = flow.ask_again(&Env::new(&mut gate.worker, &gate.host)).unwrap();
    assert!(again.key == first.key && again.token_hash == first.token_hash && again.request == first.request);
    let flow = waits(gate.headers(&Request::post("demo/echo")));
    assert!(flow.ask_again(&Env::new(&mut gate.worker, &gate.host)).is_none());
}

#[test]
fn the_broker_is_not_waited_for_beyond_the_deadline() {
    let mut gate = Gate::new();
    let (flow, _) = gate.send(&Request::post("demo/echo"), CALL);
    gate.later(2_999);
    let flow = waits(gate.on(|env| flow.on_tick(env)));
    gate.later(1);
    assert_eq!(refused(gate.on(|env| flow.on_tick(env))), (200, -31004, "broker_unavailable".into()));
}

#[test]
fn an_answer_after_the_deadline_changes_nothing() {
    let mut gate = Gate::new();
    let (flow, step) = gate.send(&Request::post("demo/echo"), CALL);
    let ask = asked(step);
    gate.later(3_000);
    let (flow, _) = gate.on(|env| flow.on_tick(env));
    let flow = waits(gate.answer(flow, &ask.key, &given("h", NOW_MS + 9_000, NOW_MS + 8_000)));
    assert!(matches!(flow, Flow::Done));
}

#[test]
fn the_question_says_who_where_and_what() {
    let mut gate = Gate::new();
    let request = Request::post("demo/echo").with("traceparent", "00-1-2-01");
    let asked = asked(gate.send(&request, CALL).1).request;
    assert_eq!(
        asked,
        proto::AcquireCredentialRequest {
            token: alice(),
            server: "demo/echo".into(),
            method: "tools/call".into(),
            target: "echo".into(),
            request_id: "rq-1".into(),
            source_address: "192.0.2.1:5".into(),
            proxy: "edge".into(),
            server_revision: "r1".into(),
            snapshot_version: 7,
            traceparent: "00-1-2-01".into(),
            background: false,
            filter_version: crate::VERSION.into(),
        }
    );
}

#[test]
fn i12_a_credential_that_would_frame_or_route_the_request_is_none() {
    let with = |name: &str, value: &[u8]| {
        said(Said::Credential(proto::Credential {
            headers: vec![proto::Header { name: name.into(), value: value.into() }],
            expires_at_ms: NOW_MS + 1_000,
            ..proto::Credential::default()
        }))
    };
    for (name, value) in [
        (":path", "/admin"),
        (":authority", "evil.example"),
        ("Host", "evil.example"),
        ("Content-Length", "0"),
        ("transfer_encoding", "chunked"),
        ("Mcp-Session-Id", "x"),
        ("", "x"),
        ("x key", "x"),
        ("x-key\r\nhost", "x"),
        ("x-k\u{e4}y", "x"),
        ("x-key", "a\r\nhost: evil.example"),
        ("x-key", "a\0"),
    ] {
        assert!(credential(&with(name, value.as_bytes())).is_none(), "{name:?}");
    }
    for (name, value) in [("Authorization", "Bearer x"), ("X-API-Key", "k\t1"), ("x_key", "\u{e4}"), ("Cookie", "a=b")]
    {
        assert!(credential(&with(name, value.as_bytes())).is_some(), "{name:?}");
    }
}

#[test]
fn while_a_hold_is_in_force_requests_wait_for_the_successor() {
    let mut gate = Gate::new();
    gate.released(&Request::post("demo/own"), CALL);
    for (grant, generation) in [("g", 2), ("h", 3)] {
        gate.worker.update(world::hold(grant, generation, NOW_MS + 1_000), NOW_MS).unwrap();
        granted(gate.send(&Request::post("demo/own"), CALL).1);
    }
    gate.worker.update(world::hold("g", 3, NOW_MS + 1_000), NOW_MS).unwrap();
    let (flow, step) = gate.send(&Request::post("demo/own"), CALL);
    let ask = asked(step);
    assert!(!ask.request.background && matches!(flow, Flow::AwaitCredential(_)));
    granted(gate.answer(flow, &ask.key, &given_of(4, "h-2", NOW_MS + 100_000, NOW_MS + 80_000)).1);
    granted(gate.send(&Request::post("demo/own"), CALL).1);
}

#[test]
fn o13_what_the_broker_refuses_ends_what_is_left_and_what_it_cannot_say_does_not() {
    let busy = proto::Unavailable { retry_after_ms: 1, message: String::new() };
    for answer in [Answer::Silent, said(Said::Unavailable(busy)), said(Said::Credential(proto::Credential::default()))]
    {
        assert!(!crate::flow::is_refused(&answer));
    }
    let reasons = [proto::denied::Reason::Policy, proto::denied::Reason::Token, proto::denied::Reason::Credential];
    let consent = said(Said::ConsentRequired(proto::ConsentRequired::default()));
    assert!(reasons.map(denied).iter().chain([&consent]).all(crate::flow::is_refused));
}
