//! Many callers, one grant, one request.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use e2e::{Auth, Browser, Idp, OAuth, Server, World, acquire, broker_api, eventually_within, provider::Rotation, run};
use futures::{StreamExt, future::join_all, stream};
use sallyport_proto::broker::acquire_credential_response::Answer;

use super::*;

const ROUNDS: usize = 200;
const CALLERS: usize = 50;

/// What so many callers are answered at once, past the proxy, which would ask once for all of them, and give up sooner than a
/// busy machine answers.
async fn answered_at_once(world: &World, person: &str, server: &Server, callers: usize) -> Vec<Answer> {
    let socket = &world.broker.grpc;
    let request = acquire(socket, &world.issuer.token(person, server).mint(), server).await;
    let api = broker_api(socket).await.expect("the same user may connect");
    let callers = (0..callers).map(|_| {
        let (mut api, request) = (api.clone(), request.clone());
        async move { api.acquire_credential(request).await.expect("it answers").into_inner().answer.expect("an answer") }
    });
    join_all(callers).await
}

/// What so many callers are given at once.
async fn given_at_once(world: &World, person: &str, server: &Server, callers: usize) -> BTreeSet<Vec<u8>> {
    let credential = |answer| match answer {
        Answer::Credential(credential) => credential.headers[0].value.clone(),
        other => panic!("no credential: {other:?}"),
    };
    answered_at_once(world, person, server, callers).await.into_iter().map(credential).collect()
}

/// A person of their own at the gate, who is alice at the real provider: with a grant of its own.
async fn agrees(world: &World, name: &str, server: &Server) {
    let mut person = Browser::of(name);
    let answer = answered_at_once(world, name, server, 1).await.remove(0);
    let Answer::ConsentRequired(required) = answer else { panic!("{name} has not consented: {answer:?}") };
    world.sign_in(&person).await;
    "alice".clone_into(&mut person.login);
    let page = world.connect(&person, &required.consents[0].url.parse().expect("a link")).await;
    assert!(page.text.contains(" is connected."), "{name}: {page:?}");
}

/// How long tokens live at least that are due and alive when their turn comes.
const LIFE: Duration = Duration::from_secs(20);

/// When a token ends and how long it lives, as the provider wrote it.
fn times(header: &[u8]) -> (Duration, Duration) {
    let token = std::str::from_utf8(header).ok().and_then(|value| value.strip_prefix("Bearer ")).expect("a token");
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).expect("three parts")).expect("base64url");
    let claims: serde_json::Value = serde_json::from_slice(&claims).expect("JSON");
    let seconds = |name: &str| Duration::from_secs(claims[name].as_u64().expect("a number"));
    (seconds("exp"), seconds("exp") - seconds("iat"))
}

/// What is asked of the real provider, round by round.
struct Herd<'w> {
    world: &'w World,
    server: Server,
    idp: Idp,
    client: OAuth,
    /// How long tokens live that are due and alive when their turn comes.
    life: Duration,
    /// Rounds in which such a token was given out.
    alive: usize,
}

impl Herd<'_> {
    /// These people consent, in this order; answers when each had.
    async fn consent(&self, people: impl Iterator<Item = usize>) -> VecDeque<(String, Instant)> {
        let consents = people.map(|number| async move {
            let person = format!("caller-{number}");
            agrees(self.world, &person, &self.server).await;
            (person, Instant::now())
        });
        stream::iter(consents).buffered(8).collect().await
    }

    /// A token lives since shortly before its holder had consented; it is due at 85 % of its life at the latest.
    fn is_due(&self, since: Instant) -> bool {
        since.elapsed() >= self.life.mul_f64(0.855)
    }

    fn is_over(&self, since: Instant) -> bool {
        since.elapsed() + Duration::from_secs(1) >= self.life
    }

    async fn requests(&self) -> u64 {
        self.idp.token_requests(&self.client.client_id).await
    }

    /// Every caller is given a token that lives, for one request; and so is who comes afterwards, for none.
    async fn round(&mut self, person: &str) {
        let before = self.requests().await;
        // Answers may take their time; a token that is over now can be in none of them.
        let asked = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let given = given_at_once(self.world, person, &self.server, CALLERS).await;
        let times: Vec<_> = given.iter().map(|token| times(token)).collect();
        // The provider counts whole seconds from one that had begun when it was asked.
        let is_alive = |end: Duration| end + Duration::from_secs(1) > asked;
        assert!(times.iter().all(|(end, _)| is_alive(*end)), "{person} was given a token that is over: {times:?}");
        let is_due = times.iter().any(|(_, life)| *life == self.life);
        self.alive += usize::from(is_due);
        assert!(given.len() <= 1 + usize::from(is_due), "{person}: {CALLERS} callers, one token beside the old one");
        let renewed = async || (self.requests().await == before + 1).then_some(());
        eventually(&format!("the token of {person} is renewed"), renewed).await;
        let after = eventually("the new one is served", async || {
            let given = given_at_once(self.world, person, &self.server, 1).await;
            given.iter().all(|token| self::times(token).1 != self.life).then_some(given)
        })
        .await;
        assert!(
            after.len() == 1 && given.iter().all(|token| after.contains(token) || self::times(token).1 == self.life)
        );
        assert_eq!(self.requests().await, before + 1, "{person}");
    }
}

#[test]
fn l1_fifty_callers_make_one_request_two_hundred_times_at_a_provider_where_a_second_would_end_the_grant() {
    run(async {
        let world = World::shared().await;
        let idp = Idp::start(world.dir()).await;
        let client = OAuth::at_idp(&idp);
        let scopes = vec!["mcp:tools".to_owned()];
        let server = world.server().auth(Auth::AuthorizationCode { at: client.clone(), scopes }).register().await;
        let first = Browser::of("first");
        world.admit(&client, &idp, &first, &world.consent_link(&first, &server).await).await;
        let rounds = e2e::rounds(ROUNDS, ROUNDS);
        // In a quarter of them tokens are to be due and alive, and in most of them that is prepared: on a busy machine many
        // come late.
        let (least, prepared) = (rounds / 4, rounds * 4 / 5);
        let mut herd = Herd { world, server, idp, client, life: LIFE, alive: 0 };
        // Over when their turn comes: whoever asks has to wait.
        herd.idp.access_token_ttl(1).await;
        let start = Instant::now();
        let mut over = herd.consent(prepared..rounds).await;
        // Due, and not over: whoever asks gets the old one, and does not wait. The first is due when the last has consented.
        let pace = start.elapsed().as_secs_f64() / over.len() as f64;
        herd.life = LIFE.max(Duration::from_secs((1.3 * pace * prepared as f64).ceil() as u64));
        herd.idp.access_token_ttl(herd.life.as_secs()).await;
        let mut alive = herd.consent(0..prepared).await;
        herd.idp.access_token_ttl(3600).await;
        loop {
            while let Some(late) = alive.pop_front_if(|(_, since)| herd.is_over(*since)) {
                over.push_back(late);
            }
            let due = alive.pop_front_if(|(_, since)| herd.is_due(*since));
            let next = match due.or_else(|| over.pop_front()) {
                Some(next) => next,
                None => {
                    let Some(next) = alive.pop_front() else { break };
                    let is_due = async || herd.is_due(next.1).then_some(());
                    eventually_within(herd.life, "it is due", is_due).await;
                    next
                }
            };
            herd.round(&next.0).await;
        }
        assert!(herd.alive >= least, "only {} of {rounds} rounds began with a token that was alive", herd.alive);
        assert_eq!(herd.idp.grants_revoked().await, 0);
    });
}

#[test]
fn l1_two_servers_of_one_provider_client_share_one_strict_grant() {
    run(async {
        let world = World::build().concurrency(2).start().await;
        let provider = Arc::new(Provider::start().await);
        provider.rotation(Rotation::FamilyRevoke);
        let servers = world.two_servers_at(&provider).await;
        servers.iter().for_each(|server| server.upstream.guarded_by(&provider));
        consents(&world, &provider, &servers[0], BRIEF).await;
        expired(&provider).await;
        let calls = (0..CALLERS).map(|caller| {
            let server = &servers[caller % 2];
            let token = world.issuer.token("alice", server).mint();
            async move { server.call_as(&token).send().await }
        });
        let mut given = BTreeSet::new();
        for reply in join_all(calls).await {
            assert_eq!(reply.result()["holder"], "alice", "{reply}");
            given.extend(reply.called_as());
        }
        assert_eq!((given.len(), refreshes(&provider), provider.was_family_revoked()), (1, 1, false));
    });
}
