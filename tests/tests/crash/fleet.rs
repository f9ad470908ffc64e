//! The same with three brokers over one Postgres: what the dead one has begun, the two others end, and it never comes back.

use std::time::Instant;

use e2e::{Reply, acquire, broker_api, unique};
use futures::future::join_all;
use tokio::sync::{OnceCell, RwLock as Turn, Semaphore};

use super::*;

/// Until another broker may take up what a dead one began: nobody can tell it from a slow one before.
const INTENT: Duration = Duration::from_secs(20);

/// Deaths at each moment of each mode.
fn rounds_each() -> usize {
    e2e::rounds(5, 25)
}

/// Brokers that die at the same time.
const AT_ONCE: usize = 4;

/// A provider of one kind, and a server of its people.
struct Mode {
    rotation: Rotation,
    loses: bool,
    provider: Arc<Provider>,
    server: Server,
    /// One death at a time, and nobody consents meanwhile: the provider strikes whoever comes next.
    turn: Turn<()>,
}

/// One death that is due.
struct Job {
    mode: usize,
    death: (Death, usize, bool),
    person: String,
    consented: OnceCell<()>,
}

/// Deaths that are over before the first of them is overdue.
struct Wave {
    began: Instant,
    consenting: Semaphore,
    dying: Semaphore,
}

struct Fleet {
    world: World,
    modes: Vec<Mode>,
}

/// Of each mode, in the order of [`MODES`].
type Seen = Vec<Vec<Round>>;

const MODES: [(Rotation, &str, bool); 5] = [
    (Rotation::None, "google", false),
    (Rotation::OldValid, "microsoft", false),
    (Rotation::Grace(Duration::from_secs(60)), "custom", false),
    (Rotation::Strict, "custom", true),
    (Rotation::FamilyRevoke, "notion", true),
];

static SEEN: OnceCell<Seen> = OnceCell::const_new();

impl Fleet {
    async fn start() -> Self {
        let mut world = World::build().brokers(2).start().await;
        let mut modes = Vec::new();
        for (rotation, kind, loses) in MODES {
            let provider = Arc::new(Provider::start().await);
            provider.rotation(rotation);
            let server = world.server().auth(Auth::authorization_code(&provider));
            let server = server.manifest(move |server| says(server, rotation, kind)).apply().await;
            server.upstream.guarded_by(&provider);
            modes.push(Mode { rotation, loses, provider, server, turn: Turn::new(()) });
        }
        world.others_read_manifests().await;
        for mode in &modes {
            mode.server.until_served().await;
        }
        Self { world, modes }
    }

    /// This person's token is over by the time anybody looks.
    async fn is_over(&self, person: &str) {
        let over = "UPDATE grants SET issued_at = 1, refresh_after = 2, expires_at = 3 \
                    WHERE holder = (SELECT principal FROM identities WHERE subject = $1)";
        assert_eq!(self.world.broker.database().await.execute(over, &[person]).await, 1, "{person}");
    }

    /// A third broker is asked for this person's token, and dies over its refresh; `false` if it came too late to be sure
    /// that it dies over this one.
    async fn dies(&self, mode: &Mode, person: &str, death: Death, began: Instant) -> bool {
        let mut broker = self.world.another_broker();
        match death {
            Death::At(point) => broker.start_to_end_at(point).await,
            Death::AtProvider(_) => broker.start().await,
        }
        let token = self.world.issuer.token(person, &mode.server).mint();
        let request = acquire(&broker.grpc, &token, &mode.server).await;
        let mut api = broker_api(&broker.grpc).await.expect("the same user may connect");
        let _turn = mode.turn.write().await;
        if began.elapsed() >= INTENT {
            return false;
        }
        self.is_over(person).await;
        if let Death::AtProvider(moment) = death {
            mode.provider.fail_next(Endpoint::Token, 1, &Fault::kill(moment, broker.child().pid()));
        }
        // Whatever it is told: the broker dies over it.
        api.acquire_credential(request).await.ok();
        eventually(&format!("{death:?} for {person}"), async || broker.ended().then_some(())).await;
        true
    }

    /// What a call is told that goes to the two that are left.
    async fn fate(&self, mode: &Mode, person: &str) -> Fate {
        let call = mode.server.call_as(&self.world.issuer.token(person, &mode.server).mint());
        let told = |reply: &Reply| reply.json()["error"]["code"] != -31004;
        let reply = eventually_within(INTENT * 2, "the next call is answered", async || {
            let reply = call.send().await;
            told(&reply).then_some(reply)
        })
        .await;
        if reply.json().get("result").is_some() {
            assert_eq!(reply.result()["holder"], person, "{reply}");
            return Fate::Lives;
        }
        let link = self.world.link_in(&reply);
        assert_eq!(self.world.link_in(&call.send().await), link, "one link, however often they call");
        assert_eq!(listed(&self.world.broker, person).await["standing"], "needs_consent", "{person}");
        Fate::AsksForConsent
    }

    /// One death and what became of it; `None` if it has to be left to another wave.
    async fn round(&self, job: &Job, wave: &Wave) -> Option<Round> {
        let (mode, person, (death, uses, is_lost)) = (&self.modes[job.mode], job.person.clone(), job.death);
        let consents = async || {
            let _place = wave.consenting.acquire().await.expect("it is not closed");
            let _turn = mode.turn.read().await;
            self.world.consent(&Browser::of(&person), &mode.server).await;
        };
        job.consented.get_or_init(consents).await;
        let dying = wave.dying.acquire().await.expect("it is not closed");
        if wave.began.elapsed() > INTENT * 3 / 4 || !self.dies(mode, &person, death, wave.began).await {
            return None;
        }
        drop(dying);
        let fate = self.fate(mode, &person).await;
        let family = mode.provider.family_of(&person).expect("they have consented");
        // Not by us: where reuse ends a family, the one attempt that finds out does.
        let may_end = mode.rotation == Rotation::FamilyRevoke && is_lost;
        assert!(family.revoked.is_none() || may_end, "{person} {death:?}: {:?}", family.revoked);
        let seen = (fate, mode.provider.uses_of(&family.refresh_tokens[0]));
        let expected = (if mode.loses && is_lost { Fate::AsksForConsent } else { Fate::Lives }, uses);
        Some(Round { person, death, seen, expected })
    }

    /// Everybody who is to die, in waves: a broker that starts takes up whatever is overdue, and would die over that.
    async fn everybody(&self) -> Seen {
        let jobs = || DEATHS.into_iter().flat_map(|death| (0..self.modes.len()).map(move |mode| (mode, death)));
        let job = |(mode, death)| Job { mode, death, person: unique("person"), consented: OnceCell::new() };
        let mut left: Vec<Job> = (0..rounds_each()).flat_map(|_| jobs()).map(job).collect();
        let mut seen: Seen = self.modes.iter().map(|_| Vec::new()).collect();
        while !left.is_empty() {
            let semaphore = || Semaphore::new(AT_ONCE);
            let wave = Wave { began: Instant::now(), consenting: semaphore(), dying: semaphore() };
            let rounds = join_all(left.iter().map(|job| self.round(job, &wave))).await;
            let mut again = Vec::new();
            for (job, round) in left.into_iter().zip(rounds) {
                match round {
                    Some(round) => seen[job.mode].push(round),
                    None => again.push(job),
                }
            }
            left = again;
        }
        seen
    }
}

/// Fails with every round of this mode that ended otherwise than the matrix promises.
async fn promised(mode: usize) {
    let seen = SEEN.get_or_init(async || Fleet::start().await.everybody().await).await;
    let wrong: Vec<_> =
        seen[mode].iter().filter(|round| round.seen != round.expected).map(ToString::to_string).collect();
    assert!(wrong.is_empty(), "{:?}: {} of {}\n{}", MODES[mode], wrong.len(), seen[mode].len(), wrong.join("\n"));
    assert_eq!(seen[mode].len(), DEATHS.len() * rounds_each());
}

#[test]
fn i5_l3_no_death_of_one_of_three_brokers_strands_a_grant_whose_refresh_token_stays() {
    run(promised(0));
}

#[test]
fn i5_l3_no_death_of_one_of_three_brokers_strands_a_grant_whose_old_refresh_tokens_stay_valid() {
    run(promised(1));
}

#[test]
fn i5_l3_no_death_of_one_of_three_brokers_strands_a_grant_within_its_providers_grace() {
    run(promised(2));
}

#[test]
fn i5_l3_where_refresh_tokens_work_once_three_brokers_lose_only_what_the_provider_did_unseen() {
    run(promised(3));
}

#[test]
fn i5_l3_where_reuse_ends_the_family_three_brokers_try_once_and_never_again() {
    run(promised(4));
}
