//! Who carries a plan out, and starts again what should run, as a supervisor would.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use postgres_counterpart::Server as Postgres;
use redis_counterpart::Redis;

use super::{
    drive::millis,
    plan::{Deed, Misfortune, Part, Plan},
};
use crate::{
    Broker, Provider, World, eventually_within,
    provider::{Endpoint, Fault, Moment},
};

const TICK: Duration = Duration::from_millis(50);
/// Until every broker serves once everything is well: one that was told to end may take 20 seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// A misfortune as it came: on a busy machine all of it may be late. Times in milliseconds since the start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Happened {
    pub(super) part: Part,
    pub(super) deed: Deed,
    pub(super) from: u64,
    pub(super) to: u64,
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [from, to] = [self.from, self.to].map(|at| at as f64 / 1000.0);
        write!(f, "{from:.1}-{to:.1} s: {} {}", self.part, self.deed.name())
    }
}

/// Keeps a fleet as its plan wants it.
pub(super) struct Keeper<'w> {
    world: &'w mut World,
    postgres: &'static Postgres,
    providers: Vec<Arc<Provider>>,
    /// By broker: whether it should run.
    wanted: Vec<bool>,
}

impl<'w> Keeper<'w> {
    pub(super) fn new(world: &'w mut World, postgres: &'static Postgres, providers: Vec<Arc<Provider>>) -> Self {
        let wanted = vec![true; world.brokers().count()];
        Self { world, postgres, providers, wanted }
    }

    /// All of it, each at its time; answers when that was.
    pub(super) async fn carry_out(&mut self, Plan(all): &Plan, started: Instant) -> Vec<Happened> {
        let happened = |one: &Misfortune| Happened { part: one.part, deed: one.deed, from: 0, to: 0 };
        let mut happened: Vec<_> = all.iter().map(happened).collect();
        let begin = all.iter().enumerate().map(|(number, misfortune)| (misfortune.at, true, number));
        let end = all.iter().enumerate().map(|(number, misfortune)| (misfortune.at + misfortune.lasts, false, number));
        let mut events: Vec<_> = begin.chain(end).collect();
        events.sort_by_key(|(at, ..)| *at);
        for (at, begins, number) in events {
            while started.elapsed() < at {
                self.supervise();
                tokio::time::sleep(TICK.min(at.saturating_sub(started.elapsed()))).await;
            }
            match begins {
                true => {
                    happened[number].from = millis(started.elapsed());
                    self.begin(&all[number]);
                }
                false => {
                    self.end(&all[number]);
                    happened[number].to = millis(started.elapsed());
                }
            }
        }
        happened
    }

    /// Everything is well again, and every broker serves.
    pub(super) async fn heal(&mut self) {
        self.providers.iter().for_each(|provider| provider.heal());
        eventually_within(PATIENCE, "every broker serves", async || {
            self.supervise();
            for broker in self.world.brokers() {
                if !broker.is_ready().await {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }

    fn begin(&mut self, misfortune: &Misfortune) {
        match (misfortune.part, misfortune.deed) {
            (Part::Broker(number), Deed::Kill) => {
                self.wanted[number] = false;
                self.broker(number).kill();
            }
            (Part::Broker(number), Deed::Restart) => {
                self.wanted[number] = false;
                if self.broker(number).runs() {
                    self.broker(number).child().terminate();
                }
            }
            (Part::Broker(number), Deed::Pause) => {
                if self.broker(number).runs() {
                    self.broker(number).child().freeze();
                }
            }
            (Part::Postgres, Deed::Kill) => self.postgres.kill(),
            (Part::Postgres, Deed::Pause) => self.postgres.freeze(),
            (Part::Redis, Deed::Kill) => self.redis().kill(),
            (Part::Redis, Deed::Pause) => self.redis().pause(),
            (Part::Provider(number), Deed::LoseAnswer) => {
                let cut = Fault::Cut(Moment::AfterProcessBeforeReply);
                self.providers[number].fail_next(Endpoint::Token, 1, &cut);
            }
            (Part::Postgres | Part::Redis | Part::Provider(_), _) | (Part::Broker(_), Deed::LoseAnswer) => {
                unreachable!("no plan has that")
            }
        }
    }

    fn end(&mut self, misfortune: &Misfortune) {
        match (misfortune.part, misfortune.deed) {
            (Part::Broker(number), Deed::Kill | Deed::Restart) => self.wanted[number] = true,
            (Part::Broker(number), Deed::Pause) => {
                if self.broker(number).runs() {
                    self.broker(number).child().thaw();
                }
            }
            (Part::Postgres, Deed::Kill) => self.postgres.revive(),
            (Part::Postgres, Deed::Pause) => self.postgres.thaw(),
            (Part::Redis, Deed::Kill) => self.redis().restart_empty(),
            (Part::Redis, Deed::Pause) => self.redis().resume(),
            (Part::Provider(_) | Part::Broker(_) | Part::Postgres | Part::Redis, _) => {}
        }
    }

    /// Starts what should run and does not: it has ended, or could not start without a store.
    fn supervise(&mut self) {
        for number in 0..self.wanted.len() {
            if self.wanted[number] && !self.broker(number).runs() {
                self.broker(number).spawn();
            }
        }
    }

    fn redis(&mut self) -> &mut Redis {
        self.world.redis.as_mut().expect("brokers over Postgres have one")
    }

    fn broker(&mut self, number: usize) -> &mut Broker {
        self.world.brokers_mut().nth(number).expect("there are as many")
    }
}
