use serde_json::{Value, json};

use super::*;

const METADATA: &str = "https://gw/.well-known/oauth-protected-resource/mcp-server/demo/echo/server";

fn consents() -> Vec<Consent> {
    ["github", "slack"]
        .map(|name| Consent {
            server: format!("demo/{name}"),
            url: format!("https://gw/connect/{name}"),
            message: String::new(),
        })
        .into()
}

fn all() -> Vec<Rejection> {
    vec![
        Rejection::TokenMissing,
        Rejection::TokenRefused { why: "expired" },
        Rejection::TokenInQuery,
        Rejection::AuthorizationRepeated,
        Rejection::ScopeInsufficient,
        Rejection::ServerNotAllowed,
        Rejection::ToolNotAllowed { tool: "delete_all".into() },
        Rejection::IdentityContested,
        Rejection::ConsentRequired { consents: consents() },
        Rejection::CredentialRenewed,
        Rejection::CredentialRefused,
        Rejection::UpstreamForbidden,
        Rejection::UpstreamRedirected,
        Rejection::BrokerUnavailable { retry_after_ms: 2_500, message: None },
        Rejection::SnapshotMissing,
        Rejection::SnapshotStale,
        Rejection::ReportsFull,
        Rejection::ClusterMismatch,
        Rejection::BodyNotJson,
        Rejection::BodyInvalid,
        Rejection::HeaderMismatch,
        Rejection::TrailersUnjudged,
        Rejection::BodyTooLarge,
        Rejection::BodyEncoded,
        Rejection::ContentTypeUnsupported,
        Rejection::BodyCallbackMissing,
        Rejection::HeadersUnreadable,
        Rejection::PathUnknown,
        Rejection::MethodNotAllowed,
        Rejection::OriginRefused,
        Rejection::HostRefused,
        Rejection::SessionUnknown,
    ]
}

const KINDS: [RequestKind; 6] = [
    RequestKind::Unknown,
    RequestKind::Request,
    RequestKind::Notification,
    RequestKind::Response,
    RequestKind::Get,
    RequestKind::Delete,
];

fn context<'a>(kind: RequestKind, id: Option<&'a Id<'a>>) -> ReplyContext<'a> {
    ReplyContext {
        origin: None,
        started_ns: 0,
        id,
        kind,
        resource_metadata: Some(METADATA),
        scope: "mcp:use",
        server: Some("demo/echo"),
        request_id: "req-1",
    }
}

fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    reply.headers.iter().find(|(header, _)| *header == name).map(|(_, value)| value.as_str())
}

fn error(reply: &Reply) -> Value {
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(body["jsonrpc"], "2.0");
    assert_eq!(header(reply, "content-type"), Some("application/json"));
    body["error"].clone()
}

/// What a request (kind Request, id 7) is told: status, JSON-RPC code, code.
#[test]
fn each_row_of_the_table_for_a_request() {
    let rows = [
        (401, -31007, "token_missing"),
        (401, -31007, "token_refused"),
        (400, -31007, "token_in_query"),
        (400, -31007, "authorization_repeated"),
        (403, -31007, "scope_insufficient"),
        (200, -31002, "server_not_allowed"),
        (200, -31002, "tool_not_allowed"),
        (200, -31002, "identity_contested"),
        (200, -31001, "consent_required"),
        (200, -31003, "credential_renewed"),
        (200, -31005, "credential_refused"),
        (200, -31005, "upstream_forbidden"),
        (200, -31004, "upstream_redirected"),
        (200, -31004, "broker_unavailable"),
        (503, -31004, "snapshot_missing"),
        (200, -31004, "snapshot_stale"),
        (200, -31004, "reports_full"),
        (503, -31006, "cluster_mismatch"),
        (400, -32700, "body_not_json"),
        (400, -32600, "body_invalid"),
        (400, -32020, "header_mismatch"),
        (400, -32600, "trailers_unjudged"),
        (413, -31008, "body_too_large"),
        (415, -31008, "body_encoded"),
        (415, -31008, "content_type_unsupported"),
        (503, -31004, "body_callback_missing"),
        (400, -31008, "headers_unreadable"),
        (404, -31008, "path_unknown"),
        (405, -31008, "method_not_allowed"),
        (403, -31008, "origin_refused"),
        (403, -31008, "host_refused"),
        (404, -32600, "session_unknown"),
    ];
    assert_eq!(rows.len(), all().len());
    let id = Id::of("7");
    for ((status, json_rpc, code), rejection) in rows.into_iter().zip(all()) {
        let reply = reply(&rejection, &context(RequestKind::Request, Some(&id)));
        assert_eq!((reply.status, rejection.code()), (status, code));
        assert_eq!(error(&reply)["code"], json_rpc, "{code}");
        assert_eq!(serde_json::from_slice::<Value>(&reply.body).unwrap()["id"], 7, "{code}");
        assert!(header(&reply, "retry-after").is_some() == (status == 503), "{code}");
    }
}

#[test]
fn codes_are_distinct_single_words() {
    let codes: std::collections::BTreeSet<_> = all().iter().map(Rejection::code).collect();
    assert_eq!(codes.len(), all().len());
    assert!(codes.iter().all(|code| code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')));
}

#[test]
fn every_reply_is_empty_or_json_with_the_request_id() {
    for rejection in all() {
        for kind in KINDS {
            let reply = reply(&rejection, &context(kind, None));
            if reply.body.is_empty() {
                assert!(matches!(reply.status, 202 | 405), "{rejection:?} {kind:?}");
                continue;
            }
            let error = error(&reply);
            assert!(error["message"].is_string());
            match &rejection {
                Rejection::ConsentRequired { .. } => assert!(error["data"].is_string()),
                _ => assert_eq!(error["data"], json!({"request_id": "req-1", "reason": rejection.code()})),
            }
        }
    }
}

#[test]
fn a_200_or_202_is_told_only_to_requests_and_notifications_behind_the_outer_door() {
    for rejection in all() {
        for kind in KINDS {
            match reply(&rejection, &context(kind, None)).status {
                200 => assert_eq!(kind, RequestKind::Request, "{rejection:?}"),
                202 => assert_eq!(kind, RequestKind::Notification, "{rejection:?}"),
                status => assert!((400..600).contains(&status)),
            }
        }
    }
}

#[test]
fn a_missing_token_is_challenged_without_an_error() {
    let reply = reply(&Rejection::TokenMissing, &context(RequestKind::Unknown, None));
    assert_eq!(
        header(&reply, "www-authenticate").unwrap(),
        format!(r#"Bearer resource_metadata="{METADATA}", scope="mcp:use""#)
    );
    assert_eq!(serde_json::from_slice::<Value>(&reply.body).unwrap()["id"], Value::Null);
}

#[test]
fn a_refused_token_is_challenged_with_invalid_token() {
    let reply = reply(&Rejection::TokenRefused { why: "expired" }, &context(RequestKind::Unknown, None));
    assert_eq!(
        header(&reply, "www-authenticate").unwrap(),
        format!(r#"Bearer error="invalid_token", resource_metadata="{METADATA}", scope="mcp:use""#)
    );
}

#[test]
fn a_narrow_token_is_challenged_with_insufficient_scope() {
    let reply = reply(&Rejection::ScopeInsufficient, &context(RequestKind::Unknown, None));
    assert_eq!(reply.status, 403);
    assert!(header(&reply, "www-authenticate").unwrap().starts_with(r#"Bearer error="insufficient_scope", "#));
}

#[test]
fn a_challenge_leaves_out_what_is_not_known() {
    let context = ReplyContext::default();
    let header_of = |rejection| header(&reply(&rejection, &context), "www-authenticate").unwrap().to_owned();
    assert_eq!(header_of(Rejection::TokenMissing), "Bearer");
    assert_eq!(header_of(Rejection::TokenRefused { why: "x" }), r#"Bearer error="invalid_token""#);
}

#[test]
fn a_challenge_cannot_be_split() {
    let context =
        ReplyContext { resource_metadata: Some("https://gw/\r\nset-cookie: a=\"b\\"), ..ReplyContext::default() };
    let reply = reply(&Rejection::TokenMissing, &context);
    assert_eq!(
        header(&reply, "www-authenticate").unwrap(),
        r#"Bearer resource_metadata="https://gw/set-cookie: a=\"b\\""#
    );
}

#[test]
fn only_token_and_scope_are_challenged() {
    for rejection in all() {
        let challenged =
            KINDS.iter().any(|kind| header(&reply(&rejection, &context(*kind, None)), "www-authenticate").is_some());
        let expected = matches!(
            rejection,
            Rejection::TokenMissing | Rejection::TokenRefused { .. } | Rejection::ScopeInsufficient
        );
        assert_eq!(challenged, expected, "{rejection:?}");
    }
}

#[test]
fn consent_data_is_one_line_that_ends_with_the_urls() {
    let id = Id::of("1");
    let rejection = Rejection::ConsentRequired { consents: consents() };
    let error = error(&reply(&rejection, &context(RequestKind::Request, Some(&id))));
    let data = error["data"].as_str().unwrap();
    assert_eq!(
        data,
        "Authorization required for demo/github, demo/slack. Please visit: https://gw/connect/github , https://gw/connect/slack"
    );
    assert_eq!(error["message"], data);
}

#[test]
fn consent_stays_on_one_line_whatever_the_broker_says() {
    let mut consents = consents();
    consents[0].server = "demo/a\nb".into();
    let error = error(&reply(&Rejection::ConsentRequired { consents }, &context(RequestKind::Request, None)));
    assert!(!error["data"].as_str().unwrap().contains('\n'));
}

#[test]
fn missing_consent_answers_get_and_delete_with_405() {
    let rejection = Rejection::ConsentRequired { consents: consents() };
    for kind in [RequestKind::Get, RequestKind::Delete] {
        let reply = reply(&rejection, &context(kind, None));
        assert_eq!((reply.status, reply.body.len()), (405, 0));
        assert_eq!(header(&reply, "allow"), Some("POST"));
    }
}

#[test]
fn a_notification_behind_an_outage_is_not_called_accepted() {
    for rejection in [
        Rejection::BrokerUnavailable { retry_after_ms: 1, message: None },
        Rejection::SnapshotStale,
        Rejection::ReportsFull,
    ] {
        let reply = reply(&rejection, &context(RequestKind::Notification, None));
        assert_eq!((reply.status, header(&reply, "retry-after")), (503, Some("1")));
    }
}

#[test]
fn retry_after_rounds_up_within_an_hour() {
    for (retry_after_ms, seconds) in [(0, "1"), (1_000, "1"), (2_500, "3"), (u64::MAX, "3600")] {
        let rejection = Rejection::BrokerUnavailable { retry_after_ms, message: None };
        assert_eq!(header(&reply(&rejection, &context(RequestKind::Get, None)), "retry-after"), Some(seconds));
    }
}

#[test]
fn a_denial_names_server_and_tool_and_keeps_the_answer_json() {
    let id = Id::of("1");
    let tool = format!("x\"}}\n\u{0}{}", "y".repeat(10_000));
    let reply = reply(&Rejection::ToolNotAllowed { tool }, &context(RequestKind::Request, Some(&id)));
    let message = error(&reply)["message"].as_str().unwrap().to_owned();
    assert!(message.contains("demo/echo") && message.contains("x\"}") && message.len() < 400);
}

#[test]
fn ids_are_told_back_as_they_came() {
    for raw in [r#""a\u0062\"c""#, "123456789012345678901234567890", "-1"] {
        let id = Id::of(raw);
        let reply = reply(&Rejection::ServerNotAllowed, &context(RequestKind::Request, Some(&id)));
        assert!(std::str::from_utf8(&reply.body).unwrap().starts_with(&format!(r#"{{"jsonrpc":"2.0","id":{raw},"#)));
    }
}

#[test]
fn a_flaw_of_the_body_is_answered_with_its_id_and_code() {
    for (body, code, id) in [
        (r#"{"jsonrpc":"2.0","id":7,"method":"ping""#, -32700, json!(7)),
        (r#"{"jsonrpc":"2.0","id":"a","method":"ping","Method":"x"}"#, -32600, json!("a")),
        (r#"[{"jsonrpc":"2.0","id":7,"method":"ping"}]"#, -32600, Value::Null),
    ] {
        let error = crate::jsonrpc::read(body.as_bytes()).unwrap_err();
        let reply = reply(&Rejection::from(&error), &context(RequestKind::Unknown, error.id()));
        let answer: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!((reply.status, &answer["error"]["code"], &answer["id"]), (400, &json!(code), &id));
    }
}
