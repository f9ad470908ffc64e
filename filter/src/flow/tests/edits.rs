//! What the upstream gets to see of a request's headers.

use super::*;

/// Headers of a request let go to `server` with this credential header.
fn forwarded(request: &Request) -> Vec<(String, String)> {
    let (_, grant) = Gate::new().released(request, CALL);
    upstream_headers(request, &grant)
}

fn contains_token(pairs: &[(String, String)], token: &str) -> bool {
    pairs.iter().any(|(_, value)| value.contains(token))
}

#[test]
fn i1_the_inbound_token_is_replaced() {
    let pairs = forwarded(&Request::post("demo/echo"));
    assert_eq!(values(&pairs, "authorization"), ["Bearer upstream-secret"]);
    assert!(!contains_token(&pairs, &alice()));
}

#[test]
fn i1_the_inbound_token_is_removed_where_nothing_takes_its_place() {
    for server in ["demo/none", "demo/header"] {
        let mut gate = Gate::new();
        let request = Request::post(server);
        let (flow, step) = gate.send(&request, CALL);
        let ask = asked(step);
        let Answer::Said(mut response) = given("h", NOW_MS + 1_000, NOW_MS + 800) else { panic!("given is said") };
        if let Some(proto::acquire_credential_response::Answer::Credential(credential)) = &mut response.answer {
            credential.headers = vec![proto::Header { name: "X-Key".into(), value: b"k".to_vec() }];
        }
        let (_, step) = gate.answer(flow, &ask.key, &Answer::Said(response));
        let pairs = upstream_headers(&request, &granted(step));
        assert!(values(&pairs, "authorization").is_empty(), "{server}");
        assert_eq!(values(&pairs, "x-key"), ["k"]);
        assert!(!contains_token(&pairs, &alice()));
    }
}

#[test]
fn i1_only_a_passthrough_server_gets_the_inbound_token_and_only_one_meant_for_it() {
    let mut gate = Gate::new();
    let request = Request::post("demo/pass").having("authorization", &format!("Bearer {}", passing_token()));
    let (flow, step) = gate.send(&request, CALL);
    let ask = asked(step);
    let answer = said(proto::acquire_credential_response::Answer::Credential(proto::Credential {
        use_handle: "h".into(),
        expires_at_ms: NOW_MS + 1_000,
        refresh_after_ms: NOW_MS + 800,
        ..proto::Credential::default()
    }));
    let (_, step) = gate.answer(flow, &ask.key, &answer);
    let pairs = upstream_headers(&request, &granted(step));
    assert_eq!(values(&pairs, "authorization"), [format!("Bearer {}", passing_token())]);
    assert_eq!(refused(gate.headers(&Request::post("demo/pass"))).0, 401, "a token for the gate");
}

#[test]
fn h10_h11_what_only_the_gateway_may_say_is_removed() {
    let names = [
        "cookie",
        "x-api-key",
        "x_api_key",
        "proxy-authorization",
        "proxy_authorization",
        "x-upstream-authorization",
        "x-tfy-mcp-headers",
        "x-sallyport-subject",
        "x_sallyport_subject",
        "x-user-id",
        "x_user",
        "x-forwarded-for",
        "x-forwarded-host",
        "forwarded",
        "x-envoy-original-path",
        "x-auth-request-email",
        "dpop",
        "x-real-ip",
    ];
    let request = names
        .iter()
        .fold(Request::post("demo/echo"), |request, name| request.with(name, "spoofed").with(name, "twice"));
    let pairs = forwarded(&request);
    for name in names {
        assert!(values(&pairs, name).is_empty(), "{name}");
    }
    assert_eq!(values(&pairs, "content-type"), ["application/json"]);
}

#[test]
fn h11_the_client_s_header_of_the_credential_s_name_is_replaced_in_every_spelling() {
    let request = Request::post("demo/echo")
        .with("x-tool-key", "client")
        .with("x_tool_key", "client")
        .with("x_tool-key", "client");
    let mut gate = Gate::new();
    let (flow, step) = gate.send(&request, CALL);
    let ask = asked(step);
    let answer = said(proto::acquire_credential_response::Answer::Credential(proto::Credential {
        headers: vec![proto::Header { name: "X-Tool-Key".into(), value: b"ours".to_vec() }],
        expires_at_ms: NOW_MS + 1_000,
        ..proto::Credential::default()
    }));
    let (_, step) = gate.answer(flow, &ask.key, &answer);
    let pairs = upstream_headers(&request, &granted(step));
    assert_eq!(values(&pairs, "x-tool-key"), ["ours"]);
    assert!(!pairs.iter().any(|(_, value)| value == "client"));
}

#[test]
fn everything_is_removed_before_anything_is_set() {
    let request = Request::post("demo/echo").with("cookie", "a").with("x-user", "b");
    let (_, grant) = Gate::new().released(&request, CALL);
    let kinds: Vec<bool> = grant.edits().map(|edit| matches!(edit, Edit::Set(..))).collect();
    assert!(kinds.is_sorted() && kinds.contains(&true) && kinds.contains(&false), "{kinds:?}");
}

#[test]
fn r9_a_session_id_of_another_caller_or_server_is_refused() {
    let mut gate = Gate::new();
    let bound = session_of(&mut gate, "demo/open", &alice());
    let with = |server: &str, token: &str, id: &str| {
        Request::post(server).having("authorization", &format!("Bearer {token}")).with("mcp-session-id", id)
    };
    for (whose, request) in [
        ("another caller", with("demo/open", &world::mallory(), &bound)),
        ("another server", with("demo/echo", &alice(), &bound)),
        ("raw", with("demo/open", &alice(), "up-1")),
        ("changed", with("demo/open", &alice(), &bound.replace("up-1", "up-2"))),
        ("cut", with("demo/open", &alice(), &bound[..bound.len() - 1])),
        ("empty", with("demo/open", &alice(), "")),
        ("twice", with("demo/open", &alice(), &bound).with("mcp-session-id", &bound)),
    ] {
        assert_eq!(refused(gate.headers(&request)).0, 404, "{whose}");
    }
}

#[test]
fn r9_a_bound_session_id_round_trips_and_has_no_imitation() {
    let mut gate = Gate::new();
    let bound = session_of(&mut gate, "demo/echo", &alice());
    let request = Request::post("demo/echo").with("mcp-session-id", &bound).with("mcp_session_id", "victim");
    let (_, step) = gate.send(&request, CALL);
    let pairs = upstream_headers(&request, &granted(step));
    assert_eq!(values(&pairs, "mcp-session-id"), ["up-1"]);
    assert!(!pairs.iter().any(|(_, value)| value == "victim"));
    let answer = r#"{"jsonrpc":"2.0","id":7,"result":{}}"#;
    granted(gate.send(&Request::post("demo/echo").with("mcp-session-id", &bound), answer).1);
}

/// The session id that the client gets where the upstream gave `up-1`.
fn session_of(gate: &mut Gate, server: &str, token: &str) -> String {
    let request = Request::post(server).having("authorization", &format!("Bearer {token}"));
    let (flow, _) = gate.released(&request, r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}"#);
    let response = world::head(&[(":status", "200"), ("mcp-session-id", "up-1")]);
    let (_, step) = gate.on(|env| flow.on_response_headers(&response, env));
    let Step::PassResponse(edits) = step else { panic!("{}", name_of(&step)) };
    edits
        .into_iter()
        .find_map(|edit| match edit {
            ResponseEdit::Set("mcp-session-id", id) => Some(id),
            ResponseEdit::Set(..) | ResponseEdit::Remove(_) => None,
        })
        .unwrap()
}
