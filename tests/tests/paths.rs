//! Paths, hosts and methods: one reading of a path, and none that leads elsewhere (threats H9, H20).

use e2e::{Connection, Piece, RawConnection, World, run};

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{}}}"#;

/// Every spelling of `/mcp-server/<group>/tool/server` that some parser takes for it.
fn spellings(group: &str) -> Vec<String> {
    let path = format!("/mcp-server/{group}/tool/server");
    let upper = group.to_uppercase();
    let mut spellings: Vec<String> = [
        "//mcp-server/G/tool/server",
        "/./mcp-server/G/tool/server",
        "/mcp-server//G/tool/server",
        "/mcp-server/./G/tool/server",
        "/mcp-server/G/./tool/server",
        "/mcp-server/G/tool/./server",
        "/mcp-server/G/tool/server/.",
        "/x/../mcp-server/G/tool/server",
        "/mcp-server/x/../G/tool/server",
        "/mcp-server/G/x/../tool/server",
        "/../mcp-server/G/tool/server",
        "/../../mcp-server/G/tool/server",
        "/%2e/mcp-server/G/tool/server",
        "/x/%2e%2e/mcp-server/G/tool/server",
        "/x/%2E%2E/mcp-server/G/tool/server",
        "/x/.%2e/mcp-server/G/tool/server",
        "/mcp-server%2fG/tool/server",
        "/mcp-server/G%2ftool/server",
        "/mcp-server/G/tool%2Fserver",
        "/mcp-server/G/tool%5cserver",
        "/mcp-server/G/tool\\server",
        "/mcp-server\\G\\tool\\server",
        "\\mcp-server\\G\\tool\\server",
        "/mcp-server/G/tool/server;x=y",
        "/mcp-server/G/tool;x=y/server",
        "/mcp-server;x/G/tool/server",
        "/mcp-server/G/tool/server;",
        "/mcp-server/G/tool/server%3bx",
        "/mcp-server/G/tool/server%00",
        "/mcp-server/G/tool/server%00.json",
        "/mcp-server/G/tool/server%0a",
        "/mcp-server/G/tool/server%20",
        "/mcp-server/G/tool/server%09",
        "/mcp-server/G/tool/server/",
        "/mcp-server/G/tool/server//",
        "/mcp-server/G/tool/server.",
        "/mcp-server/G/tool/server..",
        "/mcp-server/G/tool/SERVER",
        "/MCP-SERVER/G/tool/server",
        "/Mcp-Server/G/Tool/Server",
        "/mcp-server/G/tool",
        "/mcp-server/G/tool/",
        "/mcp-server/G",
        "/mcp-server/",
        "/mcp-server/G/tool/server/x",
        "/mcp-server/G/tool/serverx",
        "/mcp-server/G/tool/xserver",
        "/mcp-server/G/%74ool/server",
        "/%6dcp-server/G/tool/server",
        "/mcp%2dserver/G/tool/server",
        "/mcp-server/G/tool/serve%72",
        "/mcp-server/%2547/tool/server",
        "/mcp-server/G/tool/%2573erver",
        "/mcp-server/G/tool/server%",
        "/mcp-server/G/tool/server%2",
        "/mcp-server/G/tool/server%zz",
        "/mcp-server/G/tool/s%C0%AFerver",
        "/mcp-server/G/tool/%u0073erver",
        "/mcp-server/G/tool/\u{ff53}erver",
        "/mcp-server/G/tool/server#x",
        "*",
        "mcp-server/G/tool/server",
        "/%2fmcp-server/G/tool/server",
    ]
    .iter()
    .map(|spelling| spelling.replace('G', group))
    .collect();
    spellings.extend([path.replace(group, &upper), format!("{path}?x=/../y"), format!("{path}?")]);
    spellings
}

#[test]
fn h9_no_spelling_of_a_path_reaches_a_server_that_the_caller_may_not_use() {
    run(async {
        let world = World::shared().await;
        let denied = world.server().subjects(&["user:nobody@example.com"]).register().await;
        let allowed = world.open_server().await;
        let group = denied.name.split('/').next().expect("a group");
        // The token is good at both servers: only policy stands between.
        let audience = serde_json::json!([denied.resource, allowed.resource]);
        let token = world.issuer.token("mallory", &denied).claim("aud", audience).mint();
        for path in spellings(group) {
            let request = format!(
                "POST {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\nconnection: close\r\n\r\n{CALL}",
                denied.host(),
                CALL.len()
            );
            let reply = RawConnection::exchange(world.envoy.gateway, request.as_bytes()).await;
            let refused = reply.status.is_some_and(|status| (400..500).contains(&status))
                || (reply.status == Some(200) && reply.text.contains("-31002"))
                || reply.status == Some(307)
                || reply.status.is_none();
            assert!(refused, "{path}: {reply:?}");
        }
        denied.upstream.assert_untouched("another spelling of the path");
        allowed.upstream.assert_untouched("a path of another server");
    });
}

#[test]
fn h9_no_spelling_of_a_path_borrows_another_servers_right() {
    run(async {
        let world = World::shared().await;
        let denied = world.server().subjects(&["user:nobody@example.com"]).register().await;
        let allowed = world.server().auth(e2e::Auth::header()).register().await;
        let audience = serde_json::json!([denied.resource, allowed.resource]);
        let token = world.issuer.token("mallory", &denied).claim("aud", audience).mint();
        for path in [
            format!("{}/../../../..{}", allowed.path, denied.path),
            format!("{}/..;{}", allowed.path, denied.path),
            format!("{}?{}", allowed.path.replace("/server", "/../"), denied.path),
            format!("{}%2f..%2f..%2f..%2f..{}", allowed.path, denied.path),
            format!("{}/%2e%2e/%2e%2e/%2e%2e/%2e%2e{}", allowed.path, denied.path),
            format!("/mcp-server/{}/../{}/server", allowed.name, denied.name),
        ] {
            let request = format!(
                "POST {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\nconnection: close\r\n\r\n{CALL}",
                denied.host(),
                CALL.len()
            );
            let reply = RawConnection::exchange(world.envoy.gateway, request.as_bytes()).await;
            assert!(!reply.text.contains("called_as"), "{path}: {reply:?}");
        }
        denied.upstream.assert_untouched("a path through another server");
    });
}

#[test]
fn h9_other_hosts_are_refused() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let token = world.issuer.token("alice", &server).mint();
        let own = server.host();
        let port = world.envoy.gateway.port();
        for (what, hosts) in [
            ("another name", "host: evil.example\r\n".to_owned()),
            ("another port", "host: 127.0.0.1:1\r\n".to_owned()),
            ("no port", "host: 127.0.0.1\r\n".to_owned()),
            ("a trailing dot", format!("host: 127.0.0.1.:{port}\r\n")),
            ("localhost", format!("host: localhost:{port}\r\n")),
            ("userinfo", format!("host: {own}@evil.example\r\n")),
            ("userinfo before", format!("host: evil.example@{own}\r\n")),
            ("two hosts", format!("host: {own}\r\nhost: evil.example\r\n")),
            ("two hosts, ours last", format!("host: evil.example\r\nhost: {own}\r\n")),
            ("a list", format!("host: {own}, evil.example\r\n")),
            ("a path in it", format!("host: {own}/x\r\n")),
            ("empty", "host:\r\n".to_owned()),
            ("none", String::new()),
            ("forwarded", format!("host: evil.example\r\nx-forwarded-host: {own}\r\n")),
        ] {
            let request = format!(
                "POST {} HTTP/1.1\r\n{hosts}authorization: Bearer {token}\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\nconnection: close\r\n\r\n{CALL}",
                server.path,
                CALL.len()
            );
            let reply = RawConnection::exchange(world.envoy.gateway, request.as_bytes()).await;
            assert!(matches!(reply.status, Some(400 | 403 | 404)), "{what}: {reply:?}");
        }
        for target in
            [format!("http://evil.example{}", server.path), format!("https://{own}@evil.example{}", server.path)]
        {
            let request = format!(
                "POST {target} HTTP/1.1\r\nhost: {own}\r\nauthorization: Bearer {token}\r\n\
                 content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{CALL}",
                CALL.len()
            );
            let reply = RawConnection::exchange(world.envoy.gateway, request.as_bytes()).await;
            assert!(matches!(reply.status, Some(400 | 403 | 404)), "{target}: {reply:?}");
        }
        server.upstream.assert_untouched("a request for another host");
    });
}

#[test]
fn other_origins_are_refused_and_our_own_is_not() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let token = world.issuer.token("alice", &server).mint();
        for origin in
            ["https://evil.example", "null", "", "http://127.0.0.1", "http://127.0.0.1.evil.example", "file://"]
        {
            let reply = server.call_as(&token).header("origin", origin).send().await;
            assert_eq!(reply.status, 403, "{origin}: {reply}");
            assert!(reply.header("access-control-allow-origin").is_none(), "{origin}: {reply}");
        }
        server.upstream.assert_untouched("a page of another origin");
        let reply = server.call_as(&token).header("origin", &world.public_url).send().await;
        assert_eq!(reply.status, 200, "{reply}");
    });
}

#[test]
fn unknown_paths_lead_nowhere_whatever_the_token() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let token = world.issuer.token("alice", &server).mint();
        for path in
            ["/", "/mcp", "/mcp-server/no/such/server", "/admin", "/config_dump", "/sallyport", "/metrics", "/api"]
        {
            for call in [server.call().path(path), server.call_as(&token).path(path)] {
                let reply = call.send().await;
                assert!(matches!(reply.status, 401 | 404), "{path}: {reply}");
            }
        }
        server.upstream.assert_untouched("an unknown path");
    });
}

#[test]
fn other_methods_are_refused() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let token = world.issuer.token("alice", &server).mint();
        for method in ["PUT", "PATCH", "HEAD", "TRACE", "PROPFIND", "post", "FOO"] {
            let reply = server.call_as(&token).method(method).send().await;
            assert!(matches!(reply.status, 400 | 401 | 405), "{method}: {reply}");
        }
        server.upstream.assert_untouched("another method");
        let options = server.call().method("OPTIONS").send().await;
        assert_eq!((options.status, options.body.len()), (204, 0), "{options}");
    });
}

#[test]
fn h20_no_header_makes_a_path_exempt() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        for (name, value) in [
            ("user-agent", "kube-probe/1.30"),
            ("user-agent", "GoogleHC/1.0"),
            ("user-agent", "ELB-HealthChecker/2.0"),
            ("x-health-check", "1"),
            ("x-envoy-original-path", "/sallyport/ready"),
            ("x-original-url", "/sallyport/ready"),
            ("x-forwarded-uri", "/sallyport/ready"),
            ("x-http-method-override", "OPTIONS"),
            ("x-forwarded-for", "127.0.0.1"),
        ] {
            for call in [server.call(), server.call().method("GET")] {
                let reply = call.header(name, value).send().await;
                server.assert_challenged(&format!("{name}: {value}"), &reply);
            }
        }
        server.upstream.assert_untouched("a health check");
    });
}

#[test]
fn over_http2_the_authority_and_the_path_are_read_alike() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let authorization = format!("Bearer {}", world.issuer.token("alice", &server).mint());
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let connection = Connection::open(world.envoy.gateway, "evil.example").await.expect("it listens");
        let reply = connection.post(&server.path, &headers, vec![Piece::Data(CALL.into())]).await.expect("an answer");
        assert!(matches!(reply.status, 403 | 404), "{reply}");
        server.upstream.assert_untouched("another authority");
        let connection = Connection::open(world.envoy.gateway, server.host()).await.expect("it listens");
        let reply = connection.post(&server.path, &headers, vec![Piece::Data(CALL.into())]).await.expect("an answer");
        assert_eq!(reply.status, 200, "{reply}");
    });
}

#[test]
fn the_metadata_of_a_server_is_public_and_names_the_endpoint_itself() {
    run(async {
        let world = World::shared().await;
        let server = world.server().subjects(&["user:nobody@example.com"]).register().await;
        let reply = server.call().method("GET").path(&server.metadata_path()).send().await;
        let document = reply.json();
        assert_eq!((reply.status, &document["resource"]), (200, &server.resource.as_str().into()), "{reply}");
        let issuers = document["authorization_servers"].as_array().expect("a list");
        assert!(issuers.contains(&world.issuer.url.as_str().into()), "{reply}");
        assert_eq!(reply.header("access-control-allow-origin").as_deref(), Some("*"), "{reply}");
        assert_eq!(reply.header("content-type").as_deref(), Some("application/json"), "{reply}");
        let unknown = "/.well-known/oauth-protected-resource/mcp-server/no/such/server";
        let reply = server.call().method("GET").path(unknown).send().await;
        assert_eq!(reply.status, 404, "{reply}");
    });
}

#[test]
fn a_challenge_says_invalid_token_only_where_a_token_was_shown() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let without = server.call().send().await;
        server.assert_challenged("no token", &without);
        assert!(!without.header("www-authenticate").expect("it challenges").contains("error="), "{without}");
        let bad = server.call_as("nonsense").send().await;
        server.assert_challenged("a bad token", &bad);
        assert!(bad.header("www-authenticate").expect("it challenges").contains(r#"error="invalid_token""#), "{bad}");
    });
}
