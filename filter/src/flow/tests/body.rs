//! Nothing is let go before all of it was read.

use super::*;

#[test]
fn i2_nothing_is_forwarded_before_the_body_ends() {
    let mut gate = Gate::new();
    gate.released(&Request::post("demo/echo"), CALL);
    // The credential is at hand: only the end of the body is missing.
    let mut flow = waits(gate.headers(&Request::post("demo/echo")));
    for byte in CALL.as_bytes() {
        flow = waits(gate.data(flow, &[*byte], false));
    }
    let (flow, step) = gate.data(flow, b"", true);
    granted(step);
    assert!(matches!(flow, Flow::AwaitUpstream(_)));
}

#[test]
fn i2_nothing_is_forwarded_while_the_broker_is_asked() {
    let mut gate = Gate::new();
    let (flow, step) = gate.send(&Request::post("demo/echo"), CALL);
    let ask = asked(step);
    let flow = waits(gate.on(|env| flow.on_tick(env)));
    let flow = waits(gate.on(|env| flow.on_trailers(env)));
    let flow = waits(gate.on(|env| flow.on_key(true, env)));
    let flow = waits(gate.on(|env| flow.on_rejected(&Answer::Silent, true, env)));
    let flow = waits(gate.data(flow, b"", true));
    let (_, step) = gate.answer(flow, &ask.key, &given("h", NOW_MS + 1_000, NOW_MS + 800));
    granted(step);
}

#[test]
fn i2_trailers_end_a_body_and_it_is_judged_there() {
    let mut gate = Gate::new();
    let flow = waits(gate.headers(&Request::post("demo/echo")));
    let flow = waits(gate.data(flow, CALL.as_bytes(), false));
    let (_, step) = gate.on(|env| flow.on_trailers(env));
    assert_eq!(asked(step).request.target, "echo");
}

#[test]
fn i2_trailers_after_half_a_body_are_refused() {
    let mut gate = Gate::new();
    let flow = waits(gate.headers(&Request::post("demo/echo")));
    let flow = waits(gate.data(flow, &CALL.as_bytes()[..20], false));
    assert_eq!(refused(gate.on(|env| flow.on_trailers(env))), (400, -32700, "body_not_json".into()));
}

#[test]
fn i2_trailers_without_a_readable_body_are_refused() {
    let mut gate = Gate::new();
    let flow = waits(gate.headers(&Request::post("demo/echo")));
    assert_eq!(refused(gate.on(|env| flow.on_trailers(env))), (400, -32600, "trailers_unjudged".into()));
}

#[test]
fn trailers_after_too_much_are_refused() {
    let mut gate = Gate::new();
    let flow = waits(gate.headers(&Request::post("demo/echo")));
    *gate.host.body.borrow_mut() = Some(vec![b' '; 4_097]);
    assert_eq!(refused(gate.on(|env| flow.on_trailers(env))).0, 413);
}

#[test]
fn a_post_that_ends_at_its_headers_is_refused() {
    let mut gate = Gate::new();
    assert_eq!(refused(gate.headers(&Request::post("demo/echo").ended(true))), (400, -32700, "body_not_json".into()));
}

#[test]
fn a_get_or_delete_with_a_body_is_refused() {
    for method in ["GET", "DELETE"] {
        let mut gate = Gate::new();
        let request = Request::new(method, "demo/echo", &alice()).ended(false);
        assert_eq!(refused(gate.headers(&request)).0, 400, "{method}");
    }
}

#[test]
fn a_body_over_the_limit_is_refused_as_soon_as_it_is() {
    let mut gate = Gate::new();
    let flow = waits(gate.headers(&Request::post("demo/echo")));
    let flow = waits(gate.data(flow, &[b' '; 4_096], false));
    assert_eq!(refused(gate.data(flow, b" ", false)), (413, -31008, "body_too_large".into()));
}

#[test]
fn a_length_over_the_limit_is_refused_at_the_headers() {
    let mut gate = Gate::new();
    for length in ["4097", "99999999999999999"] {
        assert_eq!(refused(gate.headers(&Request::post("demo/echo").with("content-length", length))).0, 413);
    }
    waits(gate.headers(&Request::post("demo/echo").with("content-length", "4096")));
}

#[test]
fn r1_a_body_that_can_be_read_in_two_ways_is_refused() {
    for body in [
        "",
        "{}",
        "[]",
        "null",
        r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"}{}"#,
        r#"{"jsonrpc":"2.0","id":1,"Method":"ping","method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#,
    ] {
        let mut gate = Gate::new();
        gate.released(&Request::post("demo/echo"), CALL);
        assert_eq!(refused(gate.send(&Request::post("demo/echo"), body)).0, 400, "{body}");
    }
}

#[test]
fn r4_encoded_bodies_and_other_types_are_refused() {
    let mut gate = Gate::new();
    for (name, value, status) in [
        ("content-encoding", "gzip", 415),
        ("content-type", "text/plain", 415),
        ("content-type", "application/json; charset=utf-16", 415),
    ] {
        assert_eq!(refused(gate.headers(&Request::post("demo/echo").having(name, value))).0, status, "{value}");
    }
    let twice = Request::post("demo/echo").with("content-type", "application/json");
    assert_eq!(refused(gate.headers(&twice)).0, 415, "repeated");
    assert_eq!(refused(gate.headers(&Request::post("demo/echo").without("content-type"))).0, 415);
}

#[test]
fn r6_headers_that_disagree_with_the_body_are_refused() {
    let mut gate = Gate::new();
    for (name, value) in [("mcp-method", "tools/list"), ("mcp-name", "other"), ("mcp-protocol-version", "a,b")] {
        let outcome = gate.send(&Request::post("demo/echo").with(name, value), CALL);
        assert_eq!(refused(outcome), (400, -32020, "header_mismatch".into()), "{name}");
    }
    let twice = Request::post("demo/echo").with("mcp-name", "echo").with("mcp-name", "other");
    assert_eq!(reason(gate.send(&twice, CALL)), "header_mismatch");
}

#[test]
fn an_answer_of_the_client_needs_a_session_of_its_own() {
    let mut gate = Gate::new();
    let body = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    assert_eq!(refused(gate.send(&Request::post("demo/echo"), body)).0, 400);
}

#[test]
fn a_proxy_that_shows_no_bodies_is_named_after_five_seconds() {
    let mut gate = Gate::new();
    let flow = waits(gate.headers(&Request::post("demo/echo")));
    gate.later(4_999);
    let flow = waits(gate.on(|env| flow.on_tick(env)));
    gate.later(1);
    assert_eq!(refused(gate.on(|env| flow.on_tick(env))), (503, -31004, "body_callback_missing".into()));
}

#[test]
fn a_slow_body_is_waited_for_where_bodies_are_shown() {
    let mut gate = Gate::new();
    asked(gate.send(&Request::post("demo/echo"), CALL).1);
    let flow = waits(gate.headers(&Request::post("demo/echo")));
    gate.later(30_000);
    waits(gate.on(|env| flow.on_tick(env)));
}

#[test]
fn h15_a_target_as_long_as_a_body_is_not_kept() {
    let mut gate = Gate::new();
    let name = "\u{e4}".repeat(1_500);
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{name}"}}}}"#);
    let (_, step) = gate.send(&Request::post("demo/echo").having("x-request-id", &"r".repeat(5_000)), &body);
    let request = asked(step).request;
    assert_eq!(request.target, "\u{e4}".repeat(256));
    assert_eq!(request.request_id, "");
}

#[test]
fn a5_an_id_that_would_not_print_names_no_request() {
    for (sent, told) in [
        ("0b3f4c9e-2a51-4c5e-9d0a-6f1f9b7f3c11", "0b3f4c9e-2a51-4c5e-9d0a-6f1f9b7f3c11"),
        ("two words", ""),
        ("a\tb", ""),
        ("r\u{e9}q", ""),
        ("\u{202e}txt", ""),
        ("", ""),
    ] {
        let (_, step) = Gate::new().send(&Request::post("demo/echo").having("x-request-id", sent), CALL);
        assert_eq!(asked(step).request.request_id, told, "{sent:?}");
    }
}
