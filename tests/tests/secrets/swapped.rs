//! What two people have agreed to, changed over by somebody who writes the store (threat V2).

use std::sync::Arc;

use e2e::{Auth, Browser, Provider, Server, World, run, unique};
use serde_json::Value;

/// Two people who have agreed to one server.
struct Pair {
    provider: Arc<Provider>,
    server: Server,
    people: [String; 2],
}

impl Pair {
    async fn agreed(world: &World) -> Self {
        let provider = Arc::new(Provider::start().await);
        let server = world.server().auth(Auth::authorization_code(&provider)).register().await;
        server.upstream.guarded_by(&provider);
        let people = ["alice", "bob"].map(unique);
        for person in &people {
            let page = world.consent(&Browser::of(person), &server).await;
            assert!(page.text.contains(" is connected."), "{page:?}");
        }
        Self { provider, server, people }
    }

    /// Whose the rows are, in SQL.
    fn rows(&self) -> String {
        let [alice, bob] = &self.people;
        format!(
            "provider_client = (SELECT DISTINCT g.provider_client FROM grants g JOIN identities i ON g.holder = i.principal \
                 WHERE i.subject IN ('{alice}', '{bob}'))"
        )
    }

    /// Changes over what a column of their grants holds.
    async fn swap(&self, world: &World, column: &str) {
        let (mut database, client) = (world.broker.database().await, self.rows());
        let kept = format!(
            "CREATE TABLE swapped AS SELECT id, provider_client AS client, {column} AS value FROM grants WHERE {client}"
        );
        database.execute(&kept, &[]).await;
        if column == "holder" {
            // No two may be of one holder, not even for a moment.
            database.execute("UPDATE grants SET holder = 'of-' || id WHERE id IN (SELECT id FROM swapped)", &[]).await;
        }
        let swap = format!(
            "UPDATE grants SET {column} = (SELECT s.value FROM swapped s WHERE s.id <> grants.id) \
             WHERE id IN (SELECT id FROM swapped)"
        );
        assert_eq!(database.execute(&swap, &[]).await, 2, "{column}");
        database.execute("DROP TABLE swapped", &[]).await;
    }

    /// Nobody's call went out as anybody but themselves; answers who was asked to agree anew.
    async fn asked_anew(&self, world: &World, column: &str) -> Vec<bool> {
        let mut asked = Vec::new();
        for person in &self.people {
            let seen = self.server.upstream.requests().len();
            let reply = self.server.call_as(&world.issuer.token(person, &self.server).mint()).send().await;
            let own = self.provider.family_of(person).expect("they have agreed").access_tokens;
            for request in self.server.upstream.requests().into_iter().skip(seen) {
                let shown = request.all("authorization");
                let is_own = own.iter().any(|token| shown == [format!("Bearer {token}")]);
                assert!(is_own, "{column}: {person} is served as somebody else");
            }
            asked.push(reply.to_string().contains("/connect/"));
        }
        asked
    }
}

/// Standing and reason of every grant, as operators are told.
async fn standings(world: &World, pair: &Pair) -> Vec<(String, String)> {
    let listed = world.broker.command(&["grants", "list", "--server", &pair.server.name, "--json"]).await.ok();
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    let text = |grant: &Value, field: &str| grant[field].as_str().unwrap_or_default().to_owned();
    let listed = listed.as_array().expect("a list").iter();
    listed.map(|grant| (text(grant, "standing"), text(grant, "reason"))).collect()
}

fn unreadable() -> Vec<(String, String)> {
    vec![("needs_consent".to_owned(), "unreadable".to_owned()); 2]
}

#[test]
fn v2_an_access_token_of_somebody_else_opens_for_nobody_and_their_own_is_renewed() {
    run(async {
        let mut world = World::start().await;
        let pair = Pair::agreed(&world).await;
        world.broker.stop().await;
        pair.swap(&world, "access_token").await;
        world.broker.start().await;
        assert_eq!(pair.asked_anew(&world, "access_token").await, [false, false]);
        let renewed = pair
            .people
            .each_ref()
            .map(|person| pair.provider.family_of(person).map(|family| family.access_tokens.len()));
        assert_eq!(renewed, [Some(2), Some(2)], "what does not open is renewed, each by its own refresh token");
        let told = world.broker.log().lines().filter(|line| line.contains("a stored token does not open")).count();
        assert!(told >= 2, "{told} lines");
    });
}

#[test]
fn v2_a_refresh_token_of_somebody_else_is_never_shown_to_the_provider_and_the_grant_says_why() {
    run(async {
        let mut world = World::start().await;
        let pair = Pair::agreed(&world).await;
        world.broker.stop().await;
        pair.swap(&world, "refresh_token").await;
        let over = format!(
            "UPDATE grants SET issued_at = 1, refresh_after = 2, expires_at = 3, due_at = 2 WHERE {}",
            pair.rows()
        );
        assert_eq!(world.broker.database().await.execute(&over, &[]).await, 2);
        world.broker.start().await;
        assert_eq!(pair.asked_anew(&world, "refresh_token").await, [true, true]);
        assert_eq!(pair.provider.token_requests_by("refresh_token").len(), 0);
        assert_eq!(standings(&world, &pair).await, unreadable());
    });
}

#[test]
fn v2_a_grant_that_is_said_to_be_somebody_elses_serves_nobody_and_says_why() {
    run(async {
        let mut world = World::start().await;
        let pair = Pair::agreed(&world).await;
        world.broker.stop().await;
        pair.swap(&world, "holder").await;
        world.broker.start().await;
        assert_eq!(pair.asked_anew(&world, "holder").await, [true, true]);
        assert_eq!(pair.provider.token_requests_by("refresh_token").len(), 0);
        assert_eq!(standings(&world, &pair).await, unreadable());
    });
}
