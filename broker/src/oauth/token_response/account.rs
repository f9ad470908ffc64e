//! Which account at the provider a token is for, where the answer says so.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::body::{self, Object};
use crate::oauth::profile::Profile;

/// Longest name of an account.
const MAX_ACCOUNT: usize = 512;

/// What the profile names, else the subject of an ID token. Opaque: to be compared, never to sign anybody in.
pub(super) fn read(profile: &Profile, body: &Object) -> Option<String> {
    let parts = profile.account.iter().filter_map(|path| body.text_at(path)).filter(|part| !part.is_empty());
    let parts: Vec<&str> = parts.collect();
    let name = if parts.is_empty() { subject(body.text_at(&["id_token"])?)? } else { parts.join("/") };
    (!name.is_empty() && name.len() <= MAX_ACCOUNT && name.bytes().all(|byte| byte.is_ascii_graphic())).then_some(name)
}

/// `sub` of an ID token that came straight from the token endpoint, which TLS vouches for (OpenID Connect Core §3.1.3.7,
/// 6): no signature is checked, since nothing but sameness is read from it.
fn subject(id_token: &str) -> Option<String> {
    let claims = URL_SAFE_NO_PAD.decode(id_token.split('.').nth(1)?).ok()?;
    Some(body::read(None, &claims).ok()?.plain()?.text_at(&["sub"])?.to_owned())
}
