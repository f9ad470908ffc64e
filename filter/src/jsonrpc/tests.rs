use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;

use super::MessageFlaw::{
    Batch, LookAlikeKey, Metadata, Method, NotObject, Params, RepeatedKey, Shape, Target, TooManyKeys, Version,
};
use super::ParseFlaw::*;
use super::*;

fn ok(body: &str) -> Message<'_> {
    read(body.as_bytes()).unwrap_or_else(|error| panic!("{body}: {error}"))
}

fn parse_flaw(body: &[u8]) -> ParseFlaw {
    match read(body) {
        Err(BodyError::Parse { flaw, .. }) => flaw,
        other => panic!("{}: {other:?}", String::from_utf8_lossy(body)),
    }
}

fn message_flaw(body: &str) -> MessageFlaw {
    match read(body.as_bytes()) {
        Err(BodyError::Invalid { flaw, .. }) => flaw,
        other => panic!("{body}: {other:?}"),
    }
}

#[test]
fn reads_a_modern_call() {
    let body = r#" {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_weather","arguments":{"a":[1,{"name":"x"}]},
        "_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","progressToken":7,
        "io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{},"url":{}}}}}}
"#;
    let message = ok(body);
    assert_eq!(message.kind, Kind::Request { id: Id::of("1") });
    assert_eq!(message.method, "tools/call");
    assert_eq!(message.target.as_deref(), Some("get_weather"));
    assert_eq!(message.meta_version.as_deref(), Some("2026-07-28"));
    assert_eq!(message.proposed_version, None);
    assert!(message.elicits_by_url);
    assert!(matches!(message.method, Cow::Borrowed(_)));
}

#[test]
fn reads_an_initialize() {
    let message =
        ok(r#"{"params":{"capabilities":{"roots":{},"elicitation":{"url":{}}},"protocolVersion":"2025-11-25",
        "clientInfo":{"name":"x","version":"1"}},"method":"initialize","id":"a-\u0031","jsonrpc":"2.0"}"#);
    assert_eq!(message.kind, Kind::Request { id: Id::of(r#""a-\u0031""#) });
    assert_eq!(message.proposed_version.as_deref(), Some("2025-11-25"));
    assert!(message.elicits_by_url);
    assert_eq!(message.target, None);
}

#[test]
fn reads_notifications_and_responses() {
    assert_eq!(ok(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).kind, Kind::Notification);
    for answer in [r#""result":{"roots":[]}"#, r#""error":{"code":-1,"message":"no"}"#, r#""result":null"#] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":5,{answer}}}"#);
        let message = ok(&body);
        assert_eq!(message.kind, Kind::Response { id: Id::of("5") });
        assert_eq!(message.method, "");
    }
}

#[test]
fn elicitation_by_url_counts_only_where_it_is_declared() {
    for (declared, capabilities) in [
        (true, r#"{"elicitation":{"url":{}}}"#),
        (true, r#"{"elicitation":{"form":{},"url":{"x":1}}}"#),
        (false, r#"{"elicitation":{}}"#),
        (false, r#"{"elicitation":{"form":{}}}"#),
        (false, r#"{"elicitation":{"url":null}}"#),
        (false, r#"{"elicitation":{"url":true}}"#),
        (false, r#"{"elicitation":null}"#),
        (false, r#"{"elicitation":["url"]}"#),
        (false, r#"{"url":{}}"#),
        (false, r#"{"roots":{"elicitation":{"url":{}}}}"#),
        (false, "null"),
        (false, r#""elicitation""#),
    ] {
        let initialize =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"capabilities":{capabilities}}}}}"#);
        assert_eq!(ok(&initialize).elicits_by_url, declared, "{capabilities}");
        let elsewhere = initialize.replace("initialize", "tools/list");
        assert!(!ok(&elsewhere).elicits_by_url);
        let meta = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{{"io.modelcontextprotocol/clientCapabilities":{capabilities}}}}}}}"#
        );
        assert_eq!(ok(&meta).elicits_by_url, declared, "{capabilities}");
    }
}

#[test]
fn the_target_is_what_the_method_acts_on() {
    for (method, params, target) in [
        ("tools/call", r#"{"name":"a","uri":"b","taskId":"c"}"#, Some("a")),
        ("tools/call", r#"{"name":"\ud83d\ude00\n\u00e9 \"x\""}"#, Some("\u{1f600}\n\u{e9} \"x\"")),
        ("tools/call", r#"{"name":""}"#, Some("")),
        ("prompts/get", r#"{"name":"a"}"#, Some("a")),
        ("resources/read", r#"{"name":"a","uri":"file:///b"}"#, Some("file:///b")),
        ("resources/subscribe", r#"{"uri":"b"}"#, Some("b")),
        ("tasks/get", r#"{"taskId":"c"}"#, Some("c")),
        ("tasks/list", r#"{"cursor":"d"}"#, None),
        ("tools/list", r#"{"name":"a"}"#, None),
        ("tools/list", "null", None),
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"params":{params},"method":"{method}"}}"#);
        assert_eq!(ok(&body).target.as_deref(), target, "{body}");
    }
}

#[test]
fn refuses_a_call_without_a_clear_target() {
    for (method, params) in [
        ("tools/call", "{}"),
        ("tools/call", "null"),
        ("tools/call", r#"{"name":null}"#),
        ("tools/call", r#"{"name":1}"#),
        ("tools/call", r#"{"name":["a"]}"#),
        ("tools/call", r#"{"name":{"name":"a"}}"#),
        ("tools/call", r#"{"name":"a\u0000b"}"#),
        ("tools/call", r#"{"uri":"a"}"#),
        ("prompts/get", r#"{"arguments":{"name":"a"}}"#),
        ("resources/read", r#"{"name":"a"}"#),
        ("tasks/cancel", r#"{"taskId":7}"#),
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        assert_eq!(message_flaw(&body), Target, "{body}");
    }
}

#[test]
fn r1_refuses_repeated_keys() {
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","m\u0065thod":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{},"params":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","x":1,"x":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","\u0078":1,"x":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","\u006eame":"b"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{},"arguments":{}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"y":1,"y":2}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"a":1,"a":2}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"a":1,"\u0061":2}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","other":{"a":1,"a":2}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{"elicitation":{},"elicitation":{"url":{}}}}}"#,
    ] {
        assert_eq!(message_flaw(body), RepeatedKey, "{body}");
    }
    ok(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"x":1,"x":2}}}"#);
}

#[test]
fn r2_refuses_look_alike_keys() {
    for key in [
        "Method",
        "METHOD",
        "methoD",
        "param\u{17f}",
        "PARAM\u{17f}",
        "re\u{17f}ult",
        "j\u{17f}onrpc",
        "\u{131}d",
        "\u{130}d",
        "ID",
        "\u{ff4d}ethod",
        "\u{ff2d}\u{ff25}\u{ff34}\u{ff28}\u{ff2f}\u{ff24}",
        "method ",
        " method",
        "method\\t",
        "method\\u0000",
        "\\u0000",
        "me\\u0000thod",
        "\\u004dethod",
        "meth\\u017fod\\u0000",
        "method\u{200b}",
        "\u{feff}method",
        "me\u{ad}thod",
        "me\u{301}thod",
        "method\u{7f}",
        "Result",
        "ERROR",
        "JsonRPC",
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","{key}":"tools/call"}}"#);
        assert_eq!(message_flaw(&body), LookAlikeKey, "{key}");
    }
    for key in [
        "Name",
        "NAME",
        "\u{ff4e}ame",
        "URI",
        "ur\u{131}",
        "task\u{131}d",
        "ta\u{17f}\u{212a}Id",
        "TaskId",
        "_Meta",
        "_META",
        "Arguments",
        "name\\u0000",
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"{key}":1}}}}"#);
        assert_eq!(message_flaw(&body), LookAlikeKey, "{key}");
    }
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"IO.modelcontextprotocol/protocolVersion":"x"}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{"Elicitation":{"url":{}}}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{"elicitation":{"URL":{}}}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"arguments":{"deep":[{"a\u0000":1}]}}}"#,
    ] {
        assert_eq!(message_flaw(body), LookAlikeKey, "{body}");
    }
    // Other names stay other names.
    ok(
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","methods":1,"x-method":2,"\u043cethod":3,"params":{"names":1,"n\u0430me":2}}"#,
    );
}

#[test]
fn r3_refuses_what_is_not_one_strict_object() {
    const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let with = |value: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":{value}}}}}"#);
    for (body, flaw) in [
        (String::new(), Truncated),
        (" \n".into(), Truncated),
        ("{".into(), Truncated),
        (PING[..PING.len() - 1].into(), Truncated),
        (format!("{PING}{PING}"), Trailing),
        (format!("{PING}\n{PING}\n"), Trailing),
        (format!("{PING},"), Trailing),
        (format!("{PING}\0"), Trailing),
        (format!("{PING}//"), Trailing),
        (format!("\u{feff}{PING}"), Utf8),
        (format!("{PING}\u{feff}"), Trailing),
        (format!("\u{a0}{PING}"), Unexpected),
        (format!("/* */{PING}"), Unexpected),
        (format!("\u{b}{PING}"), Unexpected),
        (format!("({PING})"), Unexpected),
        (format!(")]}}'\n{PING}"), Unexpected),
        (format!("data: {PING}"), Unexpected),
        ("NaN".into(), Unexpected),
        (r#"{'jsonrpc':"2.0"}"#.into(), Unexpected),
        (r#"{jsonrpc:"2.0"}"#.into(), Unexpected),
        (r#"{"jsonrpc":"2.0",}"#.into(), Unexpected),
        (r#"{,"jsonrpc":"2.0"}"#.into(), Unexpected),
        (r#"{"jsonrpc" "2.0"}"#.into(), Unexpected),
        (r#"{"jsonrpc":"2.0" "id":1}"#.into(), Unexpected),
        (r#"{"jsonrpc":"2.0";"id":1}"#.into(), Unexpected),
        (with("NaN"), Unexpected),
        (with("Infinity"), Unexpected),
        (with("-Infinity"), Number),
        (with("-"), Number),
        (with("+1"), Unexpected),
        (with("01"), Number),
        (with("-01"), Number),
        (with("1."), Number),
        (with(".5"), Unexpected),
        (with("1e"), Number),
        (with("1e+"), Number),
        (with("1e999"), Number),
        (with("0x10"), Unexpected),
        (with(&"9".repeat(400)), Number),
        (with("True"), Unexpected),
        (with("nul"), Unexpected),
        (with("truefalse"), Unexpected),
        (with("undefined"), Unexpected),
        (with("[1,]"), Unexpected),
        (with("[,1]"), Unexpected),
        (with("[1 2]"), Unexpected),
        (with("[1}"), Unexpected),
        (with(r#"{"a":1]"#), Unexpected),
        (with(r#"{"a"}"#), Unexpected),
        (with(r#"{"a":1,}"#), Unexpected),
        (with(r#"{1:2}"#), Unexpected),
        (with("\"a\nb\""), Control),
        (with("\"a\tb\""), Control),
        (with("\"a\0b\""), Control),
        (with(r#""\x41""#), Escape),
        (with(r#""\'""#), Escape),
        (with(r#""\u12""#), Escape),
        (with(r#""\u+123""#), Escape),
        (with(r#""\ud800""#), Escape),
        (with(r#""\udc00""#), Escape),
        (with(r#""\ud800\u0041""#), Escape),
        (with(r#""\ud800x""#), Escape),
        (with(r#""\ud800\ud800""#), Escape),
        (with(r#""\udc00\ud800""#), Escape),
    ] {
        assert_eq!(parse_flaw(body.as_bytes()), flaw, "{body}");
    }
}

#[test]
fn r3_refuses_what_is_not_utf_8() {
    let ping = br#"{"jsonrpc":"2.0","id":1,"method":"ping","x":"?"}"#;
    for bad in
        [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x80", b"\xf8\x88\x80\x80\x80"]
    {
        let at = ping.iter().position(|byte| *byte == b'?').unwrap();
        let body = [&ping[..at], bad, &ping[at + 1..]].concat();
        assert_eq!(parse_flaw(&body), Utf8);
    }
    let text = std::str::from_utf8(ping).unwrap();
    let utf_16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(read(&utf_16).is_err());
    let marked: Vec<u8> = [0xFEFF].into_iter().chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect();
    assert_eq!(parse_flaw(&marked), Utf8);
    let utf_32: Vec<u8> = text.chars().flat_map(|character| u32::from(character).to_be_bytes()).collect();
    assert!(read(&utf_32).is_err());
}

#[test]
fn r3_refuses_batches_and_scalars() {
    for body in ["[]", "[1]", r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, " [ ] "] {
        assert_eq!(message_flaw(body), Batch, "{body}");
    }
    for body in ["1", "null", "true", r#""{}""#] {
        assert_eq!(message_flaw(body), NotObject, "{body}");
    }
    assert_eq!(parse_flaw(b"[1] x"), Trailing);
    assert_eq!(parse_flaw(b"[1"), Truncated);
}

#[test]
fn refuses_what_is_no_message() {
    for (body, flaw) in [
        ("{}", Version),
        (r#"{"id":1,"method":"ping"}"#, Version),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, Version),
        (r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#, Version),
        (r#"{"jsonrpc":"2.0 ","id":1,"method":"ping"}"#, Version),
        (r#"{"jsonrpc":"2.0"}"#, Shape),
        (r#"{"jsonrpc":"2.0","id":1}"#, Shape),
        (r#"{"jsonrpc":"2.0","result":{}}"#, Shape),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#, Shape),
        (r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#, Shape),
        (r#"{"jsonrpc":"2.0","id":1,"result":{},"params":{}}"#, Shape),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, MessageFlaw::Id),
        (r#"{"jsonrpc":"2.0","id":null,"error":{}}"#, MessageFlaw::Id),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, MessageFlaw::Id),
        (r#"{"jsonrpc":"2.0","id":1e3,"method":"ping"}"#, MessageFlaw::Id),
        (r#"{"jsonrpc":"2.0","id":-0,"method":"ping"}"#, MessageFlaw::Id),
        (r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#, MessageFlaw::Id),
        (r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#, MessageFlaw::Id),
        (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, MessageFlaw::Id),
        (r#"{"jsonrpc":"2.0","id":1,"method":""}"#, Method),
        (r#"{"jsonrpc":"2.0","id":1,"method":1}"#, Method),
        (r#"{"jsonrpc":"2.0","id":1,"method":null}"#, Method),
        (r#"{"jsonrpc":"2.0","id":1,"method":["ping"]}"#, Method),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping\u0000"}"#, Method),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#, Params),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":"x"}"#, Params),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":[]}}"#, Metadata),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":1}}}"#,
            Metadata,
        ),
    ] {
        assert_eq!(message_flaw(body), flaw, "{body}");
    }
    let long = |id: usize, method: usize| {
        format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"{}"}}"#, "a".repeat(id), "m".repeat(method))
    };
    ok(&long(254, 256));
    assert_eq!(message_flaw(&long(255, 1)), MessageFlaw::Id);
    assert_eq!(message_flaw(&long(1, 257)), Method);
}

#[test]
fn a_refusal_carries_the_id_that_was_read_before() {
    for (body, id) in [
        (r#"{"jsonrpc":"2.0","id":7,"method":1}"#, Some("7")),
        (r#"{"jsonrpc":"2.0","id":"a\n","method":"x","Method":1}"#, Some(r#""a\n""#)),
        (r#"{"id":7,"jsonrpc":"2.0","method":"tools/call"}"#, Some("7")),
        (r#"{"id":7,"#, Some("7")),
        (r#"{"method":1,"id":7}"#, None),
        ("x", None),
    ] {
        assert_eq!(read(body.as_bytes()).unwrap_err().id().map(Id::as_json), id, "{body}");
    }
}

#[test]
fn too_many_keys_are_refused_before_they_cost() {
    let keys = |count: usize| (0..count).map(|key| format!(r#""k{key}":1"#)).collect::<Vec<_>>().join(",");
    let body = |count| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{{}}}}}"#, keys(count));
    ok(&body(128));
    assert_eq!(message_flaw(&body(129)), TooManyKeys);
    let deep = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"arguments":{{{}}}}}}}"#, keys(5_000));
    ok(&deep);
}

#[test]
fn i10_deep_nesting_is_refused_without_recursion() {
    let nested = |open: &str, close: &str, levels: usize| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":{}1{}}}}}"#,
            open.repeat(levels),
            close.repeat(levels)
        )
    };
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (r#"[{"a":"#, "}]")] {
        let each = open.matches(['[', '{']).count();
        let deepest = 98 / each;
        ok(&nested(open, close, deepest));
        assert!(matches!(read(nested(open, close, deepest + 1).as_bytes()), Err(BodyError::Parse { flaw: Depth, .. })));
        assert_eq!(parse_flaw(open.repeat(1_000_000).as_bytes()), Depth);
    }
}

/// The keys of an object in their order, repeated ones too: what serde_json's own map would hide.
struct Pairs(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Pairs;
            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

fn agrees_with_serde(body: &[u8], message: &Message<'_>) {
    let shown = String::from_utf8_lossy(body);
    let Pairs(pairs) = serde_json::from_slice(body).unwrap_or_else(|error| panic!("{shown}: {error}"));
    for (position, (key, _)) in pairs.iter().enumerate() {
        assert!(pairs[..position].iter().all(|(other, _)| other != key), "{shown}: repeated {key}");
    }
    let value: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(value["jsonrpc"], "2.0", "{shown}");
    let id = match &message.kind {
        Kind::Request { id } | Kind::Response { id } => serde_json::from_str(id.as_json()).unwrap(),
        Kind::Notification => Value::Null,
    };
    assert_eq!(value["id"], id, "{shown}");
    assert_eq!(value["method"].as_str().unwrap_or(""), message.method, "{shown}");
    let target = match &*message.method {
        "tools/call" | "prompts/get" => value["params"]["name"].as_str(),
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => value["params"]["uri"].as_str(),
        task if task.starts_with("tasks/") => value["params"]["taskId"].as_str(),
        _ => None,
    };
    assert_eq!(target, message.target.as_deref(), "{shown}");
    let version = &value["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"];
    assert_eq!(version.as_str(), message.meta_version.as_deref(), "{shown}");
}

/// xorshift64: the same mutations in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

const SEEDS: [&str; 6] = [
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"h\u00e9 \"x\" \\ \ud83d\ude00","n":-1.5e3}}}"#,
    r#"{"jsonrpc":"2.0","id":"a-1","method":"resources/read","params":{"uri":"file:///x","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#,
    r#"{"jsonrpc": "2.0", "id": 3, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {"elicitation": {"url": {}}}}}"#,
    r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3,"reason":null}}"#,
    r#"{"id":12345678901234567890123,"result":{"roots":[{"uri":"x"},[],{},true,false,0]},"jsonrpc":"2.0"}"#,
    r#"{"params":{"taskId":"t"},"method":"tasks/get","id":-9,"jsonrpc":"2.0","extra":[1,2,[3]]}"#,
];

const PIECES: [&[u8]; 24] = [
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\\u0000",
    b"\\ud800",
    b"\\u006e",
    b"null",
    b"1e5",
    b"-0",
    b"\xff",
    b"\xc5\xbf",
    b"\"id\":2,",
    b"\"method\":\"ping\",",
    b"\"Method\":1,",
    b"\"name\":\"x\",",
    b"\0",
    b" ",
    b"\n",
    b"\xef\xbb\xbf",
];

fn mutate(random: &mut Random) -> Vec<u8> {
    let mut body = SEEDS[random.below(SEEDS.len())].as_bytes().to_vec();
    for _ in 0..random.below(4) {
        let at = random.below(body.len().max(1)).min(body.len());
        let to = (at + random.below(12)).min(body.len());
        match random.below(5) {
            0 if at < body.len() => body[at] = random.below(256) as u8,
            1 => drop(body.drain(at..to)),
            2 => drop(body.splice(at..at, PIECES[random.below(PIECES.len())].iter().copied())),
            3 => {
                let copy = body[at..to].to_vec();
                drop(body.splice(at..at, copy));
            }
            _ => body.truncate(body.len() - random.below(3).min(body.len())),
        }
    }
    body
}

#[test]
fn what_is_accepted_serde_reads_alike() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..100_000 {
        let body = mutate(&mut random);
        match read(&body) {
            Ok(message) => {
                agrees_with_serde(&body, &message);
                accepted += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(accepted > 10_000 && refused > 10_000, "{accepted} accepted, {refused} refused");
}

#[test]
fn i10_random_bytes_never_panic() {
    let mut random = Random(42);
    for _ in 0..50_000 {
        let body: Vec<u8> = (0..random.below(64)).map(|_| random.below(256) as u8).collect();
        let _ = read(&body);
        let mut json = b"{\"jsonrpc\":\"2.0\",".to_vec();
        for _ in 0..random.below(12) {
            json.extend_from_slice(PIECES[random.below(PIECES.len())]);
        }
        let _ = read(&json);
    }
}

#[test]
fn every_prefix_of_a_message_is_refused() {
    for seed in SEEDS {
        ok(seed);
        for end in 0..seed.len() {
            assert!(read(&seed.as_bytes()[..end]).is_err());
        }
    }
}
