//! The outer door: tokens, keys, hosts, origins, paths.

use super::*;

fn denied(gate: &mut Gate, request: &Request) -> (u16, i64, String) {
    refused(gate.headers(request))
}

fn unknown() -> Request {
    Request::new("POST", "demo/echo", &world::token_of("k2", json!({}))).with("content-type", "application/json")
}

/// The broker knows the key, or does not.
fn resolve(gate: &mut Gate, flow: Flow, known: bool) -> (Flow, Step) {
    let now_ms = gate.now_ms();
    gate.worker.resolved(world::ISSUER.into(), "k2".into(), known.then(|| world::key("k2")), now_ms);
    gate.on(|env| flow.on_key(true, env))
}

fn asks_for_key(gate: &mut Gate, request: &Request) -> Flow {
    match gate.headers(request) {
        (flow, Step::ResolveKey { issuer, kid }) => {
            assert_eq!((issuer.as_str(), kid.as_str()), (world::ISSUER, "k2"));
            flow
        }
        (_, step) => panic!("{}", name_of(&step)),
    }
}

#[test]
fn no_token_is_a_challenge_that_says_where_to_get_one() {
    let mut gate = Gate::new();
    let (_, step) = gate.headers(&Request::post("demo/echo").without("authorization"));
    let reply = replied(step);
    let challenge = &reply.headers.iter().find(|(name, _)| *name == "www-authenticate").unwrap().1;
    assert_eq!(reply.status, 401);
    assert!(challenge.contains(
        r#"resource_metadata="https://gate.example/.well-known/oauth-protected-resource/mcp-server/demo/echo/server""#
    ));
    assert!(!challenge.contains("error="));
}

#[test]
fn a_challenge_names_the_scopes_that_a_token_must_carry() {
    let demanding = |scopes: &[&str]| proto::Issuer {
        required_scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        ..world::issuer(vec![world::key("k1")])
    };
    let own = proto::Issuer { issuer: world::GATE.into(), self_issued: true, ..demanding(&["of-no-interest"]) };
    let mut gate = Gate::new();
    let issuers = vec![demanding(&["tools", "mcp:use"]), own];
    gate.worker.update(world::full(proto::Snapshot { issuers, ..world::snapshot() }), NOW_MS).unwrap();
    let mut challenge = |request: &Request| {
        let reply = replied(gate.headers(request).1);
        (reply.status, reply.headers.into_iter().find(|(name, _)| *name == "www-authenticate").unwrap().1)
    };
    let (status, missing) = challenge(&Request::post("demo/echo").without("authorization"));
    assert!(status == 401 && missing.ends_with(r#"scope="mcp:use tools""#), "{missing}");
    let (status, narrow) = challenge(&Request::post("demo/echo"));
    assert!(status == 403 && narrow.contains(r#"error="insufficient_scope""#), "{narrow}");
    assert!(narrow.ends_with(r#"scope="mcp:use tools""#), "{narrow}");
}

#[test]
fn j17_every_other_form_of_authorization_is_refused() {
    let token = alice();
    for (value, status) in [
        (format!("Bearer  {token}"), 401),
        (format!("Bearer {token} "), 401),
        (format!(" Bearer {token}"), 401),
        (format!("Bearer\t{token}"), 401),
        (format!("Basic {token}"), 401),
        (token.clone(), 401),
        (String::new(), 401),
        (format!("Bearer {token},Bearer {token}"), 400),
        (format!("Bearer {token}, x"), 400),
        (format!("Bearer {}", "a".repeat(20_000)), 401),
    ] {
        let mut gate = Gate::new();
        assert_eq!(denied(&mut gate, &Request::post("demo/echo").having("authorization", &value)).0, status, "{value}");
    }
    let mut gate = Gate::new();
    waits(gate.headers(&Request::post("demo/echo").having("authorization", &format!("bearer {token}"))));
}

#[test]
fn j17_two_authorizations_are_refused_even_if_they_are_equal() {
    let mut gate = Gate::new();
    for second in [format!("Bearer {}", alice()), "Basic eDp5".into(), String::new()] {
        let request = Request::post("demo/echo").with("authorization", &second);
        assert_eq!(denied(&mut gate, &request), (400, -31007, "authorization_repeated".into()));
    }
}

#[test]
fn a_token_in_the_query_is_refused_with_and_without_another() {
    for query in ["access_token=x", "a=b&access_token=x", "ACCESS_TOKEN=x", "%61ccess_token=x", "a=b;access_token=x"] {
        let request = Request::post("demo/echo").having(":path", &format!("/mcp-server/demo/echo/server?{query}"));
        assert_eq!(denied(&mut Gate::new(), &request), (400, -31007, "token_in_query".into()), "{query}");
        assert_eq!(denied(&mut Gate::new(), &request.without("authorization")).0, 400, "{query}");
    }
}

#[test]
fn tokens_that_are_not_for_here_are_refused() {
    let now = NOW_MS / 1_000;
    for (flaw, changes) in [
        ("expired", json!({"exp": now - 61})),
        ("audience", json!({"aud": "https://elsewhere.example"})),
        ("another server's audience", json!({"aud": "https://gate.example/mcp-server/demo/other/server"})),
        ("issuer", json!({"iss": "https://evil.example"})),
        ("future", json!({"nbf": now + 3_600})),
        ("lifetime", json!({"exp": now + 365 * 86_400})),
    ] {
        let request =
            Request::post("demo/echo").having("authorization", &format!("Bearer {}", world::token_of("k1", changes)));
        assert_eq!(denied(&mut Gate::new(), &request).0, 401, "{flaw}");
    }
}

#[test]
fn a_changed_signature_is_refused_though_its_neighbour_is_cached() {
    let mut gate = Gate::new();
    waits(gate.headers(&Request::post("demo/echo")));
    let (signed, _) = alice().rsplit_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let (_, other) = world::mallory().rsplit_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let request = Request::post("demo/echo").having("authorization", &format!("Bearer {signed}.{other}"));
    assert_eq!(denied(&mut gate, &request).0, 401);
}

#[test]
fn a_cached_caller_is_refused_at_a_door_its_token_is_not_for() {
    let mut gate = Gate::new();
    let token = world::token_of("k1", json!({"aud": "https://gate.example/mcp-server/demo/echo/server"}));
    let bearer = format!("Bearer {token}");
    waits(gate.headers(&Request::post("demo/echo").having("authorization", &bearer)));
    assert_eq!(denied(&mut gate, &Request::post("demo/other").having("authorization", &bearer)).0, 401);
}

#[test]
fn a_cached_caller_is_refused_once_its_token_has_expired() {
    let mut gate = Gate::new();
    waits(gate.headers(&Request::post("demo/echo")));
    gate.later(3_600_000 + 60_001);
    let now_ms = gate.now_ms();
    gate.worker.update(world::full(world::snapshot()), now_ms).unwrap();
    assert_eq!(denied(&mut gate, &Request::post("demo/echo")).0, 401);
}

#[test]
fn hosts_and_origins_that_are_not_the_gateway_s_are_refused() {
    for (name, value) in [
        (":authority", "evil.example"),
        (":authority", "gate.example:8443"),
        (":authority", "gate.example."),
        (":authority", ""),
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", "https://gate.example.evil.example"),
        ("origin", ""),
    ] {
        let request = Request::post("demo/echo").having(name, value);
        assert_eq!(denied(&mut Gate::new(), &request).0, 403, "{name} {value}");
    }
    let request =
        Request::post("demo/echo").with("origin", "https://app.example").with("origin", "https://app.example");
    assert_eq!(denied(&mut Gate::new(), &request).0, 403, "repeated");
    waits(Gate::new().headers(&Request::post("demo/echo").with("origin", "https://app.example")));
}

#[test]
fn unknown_paths_and_methods_are_refused() {
    let mut gate = Gate::new();
    for path in
        ["/", "/mcp-server/demo/echo/server/", "/mcp-server/demo/nobody/server", "/mcp-server/demo/echo/server%2f"]
    {
        assert_eq!(denied(&mut gate, &Request::post("demo/echo").having(":path", path)).0, 404, "{path}");
    }
    for method in ["PUT", "PATCH", "HEAD", "CONNECT", "TRACE", "post", ""] {
        assert_eq!(denied(&mut gate, &Request::post("demo/echo").having(":method", method)).0, 405, "{method}");
    }
    for name in [":path", ":method"] {
        assert_eq!(denied(&mut gate, &Request::post("demo/echo").with(name, "/x")).0, 400, "two of {name}");
        assert_eq!(denied(&mut gate, &Request::post("demo/echo").without(name)).0, 400, "no {name}");
    }
}

#[test]
fn h1_header_names_that_are_not_ascii_are_refused() {
    assert_eq!(denied(&mut Gate::new(), &Request::post("demo/echo").with("x-\u{e4}", "1")).0, 400);
    assert_eq!(reason(Gate::new().on(Flow::on_unreadable_headers)), "headers_unreadable");
}

#[test]
fn h13_a_header_value_that_some_reader_ends_early_is_refused() {
    for value in ["a\rb", "a\nb", "a\0b", "\r", "a\r\nauthorization: Bearer x"] {
        assert_eq!(denied(&mut Gate::new(), &Request::post("demo/echo").with("x-a", value)).0, 400, "{value:?}");
    }
    waits(Gate::new().headers(&Request::post("demo/echo").with("x-a", "a\tb \u{e4}")));
}

#[test]
fn metadata_readiness_and_preflights_are_answered_without_a_token() {
    let mut gate = Gate::new();
    let get = |path: &str| Request::get("demo/echo").without("authorization").having(":path", path);
    let metadata = "/.well-known/oauth-protected-resource/mcp-server/demo/echo/server";
    let (_, step) = gate.headers(&get(metadata));
    let document: Value = serde_json::from_slice(&replied(step).body).unwrap();
    assert_eq!(document["resource"], "https://gate.example/mcp-server/demo/echo/server");
    assert_eq!(denied(&mut gate, &get("/.well-known/oauth-protected-resource/nowhere")).0, 404);
    assert_eq!(denied(&mut gate, &get(metadata).having(":method", "POST")).0, 405);
    assert_eq!(replied(gate.headers(&get("/sallyport/ready")).1).status, 200);
    assert_eq!(replied(gate.headers(&Request::post("demo/echo").having(":method", "OPTIONS")).1).status, 204);
}

#[test]
fn an_unknown_key_is_waited_for_and_then_the_body() {
    let mut gate = Gate::new();
    let flow = asks_for_key(&mut gate, &unknown());
    let flow = waits(resolve(&mut gate, flow, true));
    asked(gate.data(flow, CALL.as_bytes(), true).1);
}

#[test]
fn i2_a_body_that_ends_before_the_key_comes_is_judged_then() {
    for by_trailers in [false, true] {
        let mut gate = Gate::new();
        let flow = asks_for_key(&mut gate, &unknown());
        let flow = waits(gate.data(flow, &CALL.as_bytes()[..10], false));
        let flow = waits(gate.data(flow, &CALL.as_bytes()[10..], !by_trailers));
        let flow = if by_trailers { waits(gate.on(|env| flow.on_trailers(env))) } else { flow };
        asked(resolve(&mut gate, flow, true).1);
    }
}

#[test]
fn i2_a_bad_body_that_ends_before_the_key_comes_is_refused() {
    for body in ["", "{}", "{\"jsonrpc\""] {
        let mut gate = Gate::new();
        let flow = asks_for_key(&mut gate, &unknown());
        let flow = waits(gate.data(flow, body.as_bytes(), true));
        assert_eq!(refused(resolve(&mut gate, flow, true)).0, 400, "{body}");
    }
}

#[test]
fn a_body_over_the_limit_does_not_wait_for_the_key() {
    let mut gate = Gate::new();
    let flow = asks_for_key(&mut gate, &unknown());
    assert_eq!(refused(gate.data(flow, &[b' '; 4_097], false)).0, 413);
}

#[test]
fn a_get_behind_an_unknown_key_may_have_neither_body_nor_trailers() {
    let get = || Request::new("GET", "demo/echo", &world::token_of("k2", json!({})));
    let mut gate = Gate::new();
    let flow = asks_for_key(&mut gate, &get().ended(false));
    let flow = waits(gate.data(flow, b"x", true));
    assert_eq!(refused(resolve(&mut gate, flow, true)).0, 400);
    let mut gate = Gate::new();
    let flow = asks_for_key(&mut gate, &get().ended(false));
    assert_eq!(reason(gate.on(|env| flow.on_trailers(env))), "trailers_unjudged");
    let mut gate = Gate::new();
    let flow = asks_for_key(&mut gate, &get());
    asked(resolve(&mut gate, flow, true).1);
}

#[test]
fn a_key_that_does_not_exist_is_a_401_and_one_nobody_could_tell_of_is_not() {
    let mut gate = Gate::new();
    let flow = asks_for_key(&mut gate, &unknown());
    assert_eq!(refused(resolve(&mut gate, flow, false)).0, 401);
    assert_eq!(denied(&mut gate, &unknown()).0, 401, "j14: not asked for again");
    let mut gate = Gate::new();
    let flow = asks_for_key(&mut gate, &unknown());
    assert_eq!(refused(gate.on(|env| flow.on_key(false, env))), (503, -31004, "broker_unavailable".into()));
}

#[test]
fn a_key_is_not_waited_for_beyond_the_deadline() {
    let mut gate = Gate::new();
    let flow = asks_for_key(&mut gate, &unknown());
    gate.later(2_999);
    let flow = waits(gate.on(|env| flow.on_tick(env)));
    gate.later(1);
    assert_eq!(refused(gate.on(|env| flow.on_tick(env))).0, 503);
}

#[test]
fn anonymous_refusals_are_counted_not_told_one_by_one() {
    let mut gate = Gate::new();
    denied(&mut gate, &Request::post("demo/echo").without("authorization"));
    let batch = gate.worker.reports.next_batch().unwrap();
    assert_eq!(batch.anonymous_refusals["token_missing"], 1);
    assert!(batch.refusals.is_empty());
}
