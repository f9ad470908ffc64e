//! Size and time: a body over the limit, a body that dawdles, a client that leaves.

use std::time::Duration;

use e2e::{Connection, Piece, RawConnection, World, eventually, run};
use serde_json::json;

const LIMIT: usize = 1 << 20;

fn sized(size: usize) -> String {
    let empty = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "echo", "arguments": {"padding": ""}}})
    .to_string();
    empty.replace(r#""padding":"""#, &format!(r#""padding":"{}""#, "p".repeat(size - empty.len())))
}

#[test]
fn h5_takes_a_body_at_the_limit_and_refuses_one_byte_more() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let token = world.issuer.token("alice", &server).mint();
        for size in [LIMIT + 1, LIMIT + 70_000, 4 * LIMIT] {
            let reply = server.call_as(&token).body(sized(size)).send().await;
            assert_eq!(reply.status, 413, "{size}: {}", reply.status);
            assert!(reply.rpc_error().id.is_null(), "{size}: {reply}");
        }
        server.upstream.assert_untouched("a body over the limit");
        for size in [LIMIT, LIMIT - 1] {
            let reply = server.call_as(&token).body(sized(size)).send().await;
            assert_eq!(reply.status, 200, "{size}: {}", reply.status);
        }
        assert!(server.upstream.requests().iter().all(|request| request.body.len() >= LIMIT - 1));
    });
}

#[test]
fn h5_counts_what_comes_where_no_length_is_said() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let authorization = format!("Bearer {}", world.issuer.token("alice", &server).mint());
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        for (size, status) in [(LIMIT + 1, 413), (2 * LIMIT, 413), (LIMIT, 200)] {
            server.upstream.forget();
            let pieces = sized(size).into_bytes().chunks(16_000).map(|chunk| Piece::Data(chunk.to_vec())).collect();
            let connection = Connection::open(world.envoy.gateway, server.host()).await.expect("it listens");
            let reply = connection.post(&server.path, &headers, pieces).await.expect("an answer");
            assert_eq!(reply.status, status, "{size}: {}", reply.status);
            if status != 200 {
                server.upstream.assert_untouched("a body over the limit");
            }
        }
    });
}

#[test]
fn h4_no_byte_leaves_while_the_body_is_not_all_there() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let token = world.issuer.token("alice", &server).mint();
        let body = sized(300);
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n",
            server.path,
            server.host(),
            body.len()
        );
        let mut connection = RawConnection::open(world.envoy.gateway).await;
        assert!(connection.send(head.as_bytes()).await);
        let (most, last) = body.split_at(body.len() - 1);
        assert!(connection.send(most.as_bytes()).await);
        // Another request goes through meanwhile: what was sent before it has been seen by then.
        let other = server.call_as(&token).tool("other").send().await;
        assert_eq!(other.result()["method"], "tools/call");
        assert!(connection.read_some(Duration::from_millis(300)).await.is_none(), "answered before the body's end");
        let arrived = server.upstream.requests();
        assert!(arrived.iter().all(|request| request.json()["params"]["name"] == "other"), "{arrived:?}");
        assert!(connection.send(last.as_bytes()).await);
        assert_eq!(connection.finish().await.status, Some(200));
    });
}

#[test]
fn h5_a_body_of_one_byte_a_second_is_cut_off_and_leaves_no_byte() {
    run(async {
        // The shipped file says 30 s; the test has less patience.
        let world =
            World::build().envoy(|config| e2e::set_manager(config, "request_timeout", "3s".into())).start().await;
        let server = world.open_server().await;
        let token = world.issuer.token("alice", &server).mint();
        let body = sized(300);
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n",
            server.path,
            server.host(),
            body.len()
        );
        let mut connection = RawConnection::open(world.envoy.gateway).await;
        assert!(connection.send(head.as_bytes()).await);
        let mut answer = Vec::new();
        for byte in body.bytes() {
            if !connection.send(&[byte]).await {
                break;
            }
            if let Some(bytes) = connection.read_some(Duration::from_secs(1)).await {
                answer.extend_from_slice(&bytes);
                break;
            }
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        server.upstream.assert_untouched("a body that dawdles");
        server.accepts_token("after that", &token).await;
    });
}

/// Modules that Envoy has started: each worker's, and another after each trap.
const MODULES_STARTED: &str = "wasm.envoy.wasm.runtime.v8.created";

#[test]
fn h7_a_trap_shows_as_a_module_that_envoy_starts() {
    run(async {
        let module = &e2e::setup().wasm_failpoints;
        let world = World::build().envoy(|config| e2e::set_module(config, module)).start().await;
        let server = world.open_server().await;
        let call = server.call_as(&world.issuer.token("alice", &server).mint());
        let modules = world.envoy.stat(MODULES_STARTED).await;
        assert_eq!(call.clone().send().await.status, 200);
        assert_eq!(world.envoy.stat(MODULES_STARTED).await, modules, "nothing trapped");
        assert_eq!(call.clone().header("x-sallyport-failpoint", "headers").send().await.status, 503);
        // Envoy starts another for the next request.
        eventually("served again", async || (call.send().await.status == 200).then_some(())).await;
        assert_eq!(world.envoy.stat(MODULES_STARTED).await, modules + 1);
    });
}

#[test]
fn h7_clients_that_leave_at_any_point_leave_nothing_behind() {
    run(async {
        let world = World::start().await;
        let server = world.open_server().await;
        server.upstream.answer(|request| e2e::Answer::echo(request).after(Duration::from_millis(5)));
        let token = world.issuer.token("alice", &server).mint();
        let body = sized(3000);
        let request = format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            server.path,
            server.host(),
            body.len()
        );
        let headers = request.find("\r\n\r\n").expect("they end") + 4;
        server.accepts_token("before that", &token).await;
        let modules = world.envoy.stat(MODULES_STARTED).await;
        assert!(modules > 0 && world.envoy.admin("/stats?filter=sallyport.streams").await.contains(": "));
        for round in 0..1_000 {
            for end in [10, headers, headers + 1, request.len() - 1, request.len()] {
                let mut connection = RawConnection::open(world.envoy.gateway).await;
                assert!(connection.send(&request.as_bytes()[..end]).await, "round {round}");
            }
        }
        eventually("no request is open", async || {
            (world.envoy.stat("http.gateway.downstream_rq_active").await == 0).then_some(())
        })
        .await;
        eventually("the filter keeps nothing of them", async || {
            (world.envoy.stat("sallyport.streams").await == 0).then_some(())
        })
        .await;
        // Also after a trap of the very last client, the next request would make Envoy start another.
        server.accepts_token("after that", &token).await;
        assert_eq!(world.envoy.stat(MODULES_STARTED).await, modules, "a trap makes Envoy start another");
    });
}
