//! Frames, trailers and ends of streams: however a refused request is cut up, no byte of it leaves (I2).

use e2e::{Connection, Piece, RawConnection, Server, World, run};

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{}}}"#;

/// The same request in every way HTTP/2 can carry it, with the status it deserves if the caller may call.
fn ways(body: &str) -> Vec<(&'static str, Vec<Piece>, u16)> {
    let data = |text: &str| Piece::Data(text.as_bytes().to_vec());
    let bytes: Vec<Piece> = body.bytes().map(|byte| Piece::Data(vec![byte])).collect();
    let (first, second) = body.split_at(body.len() / 2);
    let trailer = || Piece::trailer("x-checksum", "1");
    vec![
        ("one frame", vec![data(body)], 200),
        ("two frames", vec![data(first), data(second)], 200),
        ("a frame for each byte", bytes.clone(), 200),
        ("empty frames around", vec![data(""), data(body), data("")], 200),
        ("one frame and trailers", vec![data(body), trailer()], 200),
        ("two frames and trailers", vec![data(first), data(second), trailer()], 200),
        ("a frame for each byte and trailers", bytes.into_iter().chain([trailer()]).collect(), 200),
        ("nothing: ends at its headers", vec![], 400),
        ("an empty frame", vec![data("")], 400),
        ("trailers only", vec![trailer()], 400),
        ("an empty frame and trailers", vec![data(""), trailer()], 400),
        ("half of it and trailers", vec![data(first), trailer()], 400),
        ("half of it", vec![data(first)], 400),
    ]
}

async fn post(world: &World, server: &Server, token: Option<&str>, pieces: Vec<Piece>) -> e2e::Reply {
    let authorization = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
    if let Some(authorization) = &authorization {
        headers.push(("authorization", authorization));
    }
    let connection = Connection::open(world.envoy.gateway, server.host()).await.expect("it listens");
    connection.post(&server.path, &headers, pieces).await.expect("an answer")
}

#[test]
fn i2_over_http2_a_callers_request_is_judged_whole_in_every_framing() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let token = world.issuer.token("alice", &server).mint();
        for (what, pieces, status) in ways(CALL) {
            server.upstream.forget();
            let reply = post(world, &server, Some(&token), pieces).await;
            // Trailers may also be refused: what may not be is a body that was not judged.
            let right = reply.status == status || (what.contains("trailers") && reply.status == 400);
            assert!(right, "{what}: {reply}");
            if reply.status == 200 {
                let arrived = server.upstream.only_request();
                assert_eq!(String::from_utf8_lossy(&arrived.body), CALL, "{what}");
                assert!(arrived.all("authorization").is_empty(), "{what}: {arrived:?}");
            } else {
                server.upstream.assert_untouched(what);
            }
        }
    });
}

#[test]
fn i2_over_http2_nothing_of_a_refused_request_leaves_in_any_framing() {
    run(async {
        let world = World::shared().await;
        let server = world.server().subjects(&["user:nobody@example.com"]).register().await;
        let denied = world.issuer.token("alice", &server).mint();
        let expired = world.issuer.token("alice", &server).expires_in(-600).mint();
        for (token, name) in [(Some(denied.as_str()), "denied"), (Some(expired.as_str()), "expired"), (None, "none")] {
            for (what, pieces, _) in ways(CALL) {
                let reply = post(world, &server, token, pieces).await;
                let refused = match name {
                    "denied" => reply.status == 400 || (reply.status == 200 && reply.rpc_error().code == -31002),
                    _ => reply.status == 401,
                };
                assert!(refused, "{what}, token {name}: {reply}");
            }
        }
        server.upstream.assert_untouched("a refused request");
    });
}

#[test]
fn i2_over_http1_nothing_of_a_refused_request_leaves_in_any_framing() {
    run(async {
        let world = World::shared().await;
        let server = world.server().subjects(&["user:nobody@example.com"]).register().await;
        let token = world.issuer.token("alice", &server).mint();
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             connection: close\r\n",
            server.path,
            server.host()
        );
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        let bytes: String = CALL.chars().map(|byte| chunk(&byte.to_string())).collect();
        let chunked = "transfer-encoding: chunked\r\n";
        for (what, rest) in [
            ("length", format!("content-length: {}\r\n\r\n{CALL}", CALL.len())),
            ("one chunk", format!("{chunked}\r\n{}0\r\n\r\n", chunk(CALL))),
            ("a chunk for each byte", format!("{chunked}\r\n{bytes}0\r\n\r\n")),
            ("one chunk and trailers", format!("{chunked}trailer: x-a\r\n\r\n{}0\r\nx-a: 1\r\n\r\n", chunk(CALL))),
            ("authorization in the trailers", format!("{chunked}\r\n{}0\r\nauthorization: x\r\n\r\n", chunk(CALL))),
            ("no chunk, trailers", format!("{chunked}\r\n0\r\nx-a: 1\r\n\r\n")),
            ("no chunk", format!("{chunked}\r\n0\r\n\r\n")),
            ("length 0", "content-length: 0\r\n\r\n".to_owned()),
            ("ends at its headers", "\r\n".to_owned()),
        ] {
            let reply = RawConnection::exchange(world.envoy.gateway, format!("{head}{rest}").as_bytes()).await;
            let refused = reply.status == Some(400) || (reply.status == Some(200) && reply.text.contains("-31002"));
            assert!(refused, "{what}: {reply:?}");
        }
        server.upstream.assert_untouched("a refused request");
    });
}

#[test]
fn h13_smuggled_and_ambiguous_requests_are_refused() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let token = world.issuer.token("alice", &server).mint();
        let base =
            format!("host: {}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n", server.host());
        let (path, size) = (&server.path, CALL.len());
        for (what, request) in [
            (
                "length and chunks",
                format!(
                    "POST {path} HTTP/1.1\r\n{base}content-length: {size}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
                ),
            ),
            (
                "two lengths",
                format!("POST {path} HTTP/1.1\r\n{base}content-length: 1\r\ncontent-length: {size}\r\n\r\n{CALL}"),
            ),
            ("a list of lengths", format!("POST {path} HTTP/1.1\r\n{base}content-length: 1, {size}\r\n\r\n{CALL}")),
            ("a negative length", format!("POST {path} HTTP/1.1\r\n{base}content-length: -1\r\n\r\n{CALL}")),
            ("a signed length", format!("POST {path} HTTP/1.1\r\n{base}content-length: +{size}\r\n\r\n{CALL}")),
            ("an unknown coding", format!("POST {path} HTTP/1.1\r\n{base}transfer-encoding: xchunked\r\n\r\n{CALL}")),
            (
                "coding twice",
                format!("POST {path} HTTP/1.1\r\n{base}transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
            ),
            ("gzip coding", format!("POST {path} HTTP/1.1\r\n{base}transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n")),
            (
                "a bad chunk size",
                format!("POST {path} HTTP/1.1\r\n{base}transfer-encoding: chunked\r\n\r\nzz\r\n{CALL}\r\n0\r\n\r\n"),
            ),
            (
                "a space before the colon",
                format!("POST {path} HTTP/1.1\r\n{base}content-length : {size}\r\n\r\n{CALL}"),
            ),
            ("CONNECT", format!("CONNECT {} HTTP/1.1\r\n{base}\r\n", server.host())),
            ("HTTP/1.0", format!("POST {path} HTTP/1.0\r\n{base}content-length: {size}\r\n\r\n{CALL}")),
            ("HTTP/0.9", format!("POST {path}\r\n")),
            ("a NUL", format!("POST {path} HTTP/1.1\r\n{base}x: a\0b\r\ncontent-length: {size}\r\n\r\n{CALL}")),
        ] {
            let request = request.replacen("\r\n", "\r\nconnection: close\r\n", 1);
            let reply = RawConnection::exchange(world.envoy.gateway, request.as_bytes()).await;
            let refused = reply.status.is_none_or(|status| (400..=505).contains(&status));
            assert!(refused, "{what}: {reply:?}");
        }
        server.upstream.assert_untouched("an ambiguous request");
    });
}
