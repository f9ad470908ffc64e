//! Headers: what only the gateway may say, what never passes, and bytes that are no text (threats H1, H10, H11, H12).

use e2e::{Auth, RawConnection, World, run};

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{}}}"#;

#[test]
fn h1_no_byte_in_any_header_harms_the_filter() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let token = world.issuer.token("alice", &server).mint();
        for byte in 0x80..=0xff_u8 {
            for (at, name) in ["authorization", "mcp-session-id", "mcp-method", "origin", "host", "x-any", ":path"]
                .into_iter()
                .enumerate()
            {
                // Each header is spoilt in turn; the others are good.
                let value = |good: &str| [good.as_bytes(), &[byte][..]].concat();
                let path = if name == ":path" { value(&server.path) } else { server.path.clone().into_bytes() };
                let host = if name == "host" { value(server.host()) } else { server.host().as_bytes().to_vec() };
                let bearer = format!("Bearer {token}");
                let bearer = if name == "authorization" { value(&bearer) } else { bearer.into_bytes() };
                let mut request = [&b"POST "[..], &path, b" HTTP/1.1\r\nhost: ", &host].concat();
                request.extend([&b"\r\nauthorization: "[..], &bearer].concat());
                if (1..=3).contains(&at) || name == "x-any" {
                    request.extend([format!("\r\n{name}: ").as_bytes(), &value("a")].concat());
                }
                request.extend(b"\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: ");
                request.extend(format!("{}\r\n\r\n{CALL}", CALL.len()).bytes());
                let reply = RawConnection::exchange(world.envoy.gateway, &request).await;
                let fine = if name == "x-any" {
                    matches!(reply.status, Some(200 | 400))
                } else {
                    matches!(reply.status, Some(400 | 401 | 403 | 404))
                };
                assert!(fine, "{byte:#x} in {name}: {reply:?}");
            }
        }
        let stats = world.envoy.admin("/stats?filter=wasm").await;
        let failed = |line: &&str| line.contains("recover") && !line.ends_with(": 0");
        assert!(!stats.lines().any(|line| failed(&line)), "{stats}");
        server.accepts_token("after all that", &token).await;
    });
}

#[test]
fn h1_no_byte_in_a_header_name_harms_the_filter() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let token = world.issuer.token("alice", &server).mint();
        for byte in (0x80..=0xff_u8).chain([0, 0x7f, b' ', b'(', b'\\']) {
            let head = format!(
                "POST {} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\nconnection: close\r\nx-",
                server.path,
                server.host()
            );
            let request = [head.as_bytes(), &[byte], b"y: 1\r\ncontent-length: 0\r\n\r\n"].concat();
            let reply = RawConnection::exchange(world.envoy.gateway, &request).await;
            assert!(reply.status.is_none_or(|status| status == 400), "{byte:#x}: {reply:?}");
        }
        server.upstream.assert_untouched("a header name that is none");
        server.accepts_token("after all that", &token).await;
    });
}

/// Names that upstreams believe when a proxy says them.
const SPOOFED: [&str; 44] = [
    "x-user",
    "x-user-id",
    "x-user-email",
    "x-username",
    "x-mcpgw-user",
    "x-mcpgw-authorized",
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-access-token",
    "x-forwarded-preferred-username",
    "x-forwarded-groups",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-client-cert",
    "x-forwarded-uri",
    "x-envoy-original-path",
    "x-envoy-external-address",
    "x-envoy-internal",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-retry-on",
    "x-envoy-decorator-operation",
    "x-original-url",
    "x-rewrite-url",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
    "forwarded",
    "via",
    "x-auth-request-user",
    "x-auth-request-email",
    "x-auth-request-access-token",
    "x-jwt-payload",
    "x-jwt-claims",
    "x-amzn-oidc-data",
    "x-goog-iap-jwt-assertion",
    "cf-access-jwt-assertion",
    "x-ms-client-principal",
    "x-ms-token-aad-access-token",
    "x-sallyport-caller",
    "x-tfy-metadata",
    "x-http-method-override",
    "x-access-token",
    "x-api-key",
];

#[test]
fn h10_headers_that_only_a_gateway_may_set_never_pass() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let token = world.issuer.token("alice", &server).mint();
        for name in SPOOFED {
            server.upstream.forget();
            let marker = e2e::unique("spoof");
            let call = server.call_as(&token).header(name, &marker).header(name, format!("{marker}-2"));
            let reply = call.send().await;
            assert!(matches!(reply.status, 200 | 400), "{name}: {reply}");
            let received = String::from_utf8_lossy(&server.upstream.received()).into_owned();
            assert!(!received.contains(&marker), "{name}: {received}");
        }
    });
}

#[test]
fn h10_headers_with_underscores_are_refused() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let token = world.issuer.token("alice", &server).mint();
        for name in
            ["x_user", "x_forwarded_user", "authorization_", "x-forwarded_for", "mcp_session_id", "content_length"]
        {
            let reply = server.call_as(&token).header(name, "1").send().await;
            assert_eq!(reply.status, 400, "{name}: {reply}");
        }
        server.upstream.assert_untouched("a header with underscores");
    });
}

#[test]
fn h11_a_client_cannot_choose_the_credential() {
    run(async {
        let world = World::shared().await;
        let secret = e2e::unique("header-secret");
        let server = world.server().auth(Auth::Header { secret: secret.clone() }).register().await;
        let token = world.issuer.token("mallory", &server).mint();
        for (name, value) in [
            ("x-upstream-authorization", "Bearer forged"),
            ("x-tfy-mcp-headers", r#"{"Authorization":"Bearer forged"}"#),
            ("x-tfy-mcp-headers", r#"{"authorization":"Bearer forged","x-api-key":"forged"}"#),
            ("x-tfy-mcp-headers", "{"),
            ("x-tfy-mcp-headers", "[]"),
            ("cookie", "Authorization=forged; token=forged"),
            ("proxy-authorization", "Bearer forged"),
            ("x-authorization", "Bearer forged"),
            ("x-forwarded-authorization", "Bearer forged"),
            ("x-forwarded-access-token", "forged"),
            ("x-auth-token", "forged"),
            ("connection", "authorization"),
            ("connection", "close, authorization, x-forged"),
            ("te", "trailers, forged"),
        ] {
            server.upstream.forget();
            let reply = server.call_as(&token).header(name, value).send().await;
            // A header that `connection` names ends at this hop, the token included.
            assert!(matches!(reply.status, 200 | 400 | 401), "{name}: {value}: {reply}");
            if reply.status == 200 {
                assert_eq!(reply.called_as(), [format!("Bearer {secret}")], "{name}: {value}");
            }
            let received = String::from_utf8_lossy(&server.upstream.received()).into_owned();
            assert!(!received.contains("forged"), "{name}: {value}: {received}");
        }
    });
}

#[test]
fn h12_i1_the_inbound_token_reaches_no_upstream() {
    run(async {
        let world = World::shared().await;
        let provider = std::sync::Arc::new(e2e::Provider::start().await);
        for auth in [Auth::None, Auth::header(), Auth::client_credentials(&provider)] {
            let server = world.server().auth(auth).register().await;
            let token = world.issuer.token("alice", &server).mint();
            let signature = token.rsplit('.').next().expect("three parts").to_owned();
            for call in
                [server.call_as(&token), server.call_as(&token).initialize(), server.call_as(&token).method("GET")]
            {
                let reply = call.send().await;
                assert_eq!(reply.status, 200, "{reply}");
            }
            assert_eq!(server.upstream.requests().len(), 3);
            let received = String::from_utf8_lossy(&server.upstream.received()).into_owned();
            assert!(!received.contains(&signature), "{received}");
        }
        let received = provider.received();
        assert!(!String::from_utf8_lossy(&received).contains("eyJ"), "the token endpoint got a token");
    });
}

#[test]
fn h12_i1_no_answer_of_an_upstream_draws_the_inbound_token_out() {
    run(async {
        let world = World::shared().await;
        let server = world.server().auth(Auth::header()).register().await;
        let elsewhere = e2e::Upstream::start().await;
        let token = world.issuer.token("alice", &server).mint();
        let signature = token.rsplit('.').next().expect("three parts").to_owned();
        for status in [100, 301, 302, 303, 307, 308, 401, 403, 407, 408, 421, 425, 429, 500, 502, 503, 504] {
            if status < 200 {
                continue;
            }
            let (location, challenge) =
                (elsewhere.url.clone(), format!("Bearer resource_metadata=\"{}\"", elsewhere.url));
            server.upstream.answer(move |_| {
                e2e::Answer::status(status).header("location", &location).header("www-authenticate", &challenge)
            });
            // What the client is told is the matter of other claims.
            let reply = server.call_as(&token).send().await;
            assert!(!reply.to_string().contains(&signature), "{status}: {reply}");
        }
        let received = String::from_utf8_lossy(&server.upstream.received()).into_owned();
        assert!(!received.contains(&signature), "{received}");
        elsewhere.assert_untouched("a redirect");
    });
}

#[test]
fn every_answer_tells_how_long_each_stage_took() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let token = world.issuer.token("alice", &server).mint();
        let timing = server.call_as(&token).send().await.header("server-timing").expect("it is there");
        for stage in ["auth", "policy", "credential", "upstream"] {
            assert!(timing.contains(stage), "{stage} in {timing}");
        }
        let refused = server.call().send().await;
        assert!(refused.header("server-timing").is_some_and(|timing| timing.contains("auth")), "{refused}");
        let internal = ["x-envoy-upstream-service-time", "x-envoy-decorator-operation", "x-envoy-attempt-count"];
        assert!(internal.iter().all(|name| refused.header(name).is_none()), "{refused}");
    });
}
