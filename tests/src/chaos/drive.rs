//! One run: a fleet, people who call, and the plan.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures::future::join_all;
use postgres_counterpart::Server as Postgres;
use tokio::sync::watch;

use super::{
    check::check,
    history::{Fault, Grant, History, Outage, Release, Verdict},
    keeper::{Happened, Keeper},
    losses::{Struck, losses},
    people::{Person, people},
    plan::{Deed, Part, Plan},
    report::{Excuse, Report, Row, deeds},
};
use crate::{Auth, Provider, Server, World, audit_records, provider::Rotation, store::Store};

const BROKERS: usize = 3;
/// Of an access token: everybody's is refreshed several times.
pub(super) const LIFE: Duration = Duration::from_secs(6);
/// A provider takes this long, so that something is always under way.
pub(super) const TAKES: Duration = Duration::from_millis(150);
/// Between two calls of one person.
pub(super) const PAUSE: Duration = Duration::from_millis(200);
/// What a broker has begun is left to it for this long at least.
const LEFT_TO_A_BROKER: Duration = Duration::from_secs(10);

/// What becomes of refresh tokens, the kind of provider that the gate is told of, and how many lost answers that bears.
pub(super) const MODES: [(&str, Rotation, &str, Option<usize>); 5] = [
    ("stay", Rotation::None, "google", None),
    ("rotate, old ones stay valid", Rotation::OldValid, "microsoft", None),
    // Longer than the longest misfortune, and then until others take over what it has cut off.
    ("rotate, with two minutes of grace", Rotation::Grace(Duration::from_secs(120)), "custom", Some(1)),
    ("work once", Rotation::Strict, "custom", Some(0)),
    ("work once, reuse ends the grant", Rotation::FamilyRevoke, "notion", Some(0)),
];

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What the plan is drawn from.
    pub seed: u64,
    /// How long things go wrong.
    pub time: Duration,
    /// People at each provider.
    pub people: usize,
}

impl Options {
    /// What will go wrong.
    pub fn plan(&self) -> Plan {
        Plan::of_seed(self.seed, BROKERS, MODES.len(), self.time)
    }
}

/// A kind of provider, with a server of its people.
pub(super) struct Mode {
    pub(super) provider: Arc<Provider>,
    pub(super) server: Server,
}

/// Runs one plan against a fleet of its own, and checks what became of it.
pub async fn run(options: &Options) -> Report {
    let postgres: &Postgres = Box::leak(Box::new(Postgres::start()));
    let mut world = World::build().brokers(BROKERS).postgres(postgres).start().await;
    let modes = modes(&mut world).await;
    let people = people(&world, &modes, options.people).await;
    let plan = options.plan();
    let (started, (stop, stopped)) = (Instant::now(), watch::channel(false));
    let store = world.broker.store();
    let everything_goes_wrong = async {
        let mut keeper = Keeper::new(&mut world, postgres, modes.iter().map(|mode| mode.provider.clone()).collect());
        let happened = keeper.carry_out(&plan, started).await;
        keeper.heal().await;
        stop.send_replace(true);
        happened
    };
    let calls = join_all(people.iter().map(|person| person.calls(started, stopped.clone())));
    let watching = generations(&store, stopped.clone());
    let (happened, _, generations) = tokio::join!(everything_goes_wrong, calls, watching);
    let verdicts = join_all(people.iter().map(|person| person.verdict(&modes[person.mode], started))).await;
    let releases = releases(&world).await;
    let grants = people.iter().zip(verdicts).map(|(person, verdict)| {
        let looks = generations.iter().filter(|(name, _)| *name == person.name);
        let own = releases.iter().filter(|release| release.subject == person.name);
        person.grant(
            &modes[person.mode],
            started,
            looks.map(|(_, generation)| *generation).collect(),
            own.cloned().collect(),
            verdict,
        )
    });
    let audit_verifies = world.broker.command(&["audit", "verify"]).await.success;
    let (grants, faults, outages) = (grants.collect(), faults(&happened), outages(&happened));
    let history = History { grants, faults, outages, audit_verifies };
    report(options, &Ran { plan, happened, started, modes, people }, &history)
}

async fn modes(world: &mut World) -> Vec<Mode> {
    let mut modes = Vec::new();
    for (_, rotation, kind, _) in MODES {
        let provider = Arc::new(Provider::start().await);
        provider.rotation(rotation);
        let server = world.server().auth(Auth::authorization_code(&provider));
        let server = server.manifest(move |server| {
            server["auth_data"]["provider"] = kind.into();
            if let Rotation::Grace(window) = rotation {
                server["auth_data"]["refresh_token_rotation"] = "grace".into();
                server["auth_data"]["refresh_token_grace"] = format!("{}s", window.as_secs()).into();
            }
        });
        let server = server.apply().await;
        server.upstream.guarded_by(&provider);
        modes.push(Mode { provider, server });
    }
    world.others_read_manifests().await;
    for mode in &modes {
        mode.server.until_served().await;
    }
    modes
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).expect("it fits for long")
}

/// Who has which generation in the store, looked at again and again: by person, in the order of looking.
async fn generations(store: &Store, stopped: watch::Receiver<bool>) -> Vec<(String, u64)> {
    const OF_ALL: &str = "SELECT coalesce(string_agg(i.subject || ' ' || g.generation, ','), '') \
                          FROM grants g JOIN identities i ON i.principal = g.holder";
    const LIMIT: Duration = Duration::from_secs(5);
    let mut seen = Vec::new();
    let mut database = None;
    while !*stopped.borrow() {
        let asked = async {
            if database.is_none() {
                database = store.try_open().await;
            }
            database.as_mut()?.try_text(OF_ALL).await
        };
        match tokio::time::timeout(LIMIT, asked).await.ok().flatten() {
            Some(all) => {
                let each = all.split(',').filter_map(|one| one.split_once(' '));
                seen.extend(each.filter_map(|(person, number)| Some((person.to_owned(), number.parse().ok()?))));
            }
            None => database = None,
        }
        // Also where it is away: what is refused at once would be asked without a pause.
        tokio::time::sleep(PAUSE / 2).await;
    }
    seen
}

async fn releases(world: &World) -> Vec<Release> {
    let mut records = audit_records(&world.broker.admin).await;
    records.retain(|record| record["event"] == "credential.release");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let release = |record: &serde_json::Value| Release {
        grant: text(&record["grant"]),
        generation: record["generation"].as_u64().unwrap_or_default(),
        fingerprint: text(&record["fingerprints"][0]),
        subject: text(&record["actor"]["subject"]),
        server: text(&record["server"]),
    };
    records.iter().map(release).collect()
}

/// What may have cost a broker an answer: none does that is told to end, or paused for less time than what it has begun is
/// its own.
fn faults(happened: &[Happened]) -> Vec<Fault> {
    let costs = |one: &&Happened| match (one.part, one.deed) {
        (Part::Broker(_), Deed::Kill) => true,
        (Part::Broker(_), Deed::Pause) => u128::from(one.to - one.from) > LEFT_TO_A_BROKER.as_millis(),
        (Part::Broker(_), Deed::Restart | Deed::LoseAnswer) | (Part::Postgres | Part::Redis | Part::Provider(_), _) => {
            false
        }
    };
    happened.iter().filter(costs).map(|one| Fault { at: one.from, until: one.to }).collect()
}

fn outages(happened: &[Happened]) -> Vec<Outage> {
    let of_store = happened.iter().filter(|one| one.part == Part::Postgres);
    of_store.map(|one| Outage { from: one.from, to: one.to }).collect()
}

/// What a run was.
struct Ran {
    plan: Plan,
    happened: Vec<Happened>,
    started: Instant,
    modes: Vec<Mode>,
    people: Vec<Person>,
}

fn report(options: &Options, ran: &Ran, history: &History) -> Report {
    let Ran { plan, happened, started, modes, people } = ran;
    let mut rows: Vec<Row> = MODES.map(|(provider, ..)| Row { provider, ..Row::default() }).into();
    for (person, grant) in people.iter().zip(&history.grants) {
        let row = &mut rows[person.mode];
        row.people += 1;
        row.served += grant.served.len();
        row.refused += person.refused.load(Ordering::Relaxed);
        row.refreshed += grant.issued.len() - 1;
        row.ends(grant.verdict);
    }
    let asked = people.iter().zip(&history.grants).filter(|(_, grant)| grant.verdict == Verdict::AsksForConsent);
    let excuse = |(person, grant): (&Person, &Grant)| Excuse {
        person: person.name.clone(),
        provider: MODES[person.mode].0,
        losses: losses(grant, history),
        last_uses: person.last_uses(&modes[person.mode], *started),
    };
    Report {
        excuses: asked.map(excuse).collect(),
        seed: options.seed,
        seconds: options.time.as_secs(),
        rows,
        deeds: deeds(plan),
        happened: happened.iter().map(ToString::to_string).collect(),
        struck: Struck::of(history),
        violations: check(history),
    }
}
