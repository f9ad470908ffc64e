//! Which account at the provider a token is for, where the answer says so.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::body::{self, Object, Value};
use crate::oauth::endpoint::Answer;
use crate::oauth::profile::{AccountRequest, Profile};

/// Longest id of an account.
const MAX_ACCOUNT: usize = 512;

/// Longest name that people know one by.
const MAX_NAME: usize = 100;

/// Largest number that JSON carries without loss.
const MAX_NUMBER: f64 = 9_007_199_254_740_992.0;

/// What the profile names, else the subject of an ID token. Opaque: to be compared, never to sign anybody in.
pub(super) fn read(profile: &Profile, body: &Object) -> Option<String> {
    let parts = profile.account.iter().filter_map(|path| body.text_at(path)).filter(|part| !part.is_empty());
    let parts: Vec<&str> = parts.collect();
    id(if parts.is_empty() { subject(body.text_at(&["id_token"])?)? } else { parts.join("/") })
}

/// What the answer to an account request names: the id and, behind a space, the name.
pub(in crate::oauth) fn told(asked: &AccountRequest, answer: &Answer) -> Option<String> {
    if answer.status != 200 {
        return None;
    }
    let body = body::read(answer.content_type.as_deref(), answer.body.expose()).ok()?.plain()?;
    let id = id(match body.get(asked.id) {
        Value::Number(number) if number.fract() == 0.0 && (1.0..=MAX_NUMBER).contains(number) => format!("{number:.0}"),
        other => other.text()?.to_owned(),
    })?;
    let is_name = |name: &&str| {
        !name.trim().is_empty() && name.len() <= MAX_NAME && name.bytes().all(|byte| matches!(byte, b' '..=b'~'))
    };
    Some(match body.get(asked.name).text().filter(is_name) {
        Some(name) => format!("{id} {}", name.trim()),
        None => id,
    })
}

fn id(id: String) -> Option<String> {
    (!id.is_empty() && id.len() <= MAX_ACCOUNT && id.bytes().all(|byte| byte.is_ascii_graphic())).then_some(id)
}

/// `sub` of an ID token that came straight from the token endpoint, which TLS vouches for (OpenID Connect Core §3.1.3.7,
/// 6): no signature is checked, since nothing but sameness is read from it.
fn subject(id_token: &str) -> Option<String> {
    let claims = URL_SAFE_NO_PAD.decode(id_token.split('.').nth(1)?).ok()?;
    Some(body::read(None, &claims).ok()?.plain()?.text_at(&["sub"])?.to_owned())
}
