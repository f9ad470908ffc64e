//! A hundred thousand answers that nobody wrote: no panic, and stored right or kept as it was. The fuzz target in `fuzz/`
//! goes further; this runs everywhere, and the same way each time.

use std::collections::BTreeMap;

use super::given::MAX_SCOPES;
use super::*;
use crate::oauth::profile::ALL;
use crate::secret::Secret;

const ROUNDS: u32 = 120_000;

/// Answers as providers give them, to be broken.
const SEEDS: [&str; 8] = [
    r#"{"access_token":"acc-1","refresh_token":"ref-1","expires_in":3600,"scope":"read write","token_type":"Bearer"}"#,
    r#"{"ok":true,"access_token":"bot-1","token_type":"bot","refresh_token":"botref-1","authed_user":{"id":"U1","access_token":"acc-1","refresh_token":"ref-1","expires_in":"43200","scope":"a,b"},"team":{"id":"T1"}}"#,
    "access_token=acc-1&refresh_token=ref-1&expires_in=28800&scope=&token_type=bearer",
    r#"{"access_token":"acc-1","refresh_token":null,"workspace_id":"w","owner":{"user":{"id":"u"}},"id":"https://x/1"}"#,
    r#"{"error":"invalid_grant","error_description":"x"}"#,
    r#"{"ok":false,"error":"ratelimited"}"#,
    r#"{"access_token":"acc-1","expires_in":-1,"scope":["a","b"],"id_token":"e30.eyJzdWIiOiIxMTAwIn0.x"}"#,
    r#"{"access_\u0074oken":"acc-1","refresh_token":"ref-1","expires_in":1e400}"#,
];

/// Pieces that turn one shape into another.
const PIECES: [&str; 24] = [
    "null",
    "\"null\"",
    "\"\"",
    "{}",
    "[]",
    "0",
    "-1",
    "1e999",
    "true",
    "\u{feff}",
    "\\u0000",
    "\\",
    "\"",
    "{",
    "}",
    "[",
    ",",
    ":",
    "&",
    "=",
    "%00",
    "\"access_token\":",
    "\"refresh_token\":\"ref-1\",",
    "\"error\":\"invalid_grant\",",
];

/// xorshift64: the same answers in every run, so that a failure is one that can be looked at.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn body(&mut self) -> Vec<u8> {
        let mut body = self.of(&SEEDS).as_bytes().to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(body.len() + 1);
            let end = (at + self.below(12)).min(body.len());
            match self.below(6) {
                0 => body.truncate(at),
                1 => drop(body.splice(at..end, self.of(&PIECES).bytes())),
                2 => drop(body.splice(at..at, self.of(&PIECES).bytes())),
                3 => drop(body.drain(at..end)),
                4 => body.splice(at..at, body[at..end].to_vec()).for_each(drop),
                _ => match body.get_mut(at) {
                    Some(byte) => *byte = self.below(256) as u8,
                    None => body.push(self.below(256) as u8),
                },
            }
        }
        body
    }
}

fn bytes(secret: &Secret, max: usize) -> bool {
    let bytes = secret.expose();
    !bytes.trim_ascii().is_empty() && bytes.len() <= max && bytes.iter().all(|byte| matches!(byte, b' '..=b'~'))
}

/// The rule. A refresh token from beside another access token, or out of an error, would end the grant.
fn is_right(answer: &Answer, token: &Token, refresh: &str) -> bool {
    matches!(answer.status, 200 | 201)
        && bytes(&token.access_token, MAX_ACCESS_TOKEN)
        && !token.access_token.expose().contains(&b' ')
        && !matches!(token.access_token.expose(), b"null" | b"undefined")
        && token.refresh_token.as_ref().is_none_or(|token| bytes(token, MAX_REFRESH_TOKEN))
        && refresh != "null"
        && token.expires_in.is_none_or(|life| life >= Duration::from_secs(1) && life <= MAX_EXPIRES_IN)
        && token.scopes.as_ref().is_none_or(|scopes| !scopes.is_empty() && scopes.len() <= MAX_SCOPES)
        && token.account.as_ref().is_none_or(|account| account.bytes().all(|byte| byte.is_ascii_graphic()))
}

#[test]
fn o8_whatever_comes_is_stored_right_or_kept_as_it_was() {
    let mut draw = Draw(0x9e37_79b9_7f4a_7c15);
    let mut outcomes: BTreeMap<&str, u32> = BTreeMap::new();
    for round in 0..ROUNDS {
        let body = draw.body();
        let answer = Answer {
            status: draw.of(&[200, 200, 200, 201, 400, 401, 403, 429, 500, 302]),
            content_type: draw
                .of(&[None, Some("application/json"), Some("application/x-www-form-urlencoded"), Some("text/html")])
                .map(str::to_owned),
            retry_after: None,
            body: Secret::new(body.as_slice()),
        };
        let profile = draw.of(&ALL);
        let outcome = match read(profile, &answer) {
            Ok(Given::RefreshTokenAlone { refresh_token, .. }) => {
                let refresh = refresh_token.expose_str().expect("ASCII");
                let shown = String::from_utf8_lossy(&body).into_owned();
                assert!(matches!(answer.status, 200 | 201), "round {round}, {}: {shown}", profile.name);
                assert!(bytes(&refresh_token, MAX_REFRESH_TOKEN) && refresh != "null", "round {round}: {shown}");
                let is_a_bots = profile.nested.is_some() && refresh == "botref-1";
                let of_a_bot = [r#""authed_user":{"id""#, r#","token_type":"bot""#].map(|piece| shown.contains(piece));
                assert!(!is_a_bots || of_a_bot == [false; 2], "round {round}, {}: {shown}", profile.name);
                "refresh_token_alone"
            }
            Ok(Given::Token(token)) => {
                let access = token.access_token.expose_str().expect("ASCII").to_owned();
                let refresh = token.refresh_token.as_ref().and_then(Secret::expose_str).unwrap_or_default().to_owned();
                let shown = String::from_utf8_lossy(&body).into_owned();
                assert!(is_right(&answer, &token, &refresh), "round {round}, {}: {shown}", profile.name);
                let mixed = (access == "acc-1" && refresh == "botref-1") || (access == "bot-1" && refresh == "ref-1");
                assert!(!mixed || !shown.contains("authed_user\":{"), "round {round}, {}: {shown}", profile.name);
                if token.refresh_token.is_some() { "pair" } else { "token" }
            }
            Err(error) => {
                let shown = format!("{error} {error:?}");
                assert!(!shown.contains("acc-1") && !shown.contains("ref-1"), "round {round}: {shown}");
                error.code()
            }
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    // The rule was put to the test: every outcome came often.
    for outcome in [
        "pair",
        "token",
        "malformed",
        "unavailable",
        "invalid_grant",
        "invalid_client",
        "refused",
        "refresh_token_alone",
    ] {
        assert!(outcomes.get(outcome).is_some_and(|count| *count > 100), "{outcome}: {outcomes:?}");
    }
}
