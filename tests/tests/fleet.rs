//! Three brokers over one Postgres, as a company runs them: what they agree on without knowing of each other, and what is
//! left when parts of them go (threats L1, L4, L5, L6, L11, V1; design: two sizes, one configuration).

use std::{sync::Arc, time::Duration};

use e2e::{Auth, Broker, Browser, Provider, Server, World, acquire, broker_api, eventually, provider::Rotation};
use futures::future::join_all;
use sallyport_proto::broker::acquire_credential_response::Answer;

#[path = "fleet/clocks.rs"]
mod clocks;
#[path = "fleet/degraded.rs"]
mod degraded;
#[path = "fleet/herd.rs"]
mod herd;
#[path = "fleet/late.rs"]
mod late;
#[path = "fleet/moved.rs"]
mod moved;
#[path = "fleet/news.rs"]
mod news;
#[path = "fleet/planted.rs"]
mod planted;
#[path = "fleet/redis.rs"]
mod redis;
#[path = "fleet/rewrapped.rs"]
mod rewrapped;
#[path = "fleet/rolling.rs"]
mod rolling;
#[path = "fleet/spool.rs"]
mod spool;
#[path = "fleet/streams.rs"]
mod streams;

const BROKERS: usize = 3;

/// A gate with three brokers, and a server of a provider where a second request with one refresh token ends the grant.
struct Fleet {
    world: World,
    provider: Arc<Provider>,
    server: Server,
}

impl Fleet {
    async fn start(world: e2e::WorldBuilder) -> Self {
        let mut world = world.brokers(BROKERS).start().await;
        let provider = Arc::new(Provider::start().await);
        provider.rotation(Rotation::FamilyRevoke);
        let server = world.server().auth(Auth::authorization_code(&provider));
        let server = server.manifest(|server| server["auth_data"]["provider"] = "notion".into()).apply().await;
        server.upstream.guarded_by(&provider);
        world.others_read_manifests().await;
        server.until_served().await;
        Self { world, provider, server }
    }

    /// Somebody with a grant whose token is over by the time anybody looks.
    async fn consents(&self, person: &str) {
        let page = self.world.consent(&Browser::of(person), &self.server).await;
        assert!(page.text.contains(" is connected."), "{person}: {page:?}");
        let over = "UPDATE grants SET issued_at = 1, refresh_after = 2, expires_at = 3 \
                    WHERE holder = (SELECT principal FROM identities WHERE subject = $1)";
        assert_eq!(self.world.broker.database().await.execute(over, &[person]).await, 1, "{person}");
    }

    /// This person's token is due from now on, and lives.
    async fn is_due(&self, person: &str) {
        let now = e2e::now_seconds() * 1000;
        let due = format!(
            "UPDATE grants SET issued_at = {now}, refresh_after = {now}, expires_at = {} \
             WHERE holder = (SELECT principal FROM identities WHERE subject = $1)",
            now + 3_600_000
        );
        assert_eq!(self.world.broker.database().await.execute(&due, &[person]).await, 1, "{person}");
    }

    fn token(&self, person: &str) -> String {
        self.world.issuer.token(person, &self.server).mint()
    }

    /// What this broker gives for a person now, past the proxy, if anything.
    async fn given_by(&self, broker: &Broker, person: &str, server: &Server) -> Option<String> {
        if !knows(broker, server).await {
            return None;
        }
        let token = self.world.issuer.token(person, server).mint();
        let request = acquire(&broker.grpc, &token, server).await;
        let mut api = broker_api(&broker.grpc).await.expect("the same user may connect");
        match api.acquire_credential(request).await.expect("it answers").into_inner().answer {
            Some(Answer::Credential(credential)) => String::from_utf8(credential.headers[0].value.clone()).ok(),
            _ => None,
        }
    }

    /// The same of every broker.
    async fn given_by_each(&self, person: &str, server: &Server) -> Vec<Option<String>> {
        join_all(self.world.brokers().map(|broker| self.given_by(broker, person, server))).await
    }

    async fn until_they_coordinate(&self) {
        for broker in self.world.brokers() {
            let is_well = async || readiness(broker).await["degraded"].as_array()?.is_empty().then_some(());
            eventually("it coordinates", is_well).await;
        }
    }

    /// Not the one that operators of a test and their commands speak to.
    fn another(&self) -> &Broker {
        self.world.others.last().expect("there are three")
    }

    fn refreshes(&self) -> usize {
        self.provider.token_requests_by("refresh_token").len()
    }
}

/// Whether this broker's proxies know a server.
async fn knows(broker: &Broker, server: &Server) -> bool {
    e2e::snapshot(&broker.grpc).await.servers.iter().any(|published| published.name == server.name)
}

/// What a broker says of itself while it stays ready.
async fn readiness(broker: &Broker) -> serde_json::Value {
    let answer = reqwest::get(format!("http://{}/readyz", broker.http)).await.expect("it answers");
    assert_eq!(answer.status(), 200, "it stays ready");
    answer.json().await.expect("JSON")
}

/// Long enough for another broker to take up what a dead one has begun.
const TAKEN_UP: Duration = Duration::from_secs(40);
