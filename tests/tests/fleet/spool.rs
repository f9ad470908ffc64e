//! What a provider gave while the store, or the key service, was gone: kept, and used once it is back (I5, L6).

use std::{path::PathBuf, time::Instant};

use e2e::{
    Kms, KmsFault, acquire, broker_api, eventually, eventually_within,
    provider::{Endpoint, Fault, Moment},
    run, spawn,
};
use postgres_counterpart::Server as Postgres;

use super::*;

/// Longer than a broker's right to ask holds.
const AWAY: Duration = Duration::from_secs(30);

/// The store is away for as long, and the pair waits all that time.
async fn stays_away(waits: impl AsyncFn() -> bool) {
    let since = Instant::now();
    eventually_within(2 * AWAY, "it has been away for long", async || {
        assert!(waits().await, "nothing has taken it");
        (since.elapsed() > AWAY).then_some(())
    })
    .await;
}

impl Fleet {
    /// The first broker is asked for this person's token; returns when the provider has another pair for it, and has not
    /// said so yet.
    async fn is_being_refreshed(&self, person: &str) {
        self.consents(person).await;
        let late = Fault::Delay(Moment::AfterProcessBeforeReply, Duration::from_secs(2));
        self.provider.fail_next(Endpoint::Token, 1, &late);
        let socket = &self.world.broker.grpc;
        let request = acquire(socket, &self.token(person), &self.server).await;
        let mut api = broker_api(socket).await.expect("the same user may connect");
        // Whatever it is told: it is the pair that counts.
        spawn(async move { api.acquire_credential(request).await.ok() });
        let issued = || self.provider.family_of(person).expect("they have consented").access_tokens.len();
        eventually("the provider has another pair", async || (issued() == 2).then_some(())).await;
    }

    /// Callers of this person at every other broker keep asking, for as long as `meanwhile` takes.
    async fn others_ask_for<T>(&self, person: &str, meanwhile: impl Future<Output = T>) -> T {
        let ask = async |broker: &Broker| {
            let request = acquire(&broker.grpc, &self.token(person), &self.server).await;
            let mut api = broker_api(&broker.grpc).await.expect("the same user may connect");
            loop {
                // Whatever they are told.
                let _ = api.acquire_credential(request.clone()).await;
                tokio::task::yield_now().await;
            }
        };
        let asking = join_all(self.world.others.iter().map(ask));
        tokio::select! {
            _ = asking => unreachable!("they go on"),
            done = meanwhile => done,
        }
    }

    /// What waits in the first broker's spool.
    fn waiting(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.world.broker.data.join("spool")).expect("a directory").flatten();
        let is_whole = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "json");
        files.map(|file| file.path()).filter(is_whole).collect()
    }

    /// The first broker starts again, and stores what waits.
    async fn empties_the_spool(&mut self) {
        assert_eq!(self.waiting().len(), 1, "its death has not lost it");
        // It does not start before there is a store.
        eventually_within(TAKEN_UP, "Postgres is back, and the broker", async || {
            self.world.broker.spawn();
            eventually("it is ready, or has ended", async || {
                (self.world.broker.is_ready().await || self.world.broker.ended()).then_some(())
            })
            .await;
            (!self.world.broker.ended()).then_some(())
        })
        .await;
        eventually_within(TAKEN_UP, "the pair is in the store", async || self.waiting().is_empty().then_some(())).await;
    }

    /// A call through the gateway succeeds with the pair's own token, and nobody asked for it twice.
    async fn has_kept_the_pair(&self, person: &str) {
        let call = self.server.call_as(&self.token(person));
        let reply = eventually_within(TAKEN_UP, "it is served", async || {
            let reply = call.send().await;
            let is_away = reply.json()["error"]["code"] == -31004;
            (!is_away).then_some(reply)
        })
        .await;
        let family = self.provider.family_of(person).expect("they have consented");
        assert_eq!(reply.called_as(), [format!("Bearer {}", family.access_tokens[1])]);
        assert_eq!((self.provider.uses_of(&family.refresh_tokens[0]), family.revoked), (1, None));
    }
}

#[test]
fn i5_l6_a_pair_that_came_when_postgres_was_gone_survives_the_death_of_its_broker_in_the_spool() {
    run(async {
        let postgres: &Postgres = Box::leak(Box::new(Postgres::start()));
        let mut fleet = Fleet::start(World::build().postgres(postgres)).await;
        let person = e2e::unique("person");
        fleet.is_being_refreshed(&person).await;
        postgres.kill();
        eventually("the pair is in the spool", async || (fleet.waiting().len() == 1).then_some(())).await;
        fleet.world.broker.kill();
        postgres.revive();
        fleet.empties_the_spool().await;
        fleet.has_kept_the_pair(&person).await;
    });
}

#[test]
fn i5_l6_a_pair_that_came_when_postgres_hung_is_in_the_spool_within_a_second_and_survives_the_death_of_its_broker() {
    run(async {
        let postgres: &Postgres = Box::leak(Box::new(Postgres::start()));
        let mut fleet = Fleet::start(World::build().postgres(postgres)).await;
        let person = e2e::unique("person");
        fleet.is_being_refreshed(&person).await;
        // It takes what it is sent, and answers nothing.
        postgres.freeze();
        let file = eventually("the pair is in the spool", async || fleet.waiting().pop()).await;
        let written = std::fs::metadata(file).expect("it is there").modified().expect("a time");
        fleet.world.broker.kill();
        assert_eq!(fleet.waiting().len(), 1);
        let asked = fleet.provider.token_requests_by("refresh_token").pop().expect("it was asked");
        let answered = asked.answered.expect("the broker has heard it").at;
        let took = written.duration_since(answered).unwrap_or_default();
        assert!(took < Duration::from_secs(1), "the pair was in memory alone for {took:?}");
        postgres.thaw();
        fleet.empties_the_spool().await;
        fleet.has_kept_the_pair(&person).await;
    });
}

#[test]
fn i5_l6_nobody_asks_again_for_a_pair_that_postgres_took_no_write_of_for_longer_than_a_right_to_ask_lasts() {
    run(async {
        let fleet = Fleet::start(World::build()).await;
        let person = e2e::unique("person");
        fleet.is_being_refreshed(&person).await;
        let no_writes = fleet.world.broker.database().await.no_writes().await;
        let away = async {
            eventually("the pair is in the spool", async || (fleet.waiting().len() == 1).then_some(())).await;
            stays_away(async || fleet.waiting().len() == 1).await;
            no_writes.release().await;
            eventually("the pair is in the store", async || fleet.waiting().is_empty().then_some(())).await;
        };
        fleet.others_ask_for(&person, away).await;
        fleet.has_kept_the_pair(&person).await;
    });
}

#[test]
fn i5_l6_nobody_asks_again_for_a_pair_of_a_broker_that_lives_when_postgres_was_gone_for_longer_than_a_right_to_ask_lasts()
 {
    run(async {
        let postgres: &Postgres = Box::leak(Box::new(Postgres::start()));
        let fleet = Fleet::start(World::build().postgres(postgres)).await;
        let person = e2e::unique("person");
        fleet.is_being_refreshed(&person).await;
        postgres.kill();
        let away = async {
            eventually("the pair is in the spool", async || (fleet.waiting().len() == 1).then_some(())).await;
            stays_away(async || fleet.waiting().len() == 1).await;
            postgres.revive();
            eventually_within(TAKEN_UP, "the pair is in the store", async || fleet.waiting().is_empty().then_some(()))
                .await;
        };
        fleet.others_ask_for(&person, away).await;
        fleet.has_kept_the_pair(&person).await;
    });
}

#[test]
fn i5_v4_a_pair_that_came_when_the_key_service_was_gone_is_stored_all_the_same() {
    run(async {
        let dir = tempfile::tempdir().expect("it is made");
        let kms = Kms::start(dir.path()).await;
        let change = kms.is_the_key();
        let fleet = Fleet::start(World::build().broker(move |config| change(config))).await;
        let person = e2e::unique("person");
        fleet.is_being_refreshed(&person).await;
        kms.fails(KmsFault::Error("DisabledException"));
        let mut database = fleet.world.broker.database().await;
        let generation =
            "SELECT generation FROM grants WHERE holder = (SELECT principal FROM identities WHERE subject = $1)";
        eventually("the pair is in the store", async || {
            (database.number(generation, &[&person]).await == 2).then_some(())
        })
        .await;
        kms.fails(KmsFault::None);
        fleet.has_kept_the_pair(&person).await;
    });
}
