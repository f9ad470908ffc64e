//! The broker's pages as the gateway shows them: these and nothing else of it, and no server without the filter.

use e2e::{Application, Auth, Browser, Provider, RawConnection, World, audit_records, run, unique};
use std::sync::Arc;

async fn status_of(world: &World, method: &str, path: &str) -> Option<u16> {
    let host = world.envoy.gateway;
    let request = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    RawConnection::exchange(host, request.as_bytes()).await.status
}

#[test]
fn what_else_the_broker_answers_is_not_reached_by_any_path() {
    run(async {
        let world = World::shared().await;
        world.open_server().await;
        assert_eq!(status_of(world, "GET", "/signin?to=connections").await, Some(200), "pages are");
        for hidden in ["metrics", "healthz", "readyz", ".well-known/jwks.json"] {
            for path in [
                "/H",
                "//H",
                "/connect/../H",
                "/connect/%2e%2e/H",
                "/connect/..%2fH",
                "/connect/..;/H",
                "/connect//../H",
                "/connect/..\\H",
                "/signin/../H",
                "/signin/%2E%2E/H",
                "/signin%2f..%2fH",
                "/connections/../H",
                "/oauth/callback/../../H",
                "/oauth/callback/..%2f..%2fH",
                "/signout/../H",
                "/signout/%2e%2e/H",
                "/connect/./../H",
                "/connect/x/../../H",
                "/./H",
                "/%2fH",
                "\\H",
                "/connect/%2e%2e%5cH",
                "/H/",
                "/H?x=/signin",
                "/signin/..%00/H",
                "/connect/../H#/signin",
                "/CONNECT/../H",
                "http://127.0.0.1:1/H",
            ] {
                let path = path.replace('H', hidden);
                let status = status_of(world, "GET", &path).await;
                assert!(status.is_none_or(|status| (300..500).contains(&status)), "{path}: {status:?}");
            }
        }
    });
}

#[test]
fn servers_keep_the_filter_whatever_path_leads_past_a_page() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        for path in [
            server.path.clone(),
            format!("/connect/..{}", server.path),
            format!("/signin/%2e%2e{}", server.path),
            format!("//{}", &server.path[1..]),
        ] {
            let status = status_of(world, "POST", &path).await;
            assert!(matches!(status, Some(307 | 400 | 401 | 404)), "{path}: {status:?}");
        }
        assert_eq!(status_of(world, "POST", &server.path).await, Some(401), "the filter asks for a token");
        server.upstream.assert_untouched("a call without a token");
    });
}

#[test]
fn an_operators_link_signs_a_person_in_through_the_gateway() {
    run(async {
        let world = World::shared().await;
        world.open_server().await;
        let link = world.broker.command(&["signin", "--user", "dora@example.com"]).await.ok();
        let (dora, url) = (Browser::of("dora"), link.trim().parse().expect("a URL"));
        let page = dora.get(&url).await;
        assert!(page.text.contains("dora@example.com"), "{page:?}");
        let page = dora.go_on(dora.press(&page, "Sign in as dora@example.com").await).await;
        assert!(page.status == 200 && page.url.path() == "/connections", "{page:?}");
        let again = dora.get(&url).await;
        assert!(again.status == 404 && again.text.contains("was used"), "{again:?}");
    });
}

#[test]
fn o2_the_user_of_an_application_consents_and_nobody_else_by_their_link() {
    run(async {
        let (world, shop) = Application::with_world().await;
        let (provider, name) = (Arc::new(Provider::start().await), unique("shop"));
        world.broker.apply(&[shop.identity(&name)]).await.ok();
        let everyone = format!("external-identity:{name}");
        let server = world.server().auth(Auth::authorization_code(&provider)).subjects(&[&everyone]).register().await;
        server.upstream.guarded_by(&provider);
        let (carol, mallory) = (Browser::of("carol"), Browser::of("mallory"));
        let (token, _) = (shop.sign_in(&carol).await, shop.sign_in(&mallory).await);
        let error = server.call_as(&token).send().await.rpc_error();
        let text = error.data.as_str().unwrap_or(&error.message).to_owned();
        let link = text.split_whitespace().find(|word| word.starts_with(&world.public_url)).expect("a link");

        let asked = mallory.to_application(&world, link).await;
        let refused = mallory.go_on(mallory.press(&asked, "Yes, sign me in").await).await;
        assert_eq!(refused.status, 502, "mallory is not whom it was made for: {refused:?}");

        let asked = carol.to_application(&world, link).await;
        let page = carol.go_on(carol.press(&asked, "Yes, sign me in").await).await;
        assert!(page.url.path().starts_with("/connect/"), "{page:?}");
        let page = carol.go_on(carol.press(&page, "Connect").await).await;
        assert!(page.text.contains("is connected"), "{page:?}");
        assert_eq!(server.call_as(&token).send().await.result()["holder"], "carol");
    });
}

/// Presses a button that leads nowhere, from this address of the machine, as if from somewhere else each time.
async fn presses(world: &World, from: [u8; 4], times: usize) -> Vec<u16> {
    let client = reqwest::Client::builder().local_address(std::net::IpAddr::from(from)).build().expect("a client");
    let mut statuses = Vec::new();
    for n in 0..times {
        let mut request = client.post(format!("{}/signin/link/guess", world.public_url));
        for header in ["x-forwarded-for", "x-sallyport-source", "x-envoy-external-address", "x-real-ip"] {
            request = request.header(header, format!("203.0.{}.{}", n / 250, n % 250));
        }
        let answer = request.header("sec-fetch-site", "same-origin").send().await.expect("an answer");
        statuses.push(answer.status().as_u16());
    }
    statuses
}

#[test]
fn strangers_run_short_by_the_address_they_connect_from_whatever_they_say_of_it() {
    run(async {
        let world = World::build().start().await;
        world.open_server().await;
        let count = |statuses: &[u16], status| statuses.iter().filter(|found| **found == status).count();
        let statuses = presses(&world, [127, 0, 0, 2], 700).await;
        let refused = count(&statuses, 429);
        assert!(refused >= 60 && refused + count(&statuses, 404) == 700, "{refused} refused");
        assert_eq!(presses(&world, [127, 0, 0, 3], 5).await, [404; 5], "another address");
        let records = audit_records(&world.broker.admin).await;
        let recorded = records.iter().filter(|record| record["event"] == "signin.refused").count();
        assert_eq!(recorded, 705 - refused, "and those over budget are not recorded one by one");
    });
}

#[test]
fn a5_the_id_of_a_record_is_envoys_own_and_nothing_that_a_client_chose() {
    run(async {
        let world = World::shared().await;
        let server = world.server().auth(Auth::header()).register().await;
        let token = world.issuer.token("alice", &server).mint();
        let forged = unique("forged");
        let call = server.call_as(&token).header("x-request-id", &forged).header("x-client-trace-id", &forged);
        call.send().await.result();
        let records = audit_records(&world.broker.admin).await;
        let released = records.iter().find(|record| record["server"] == server.name.as_str()).expect("a release");
        let id = released["request_id"].as_str().expect("an id");
        assert!(id.len() == 36 && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'), "{id}");
        assert!(!records.iter().any(|record| record["request_id"] == forged.as_str()), "{forged}");
        let page = reqwest::Client::new().get(format!("{}/connect/00ff", world.public_url));
        let page = page.header("x-request-id", &forged).send().await.expect("an answer").text().await.expect("text");
        assert!(page.contains("Request <code>") && !page.contains(&forged), "{page}");
    });
}
