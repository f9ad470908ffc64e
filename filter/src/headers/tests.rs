use super::*;

#[test]
fn i1_client_credentials_and_internal_names_go_nowhere() {
    for name in [
        "authorization",
        "Authorization",
        "AUTHORIZATION",
        "proxy-authorization",
        "Proxy_Authorization",
        "cookie",
        "Cookie2",
        "x-tfy-mcp-headers",
        "x-tfy-metadata",
        "X-Sallyport-Subject",
        "x_sallyport_subject",
        "x-upstream-authorization",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-access-token",
        "x-forwarded-email",
        "forwarded",
        "x-real-ip",
        "x-envoy-original-path",
        "x-envoy-external-address",
        "x-envoy-decorator-operation",
        "x-user",
        "X-User-Id",
        "x_user",
        "x-username",
        "x-mcpgw-user",
        "x-original-url",
        "x-http-method-override",
        "x-api-key",
        "dpop",
        "x-auth-request-email",
        "x-ms-client-principal-id",
    ] {
        assert_eq!(request_header(name.as_bytes()), RequestHeader::Strip, "{name}");
    }
}

#[test]
fn other_request_headers_pass() {
    for name in [
        "accept",
        "content-type",
        "content-length",
        "mcp-method",
        "mcp-name",
        "mcp-protocol-version",
        "mcp-param-region",
        "last-event-id",
        "traceparent",
        "user-agent",
        "x-request-id",
        "x-forwarded-proto",
        "authorizatio",
        "x-use",
        ":path",
    ] {
        assert_eq!(request_header(name.as_bytes()), RequestHeader::Pass, "{name}");
    }
    assert_eq!(request_header(b"\xff\xfe"), RequestHeader::Pass);
    assert_eq!(request_header(b""), RequestHeader::Pass);
}

#[test]
fn session_ids_are_unbound_in_any_spelling() {
    for name in ["mcp-session-id", "MCP-Session-Id", "mcp_session_id"] {
        assert_eq!(request_header(name.as_bytes()), RequestHeader::Session, "{name}");
    }
}

#[test]
fn an_upstream_cannot_speak_for_the_gateway() {
    for name in [
        "WWW-Authenticate",
        "set-cookie",
        "Location",
        "proxy-authenticate",
        "server",
        "x-envoy-upstream-service-time",
        "access-control-allow-origin",
    ] {
        assert!(is_withheld(name.as_bytes()), "{name}");
    }
    for name in ["content-type", "mcp-session-id", "cache-control", "x-accel-buffering", "server-timing", "retry-after"]
    {
        assert!(!is_withheld(name.as_bytes()), "{name}");
    }
}

#[test]
fn refuses_foreign_origins() {
    let listed = ["https://inspector.example".to_owned()];
    let allowed = |origin: Option<&str>| origin_allowed(origin.map(str::as_bytes), "https://gw.example", &listed);
    assert!(allowed(None));
    assert!(allowed(Some("https://gw.example")));
    assert!(allowed(Some("https://inspector.example")));
    for origin in [
        "",
        "null",
        "http://gw.example",
        "https://gw.example:443",
        "https://gw.example/",
        "https://GW.example",
        "https://gw.example.evil",
        "https://evil.example",
        "https://gw.example, https://evil.example",
        "https://inspector.example.evil",
    ] {
        assert!(!allowed(Some(origin)), "{origin}");
    }
}

#[test]
fn refuses_foreign_hosts() {
    let listed = ["gw.internal:8443".to_owned()];
    let allowed = |host: &str| host_allowed(Some(host.as_bytes()), "https://gw.example", &listed);
    for host in ["gw.example", "GW.Example", "gw.example:443", "gw.internal:8443"] {
        assert!(allowed(host), "{host}");
    }
    for host in [
        "",
        "gw.example.",
        "gw.example:80",
        "gw.example:8443",
        "gw.example:",
        "user@gw.example",
        "evil.example@gw.example",
        "gw.example, evil.example",
        "gw.example,gw.example",
        "evil.example",
        "gw.internal",
        ":443",
        " gw.example",
        "gw.example/",
    ] {
        assert!(!allowed(host), "{host}");
    }
    assert!(!host_allowed(None, "https://gw.example", &listed));
    assert!(!host_allowed(Some(b"\xffgw.example"), "https://gw.example", &listed));
    assert!(host_allowed(Some(b"127.0.0.1:10000"), "http://127.0.0.1:10000", &[]));
    assert!(!host_allowed(Some(b"127.0.0.1"), "http://127.0.0.1:10000", &[]));
    assert!(!host_allowed(Some(b"gw.example"), "", &[]));
}

#[test]
fn finds_a_token_in_the_query() {
    for path in [
        "/s?access_token=x",
        "/s?access_token",
        "/s?a=b&access_token=x",
        "/s?a=b;access_token=x",
        "/s?ACCESS_TOKEN=x",
        "/s?Access_Token=",
        "/s?access%5Ftoken=x",
        "/s?access%5ftoken=x",
        "/s?%61%63%63%65%73%73%5f%74%6f%6b%65%6e=x",
        "/s?access%255Ftoken=x",
        "/s?access_token[]=x",
        "/s?access_token%5B%5D=x",
        "/s?+access_token=x",
        "/s??access_token=x",
        "/s?a#&access_token=x",
    ] {
        assert!(has_query_token(path.as_bytes()), "{path}");
    }
    for path in
        ["/access_token=x", "/s", "/s?", "/s?q=access_token", "/s?my_access_token=x", "/s?access-token=x", "/s?%"]
    {
        assert!(!has_query_token(path.as_bytes()), "{path}");
    }
}

#[test]
fn every_prefix_begins_with_the_letter_that_is_looked_at_first() {
    assert!(STRIPPED_PREFIXES.iter().all(|prefix| prefix.starts_with('x')));
}
