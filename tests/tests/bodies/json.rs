//! One strict JSON-RPC message, read once.

use e2e::{World, run};
use serde_json::{Value, json};

const GOOD: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{}}}"#;

async fn refused(bodies: &[(&str, Vec<u8>)]) {
    let world = World::shared().await;
    let server = world.open_server().await;
    let token = world.issuer.token("alice", &server).mint();
    for (what, body) in bodies {
        let reply = server.call_as(&token).body(body.clone()).send().await;
        assert_eq!(reply.status, 400, "{what}: {reply}");
        let error = reply.rpc_error();
        // The id is told where one was read before the flaw.
        assert!(matches!(error.code, -32700 | -32600) && (error.id.is_null() || error.id == 1), "{what}: {reply}");
    }
    server.upstream.assert_untouched("a body that is not one strict message");
    assert_eq!(server.call_as(&token).send().await.status, 200, "a good body after all that");
}

fn text<'a>(bodies: &[&'a str]) -> Vec<(&'a str, Vec<u8>)> {
    bodies.iter().map(|body| (*body, body.as_bytes().to_vec())).collect()
}

#[test]
fn r1_refuses_repeated_keys_however_they_are_spelt() {
    run(refused(&text(&[
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call","params":{"name":"echo"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","m\u0065thod":"tools/call","params":{"name":"echo"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"},"params":{"name":"delete"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","name":"delete"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","n\u0061me":"delete"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/call","params":{"name":"echo"}}"#,
        r#"{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","x":1,"x":2}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","_meta":{},"_meta":{}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","par\u0061ms":{"name":"delete"},"params":{"name":"echo"}}"#,
    ])));
}

#[test]
fn r2_refuses_keys_that_only_look_like_reserved_ones() {
    let message = |key: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","{key}":"tools/call"}}"#);
    let within = |key: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","{key}":"delete"}}}}"#)
    };
    let outer = [
        "Method",
        "METHOD",
        "methoD",
        "m\u{117}thod\u{0}",
        "method\\u0000",
        "\\u0000method",
        "ID",
        "Id",
        "iD",
        "Params",
        "param\u{17f}",
        "PARAMS",
        "JSONRPC",
        "Jsonrpc",
        "j\u{17f}onrpc",
        "method\u{200b}",
    ];
    let inner = ["Name", "NAME", "nAme", "name\\u0000", "URI", "Uri", "_Meta", "_META"];
    let bodies: Vec<String> = outer
        .iter()
        // A letter with a dot above does not fold to a plain one: it is another key, and allowed.
        .filter(|key| !key.contains('\u{117}'))
        .map(|key| message(key))
        .chain(inner.iter().map(|key| within(key)))
        .collect();
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
    run(refused(&text(&bodies)));
}

#[test]
fn r3_refuses_whatever_is_not_one_object_in_utf8() {
    let utf16: Vec<u8> = GOOD.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut bodies = text(&[
        "",
        " ",
        "null",
        "true",
        "1",
        "\"text\"",
        "[]",
        "{}",
        "[",
        "{",
        "}",
        "nonsense",
        "{'jsonrpc':'2.0'}",
        "{jsonrpc:\"2.0\"}",
        "<xml/>",
        "jsonrpc=2.0&id=1",
        "0x7b7d",
        r#"{"jsonrpc":"2.0","id":1,"method":"ping",}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping""#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"}}"#,
        r#"{"jsonrpc":"2.0","id":NaN,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":01,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","x":Infinity}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"/**/}"#,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}//",
        r#"{"jsonrpc":"2.0","id":1,"method":"\ud800"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"\udc00\ud800"}"#,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\nb\"}",
        r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
        r#"{"id":1,"method":"ping"}"#,
        r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":1}"#,
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":1}}"#,
    ]);
    let two = [format!("{GOOD}{GOOD}"), format!("{GOOD}\n{GOOD}"), format!("[{GOOD}]"), format!("[{GOOD},{GOOD}]")];
    bodies.extend(two.iter().map(|body| ("two messages or a batch", body.as_bytes().to_vec())));
    let deep =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{}{}}}"#, "[".repeat(2000), "]".repeat(2000));
    bodies.push(("deep", deep.into_bytes()));
    bodies.push(("byte order mark", [b"\xef\xbb\xbf", GOOD.as_bytes()].concat()));
    bodies.push(("UTF-16", utf16.clone()));
    bodies.push(("UTF-16 with mark", [vec![0xff, 0xfe], utf16].concat()));
    bodies.push(("invalid UTF-8", GOOD.replace("echo", "ec").into_bytes().into_iter().map(spoil).collect()));
    bodies
        .push(("overlong slash", [b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"", &[0xc0, 0xaf][..], b"\"}"].concat()));
    bodies.push(("a byte after it", [GOOD.as_bytes(), b"\0"].concat()));
    run(refused(&bodies));
}

/// Makes the name of the tool invalid.
fn spoil(byte: u8) -> u8 {
    if byte == b'e' { 0xff } else { byte }
}

#[test]
fn r4_refuses_encoded_and_other_content() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let token = world.issuer.token("alice", &server).mint();
        for (name, value) in [
            ("content-encoding", "gzip"),
            ("content-encoding", "br"),
            ("content-encoding", "zstd"),
            ("content-encoding", "deflate"),
            ("content-encoding", "identity, gzip"),
            ("content-encoding", "x"),
            ("content-type", "text/plain"),
            ("content-type", "multipart/form-data; boundary=x"),
            ("content-type", "application/x-www-form-urlencoded"),
            ("content-type", "application/json; charset=utf-16"),
            ("content-type", "application/jsonx"),
            ("content-type", "application/json, text/plain"),
            ("content-type", ""),
        ] {
            let call = server.call_as(&token);
            let call = if name == "content-type" { call.without(name) } else { call };
            let reply = call.header(name, value).send().await;
            assert!(matches!(reply.status, 415 | 400), "{name}: {value}: {reply}");
            assert!(reply.rpc_error().id.is_null(), "{name}: {value}: {reply}");
        }
        let none = server.call_as(&token).without("content-type").send().await;
        assert_eq!(none.status, 415, "no content type: {none}");
        let two = server.call_as(&token).header("content-type", "text/plain").send().await;
        assert!(matches!(two.status, 415 | 400), "two content types: {two}");
        server.upstream.assert_untouched("an encoded body");
        for value in ["application/json; charset=utf-8", "application/json;charset=UTF-8", "Application/JSON"] {
            let reply = server.call_as(&token).without("content-type").header("content-type", value).send().await;
            assert_eq!(reply.status, 200, "{value}: {reply}");
        }
    });
}

#[test]
fn r6_refuses_headers_that_say_another_thing_than_the_body() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let token = world.issuer.token("alice", &server).mint();
        let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {}});
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
            "name": "delete", "arguments": {}, "_meta": meta}});
        let modern = |method: &str, name: &str| {
            let call = server.call_as(&token).rpc(&body).header("mcp-protocol-version", "2026-07-28");
            call.header("mcp-method", method).header("mcp-name", name)
        };
        for (method, name) in [
            ("tools/list", "delete"),
            ("tools/call", "echo"),
            ("tools/call", "Delete"),
            ("TOOLS/CALL", "delete"),
            ("tools/call", "=?base64?ZWNobw==?="),
            ("tools/call", "=?base64?nonsense!?="),
            ("", "delete"),
            ("tools/call", ""),
        ] {
            let reply = modern(method, name).send().await;
            assert_eq!((reply.status, reply.rpc_error().code), (400, -32020), "{method} {name}: {reply}");
        }
        for twice in ["mcp-method", "mcp-name", "mcp-protocol-version"] {
            let reply = modern("tools/call", "delete").header(twice, "x").send().await;
            assert_eq!(reply.status, 400, "{twice} twice: {reply}");
        }
        server.upstream.assert_untouched("a header that lies");
        for name in ["delete", "=?base64?ZGVsZXRl?="] {
            assert_eq!(modern("tools/call", name).send().await.status, 200, "{name}");
        }
    });
}

#[test]
fn answers_carry_the_id_of_the_request_byte_for_byte() {
    run(async {
        let world = World::shared().await;
        let server = world.server().subjects(&["user:nobody@example.com"]).register().await;
        let token = world.issuer.token("alice", &server).mint();
        for id in [json!(0), json!(-7), json!("a\"b\\c"), json!("\u{1f511}"), json!(9_007_199_254_740_993_i64)] {
            let body = json!({"jsonrpc": "2.0", "id": id, "method": "tools/list"});
            let reply = server.call_as(&token).rpc(&body).send().await;
            let error = reply.rpc_error();
            assert_eq!((reply.status, error.code, &error.id), (200, -31002, &id), "{reply}");
        }
        let huge = r#"{"jsonrpc":"2.0","id":123456789012345678901234567890,"method":"tools/list"}"#;
        let reply = server.call_as(&token).body(huge).send().await;
        assert!(String::from_utf8_lossy(&reply.body).contains(r#""id":123456789012345678901234567890,"#), "{reply}");
    });
}

#[test]
fn r7_every_method_is_behind_the_same_door() {
    run(async {
        let world = World::shared().await;
        let server = world.server().subjects(&["user:nobody@example.com"]).register().await;
        let token = world.issuer.token("alice", &server).mint();
        for method in [
            "initialize",
            "server/discover",
            "ping",
            "tools/list",
            "tools/call",
            "resources/read",
            "resources/list",
            "prompts/get",
            "completion/complete",
            "subscriptions/listen",
            "logging/setLevel",
            "no/such",
            "",
        ] {
            let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"name": "echo", "uri": "x:y"}});
            let reply = server.call_as(&token).rpc(&body).send().await;
            let refused = (reply.status == 200 && reply.rpc_error().code == -31002) || reply.status == 400;
            assert!(refused, "{method}: {reply}");
        }
        let notification = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let reply = server.call_as(&token).rpc(&notification).send().await;
        assert_eq!((reply.status, reply.body.len()), (202, 0), "{reply}");
        for method in ["GET", "DELETE"] {
            let reply = server.call_as(&token).method(method).send().await;
            assert_eq!(reply.status, 403, "{method}: {reply}");
        }
        let answer = json!({"jsonrpc": "2.0", "id": 1, "result": {}});
        let reply = server.call_as(&token).rpc(&answer).send().await;
        assert!(matches!(reply.status, 202 | 400 | 403 | 404), "{reply}");
        server.upstream.assert_untouched("a caller without right");
        assert!(!String::from_utf8_lossy(&reply.body).contains("nobody"), "tells who else may: {reply}");
    });
}

#[test]
fn a_message_without_params_reaches_the_upstream_and_nothing_is_added() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let token = world.issuer.token("alice", &server).mint();
        let body = json!({"jsonrpc": "2.0", "id": Value::Null, "method": "ping"});
        let reply = server.call_as(&token).rpc(&body).send().await;
        // JSON-RPC discourages a null id; MCP forbids it.
        assert!(matches!(reply.status, 200 | 400), "{reply}");
        let reply = server.call_as(&token).rpc(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})).send().await;
        assert_eq!(reply.result()["method"], "ping");
    });
}
