//! `sallyport grants refresh`: an operator has a grant refreshed, by the same rules as everybody.

use e2e::{provider::Endpoint, provider::Fault, run};
use serde_json::Value;

use super::*;

#[test]
fn an_operator_refreshes_a_grant_by_its_id_and_is_told_what_came_of_it() {
    run(async {
        let world = World::start().await;
        let (provider, server) = connected(&world, "notion", LONG).await;
        let listed = world.broker.command(&["grants", "list", "--json"]).await.ok();
        let listed: Value = serde_json::from_str(&listed).expect("JSON");
        let id = listed[0]["id"].as_str().unwrap_or_else(|| panic!("{listed}")).to_owned();
        let ask = async |more: &[&str]| {
            let output = world.broker.command(&[&["grants", "refresh", &id, "--json"], more].concat()).await;
            let told: Value =
                serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
            (output.success, told["outcome"].as_str().expect("text").to_owned(), told["generation"].as_u64())
        };
        assert_eq!(ask(&[]).await, (true, "not_due".to_owned(), Some(1)));
        assert_eq!(refreshes(&provider), 0);
        assert_eq!(ask(&["--force"]).await, (true, "refreshed".to_owned(), Some(2)));
        assert_eq!(refreshes(&provider), 1);
        let renewed = [format!("Bearer {}", provider.issued()[1])];
        let call = server.call_as(&world.issuer.token("alice", &server).mint());
        eventually("she is served with the new one", async || {
            let reply = call.send().await;
            (reply.status == 200 && reply.called_as() == renewed).then_some(())
        })
        .await;
        provider.fail(Endpoint::Token, Fault::busy(503, 7));
        let (success, outcome, _) = ask(&["--force"]).await;
        assert_eq!((success, outcome.as_str()), (false, "unavailable"));
        provider.heal();
        let unknown = world.broker.command(&["grants", "refresh", "nobodys"]).await;
        assert!(!unknown.success && unknown.stderr.contains("sallyport grants list"), "{}", unknown.stderr);
    });
}
