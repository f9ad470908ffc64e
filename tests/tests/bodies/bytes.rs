//! What goes upstream is, byte for byte, what was judged (R12).

use std::collections::HashSet;

use e2e::{Connection, Piece, World, run};
use futures::{StreamExt, stream};
use sha2::{Digest, Sha256};

const BODIES: u64 = 10_000;

#[test]
fn r12_forwards_the_very_bytes_it_judged_of_ten_thousand_random_bodies() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let authorization = format!("Bearer {}", world.issuer.token("alice", &server).mint());
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let mut connections = Vec::new();
        for _ in 0..4 {
            connections.push(Connection::open(world.envoy.gateway, server.host()).await.expect("it listens"));
        }
        let bodies: Vec<(u64, String)> = (0..BODIES).map(|seed| (seed, Dice::of(seed).message())).collect();
        let path = server.path.as_str();
        let calls = bodies.iter().zip(connections.iter().cycle()).map(|((seed, body), connection)| async move {
            let reply = connection.post(path, &headers, Dice::of(*seed).cut(body)).await.expect("an answer");
            assert_eq!(reply.status, 200, "{body}: {reply}");
        });
        stream::iter(calls).buffer_unordered(32).collect::<()>().await;
        let arrived = server.upstream.requests();
        assert_eq!(arrived.len(), bodies.len());
        let arrived: HashSet<_> = arrived.iter().map(|request| Sha256::digest(&request.body)).collect();
        for (_, body) in &bodies {
            assert!(arrived.contains(&Sha256::digest(body)), "arrived otherwise: {body}");
        }
    });
}

#[test]
fn r12_forwards_odd_spellings_as_they_are() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let token = world.issuer.token("alice", &server).mint();
        for body in [
            "\u{20}\t\r\n {\"jsonrpc\" : \"2.0\" ,\"id\":1, \"method\":\"ping\"}\r\n \t",
            r#"{"jsonrpc":"2.0","id":123456789012345678901234567890,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":"\u0031","method":"p\u0069ng","params":{"x":1.0e+2,"y":-0.0,"z":"\/"}}"#,
            r#"{"params":{"arguments":{"a":{"b":1,"b":2}},"name":"echo"},"method":"tools/call","id":1,"jsonrpc":"2.0"}"#,
        ] {
            server.upstream.forget();
            let reply = server.call_as(&token).body(body).send().await;
            assert_eq!(reply.status, 200, "{body}: {reply}");
            assert_eq!(String::from_utf8_lossy(&server.upstream.only_request().body), body);
        }
    });
}

/// Random choices, the same for the same seed (splitmix64): a body that fails can be made again.
struct Dice {
    seed: u64,
    state: u64,
}

impl Dice {
    fn of(seed: u64) -> Self {
        Self { seed, state: seed }
    }

    fn roll(&mut self, sides: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 33).expect("31 bits") % sides
    }

    fn one_of(&mut self, choices: &[&'static str]) -> &'static str {
        choices[self.roll(choices.len())]
    }

    fn space(&mut self) -> &'static str {
        self.one_of(&["", "", "", " ", "\t", "\r\n", "   \n"])
    }

    /// `tools/call`, its members in any order; the id makes it unlike all others.
    fn message(&mut self) -> String {
        let arguments = self.value(5);
        let mut params = [r#""name":"echo""#.to_owned(), format!(r#""arguments":{{"x":{arguments}}}"#)];
        let turn = self.roll(2);
        params.rotate_left(turn);
        let params = format!(r#""params":{{{}}}"#, params.join(","));
        let odd = self.one_of(&["a", "\\u00e9", "\u{1f511}", "\\\""]);
        let id = format!(r#""id":"{}-{odd}""#, self.seed);
        let mut members = [r#""jsonrpc":"2.0""#.to_owned(), id, r#""method":"tools/call""#.to_owned(), params];
        let turn = self.roll(4);
        members.rotate_left(turn);
        let separator = format!("{},{}", self.space(), self.space());
        format!("{}{{{}{}}}{}", self.space(), members.join(&separator), self.space(), self.space())
    }

    fn value(&mut self, depth: usize) -> String {
        match self.roll(if depth == 0 { 4 } else { 6 }) {
            0 => self.one_of(&["null", "true", "false"]).to_owned(),
            1 => self.one_of(&["0", "-0.0", "1e300", "1E-300", "12345678901234567890123", "0.10"]).to_owned(),
            2 | 3 => self.string(),
            4 => {
                let values: Vec<String> = (0..self.roll(6)).map(|_| self.value(depth - 1)).collect();
                format!("[{}{}]", self.space(), values.join(self.one_of(&[",", ", ", " ,\n"])))
            }
            _ => {
                let members = (0..self.roll(6)).map(|_| format!("{}:{}", self.string(), self.value(depth - 1)));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }
        }
    }

    fn string(&mut self) -> String {
        let length = [3, 12, 60, 900][self.roll(4)];
        let characters: String = (0..self.roll(length))
            .map(|_| {
                self.one_of(&["a", " ", "\\n", "\\\\", "\\/", "\\u0041", "\\ud83d\\udd11", "\u{7f}", "\u{2028}", "é"])
            })
            .collect();
        format!("\"{characters}\"")
    }

    /// In up to four frames, none of them empty (two of those are a flood to Envoy), with or without trailers.
    fn cut(&mut self, body: &str) -> Vec<Piece> {
        let mut rest = body.as_bytes();
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let most = if pieces.len() < 3 { 1 + self.roll(200) } else { rest.len() };
            let (piece, more) = rest.split_at(most.min(rest.len()));
            pieces.push(Piece::Data(piece.to_vec()));
            rest = more;
        }
        pieces.extend((self.roll(4) == 0).then(|| Piece::trailer("x-checksum", "1")));
        pieces
    }
}
