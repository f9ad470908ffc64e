//! Whatever a token endpoint answers: stored right, or kept as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sallyport_broker::oauth::{Answer, Given};
use sallyport_broker::oauth::profile::ALL;
use sallyport_broker::oauth::token_response::{self, MAX_ACCESS_TOKEN, MAX_EXPIRES_IN, MAX_REFRESH_TOKEN};
use sallyport_broker::secret::Secret;

const CONTENT_TYPES: [Option<&str>; 4] =
    [None, Some("application/json"), Some("application/x-www-form-urlencoded"), Some("text/html")];

// The first two bytes choose how the rest came, and from whom.
fuzz_target!(|input: &[u8]| {
    let [how, from, body @ ..] = input else { return };
    let (how, from) = (usize::from(*how), usize::from(*from));
    let answer = Answer {
        status: [200, 201, 400, 401, 403, 429, 500, 302][how % 8],
        content_type: CONTENT_TYPES[how / 8 % 4].map(str::to_owned),
        retry_after: None,
        body: Secret::new(body),
    };
    let Ok(given) = token_response::read(ALL[from % ALL.len()], &answer) else { return };
    assert!(matches!(answer.status, 200 | 201));
    let token = match given {
        Given::Token(token) => token,
        Given::RefreshTokenAlone { refresh_token, .. } => return assert_refresh_token(&refresh_token),
    };
    let access = token.access_token.expose();
    assert!(!access.is_empty() && access.len() <= MAX_ACCESS_TOKEN && access.iter().all(u8::is_ascii_graphic));
    if let Some(refresh_token) = &token.refresh_token {
        assert_refresh_token(refresh_token);
    }
    assert!(token.expires_in.is_none_or(|life| life.as_secs() >= 1 && life <= MAX_EXPIRES_IN));
    assert!(token.scopes.is_none_or(|scopes| !scopes.is_empty() && scopes.iter().all(|scope| !scope.contains(' '))));
    assert!(token.account.is_none_or(|account| account.bytes().all(|byte| byte.is_ascii_graphic())));
});

fn assert_refresh_token(token: &Secret) {
    let token = token.expose();
    assert!(!token.is_empty() && token.len() <= MAX_REFRESH_TOKEN && token.is_ascii());
}
