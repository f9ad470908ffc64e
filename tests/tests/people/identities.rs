//! An address that comes with another subject of the same issuer: nobody's until an operator decides.

use std::{sync::Arc, time::Duration};

use e2e::{Auth, Browser, Provider, Reply, Server, World, audit_records, eventually_within, run, unique};
use serde_json::{Value, json};

/// Somebody who has consented, and the token of another subject with their address.
struct Hand {
    world: &'static World,
    server: Server,
    alice: Browser,
    address: String,
    subject: String,
    token: String,
}

impl Hand {
    async fn over() -> Self {
        let (world, provider) = (World::shared().await, Arc::new(Provider::start().await));
        let server = world.server().auth(Auth::authorization_code(&provider)).register().await;
        server.upstream.guarded_by(&provider);
        let (alice, subject) = (Browser::of(&unique("alice")), unique("newcomer"));
        world.consent(&alice, &server).await;
        let address = format!("{}@example.com", alice.login);
        let token = world.issuer.token(&subject, &server).claim("email", address.as_str()).mint();
        Self { world, server, alice, address, subject, token }
    }

    async fn call(&self, token: &str) -> Reply {
        self.server.call_as(token).send().await
    }

    async fn command(&self, arguments: &[&str]) -> Value {
        let said = self.world.broker.command(&[&["identities"], arguments, &["--json"]].concat()).await.ok();
        serde_json::from_str(&said).expect("JSON")
    }
}

#[test]
fn i8_an_address_of_somebody_else_opens_nothing_and_says_who_decides() {
    run(async {
        let hand = Hand::over().await;
        let reply = hand.call(&hand.token).await;
        let error = reply.rpc_error();
        assert_eq!((reply.status, error.code, &error.data["reason"]), (200, -31002, &json!("identity_contested")));
        assert!(error.message.contains("an operator of the gateway must decide"), "{reply}");
        let own = hand.world.token_of(&hand.alice, &hand.server);
        assert_eq!(hand.call(&own).await.result()["holder"], hand.alice.login.as_str(), "hers goes on");
        let records = audit_records(&hand.world.broker.admin).await;
        let refused = |record: &&Value| record["actor"]["subject"] == hand.subject.as_str();
        let record = records.iter().find(refused).expect("a record");
        let owner = hand.command(&["list", "--user", &hand.address]).await[0]["principal"].clone();
        assert_eq!((&record["reason"], &record["on_behalf_of"]), (&json!("identity_contested"), &owner));
    });
}

#[test]
fn an_operator_says_that_it_is_the_same_person_and_the_next_call_is_theirs() {
    run(async {
        let hand = Hand::over().await;
        let issuer = hand.world.issuer.url.as_str();
        let link = ["link", "--user", &hand.address, "--issuer", issuer, "--subject", &hand.subject];
        assert_eq!(hand.command(&link).await["is_new"], true);
        assert_eq!(hand.call(&hand.token).await.result()["holder"], hand.alice.login.as_str());
        let listed = hand.command(&["list", "--user", &hand.address]).await;
        let mut linked: Vec<_> = listed.as_array().expect("a list").iter().map(|one| one["linked"].clone()).collect();
        linked.sort_by_key(Value::to_string);
        assert_eq!(linked, ["created", "operator"]);
    });
}

#[test]
fn i11_a_released_address_ends_what_was_there_within_two_seconds_and_begins_anew() {
    run(async {
        let hand = Hand::over().await;
        let own = hand.world.broker.issue_token("--user", &hand.address, "1h").await;
        assert_eq!(hand.call(&own).await.result()["holder"], hand.alice.login.as_str());
        let released = hand.command(&["release", "--user", &hand.address]).await;
        assert_eq!(
            (released["revoked"][0]["at_provider"].as_str(), released["tokens"].as_array().map(Vec::len)),
            (Some("revoked"), Some(1))
        );
        for token in [own, hand.world.token_of(&hand.alice, &hand.server)] {
            eventually_within(Duration::from_secs(2), "it opens nothing any more", async || {
                hand.call(&token).await.json().get("error").map(drop)
            })
            .await;
        }
        let link = hand.server.consent_link(&hand.token).await;
        hand.world.sign_in(&hand.alice).await;
        let page = hand.world.connect(&hand.alice, &link).await;
        assert!(page.text.contains("is connected"), "whoever has the address now: {page:?}");
        assert!(hand.call(&hand.token).await.json().get("result").is_some());
    });
}
