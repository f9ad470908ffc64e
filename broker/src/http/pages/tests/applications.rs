//! Sign-in through the application whose user a person is.

use super::*;
use crate::signin::BEGUN_COOKIE;

/// Bob's application, and an agent of alice's that was sent to consent.
struct Shop {
    site: Site,
    consent: String,
}

/// A sign-in that waits for the application: its id, and the cookie of the browser that began it.
struct Waiting {
    id: String,
    cookie: String,
}

impl Shop {
    async fn new() -> Self {
        let site = Site::new().await;
        site.fixture.external(&[("shop", "alice@example.com"), ("other", "bob@example.com")]).await;
        site.fixture.servers.send_modify(|servers| {
            let servers = Arc::make_mut(servers);
            for server in servers.by_name.values_mut() {
                Arc::make_mut(server).subjects.push("external-identity:other".to_owned());
            }
            let shop = servers.external_identities.get_mut("shop").unwrap();
            shop.verifier_url = Some("https://shop.example.com/confirm?x=1".parse().unwrap());
        });
        site.fixture.publisher.publish().await;
        let token = site.fixture.idp.token("alice", &audience(), 3600);
        let status = site.ask_status(&token).await;
        let consent = status.between("/connect/", "\"").to_owned();
        Self { site, consent }
    }

    async fn begin(&self) -> Waiting {
        let body = format!("flow={}", self.consent);
        let reply = self.site.press("/signin/application", "", &body).await;
        let url: Url = reply.between("<a href=\"", "\"").replace("&amp;", "&").parse().unwrap();
        assert!(url.as_str().starts_with("https://shop.example.com/confirm?x=1&flow="), "{url}");
        let id = url.query_pairs().find(|(name, _)| name == "flow").unwrap().1.into_owned();
        Waiting { id, cookie: format!("{BEGUN_COOKIE}={}", reply.cookie(BEGUN_COOKIE).unwrap()) }
    }

    async fn confirm(&self, waiting: &Waiting, token: &str) -> Reply {
        let authorization = format!("Bearer {token}");
        let body = serde_json::json!({"flow": waiting.id}).to_string();
        self.site.send(Method::POST, "/signin/confirm", &[("authorization", &authorization)], &body).await
    }

    /// The path that the application sends alice's browser back by.
    async fn confirmed(&self, waiting: &Waiting) -> String {
        let reply = self.confirm(waiting, &self.token("alice")).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
        reply.between(&format!("\"return_url\":\"{URL}"), "\"").to_owned()
    }

    fn token(&self, person: &str) -> String {
        self.site.fixture.idp.token(person, &audience(), 3600)
    }

    async fn come_back(&self, cookie: &str, path: &str) -> Reply {
        self.site.send(Method::GET, path, &[("cookie", cookie)], "").await
    }
}

impl Site {
    async fn ask_status(&self, token: &str) -> Reply {
        let authorization = format!("Bearer {token}");
        self.send(Method::GET, "/connections/status?server=demo/notes", &[("authorization", &authorization)], "").await
    }
}

fn audience() -> String {
    format!("{URL}/mcp-server/demo/notes/server")
}

#[tokio::test]
async fn the_user_of_an_application_comes_back_signed_in_as_who_started() {
    let shop = Shop::new().await;
    let page = shop.site.send(Method::GET, &format!("/signin?flow={}", shop.consent), &[], "").await;
    assert!(page.says("Sign in at shop.example.com"), "{}", page.body);
    let waiting = shop.begin().await;
    let path = shop.confirmed(&waiting).await;
    let reply = shop.come_back(&waiting.cookie, &path).await;
    assert_eq!(
        (reply.status, reply.location()),
        (StatusCode::SEE_OTHER, format!("/connect/{}", shop.consent).as_str())
    );
    let session = format!("{COOKIE}={}", reply.cookie(COOKIE).unwrap());
    assert!(shop.come_back(&session, reply.location()).await.says("demo/notes"));
    let again = shop.come_back(&waiting.cookie, &path).await;
    assert_eq!((again.status, again.cookie(COOKIE)), (StatusCode::BAD_REQUEST, None), "once");
}

#[tokio::test]
async fn o2_who_sends_his_sign_in_to_somebody_else_gets_nothing() {
    let shop = Shop::new().await;
    // Alice's agent was sent to consent; she sends the application's address on to bob, who is signed in there.
    let waiting = shop.begin().await;
    let reply = shop.confirm(&waiting, &shop.token("bob")).await;
    assert!(reply.status == StatusCode::FORBIDDEN && reply.says("wrong_person"), "{}", reply.body);
    assert!(shop.site.refusals().await.concat().contains("wrong_person"));
    // And if her own confirmation is opened in another browser, that browser is not signed in.
    let path = shop.confirmed(&waiting).await;
    let other = shop.begin().await;
    for cookie in ["", other.cookie.as_str(), &format!("{BEGUN_COOKIE}={}", URL_SAFE_NO_PAD.encode([7; 32]))] {
        let reply = shop.come_back(cookie, &path).await;
        assert_eq!((reply.status, reply.cookie(COOKIE)), (StatusCode::FORBIDDEN, None), "{cookie}");
    }
    assert!(shop.site.refusals().await.concat().contains("other_browser"));
    assert_eq!(shop.come_back(&waiting.cookie, &path).await.status, StatusCode::SEE_OTHER, "nothing was used up");
}

#[tokio::test]
async fn o2_the_browser_alone_is_not_enough_without_the_applications_code() {
    let shop = Shop::new().await;
    let waiting = shop.begin().await;
    let back = format!("/signin/return/{}", waiting.id);
    let guess = URL_SAFE_NO_PAD.encode([0; 32]);
    for query in ["", "?code=", "?code=x", &format!("?code={guess}")] {
        let reply = shop.come_back(&waiting.cookie, &format!("{back}{query}")).await;
        assert_eq!((reply.status, reply.cookie(COOKIE)), (StatusCode::FORBIDDEN, None), "{query}");
    }
    let path = shop.confirmed(&waiting).await;
    for query in ["?code=x", &format!("?code={guess}"), &format!("{}&code=x", &path[back.len()..])] {
        let reply = shop.come_back(&waiting.cookie, &format!("{back}{query}")).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{query}");
    }
}

#[tokio::test]
async fn o1_an_application_confirms_with_its_users_own_good_token_once_and_in_time() {
    let shop = Shop::new().await;
    let waiting = shop.begin().await;
    let elsewhere = shop.site.fixture.idp.token("alice", &format!("{URL}/mcp-server/demo/board/server"), 3600);
    for token in ["", "x", &elsewhere, &format!("{}x", shop.token("alice"))] {
        assert_eq!(shop.confirm(&waiting, token).await.status, StatusCode::UNAUTHORIZED, "{token}");
    }
    assert_eq!(shop.site.refusals().await.len(), 4, "each is on record");
    for body in ["", "{}", "[]", r#"{"flow":7}"#, r#"{"flow":"x","to":"https://evil.example"}"#] {
        let authorization = format!("Bearer {}", shop.token("alice"));
        let sent = shop.site.send(Method::POST, "/signin/confirm", &[("authorization", &authorization)], body).await;
        assert_eq!(sent.status, StatusCode::BAD_REQUEST, "{body}");
    }
    let unknown = Waiting { id: "00".repeat(16), cookie: String::new() };
    assert_eq!(shop.confirm(&unknown, &shop.token("alice")).await.status, StatusCode::BAD_REQUEST);
    let path = shop.confirmed(&waiting).await;
    assert_eq!(shop.confirm(&waiting, &shop.token("alice")).await.status, StatusCode::BAD_REQUEST, "once");
    shop.site.fixture.clock.advance(std::time::Duration::from_secs(600));
    let late = shop.come_back(&waiting.cookie, &path).await;
    assert_eq!((late.status, late.cookie(COOKIE)), (StatusCode::BAD_REQUEST, None));
}

#[tokio::test]
async fn nobody_else_is_sent_to_the_application() {
    let shop = Shop::new().await;
    let bob = shop.site.ask_status(&shop.token("bob")).await.between("/connect/", "\"").to_owned();
    for flow in [bob.as_str(), "00ff", ""] {
        let reply = shop.site.press("/signin/application", "", &format!("flow={flow}")).await;
        assert!(matches!(reply.status, StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST), "{flow}");
        assert_eq!(reply.cookie(BEGUN_COOKIE), None, "{flow}");
    }
}

#[tokio::test]
async fn the_user_of_an_application_connects_what_is_for_its_users_on_the_page_of_connections() {
    let shop = Shop::new().await;
    shop.site.fixture.servers.send_modify(|servers| {
        let board = Arc::make_mut(servers).by_name.get_mut(&ServerName("demo/board".into())).unwrap();
        Arc::make_mut(board).subjects = vec!["external-identity:other".to_owned()];
    });
    let waiting = shop.begin().await;
    let reply = shop.come_back(&waiting.cookie, &shop.confirmed(&waiting).await).await;
    let cookie = format!("{COOKIE}={}", reply.cookie(COOKIE).unwrap());
    let page = shop.come_back(&cookie, "/connections").await;
    assert!(page.says("Connect demo/notes") && !page.says("demo/board"), "{}", page.body);
    let csrf = page.between(r#"name="csrf" value=""#, "\"").to_owned();
    let connect = async |server: &str| {
        let form = format!("csrf={csrf}&server=demo%2F{server}");
        shop.site.press("/connections/connect", &cookie, &form).await
    };
    assert_eq!(connect("board").await.status, StatusCode::NOT_FOUND, "of another application");
    let page = shop.come_back(&cookie, connect("notes").await.location()).await;
    assert!(page.says("on your behalf") && page.says("demo/notes"), "{}", page.body);

    // What was vouched for is not registered any more.
    shop.site.fixture.servers.send_modify(|servers| {
        Arc::make_mut(servers).external_identities.remove("shop");
    });
    assert!(!shop.come_back(&cookie, "/connections").await.says("demo/notes"));
}

#[tokio::test]
async fn an_application_is_told_whether_its_token_its_user_or_the_gateway_is_the_reason() {
    use super::super::sign_in_refused::told;
    use crate::model::Identity;
    use crate::principals::Contested;
    use crate::service::Refused;
    let contested = Contested {
        identity: Identity { issuer: "https://id.example.com".into(), subject: "2".into() },
        email: "alice@example.com".into(),
        owner: PrincipalId("1".into()),
    };
    let down = crate::store::StoreError::Unavailable("down".into());
    for (refused, status) in [
        (Refused::Revoked, StatusCode::UNAUTHORIZED),
        (Refused::UnknownToken, StatusCode::UNAUTHORIZED),
        (Refused::Server, StatusCode::FORBIDDEN),
        (Refused::Contested(contested), StatusCode::FORBIDDEN),
        (Refused::Store(down), StatusCode::SERVICE_UNAVAILABLE),
    ] {
        assert_eq!(told(&crate::signin::Refused::Caller(Box::new(refused))).0, status);
    }
    let shop = Shop::new().await;
    let waiting = shop.begin().await;
    shop.site.fixture.servers.send_modify(|servers| {
        let notes = Arc::make_mut(servers).by_name.get_mut(&ServerName("demo/notes".into())).unwrap();
        Arc::make_mut(notes).subjects = vec!["external-identity:other".to_owned()];
    });
    shop.site.fixture.publisher.publish().await;
    let reply = shop.confirm(&waiting, &shop.token("alice")).await;
    assert!(reply.status == StatusCode::FORBIDDEN && reply.says(r#""error":"policy""#), "{}", reply.body);
    assert_eq!(reply.headers.get(header::WWW_AUTHENTICATE), None, "another token would not help");
}
