//! Consent that is missing: what each kind of request is told, before it was let go and after its upstream wanted more.

use proto::acquire_credential_response::Answer as Said;

use super::*;

const URL: &str = "https://gate.example/connect/1";
const MESSAGE: &str = "Authorization required for demo/own. Please visit: https://gate.example/connect/1";
/// A 403 by which an upstream asks for more than the grant has.
const NARROW: [(&str, &str); 2] =
    [(":status", "403"), ("www-authenticate", r#"Bearer error="insufficient_scope", scope="repo""#)];

fn consent_required() -> Answer {
    let consent = proto::Consent { server: "demo/own".into(), url: URL.into(), message: String::new() };
    said(Said::ConsentRequired(proto::ConsentRequired { consents: vec![consent] }))
}

fn request(method: &str) -> String {
    json!({"jsonrpc": "2.0", "id": "a-1", "method": method, "params": {"name": "echo", "uri": "x:y"}}).to_string()
}

/// What a request is told whose caller has not consented.
#[track_caller]
fn before(request: &Request, body: &str) -> Reply {
    let mut gate = Gate::new();
    let (flow, step) = gate.send(request, body);
    let ask = asked(step);
    replied(gate.answer(flow, &ask.key, &consent_required()).1)
}

/// What a request is told whose caller has consented to too little.
#[track_caller]
fn after(request: &Request, body: &str) -> Reply {
    let mut gate = Gate::new();
    let (flow, _) = gate.released(request, body);
    let head = world::head(&NARROW);
    let (flow, step) = gate.on(|env| flow.on_response_headers(&head, env));
    assert_eq!(name_of(&step), "reject credential");
    replied(gate.on(|env| flow.on_rejected(&consent_required(), false, env)).1)
}

fn both(request: &Request, body: &str) -> [Reply; 2] {
    [before(request, body), after(request, body)]
}

#[test]
fn every_request_with_an_id_is_told_where_to_consent_in_a_200() {
    for method in ["initialize", "server/discover", "tools/list", "tools/call", "prompts/get", "resources/read", "ping"]
    {
        for reply in both(&Request::post("demo/own"), &request(method)) {
            let body: Value = serde_json::from_slice(&reply.body).unwrap();
            assert_eq!((reply.status, &body["id"], &body["error"]["code"]), (200, &json!("a-1"), &json!(-31001)));
            assert_eq!((&body["error"]["message"], &body["error"]["data"]), (&json!(MESSAGE), &json!(MESSAGE)));
            assert_eq!(reply.code, "consent_required", "{method}");
        }
    }
}

#[test]
fn a_notification_is_taken_in_silence() {
    for reply in both(&Request::post("demo/own"), NOTE) {
        assert_eq!((reply.status, reply.body.len()), (202, 0));
    }
}

#[test]
fn there_is_no_stream_and_no_session_without_consent() {
    for verb in ["GET", "DELETE"] {
        for reply in both(&Request::new(verb, "demo/own", &alice()), "") {
            assert_eq!((reply.status, reply.body.len()), (405, 0), "{verb}");
            assert!(reply.headers.contains(&("allow", "POST".into())), "{verb}");
        }
    }
}

#[test]
fn no_reply_about_consent_has_a_challenge_or_may_be_stored() {
    let requests =
        [(Request::post("demo/own"), CALL), (Request::post("demo/own"), NOTE), (Request::get("demo/own"), "")];
    for (request, body) in requests {
        for reply in both(&request, body) {
            assert!(reply.headers.iter().all(|(name, _)| *name != "www-authenticate"));
            assert!(reply.headers.contains(&("cache-control", "no-store".into())));
        }
    }
}

#[test]
fn after_consent_the_next_request_asks_again() {
    let mut gate = Gate::new();
    let (flow, step) = gate.send(&Request::post("demo/own"), CALL);
    let ask = asked(step);
    replied(gate.answer(flow, &ask.key, &consent_required()).1);
    gate.released(&Request::post("demo/own"), CALL);
}

#[test]
fn a_credential_that_was_too_narrow_is_not_used_again() {
    let mut gate = Gate::new();
    let (flow, _) = gate.released(&Request::post("demo/own"), CALL);
    let head = world::head(&NARROW);
    let (_, step) = gate.on(|env| flow.on_response_headers(&head, env));
    assert_eq!(name_of(&step), "reject credential");
    asked(gate.send(&Request::post("demo/own"), CALL).1);
}
