//! What is left of a grant when the answer to its refresh died with the broker, where refresh tokens work once: an
//! access token that serves until it expires, while whoever looks is told that consent is needed.

use e2e::{acquire, broker_api};
use sallyport_proto::broker::{Credential, acquire_credential_response::Answer};
use serde_json::json;

use super::*;

/// Long enough for a death and what is looked at after it.
const LIFE: Duration = Duration::from_secs(15);

const LOSES_THE_ANSWER: [Death; 3] =
    [Death::AtProvider(Moment::AfterProcessBeforeReply), Death::At("reply-read"), Death::At("before-commit")];

impl Gate {
    /// This person's token is due, and the broker dies over its refresh and starts again; answers where to consent, once
    /// that is known to be needed.
    async fn loses_the_answer(&mut self, person: &str, death: Death) -> String {
        self.provider.access_token_life(LIFE);
        self.world.consent(&Browser::of(person), &self.server).await;
        self.world.broker.kill();
        self.world.broker.database().await.execute("UPDATE grants SET refresh_after = issued_at", &[]).await;
        self.dies(person, death).await;
        self.world.broker.start().await;
        let url = format!("{}/connections/status?server={}", self.world.public_url, self.server.name);
        eventually("consent is known to be needed", async || {
            let asked = reqwest::Client::new().get(&url).bearer_auth(self.token(person)).send().await.ok()?;
            let told: Value = asked.json().await.ok()?;
            (told["status"] == "consent_required").then(|| told["url"].as_str().expect("a URL").to_owned())
        })
        .await
    }

    fn token(&self, person: &str) -> String {
        self.world.issuer.token(person, &self.server).mint()
    }

    /// What the broker gives a proxy that has nothing in its cache.
    async fn given(&self, person: &str) -> Option<Credential> {
        let socket = &self.world.broker.grpc;
        let request = acquire(socket, &self.token(person), &self.server).await;
        let mut api = broker_api(socket).await.expect("the same user may connect");
        match api.acquire_credential(request).await.expect("it answers").into_inner().answer {
            Some(Answer::Credential(credential)) => Some(credential),
            _ => None,
        }
    }
}

#[test]
fn i5_l3_a_lost_answer_asks_for_consent_and_the_old_token_serves_until_it_expires() {
    run(async {
        let mut gate = Gate::start(Rotation::Strict, "custom").await;
        let mut left = Vec::new();
        for death in LOSES_THE_ANSWER {
            let person = format!("left-{}", left.len());
            let link = gate.loses_the_answer(&person, death).await;
            let old = gate.provider.family_of(&person).expect("they have consented").access_tokens[0].clone();
            let given = gate.given(&person).await.unwrap_or_else(|| panic!("{death:?}: it serves no more"));
            assert_eq!(given.headers[0].value, format!("Bearer {old}").into_bytes(), "{death:?}");
            assert_eq!(given.refresh_after_ms, given.expires_at_ms, "{death:?}: no proxy asks for a later one");
            let call = gate.server.call_as(&gate.token(&person));
            assert_eq!(call.send().await.result()["holder"], person.as_str(), "{death:?}");
            let listed = listed(&gate.world.broker, &person).await;
            let told = [&listed["standing"], &listed["reason"], &listed["has_refresh_token"]];
            assert_eq!(told, [&json!("needs_consent"), &json!("invalid_grant"), &json!(false)], "{death:?}");
            left.push((person, old, call, link));
        }
        for (person, old, call, link) in left {
            eventually("it is over", async || (!gate.provider.is_live(&old)).then_some(())).await;
            for _ in 0..2 {
                assert_eq!(gate.world.link_in(&call.send().await).as_str(), link, "{person}");
            }
            assert_eq!(
                (gate.given(&person).await, gate.uses(&person)),
                (None, 2),
                "{person}: asked twice, never again"
            );
            gate.world.consent(&Browser::of(&person), &gate.server).await;
            assert_eq!(call.send().await.result()["holder"], person.as_str());
        }
    });
}

#[test]
fn i5_l3_what_is_left_is_over_once_its_upstream_refuses_it() {
    run(async {
        // Where the second request ends the family, the old token dies with it.
        let mut gate = Gate::start(Rotation::FamilyRevoke, "notion").await;
        let link = gate.loses_the_answer("alice", Death::At("reply-read")).await;
        assert!(gate.given("alice").await.is_some(), "nobody here knows yet");
        let call = gate.server.call_as(&gate.token("alice"));
        for _ in 0..3 {
            assert_eq!(gate.world.link_in(&call.send().await).as_str(), link);
        }
        assert_eq!((gate.given("alice").await, gate.uses("alice")), (None, 2));
        assert_eq!(listed(&gate.world.broker, "alice").await["expires_at_ms"], Value::Null, "nothing is kept");
    });
}
