//! Three brokers over one Postgres, as a company runs them: what they agree on without knowing of each other, and what is
//! left when parts of them go (threats L1, L6; design: two sizes, one configuration).

use std::{sync::Arc, time::Duration};

use e2e::{Auth, Browser, Provider, Server, World, provider::Rotation};

#[path = "fleet/herd.rs"]
mod herd;
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

    fn token(&self, person: &str) -> String {
        self.world.issuer.token(person, &self.server).mint()
    }

    fn refreshes(&self) -> usize {
        self.provider.token_requests_by("refresh_token").len()
    }
}

/// Long enough for another broker to take up what a dead one has begun.
const TAKEN_UP: Duration = Duration::from_secs(40);
