//! What an upstream's response may tell the client.

use super::*;

fn respond(gate: &mut Gate, flow: Flow, pairs: &[(&str, &str)]) -> (Flow, Step) {
    let head = world::head(pairs);
    gate.on(|env| flow.on_response_headers(&head, env))
}

/// The response of an upstream to a call that was let go.
fn answered(pairs: &[(&str, &str)]) -> (Flow, Step) {
    let mut gate = Gate::new();
    let (flow, _) = gate.released(&Request::post("demo/echo").with("origin", "https://app.example"), CALL);
    respond(&mut gate, flow, pairs)
}

fn passed((flow, step): (Flow, Step)) -> Vec<ResponseEdit> {
    assert!(matches!(flow, Flow::Streaming(_) | Flow::Done));
    match step {
        Step::PassResponse(edits) => edits,
        other => panic!("{}", name_of(&other)),
    }
}

fn rejecting((flow, step): (Flow, Step)) -> (Flow, proto::RejectCredentialRequest) {
    match step {
        Step::RejectCredential(request) => (flow, *request),
        other => panic!("{}", name_of(&other)),
    }
}

#[test]
fn an_upstream_s_401_goes_to_the_broker_and_not_to_the_client() {
    let (flow, request) =
        rejecting(answered(&[(":status", "401"), ("www-authenticate", r#"Bearer error="invalid_token""#)]));
    assert!(matches!(flow, Flow::AwaitRejection(_)) && flow.is_waiting());
    assert_eq!((request.status, request.error.as_str(), request.use_handle.as_str()), (401, "invalid_token", "h-1"));
    assert_eq!((request.grant.as_str(), request.generation), ("g", 3));
    let call = request.request.unwrap();
    assert_eq!((call.token, call.filter_version.as_str()), (alice(), crate::VERSION));
}

#[test]
fn a_refused_credential_is_not_used_again() {
    let mut gate = Gate::new();
    let (flow, _) = gate.released(&Request::post("demo/echo"), CALL);
    rejecting(respond(&mut gate, flow, &[(":status", "401")]));
    asked(gate.send(&Request::post("demo/echo"), CALL).1);
}

#[test]
fn what_the_broker_says_of_a_refused_credential_is_what_the_client_hears() {
    use proto::acquire_credential_response::Answer as Said;
    use proto::denied::Reason;
    let denied = |reason: Reason| said(Said::Denied(proto::Denied { reason: reason.into(), message: String::new() }));
    for (answer, renewed, code) in [
        (given("h-2", NOW_MS + 9_000, NOW_MS + 8_000), true, -31003),
        (given("h-2", NOW_MS + 9_000, NOW_MS + 8_000), false, -31004),
        (denied(Reason::Credential), false, -31005),
        (denied(Reason::Policy), false, -31002),
        (said(Said::Unavailable(proto::Unavailable::default())), false, -31004),
        (Answer::Said(proto::AcquireCredentialResponse::default()), false, -31004),
        (Answer::Silent, false, -31004),
    ] {
        let (flow, _) = rejecting(answered(&[(":status", "401")]));
        let mut gate = Gate::new();
        let outcome = refused(gate.on(|env| flow.on_rejected(&answer, renewed, env)));
        assert_eq!((outcome.0, outcome.1), (200, code));
        let batch = gate.worker.reports.next_batch().unwrap();
        assert_eq!((batch.refusals.len(), batch.refusals[0].source_address.as_str()), (1, "192.0.2.1:5"));
    }
}

#[test]
fn the_broker_is_asked_about_one_response_once() {
    let mut gate = Gate::new();
    let (flow, _) = gate.released(&Request::post("demo/echo"), CALL);
    let (flow, _) = rejecting(respond(&mut gate, flow, &[(":status", "401")]));
    let flow = waits(respond(&mut gate, flow, &[(":status", "401")]));
    let (flow, step) = gate.on(|env| flow.on_rejected(&Answer::Silent, true, env));
    replied(step);
    let flow = waits(gate.on(|env| flow.on_rejected(&Answer::Silent, true, env)));
    assert_eq!(passed(respond(&mut gate, flow, &[(":status", "200")])), [], "our own reply on its way out");
}

#[test]
fn the_broker_s_word_is_not_waited_for_beyond_the_deadline() {
    let mut gate = Gate::new();
    let (flow, _) = gate.released(&Request::post("demo/echo"), CALL);
    gate.later(20_000);
    let (flow, _) = rejecting(respond(&mut gate, flow, &[(":status", "401")]));
    gate.later(2_999);
    let flow = waits(gate.on(|env| flow.on_tick(env)));
    gate.later(1);
    assert_eq!(refused(gate.on(|env| flow.on_tick(env))).1, -31004);
}

#[test]
fn each_403_is_told_apart() {
    let invalid = r#"Bearer realm="x", error="invalid_token", error_description="no""#;
    let (_, request) = rejecting(answered(&[(":status", "403"), ("www-authenticate", invalid)]));
    assert_eq!((request.status, request.error.as_str()), (403, "invalid_token"));
    for challenge in [r#"Bearer error="invalid_request""#, r#"Bearer error="invalid_tokens""#, "Basic", "", "error="] {
        let outcome = refused(answered(&[(":status", "403"), ("www-authenticate", challenge)]));
        assert_eq!(outcome, (200, -31005, "upstream_forbidden".into()), "{challenge}");
    }
    assert_eq!(refused(answered(&[(":status", "403")])).1, -31005);
}

#[test]
fn a_server_without_a_credential_of_ours_has_none_to_renew() {
    for server in ["demo/none", "demo/pass"] {
        let mut gate = Gate::new();
        let token = if server == "demo/pass" { passing_token() } else { alice() };
        let (flow, _) = gate.released(&Request::post(server).having("authorization", &format!("Bearer {token}")), CALL);
        assert_eq!(
            refused(respond(&mut gate, flow, &[(":status", "401")])),
            (200, -31005, "upstream_forbidden".into())
        );
    }
}

#[test]
fn a_token_that_is_too_narrow_is_the_broker_s_to_widen_where_there_is_a_grant() {
    let narrow = r#"Bearer error="insufficient_scope", scope="repo read:org", error_description="no""#;
    let respond_403 = |server: &str, challenge: &str| {
        let mut gate = Gate::new();
        let token = if server == "demo/pass" { passing_token() } else { alice() };
        let (flow, _) = gate.released(&Request::post(server).having("authorization", &format!("Bearer {token}")), CALL);
        respond(&mut gate, flow, &[(":status", "403"), ("www-authenticate", challenge)])
    };
    for server in ["demo/own", "demo/echo"] {
        let (_, request) = rejecting(respond_403(server, narrow));
        assert_eq!((request.status, request.error.as_str()), (403, "insufficient_scope"), "{server}");
        assert_eq!((request.scope.as_str(), request.generation), ("repo read:org", 3), "{server}");
        let (_, request) = rejecting(respond_403(server, r#"Bearer error="insufficient_scope", scope="a\"b""#));
        assert_eq!(request.scope, "", "what is no scope is not told");
    }
    for server in ["demo/header", "demo/none", "demo/pass"] {
        let outcome = refused(respond_403(server, narrow));
        assert_eq!(outcome, (200, -31005, "upstream_forbidden".into()), "{server}");
    }
}

#[test]
fn a_redirect_never_passes() {
    for status in ["300", "301", "302", "303", "305", "307", "308", "399"] {
        let outcome = refused(answered(&[(":status", status), ("location", "https://evil.example")]));
        assert_eq!(outcome, (200, -31004, "upstream_redirected".into()), "{status}");
    }
    passed(answered(&[(":status", "304")]));
}

#[test]
fn an_upstream_does_not_speak_in_the_gateway_s_name() {
    for status in ["200", "202", "404", "500", "503"] {
        let edits = passed(answered(&[
            (":status", status),
            ("set-cookie", "a=b"),
            ("location", "https://evil.example"),
            ("www-authenticate", "Basic"),
            ("access-control-allow-origin", "*"),
            ("content-type", "text/event-stream"),
        ]));
        for name in ["set-cookie", "location", "www-authenticate", "access-control-allow-origin"] {
            assert!(edits.contains(&ResponseEdit::Remove(name.into())), "{status} {name}");
        }
        assert!(!edits.contains(&ResponseEdit::Remove("content-type".into())));
        let own = ResponseEdit::Set("access-control-allow-origin", "https://app.example".into());
        let (removed, set) = (
            edits.iter().position(|edit| *edit == ResponseEdit::Remove("access-control-allow-origin".into())),
            edits.iter().position(|edit| *edit == own),
        );
        assert!(removed.unwrap() < set.unwrap());
        assert!(edits.iter().any(|edit| matches!(edit, ResponseEdit::Set("server-timing", _))));
    }
}

#[test]
fn server_timing_names_every_part() {
    let mut gate = Gate::new();
    let (flow, step) = gate.send(&Request::post("demo/echo"), CALL);
    let ask = asked(step);
    gate.later(5);
    let (flow, _) = gate.answer(flow, &ask.key, &given("h", NOW_MS + 100_000, NOW_MS + 80_000));
    gate.later(7);
    let edits = passed(respond(&mut gate, flow, &[(":status", "200")]));
    let timing = "auth;dur=0.000, policy;dur=0.000, credential;desc=broker;dur=5.000, upstream;dur=7.000";
    assert!(edits.contains(&ResponseEdit::Set("server-timing", timing.into())));
}

#[test]
fn r9_a_session_that_cannot_be_bound_is_not_opened() {
    for pairs in [
        vec![(":status", "200"), ("mcp-session-id", "a"), ("mcp-session-id", "b")],
        vec![(":status", "200"), ("mcp-session-id", "")],
        vec![(":status", "200"), ("mcp-session-id", "a b")],
    ] {
        assert_eq!(reason(answered(&pairs)), "session_unknown");
    }
    let mut gate = Gate::new();
    let keyless = proto::Snapshot { session_keys: None, ..world::snapshot() };
    gate.worker.update(world::full(keyless), NOW_MS).unwrap();
    let (flow, _) = gate.released(&Request::post("demo/echo"), CALL);
    assert_eq!(reason(respond(&mut gate, flow, &[(":status", "200"), ("mcp-session-id", "a")])), "session_unknown");
}

#[test]
fn a_local_reply_passes_as_it_is() {
    let mut gate = Gate::new();
    let (flow, _) = gate.headers(&Request::post("demo/echo").without("authorization"));
    assert_eq!(passed(respond(&mut gate, flow, &[(":status", "401"), ("www-authenticate", "Bearer")])), []);
    assert_eq!(passed(respond(&mut gate, Flow::Start, &[(":status", "400")])), [], "envoy's own");
    let flow = waits(gate.headers(&Request::post("demo/echo")));
    assert_eq!(passed(respond(&mut gate, flow, &[(":status", "408")])), [], "envoy's own, to a request we hold");
}
