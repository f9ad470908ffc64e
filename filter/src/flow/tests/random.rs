//! Whatever happens in whatever order: nothing is let go unjudged, nothing twice, nothing with a credential on hold, and
//! nothing panics (I2, I10, I11).

use std::collections::HashMap;

use super::*;

/// The generator of Steele, Lea and Flood (SplitMix64): the same sequences in every run.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.throw(of.len() as u64)).unwrap()]
    }
}

/// What really came of one request, beside what its flow made of it.
#[derive(Default)]
struct Truth {
    is_post: bool,
    /// The end of the request was shown, by headers, data or trailers.
    ended: bool,
    body: Vec<u8>,
    asked: Option<(CredentialKey, TokenHash)>,
    forwards: u32,
    replies: u32,
}

fn may_leave(truth: &Truth) -> bool {
    truth.ended && if truth.is_post { crate::jsonrpc::read(&truth.body).is_ok() } else { truth.body.is_empty() }
}

struct Tokens([String; 8]);

impl Tokens {
    fn new() -> Self {
        let expired = world::token_of("k1", json!({"exp": NOW_MS / 1_000 - 600}));
        let unknown = world::token_of("k2", json!({}));
        Self([alice(), alice(), alice(), alice(), world::mallory(), unknown, passing_token(), expired])
    }
}

fn request(dice: &mut Dice, tokens: &Tokens) -> Request {
    let method = dice.one(&["POST", "POST", "POST", "GET", "DELETE", "OPTIONS"]);
    let server = dice.one(&["demo/echo", "demo/echo", "demo/open", "demo/none", "demo/pass", "demo/gone"]);
    let mut request = Request::new(method, server, dice.one(&tokens.0).as_str()).ended(*method != "POST");
    if dice.throw(20) == 0 {
        request.ended = !request.ended;
    }
    if dice.throw(20) != 0 {
        request = request.with("content-type", "application/json");
    }
    match dice.throw(30) {
        0 => request.cluster = None,
        1 => request.cluster = Some("other".into()),
        2 => request = request.with("authorization", "Bearer x"),
        3 => request = request.with("mcp-session-id", "up-1"),
        4 => request = request.with("mcp-name", "other"),
        5 => request = request.without("authorization"),
        _ => {}
    }
    request
}

/// Until when each generation of grant `g` is on hold.
type Held = HashMap<u64, u64>;

fn update(dice: &mut Dice, gate: &mut Gate, held: &mut Held) {
    let from = gate.worker.version();
    let step = proto::Delta { from, to: from + 1, ..proto::Delta::default() };
    let update = match dice.throw(8) {
        0 => world::delta(proto::Delta { removed_servers: vec!["demo/echo".into()], ..step }),
        1 => world::delta(proto::Delta { issuers: vec![world::issuer(vec![])], ..step }),
        2 => world::delta(proto::Delta { revocations: Some(proto::Revocations::default()), ..step }),
        3 => world::delta(proto::Delta { from: from + 3, ..step }),
        4 | 5 => {
            let (generation, until_ms) = (dice.throw(4), gate.now_ms() + dice.one(&[0, 1, 60, 5_000]));
            held.insert(generation, until_ms);
            world::hold("g", generation, until_ms)
        }
        _ => world::full(world::snapshot()),
    };
    if gate.worker.update(update, gate.host.now_ms.get()).is_err() {
        gate.worker.ask_for_full();
    }
}

fn answer(dice: &mut Dice, now_ms: u64) -> Answer {
    use proto::acquire_credential_response::Answer as Said;
    match dice.throw(6) {
        0 => Answer::Silent,
        1 => Answer::Said(proto::AcquireCredentialResponse::default()),
        2 => {
            said(Said::Denied(proto::Denied { reason: i32::try_from(dice.throw(6)).unwrap(), message: String::new() }))
        }
        _ => given_of(dice.throw(5), "h", now_ms + dice.throw(5_000), now_ms + dice.throw(4_000)),
    }
}

fn event(dice: &mut Dice, gate: &mut Gate, held: &mut Held, flow: Flow, truth: &mut Truth) -> (Flow, Step) {
    const PIECES: [&str; 8] =
        [CALL, CALL, CALL, NOTE, "", "{", r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#, "[]"];
    match dice.throw(17) {
        // As from Envoy: nothing of a request comes after its end.
        0..=3 | 11..=14 if !truth.ended => {
            let piece = dice.one(&PIECES).as_bytes();
            truth.body.extend_from_slice(piece);
            truth.ended = dice.throw(2) == 0;
            gate.data(flow, piece, truth.ended)
        }
        4 if !truth.ended => {
            truth.ended = true;
            gate.on(|env| flow.on_trailers(env))
        }
        5 => {
            gate.later(*dice.one(&[1, 1, 50, 50, 50, 3_000, 70_000]));
            gate.on(|env| flow.on_tick(env))
        }
        6 => {
            let known = dice.throw(2) == 0;
            let now_ms = gate.now_ms();
            gate.worker.resolved(world::ISSUER.into(), "k2".into(), known.then(|| world::key("k2")), now_ms);
            gate.on(|env| flow.on_key(known, env))
        }
        7 | 8 | 11..=14 => {
            let answer = answer(dice, gate.now_ms());
            match truth.asked.clone() {
                Some((key, _)) => gate.answer(flow, &key, &answer),
                None => gate.on(|env| flow.on_credential(&answer, None, env)),
            }
        }
        9 => {
            let answer = answer(dice, gate.now_ms());
            gate.on(|env| flow.on_rejected(&answer, true, env))
        }
        10 => {
            let status = dice.one(&["200", "401", "403", "302", "500", "", "x"]);
            let head = world::head(&[(":status", status), ("mcp-session-id", "up-1")]);
            gate.on(|env| flow.on_response_headers(&head, env))
        }
        _ => {
            update(dice, gate, held);
            (flow, Step::Wait)
        }
    }
}

#[test]
fn i2_no_sequence_of_events_lets_an_unjudged_request_go() {
    let tokens = Tokens::new();
    let mut dice = Dice(1);
    let (mut gate, mut held) = (Gate::new(), Held::new());
    let (mut forwards, mut replies, mut asked_again) = (0, 0, 0);
    for round in 0..30_000 {
        if round % 40 == 0 {
            (gate, held) = (Gate::new(), Held::new());
        }
        let request = request(&mut dice, &tokens);
        let mut truth = Truth { is_post: request.pairs[0].1 == "POST", ended: request.ended, ..Truth::default() };
        let (mut flow, mut step) = gate.headers(&request);
        for _ in 0..12 {
            match step {
                Step::Forward(grant) => {
                    truth.forwards += 1;
                    assert!(may_leave(&truth), "round {round}: let go unjudged");
                    let Flow::AwaitUpstream(forwarded) = &flow else {
                        panic!("round {round}: forwarded and elsewhere")
                    };
                    let (generation, now_ms) = (forwarded.credential.generation, gate.now_ms());
                    let on_hold = held.iter().any(|(to, until_ms)| generation <= *to && now_ms < *until_ms);
                    assert!(!on_hold, "round {round}: I11");
                    let pairs = upstream_headers(&request, &grant);
                    let inbound = &request.pairs[3].1;
                    let passes = request.pairs[1].1.contains("/pass/");
                    assert!(passes || !pairs.iter().any(|(_, value)| value == inbound), "round {round}: I1");
                }
                Step::Reply(_) => {
                    truth.replies += 1;
                    assert!(matches!(flow, Flow::Done));
                }
                Step::Acquire(ask) => {
                    asked_again += u32::from(truth.asked.is_some());
                    truth.asked = Some((ask.key, ask.token_hash));
                }
                Step::Close(_) => assert!(matches!(flow, Flow::Done)),
                Step::PassResponse(_) | Step::RejectCredential(_) | Step::ResolveKey { .. } | Step::Wait => {}
            }
            (flow, step) = event(&mut dice, &mut gate, &mut held, flow, &mut truth);
        }
        assert!(truth.forwards <= 1 && truth.replies <= 1, "round {round}: one terminal action");
        forwards += truth.forwards;
        replies += truth.replies;
    }
    assert!(forwards > 500 && replies > 5_000, "the dice reach both ends: {forwards} and {replies}");
    assert!(asked_again > 100, "{asked_again} were on hold when they came");
}
