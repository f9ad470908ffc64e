//! Upstreams that refuse, lure, pose as others or are somewhere else than the manifest says (threats H14, I12).

use std::sync::Arc;

use e2e::{Answer, Auth, Authority, Provider, Upstream, World, eventually, run};
use http_body_util::BodyExt;
use serde_json::json;

const EVIL: &str = "https://evil.example/.well-known/oauth-protected-resource";

#[test]
fn h14_what_an_upstream_says_in_the_gateways_name_never_passes() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let token = world.issuer.token("alice", &server).mint();
        let withheld = [
            ("set-cookie", "session=evil"),
            ("www-authenticate", "Bearer resource_metadata=\"https://evil.example/\""),
            ("proxy-authenticate", "Basic realm=evil"),
            ("location", "https://evil.example/"),
            ("refresh", "0; url=https://evil.example/"),
            ("clear-site-data", "\"*\", evil"),
            ("strict-transport-security", "max-age=1, evil"),
            ("alt-svc", "h3=\"evil.example:443\""),
            ("access-control-allow-origin", "https://evil.example"),
            ("x-envoy-upstream-service-time", "evil"),
            ("server", "evil"),
        ];
        server.upstream.answer(move |request| {
            withheld.iter().fold(Answer::echo(request), |answer, (name, value)| answer.header(name, value))
        });
        let reply = server.call_as(&token).send().await;
        assert_eq!(reply.status, 200, "{reply}");
        assert!(!format!("{:?}", reply.headers).contains("evil"), "{reply}");
    });
}

#[test]
fn h14_an_upstreams_401_becomes_an_error_behind_the_door_not_a_challenge() {
    run(async {
        let world = World::shared().await;
        for auth in [Auth::None, Auth::header()] {
            let server = world.server().auth(auth).register().await;
            let token = world.issuer.token("alice", &server).mint();
            let challenge = format!("Bearer resource_metadata=\"{EVIL}\", error=\"invalid_token\"");
            server.upstream.answer(move |_| Answer::status(401).header("www-authenticate", &challenge).body(EVIL));
            let reply = server.call_as(&token).send().await;
            let error = reply.rpc_error();
            assert_eq!((reply.status, &error.id), (200, &json!(1)), "{reply}");
            assert!(matches!(error.code, -31003 | -31005), "{reply}");
            assert!(!reply.to_string().contains("evil.example"), "{reply}");
        }
    });
}

#[test]
fn h14_an_upstreams_403_is_told_as_its_own() {
    run(async {
        let world = World::shared().await;
        let server = world.server().auth(Auth::header()).register().await;
        let token = world.issuer.token("alice", &server).mint();
        for challenge in [None, Some("Bearer error=\"insufficient_scope\", scope=\"admin\""), Some("Basic realm=x")] {
            server.upstream.answer(move |_| {
                let answer = Answer::status(403).body(EVIL);
                challenge.iter().fold(answer, |answer, challenge| answer.header("www-authenticate", challenge))
            });
            let reply = server.call_as(&token).send().await;
            let error = reply.rpc_error();
            assert_eq!((reply.status, error.code, &error.id), (200, -31005, &json!(1)), "{reply}");
            assert!(error.message.contains(&server.name), "names the server: {reply}");
            assert!(reply.header("www-authenticate").is_none(), "{reply}");
            assert!(!reply.to_string().contains("evil.example"), "{reply}");
        }
    });
}

#[test]
fn h14_a_refused_client_credentials_token_is_renewed_once() {
    run(async {
        let world = World::shared().await;
        let provider = Arc::new(Provider::start().await);
        let server = world.server().auth(Auth::client_credentials(&provider)).register().await;
        let token = world.issuer.token("alice", &server).mint();
        server.accepts_token("before", &token).await;
        let first = format!("Bearer {}", provider.issued()[0]);
        server.upstream.answer(move |request| {
            if request.all("authorization") == [first.clone()] { Answer::status(401) } else { Answer::echo(request) }
        });
        let reply = server.call_as(&token).send().await;
        assert_eq!((reply.status, reply.rpc_error().code), (200, -31003), "{reply}");
        let reply = server.call_as(&token).send().await;
        assert_eq!(reply.called_as(), [format!("Bearer {}", provider.issued()[1])]);
        // From now on the upstream refuses everything: once a minute is often enough to ask for another.
        server.upstream.answer(|_| Answer::status(401));
        for _ in 0..10 {
            assert_eq!(server.call_as(&token).send().await.status, 200);
        }
        assert!(provider.token_requests().len() <= 4, "{} token requests", provider.token_requests().len());
    });
}

#[test]
fn h14_redirects_are_neither_followed_nor_passed_on() {
    run(async {
        let world = World::shared().await;
        let server = world.server().auth(Auth::header()).register().await;
        let elsewhere = Upstream::start().await;
        let token = world.issuer.token("alice", &server).mint();
        for status in [301, 302, 303, 307, 308] {
            let location = elsewhere.url.clone();
            server.upstream.answer(move |_| Answer::status(status).header("location", &location));
            let reply = server.call_as(&token).send().await;
            assert!(!(300..400).contains(&reply.status), "{status}: {reply}");
            assert!(reply.header("location").is_none(), "{status}: {reply}");
            assert_eq!(reply.rpc_error().id, json!(1), "{status}: {reply}");
        }
        elsewhere.assert_untouched("a redirect");
    });
}

#[test]
fn upstreams_own_errors_and_statuses_pass() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let token = world.issuer.token("alice", &server).mint();
        let error = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "no such method"}});
        for status in [200, 400, 404, 422, 500] {
            let body = error.to_string();
            server
                .upstream
                .answer(move |_| Answer::status(status).header("content-type", "application/json").body(body.clone()));
            let reply = server.call_as(&token).send().await;
            assert_eq!((reply.status, reply.json()), (status, error.clone()), "{reply}");
        }
    });
}

#[test]
fn event_streams_are_passed_on_as_they_come() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let token = world.issuer.token("alice", &server).mint();
        let event = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1}});
        let expected = format!("data: {event}\n\n");
        server.upstream.answer(move |_| Answer::open_events(&event));
        let mut body = server.call_as(&token).open().await.expect("it answers").into_body();
        let first = async {
            let mut bytes = Vec::new();
            while bytes.len() < expected.len() {
                let frame = body.frame().await.expect("more").expect("no error");
                bytes.extend_from_slice(&frame.into_data().expect("data"));
            }
            bytes
        };
        // The upstream's answer never ends: what is held back until its end never comes.
        let first = tokio::time::timeout(std::time::Duration::from_secs(5), first).await.expect("not held back");
        assert_eq!(String::from_utf8_lossy(&first), expected);
    });
}

#[test]
fn r9_a_session_id_is_good_for_its_caller_and_its_server_only() {
    run(async {
        let world = World::shared().await;
        let (server, other) = (world.open_server().await, world.open_server().await);
        server.upstream.answer(|request| Answer::echo(request).header("mcp-session-id", "upstream-session-1"));
        let both = json!([server.resource, other.resource]);
        let alice = world.issuer.token("alice", &server).claim("aud", both.clone()).mint();
        let bob = world.issuer.token("bob", &server).claim("aud", both).mint();
        let reply = server.call_as(&alice).initialize().send().await;
        let session = reply.header("mcp-session-id").expect("a session");
        assert!(session.starts_with("upstream-session-1."), "{session}");
        server.upstream.forget();
        let again = server.call_as(&alice).header("mcp-session-id", &session).send().await;
        assert_eq!(again.status, 200, "{again}");
        assert_eq!(server.upstream.only_request().all("mcp-session-id"), ["upstream-session-1"]);
        server.upstream.forget();
        let seal = session.rsplit('.').next().expect("a seal");
        let bent = session.replace(seal, &seal.chars().rev().collect::<String>());
        for (what, call) in [
            ("bob with alice's session", server.call_as(&bob).header("mcp-session-id", &session)),
            ("bob reading alice's session", server.call_as(&bob).header("mcp-session-id", &session).method("GET")),
            ("bob ending alice's session", server.call_as(&bob).header("mcp-session-id", &session).method("DELETE")),
            ("the session at another server", other.call_as(&alice).header("mcp-session-id", &session)),
            ("the upstream's own id", server.call_as(&alice).header("mcp-session-id", "upstream-session-1")),
            ("another id under the same seal", {
                server.call_as(&alice).header("mcp-session-id", session.replace("session-1", "session-2"))
            }),
            ("a bent seal", server.call_as(&alice).header("mcp-session-id", bent)),
            ("two sessions", server.call_as(&alice).header("mcp-session-id", &session).header("mcp-session-id", "x")),
            ("an empty one", server.call_as(&alice).header("mcp-session-id", "")),
        ] {
            let reply = call.send().await;
            assert!(matches!(reply.status, 400 | 404), "{what}: {reply}");
        }
        server.upstream.assert_untouched("a session of somebody else");
        other.upstream.assert_untouched("a session of another server");
    });
}

#[test]
fn i12_a_right_certificate_is_trusted() {
    run(async {
        let world = World::shared().await;
        let upstream = Upstream::start_tls(&world.authority.certify("localhost")).await;
        let server = world.server().auth(Auth::header()).upstream(upstream).register().await;
        let token = world.issuer.token("alice", &server).mint();
        let reply = eventually("the upstream answers", async || {
            let reply = server.call_as(&token).send().await;
            (reply.status == 200 && reply.json().get("result").is_some()).then_some(reply)
        })
        .await;
        assert_eq!(reply.called_as().len(), 1);
    });
}

#[test]
fn i12_wrong_certificates_get_nothing() {
    run(async {
        let world = World::shared().await;
        let stranger = Authority::new();
        for (what, certificate) in [
            ("another name", world.authority.certify("other.example")),
            ("a look-alike", world.authority.certify("localhost.example")),
            ("an address for a name", world.authority.certify("127.0.0.1")),
            ("an unknown authority", stranger.certify("localhost")),
        ] {
            let upstream = Upstream::start_tls(&certificate).await;
            let server = world.server().auth(Auth::header()).upstream(upstream).register().await;
            let token = world.issuer.token("alice", &server).mint();
            for _ in 0..3 {
                let reply = server.call_as(&token).send().await;
                assert!(reply.status >= 500 || reply.json().get("error").is_some(), "{what}: {reply}");
            }
            server.upstream.assert_untouched(what);
        }
    });
}

#[test]
fn i12_plain_http_in_the_place_of_tls_gets_nothing() {
    run(async {
        let world = World::shared().await;
        let upstream = Upstream::start().await;
        let url = upstream.url.replace("http://127.0.0.1", "https://localhost");
        let server = world.server().auth(Auth::header()).upstream(upstream).url(&url).register().await;
        let token = world.issuer.token("alice", &server).mint();
        let reply = server.call_as(&token).send().await;
        assert!(reply.status >= 500 || reply.json().get("error").is_some(), "{reply}");
        let received = server.upstream.received();
        assert!(!String::from_utf8_lossy(&received).contains("header-secret"), "the credential left in the clear");
        assert!(server.upstream.requests().is_empty());
    });
}

#[test]
fn i12_swapped_routes_get_nothing() {
    run(async {
        let thief = Upstream::start().await;
        let port = thief.url.split(':').next_back().and_then(|rest| rest.split('/').next()).expect("a port").to_owned();
        let port: u16 = port.parse().expect("a number");
        let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
        let world = World::build()
            .envoy(move |config| {
                let routes = json!({"name": "swapped", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                    {"match": {"prefix": "/"}, "route": {"cluster": "thief", "timeout": "0s"}}]}]});
                let manager = config.pointer_mut(manager).and_then(|manager| manager.as_object_mut()).expect("one");
                manager.remove("rds");
                manager.insert("route_config".to_owned(), routes);
                let endpoint =
                    json!({"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}});
                let cluster = json!({"name": "thief", "type": "STATIC", "load_assignment": {
                    "cluster_name": "thief", "endpoints": [{"lb_endpoints": [endpoint]}]}});
                let clusters = config.pointer_mut("/static_resources/clusters").and_then(|all| all.as_array_mut());
                clusters.expect("some").push(cluster);
            })
            .start()
            .await;
        let provider = Arc::new(Provider::start().await);
        for auth in [Auth::None, Auth::header(), Auth::client_credentials(&provider)] {
            let server = world.server().auth(auth).register().await;
            let token = world.issuer.token("alice", &server).mint();
            for call in
                [server.call_as(&token), server.call_as(&token).initialize(), server.call_as(&token).method("GET")]
            {
                let reply = call.send().await;
                assert_eq!((reply.status, reply.rpc_error().code), (503, -31006), "{reply}");
            }
            server.upstream.assert_untouched("a swapped route");
        }
        thief.assert_untouched("a swapped route");
    });
}
