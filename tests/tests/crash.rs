//! kill -9 of the broker at each moment of a refresh, at providers of every kind (I5, threats L3 and the
//! crash-step matrix): which grants live on, which are lost, and that nobody asks a provider twice for nothing.

use std::{fmt, sync::Arc, time::Duration};

use e2e::{
    Auth, Broker, Browser, Provider, Server, World, eventually, eventually_within,
    provider::{Endpoint, Fault, Moment, Rotation},
    run,
};
use serde_json::Value;

#[path = "crash/fleet.rs"]
mod fleet;
#[path = "crash/left.rs"]
mod left;

/// Deaths at each moment.
fn rounds_each() -> usize {
    e2e::rounds(10, 25)
}

/// Where the broker dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    /// At a point of its own.
    At(&'static str),
    /// When its request is at the provider.
    AtProvider(Moment),
}

/// In the order in which they come; with the uses of the refresh token when all is over, and whether its successor was
/// lost. A second use finds out what became of the first; there is never a third.
const DEATHS: [(Death, usize, bool); 8] = [
    (Death::At("intent-taken"), 1, false),
    (Death::At("before-send"), 1, false),
    (Death::AtProvider(Moment::BeforeProcess), 2, false),
    (Death::AtProvider(Moment::AfterProcessBeforeReply), 2, true),
    (Death::At("reply-read"), 2, true),
    (Death::At("before-commit"), 2, true),
    (Death::At("after-commit"), 1, false),
    (Death::At("before-release"), 1, false),
];

/// What became of one grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The next call succeeds, with a token that is good at the provider.
    Lives,
    /// The next call is told where to consent, and so is the one after it.
    AsksForConsent,
}

/// One death: what became of the grant, and how often its refresh token was used.
struct Round {
    person: String,
    death: Death,
    seen: (Fate, usize),
    expected: (Fate, usize),
}

/// What a server's manifest tells of its provider.
fn says(server: &mut Value, rotation: Rotation, kind: &str) {
    server["auth_data"]["provider"] = kind.into();
    if let Rotation::Grace(window) = rotation {
        server["auth_data"]["refresh_token_rotation"] = "grace".into();
        server["auth_data"]["refresh_token_grace"] = format!("{}s", window.as_secs()).into();
    }
}

/// This person's grant, as an operator sees it.
async fn listed(broker: &Broker, person: &str) -> Value {
    let user = format!("{person}@example.com");
    let list = broker.command(&["grants", "list", "--user", &user, "--json"]).await.ok();
    serde_json::from_str::<Value>(&list).expect("JSON")[0].clone()
}

struct Gate {
    world: World,
    provider: Arc<Provider>,
    server: Server,
}

impl Gate {
    async fn start(rotation: Rotation, kind: &'static str) -> Self {
        let provider = Arc::new(Provider::start().await);
        provider.rotation(rotation);
        let world = World::start().await;
        let server = world.server().auth(Auth::authorization_code(&provider));
        let server = server.manifest(move |server| says(server, rotation, kind)).register().await;
        server.upstream.guarded_by(&provider);
        Self { world, provider, server }
    }

    /// This person's call makes the broker refresh their grant, and die over it.
    async fn dies(&mut self, person: &str, death: Death) {
        self.world.broker.kill();
        match death {
            Death::At(point) => self.world.broker.start_to_end_at(point).await,
            Death::AtProvider(moment) => {
                self.world.broker.start().await;
                let kill = Fault::kill(moment, self.world.broker.child().pid());
                self.provider.fail_next(Endpoint::Token, 1, &kill);
            }
        }
        let call = self.server.call_as(&self.world.issuer.token(person, &self.server).mint());
        eventually(&format!("{death:?} for {person}"), async || {
            // Whatever it is told: the broker dies over it.
            call.try_send().await.ok();
            self.world.broker.ended().then_some(())
        })
        .await;
    }

    async fn fate(&mut self, person: &str) -> Fate {
        self.world.broker.start().await;
        let call = self.server.call_as(&self.world.issuer.token(person, &self.server).mint());
        let reply = eventually_within(Duration::from_secs(10), "the next call is answered", async || {
            let reply = call.try_send().await.ok()?;
            let is_away = reply.json()["error"]["code"] == -31004;
            (!is_away).then_some(reply)
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

    fn uses(&self, person: &str) -> usize {
        let family = self.provider.family_of(person).expect("they have consented");
        self.provider.uses_of(&family.refresh_tokens[0])
    }
}

/// Kills the broker everywhere, and demands the state that the matrix promises. `loses`: where a refresh token works once,
/// what the provider did and we have not stored is lost.
async fn matrix(rotation: Rotation, kind: &'static str, loses: bool) {
    let mut gate = Gate::start(rotation, kind).await;
    // All are over when their turn comes.
    gate.provider.access_token_life(Duration::from_secs(1));
    let mut rounds = Vec::new();
    for (death, uses, is_lost) in DEATHS {
        for number in 0..rounds_each() {
            let person = format!("person-{}-{number}", rounds.len());
            gate.world.consent(&Browser::of(&person), &gate.server).await;
            let fate = if loses && is_lost { Fate::AsksForConsent } else { Fate::Lives };
            rounds.push(Round { person, death, seen: (fate, uses), expected: (fate, uses) });
        }
    }
    gate.provider.access_token_life(Duration::from_secs(3600));
    for Round { person, death, seen, .. } in &mut rounds {
        gate.dies(person, *death).await;
        *seen = (gate.fate(person).await, gate.uses(person));
    }
    let wrong: Vec<_> = rounds.iter().filter(|round| round.seen != round.expected).map(ToString::to_string).collect();
    assert!(wrong.is_empty(), "{rotation:?}: {} of {}\n{}", wrong.len(), rounds.len(), wrong.join("\n"));
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { person, death, seen, expected } = self;
        write!(f, "{person:<14} {death:<22?} {seen:?}, not {expected:?}")
    }
}

#[test]
fn i5_l3_no_death_strands_a_grant_whose_refresh_token_stays() {
    run(matrix(Rotation::None, "google", false));
}

#[test]
fn i5_l3_no_death_strands_a_grant_whose_old_refresh_tokens_stay_valid() {
    run(matrix(Rotation::OldValid, "microsoft", false));
}

#[test]
fn i5_l3_no_death_strands_a_grant_within_its_providers_grace() {
    run(matrix(Rotation::Grace(Duration::from_secs(30)), "auth0", false));
}

#[test]
fn i5_l3_where_refresh_tokens_work_once_only_what_the_provider_did_unseen_is_lost_and_is_asked_for_anew() {
    run(matrix(Rotation::Strict, "custom", true));
}

#[test]
fn i5_l3_where_reuse_ends_the_family_it_is_tried_once_and_never_again() {
    run(matrix(Rotation::FamilyRevoke, "notion", true));
}
