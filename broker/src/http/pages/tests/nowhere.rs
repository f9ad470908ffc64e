//! What leads nowhere: a page or an answer that says what to do, and a record with the cause.

use super::issuer::Login;
use super::*;

#[tokio::test]
async fn what_leads_to_no_page_is_told_what_to_do_and_on_record_with_the_cause() {
    let site = Site::new().await;
    for (sent, (method, path, status, reason)) in [
        (Method::GET, "/connect/", 404, "no_page"),
        (Method::GET, "/connect/00ff/x", 404, "no_page"),
        (Method::GET, "/oauth/callback/", 404, "no_page"),
        (Method::GET, "/signin/x", 404, "no_page"),
        (Method::POST, "/connections/", 404, "no_page"),
        (Method::DELETE, "/connect/00ff", 405, "method"),
        (Method::GET, "/connect/00ff/account", 405, "method"),
        (Method::GET, "/signin/oidc", 405, "method"),
        (Method::POST, "/connections", 405, "method"),
        (Method::GET, "/signout", 405, "method"),
        (Method::GET, "/connect/%ff", 400, "path"),
        (Method::GET, "/signin/link/%C3%28", 400, "path"),
        (Method::GET, "/oauth/callback/%ff?code=c&state=s", 400, "path"),
    ]
    .into_iter()
    .enumerate()
    {
        let reply = site.send(method.clone(), path, &[("x-request-id", "r-1")], "").await;
        assert_eq!(reply.status.as_u16(), status, "{method} {path}");
        assert!(reply.says("Open the link that your agent showed you") && reply.says("r-1"), "{path}: {}", reply.body);
        let policy = reply.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}");
        assert_eq!(reply.headers["cache-control"], "no-store", "{path}");
        let rows = site.fixture.rows("pages.refused").await;
        assert_eq!(rows.len(), sent + 1, "{method} {path}");
        assert!(
            rows[sent].contains(&format!(r#""reason":"{reason}""#)) && rows[sent].contains("r-1"),
            "{}",
            rows[sent]
        );
    }
    let alice = site.browser("alice").await;
    site.get(&alice, "/connect/").await;
    assert!(site.fixture.rows("pages.refused").await.pop().unwrap().contains(&alice.principal.0));
}

#[tokio::test]
async fn what_strangers_send_to_no_page_is_recorded_within_their_budget() {
    let site = Site::new().await;
    for path in ["/connect/", "/connect/%ff", "/connections/status"] {
        for _ in 0..300 {
            assert!(site.send(Method::GET, path, &[], "").await.status.is_client_error());
        }
    }
    assert_eq!(site.fixture.rows("pages.refused").await.len(), 600);
}

#[tokio::test]
async fn a_program_is_answered_in_json() {
    let site = Site::new().await;
    for (method, path, status, told, reason) in [
        (Method::GET, "/connections/status", 400, "status?server=", "no_server"),
        (Method::GET, "/connections/status?server=", 400, "status?server=", "no_server"),
        (Method::GET, "/connections/status?server=a/b&server=c/d", 400, "status?server=", "no_server"),
        (Method::POST, "/connections/status?server=demo/notes", 405, "another method", "method"),
        (Method::GET, "/signin/confirm", 405, "another method", "method"),
    ] {
        let reply = site.send(method, path, &[], "").await;
        assert_eq!(reply.status.as_u16(), status, "{path}");
        let answer: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
        assert!(answer["status"] == "refused" && answer["message"].as_str().unwrap().contains(told), "{answer}");
        assert_eq!(reply.headers["cache-control"], "no-store", "{path}");
        assert!(site.fixture.rows("pages.refused").await.pop().unwrap().contains(reason), "{path}");
    }
}

#[tokio::test]
async fn a_sign_in_that_cannot_begin_is_on_record_with_the_cause() {
    let mut login = Login::new().await;
    for (path, form, reason) in [
        ("/signin/application", "flow=00ff", "no_application"),
        ("/signin/oidc", "to=connections", "discovery"),
        ("/signin/oidc", "to=connections", "not_configured"),
    ] {
        match reason {
            "discovery" => login.is_gone(),
            "not_configured" => login.site.pages.sign_ins = login.site.fixture.sign_ins(None),
            _ => {}
        }
        let before = login.site.refusals().await.len();
        let reply = login.site.press(path, "", form).await;
        assert!(reply.status.is_client_error() || reply.status.is_server_error(), "{reason}: {}", reply.body);
        let rows = login.site.refusals().await;
        assert_eq!(rows.len(), before + 1, "{reason}");
        assert!(rows[before].contains(&format!(r#""reason":"{reason}""#)), "{}", rows[before]);
    }
}

#[tokio::test]
async fn who_is_refused_a_status_is_on_record_once_their_token_is_good() {
    let site = Site::new().await;
    let asked = async |person: &str, server: &str| {
        let token = site.fixture.idp.token(person, &format!("{URL}/mcp-server/demo/{server}/server"), 3600);
        let authorization = format!("Bearer {token}");
        let headers = [("authorization", authorization.as_str()), ("x-request-id", "r-1")];
        let reply = site.send(Method::GET, &format!("/connections/status?server=demo/{server}"), &headers, "").await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{person} {server}");
        site.fixture.rows("call.refused").await.pop().unwrap()
    };
    for (person, server, reason) in [("bob", "board", "policy"), ("alice", "nothing", "server")] {
        let row = asked(person, server).await;
        for told in [format!(r#""reason":"{reason}""#), format!("demo/{server}"), person.to_owned(), "r-1".to_owned()] {
            assert!(row.contains(&told), "{told}: {row}");
        }
    }
    let unknown = [("authorization", "Bearer x")];
    site.send(Method::GET, "/connections/status?server=demo/notes", &unknown, "").await;
    assert_eq!(site.fixture.rows("call.refused").await.len(), 2, "who is nobody leaves none");
}

#[tokio::test]
async fn a_confirmation_that_is_not_taken_is_on_record_with_the_cause() {
    let site = Site::new().await;
    for (body, reason) in [("{", "body"), (r#"{"flow":"00ff"}"#, "unknown")] {
        let reply = site.send(Method::POST, "/signin/confirm", &[("x-request-id", "r-1")], body).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{body}");
        let row = site.refusals().await.pop().unwrap();
        assert!(row.contains(&format!(r#""reason":"{reason}""#)) && row.contains("r-1"), "{row}");
    }
    assert_eq!(site.refusals().await.len(), 2);
}
