//! `GET /connections/status`: what an agent may ask before it calls.

use std::sync::Arc;

use e2e::{Auth, Browser, Provider, Server, World, run, unique};
use serde_json::{Value, json};
use url::Url;

async fn status(token: &str, server: &str) -> (u16, Value) {
    let url = format!("{}/connections/status", World::shared().await.public_url);
    let url = Url::parse_with_params(&url, [("server", server)]).expect("a URL");
    let answer = reqwest::Client::new().get(url).bearer_auth(token).send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

async fn personal() -> (Arc<Provider>, Server) {
    let provider = Arc::new(Provider::start().await);
    let server = World::shared().await.server().auth(Auth::authorization_code(&provider)).register().await;
    (provider, server)
}

#[test]
fn tells_where_to_consent_and_then_that_it_is_done() {
    run(async {
        let world = World::shared().await;
        let (provider, server) = personal().await;
        let token = world.issuer.token("alice", &server).mint();
        let (code, asked) = status(&token, &server.name).await;
        assert_eq!((code, &asked["server"], &asked["status"]), (200, &json!(server.name), &json!("consent_required")));
        assert_eq!(
            asked["url"],
            json!(server.consent_link(&token).await.as_str()),
            "the very link that a call is answered with"
        );
        world.consent(&Browser::of("alice"), &server).await;
        assert_eq!(status(&token, &server.name).await, (200, json!({"server": server.name, "status": "connected"})));
        let bob = status(&world.issuer.token("bob", &server).mint(), &server.name).await;
        assert_eq!((bob.0, &bob.1["status"]), (200, &json!("consent_required")), "bob has not consented: {bob:?}");
        assert_ne!(bob.1["url"], asked["url"]);
        assert_eq!(provider.token_requests().len(), 1, "asking costs the provider nothing");
        server.upstream.assert_untouched("a question");
    });
}

#[test]
fn tells_that_other_servers_need_no_consent() {
    run(async {
        let world = World::shared().await;
        let provider = Arc::new(Provider::start().await);
        for auth in [Auth::None, Auth::header(), Auth::client_credentials(&provider), Auth::Passthrough] {
            let server = world.server().auth(auth).register().await;
            let audience = json!([server.resource, server.upstream.url]);
            let token = world.issuer.token("alice", &server).claim("aud", audience).mint();
            let answer = status(&token, &server.name).await;
            assert_eq!(answer, (200, json!({"server": server.name, "status": "not_required"})));
        }
        assert!(provider.token_requests().is_empty());
    });
}

#[test]
fn refuses_callers_that_a_call_refuses_and_tells_them_nothing_of_servers() {
    run(async {
        let world = World::shared().await;
        let (_, server) = personal().await;
        let good = world.issuer.token("alice", &server);
        for (what, token) in [
            ("none", String::new()),
            ("nonsense", "nonsense".to_owned()),
            ("expired", good.clone().expires_in(-120).mint()),
            ("bent", good.mint_with_signature(&[0; 256])),
            ("of a stranger", good.clone().claim("iss", "http://127.0.0.1:1").mint()),
            ("for somebody else", good.clone().claim("aud", "http://other.example/").mint()),
        ] {
            let (code, answer) = status(&token, &server.name).await;
            assert_eq!((code, answer.get("url")), (401, None), "{what}: {answer}");
        }
        let closed = world.server().subjects(&["user:nobody@example.com"]).register().await;
        let token = good.claim("aud", json!([server.resource, closed.resource])).mint();
        let [theirs, unknown] = [closed.name, unique("no/such")];
        let (theirs, unknown) = ((status(&token, &theirs).await, theirs), (status(&token, &unknown).await, unknown));
        let without_name =
            |((code, answer), name): ((u16, Value), String)| (code, answer.to_string().replace(&name, ""));
        let (theirs, unknown) = (without_name(theirs), without_name(unknown));
        assert_eq!((theirs.0, &theirs), (403, &unknown), "one cannot be told from the other");
    });
}
