//! The same while everybody's grants are re-wrapped, over and over (L1, V6).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use e2e::{admin_api, run};
use sallyport_proto::admin::RewrapKeysRequest;

use super::{
    herd::{Its, rounds},
    *,
};

const GRANTS: usize = 1_000;
/// At most, while a re-wrap goes over all of them once.
const REFRESHED_MEANWHILE: usize = 50;

/// How the re-wraps go on.
#[derive(Default)]
struct Rewraps {
    /// Fields that were moved so far.
    moved: AtomicU64,
    /// The last one has begun.
    enough: AtomicBool,
}

impl Fleet {
    /// A thousand people, `person-<n>`, with a grant each whose token is over.
    async fn thousand(&mut self) {
        self.consents("first").await;
        for broker in self.world.brokers_mut() {
            broker.stop().await;
        }
        self.world.broker.seed_grants(0..GRANTS, Duration::ZERO).await;
        self.provider.adopt(0..GRANTS);
        for broker in self.world.brokers_mut() {
            broker.start().await;
        }
    }

    /// As in the midst of a hand-over: every broker opens with both keys, and the last one still seals with the old one. What
    /// the first has moved to the new one, the last moves back.
    async fn differ_about_the_key(&mut self) {
        self.world.hand_over_to_a_new_key().await;
        let last = self.world.others.last_mut().expect("there are three");
        last.change(|config| config["vault"]["keys"].as_array_mut().expect("a list").reverse());
        last.stop().await;
        last.start().await;
    }

    /// One re-wrap after the other; answers how many fields each has moved.
    async fn rewrap(&self, rewraps: &Rewraps) -> Vec<u64> {
        let mut passes = Vec::new();
        for broker in [&self.world.broker, self.another()].into_iter().cycle() {
            let is_last = rewraps.enough.load(Ordering::SeqCst);
            let mut api = admin_api(&broker.admin).await.expect("the same user may connect");
            let asked = api.rewrap_keys(RewrapKeysRequest {}).await.expect("none is under way");
            let (mut progress, mut done, mut is_over) = (asked.into_inner(), 0, false);
            while let Some(told) = progress.message().await.expect("it goes on") {
                rewraps.moved.fetch_add(told.done - done, Ordering::SeqCst);
                assert!(told.left.is_empty() && told.away.is_empty(), "{told:?}");
                (done, is_over) = (told.done, told.is_over);
            }
            assert!(is_over, "it ended early");
            passes.push(done);
            if is_last {
                break;
            }
        }
        passes
    }
}

#[test]
fn l1_v6_fifty_callers_at_each_of_three_brokers_make_one_request_while_a_thousand_grants_go_from_key_file_to_key_file()
{
    run(async {
        let mut fleet = Fleet::start(World::build().key_file()).await;
        fleet.thousand().await;
        fleet.differ_about_the_key().await;
        let (rewraps, rounds) = (Rewraps::default(), rounds().min(GRANTS));
        let calls = async {
            let mut meanwhile = 0;
            for number in 0..rounds {
                let moved = rewraps.moved.load(Ordering::SeqCst);
                fleet.round(&format!("person-{number}"), Its::of_round(number)).await;
                meanwhile += usize::from(rewraps.moved.load(Ordering::SeqCst) > moved);
            }
            rewraps.enough.store(true, Ordering::SeqCst);
            meanwhile
        };
        let (passes, meanwhile) = tokio::join!(fleet.rewrap(&rewraps), calls);
        println!("{rounds} rounds, in {meanwhile} of which a re-wrap went on; fields moved by each: {passes:?}");
        assert!(meanwhile * 4 >= rounds * 3, "a re-wrap went on in {meanwhile} of {rounds} rounds only");
        // A grant has two sealed fields; those of one that is refreshed meanwhile may be under the new key by then.
        let least = 2 * (GRANTS - REFRESHED_MEANWHILE) as u64;
        assert!(passes.iter().all(|moved| *moved >= least), "{passes:?}");
        fleet.nothing_came_late(rounds).await;
    });
}
