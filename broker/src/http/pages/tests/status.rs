//! What an agent learns without a call that fails.

use super::*;

async fn ask(site: &Site, headers: &[(&str, &str)], server: &str) -> (StatusCode, serde_json::Value) {
    let reply = site.send(Method::GET, &format!("/connections/status?server=demo/{server}"), headers, "").await;
    (reply.status, serde_json::from_str(&reply.body).unwrap())
}

fn bearer(site: &Site, person: &str, server: &str) -> String {
    format!("Bearer {}", site.fixture.idp.token(person, &format!("{URL}/mcp-server/demo/{server}/server"), 3600))
}

#[tokio::test]
async fn status_tells_the_link_until_the_person_has_consented() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let token = bearer(&site, "alice", "notes");
    let (status, answer) = ask(&site, &[("authorization", &token)], "notes").await;
    assert_eq!((status, &answer["status"]), (StatusCode::OK, &"consent_required".into()));
    let consent = site.link(&alice, "notes").await;
    assert_eq!(answer["url"], format!("{URL}/connect/{consent}"), "the same link as any other way");
    site.connect(&alice, "notes").await;
    let (_, answer) = ask(&site, &[("authorization", &token)], "notes").await;
    assert_eq!(answer, serde_json::json!({ "server": "demo/notes", "status": "connected" }));
    let bobs = bearer(&site, "bob", "notes");
    let (_, answer) = ask(&site, &[("authorization", &bobs)], "notes").await;
    assert_eq!(answer["status"], "consent_required", "alice's grant is not bob's");
    let (_, answer) = ask(&site, &[("authorization", &bearer(&site, "alice", "none"))], "none").await;
    assert_eq!(answer["status"], "not_required");
}

#[tokio::test]
async fn status_refuses_whom_a_call_would_refuse() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let (good, elsewhere) = (bearer(&site, "alice", "notes"), bearer(&site, "alice", "none"));
    for headers in [
        &[][..],
        &[("authorization", "Bearer x")],
        &[("authorization", elsewhere.as_str())],
        &[("authorization", good.as_str()), ("authorization", good.as_str())],
        &[("cookie", alice.cookie.as_str())],
    ] {
        assert_eq!(ask(&site, headers, "notes").await.0, StatusCode::UNAUTHORIZED, "{headers:?}");
    }
    let denied = ask(&site, &[("authorization", &bearer(&site, "alice", "secret"))], "secret").await;
    let unknown = ask(&site, &[("authorization", &bearer(&site, "alice", "nothing"))], "nothing").await;
    assert_eq!((denied.0, unknown.0), (StatusCode::FORBIDDEN, StatusCode::FORBIDDEN));
    assert_eq!(
        denied.1["message"], unknown.1["message"],
        "who may not use a server does not learn whether it is there"
    );
}

#[tokio::test]
async fn a_call_without_a_grant_is_answered_with_the_same_link() {
    use sallyport_proto::broker::acquire_credential_response::Answer;
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let answer = site
        .fixture
        .service
        .acquire(&crate::service::tests::gateway(), &site.fixture.alice("notes"))
        .await
        .answer
        .unwrap();
    let Answer::ConsentRequired(required) = answer else { panic!("{answer:?}") };
    let consent = site.link(&alice, "notes").await;
    assert_eq!(required.consents.len(), 1);
    assert_eq!(required.consents[0].url, format!("{URL}/connect/{consent}"));
    assert!(!required.consents[0].message.contains(['\n', ',']));
    assert!(site.fixture.rows("call.refused").await[0].contains("consent_required"));
}

#[tokio::test]
async fn status_does_not_call_connected_what_has_expired_for_good() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let without = TOKENS.replace(r#""refresh_token":"canary-refresh-NUMBER","#, "");
    site.fixture.provider.answers(200, &without);
    site.connect(&alice, "notes").await;
    let server = Arc::clone(&site.fixture.servers.borrow().by_name[&ServerName("demo/notes".into())]);
    let status = async || site.pages.consents.status(&alice.principal, &alice.subjects, &server).await.unwrap();
    assert_eq!(status().await, crate::consent::Status::Connected);
    site.fixture.clock.advance(std::time::Duration::from_secs(3600));
    assert!(matches!(status().await, crate::consent::Status::ConsentRequired(_)));
}
