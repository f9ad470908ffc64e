//! Another account than the one that is connected, at a provider that says whose tokens it gives only when it is asked.

use std::time::Duration;

use e2e::{
    Answer, Browser, Page, eventually,
    provider::{Endpoint, Fault, Moment},
    run,
};
use serde_json::json;
use url::Url;

use crate::Notes;

impl Notes {
    /// The provider ends what this person has connected; the link by which they agree again.
    async fn ended(&self, login: &str, token: &str) -> Url {
        self.provider.withdraw(login);
        let call = self.server.call_as(token);
        eventually("consent is needed again", async || {
            let reply = call.send().await;
            reply.to_string().contains("/connect/").then(|| self.world.link_in(&reply))
        })
        .await
    }

    async fn connections(&self, person: &Browser) -> Page {
        person.get(&format!("{}/connections", self.world.public_url).parse().expect("a URL")).await
    }

    /// As a page names an account.
    fn shown(&self, login: &str) -> String {
        format!("{login} ({})", self.provider.github_id(login))
    }
}

#[test]
fn o12_another_account_at_a_github_asks_before_it_replaces_the_first() {
    run(async {
        for (button, stays) in
            [("Keep the account that is connected", true), ("Use the other account from now on", false)]
        {
            let notes = Notes::at_github().await;
            notes.provider.access_token_life(Duration::from_secs(1));
            let (mut person, link) = notes.caller("alice").await;
            let (first, second) = (person.login.clone(), format!("{}-at-work", person.login));
            let token = notes.world.token_of(&person, &notes.server);
            assert!(notes.world.connect(&person, &link).await.text.contains("is connected"));
            assert!(notes.connections(&person).await.text.contains(&notes.shown(&first)));
            let link = notes.ended(&first, &token).await;
            notes.provider.access_token_life(Duration::from_secs(3600));
            // Who sits at the provider's page now.
            person.login.clone_from(&second);
            let page = notes.world.connect(&person, &link).await;
            for account in [&first, &second] {
                assert!(page.text.contains(&format!("<code>{}</code>", notes.shown(account))), "{page:?}");
            }
            assert_eq!(notes.provider.accounts_asked(), 2);
            let chosen = person.go_on(person.press(&page, button).await).await;
            let of_the_other = notes.provider.issued().last().cloned().expect("two");
            assert_eq!(notes.provider.is_live(&of_the_other), !stays, "{chosen:?}");
            let reply = notes.server.call_as(&token).send().await;
            match stays {
                true => assert!(reply.to_string().contains("/connect/"), "what the provider ended stays: {reply}"),
                false => assert_eq!(reply.result()["holder"], second.as_str()),
            }
            let list = notes.connections(&person).await;
            assert!(list.text.contains(&notes.shown(if stays { &first } else { &second })), "{list:?}");
        }
    });
}

#[test]
fn an_account_that_a_provider_does_not_tell_is_unknown_and_its_tokens_are_used() {
    run(async {
        let notes = Notes::at_github().await;
        let faults = [
            Fault::status(500),
            Fault::refusal(403, "forbidden"),
            Fault::Cut(Moment::BeforeProcess),
            Fault::Hang(Moment::BeforeProcess),
            Fault::shape(|_| Answer::json(&json!({"id": [], "login": "x"}))),
            Fault::shape(|_| Answer::json(&json!({"id": 1, "bio": "x".repeat(100_000)}))),
            Fault::shape(|own| Answer::status(302).header("location", "http://127.0.0.1:1/").body(own.to_string())),
        ];
        for fault in faults {
            let (person, link) = notes.caller("alice").await;
            notes.provider.fail_next(Endpoint::Account, 1, &fault);
            let page = notes.world.connect(&person, &link).await;
            assert!(page.text.contains("is connected"), "{fault:?}: {page:?}");
            assert!(notes.is_connected(&person).await, "{fault:?}");
            assert!(notes.connections(&person).await.text.contains("<td>not told</td>"), "{fault:?}");
        }
    });
}
