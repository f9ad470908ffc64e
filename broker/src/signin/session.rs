//! Browsers that are signed in, known by a cookie whose secret is not kept; and browsers that are about to be.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::Through;
use crate::clock::Clock;
use crate::keys;
use crate::model::PrincipalId;
use crate::secret::Secret;
use crate::store::{Store, StoreError, StoredSession};

/// The cookie of a session. Its prefix keeps it to this origin and to https (RFC 6265bis §4.1.3.2); browsers take
/// loopback for that.
pub const COOKIE: &str = "__Host-sallyport-session";

/// The cookie of a browser in which a sign-in was begun: it must end there (O2). Set by POST only, so that nobody gets
/// one by looking at a link.
pub const BEGUN_COOKIE: &str = "__Host-sallyport-signin";

/// How long a session lasts.
pub const LIFE: Duration = Duration::from_secs(60 * 60);

/// A browser that is signed in.
#[derive(Debug)]
pub struct Session {
    /// Who.
    pub principal: PrincipalId,
    /// SHA-256 of the cookie's secret.
    pub hash: [u8; 32],
    /// Through what: an issuer, `application` or `link`.
    pub signed_in_at: String,
    /// Names of the teams that the issuer said they are in.
    pub teams: Vec<String>,
    /// Names of the external identities that the person's application vouched for.
    pub external_identities: Vec<String>,
    csrf: Secret,
}

impl Session {
    /// Stands in every form of this session. Made from the cookie's secret, which does not follow from it.
    pub fn csrf(&self) -> &str {
        // Exposed to be put into a form that only this browser gets.
        self.csrf.expose_str().unwrap_or_default()
    }

    /// Whether a form is one of this session's.
    pub fn is_csrf(&self, given: &str) -> bool {
        // Exposed to be compared, in constant time.
        self.csrf.expose().ct_eq(given.as_bytes()).into()
    }
}

/// Finds, starts and ends sessions. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

impl Sessions {
    /// Over the store they are in.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Whose browser sent these headers, if it is signed in.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn of(&self, headers: &HeaderMap) -> Result<Option<Session>, StoreError> {
        let Some(secret) = cookie(headers, COOKIE) else { return Ok(None) };
        let hash = hash(&secret);
        // Exposed to be hashed: what stands in forms says nothing of the cookie.
        let csrf = Sha256::new().chain_update(b"sallyport.csrf.v1").chain_update(secret.expose()).finalize();
        let stored = self.store.session(&hash, self.clock.now()).await?;
        Ok(stored.map(|stored| Session {
            principal: stored.principal,
            hash,
            signed_in_at: stored.signed_in_at,
            teams: stored.teams,
            external_identities: stored.external_identities,
            csrf: Secret::new(keys::hex(&csrf)),
        }))
    }

    /// Signs a browser in, always under a new secret: one that somebody brought along is nobody's session (fixation). What
    /// it signs in by is used up in the same moment, and the session that it had ends.
    pub(super) async fn start(
        &self,
        principal: &PrincipalId,
        through: Through<'_>,
        using: Option<&str>,
        instead_of: Option<&Session>,
    ) -> Result<Secret, StoreError> {
        let (secret, now) = (Secret::random::<32>(), self.clock.now());
        let session = StoredSession {
            hash: hash(&secret),
            principal: principal.clone(),
            signed_in_at: through.name.to_owned(),
            teams: through.teams.to_vec(),
            external_identities: through.external_identities.to_vec(),
            created_at: now,
            expires_at: now.after(LIFE),
        };
        self.store.finish_sign_in(&session, using, instead_of.map(|before| &before.hash), now).await?;
        Ok(secret)
    }

    pub(super) async fn end(&self, hash: &[u8; 32]) -> Result<(), StoreError> {
        self.store.end_session(hash).await
    }
}

/// What is stored of a cookie.
pub(super) fn hash(secret: &Secret) -> [u8; 32] {
    // Exposed to be hashed: nothing else of it is kept.
    Sha256::digest(secret.expose()).into()
}

/// The 32 bytes in a cookie. None if it is there twice: which of the two is ours cannot be told.
pub fn cookie(headers: &HeaderMap, name: &str) -> Option<Secret> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut values = pairs
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(found, _)| *found == name)
        .map(|(_, value)| value);
    let (value, None) = (values.next()?, values.next()) else { return None };
    decoded(value)
}

/// 32 bytes as we write them, in cookies and links.
pub(super) fn decoded(text: &str) -> Option<Secret> {
    let mut bytes = Zeroizing::new([0; 33]);
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut *bytes).ok()?;
    (length == 32).then(|| Secret::new(&bytes[..32]))
}

pub(super) fn encoded(secret: &Secret) -> Zeroizing<String> {
    // Exposed to be written as text, for the one browser or person it is for.
    Zeroizing::new(URL_SAFE_NO_PAD.encode(secret.expose()))
}

/// `Set-Cookie` for a secret, for as long as it is good.
pub fn set_cookie(name: &str, secret: &Secret, life: Duration) -> HeaderValue {
    let text = Zeroizing::new(format!("{name}={}; Max-Age={}; {ATTRIBUTES}", *encoded(secret), life.as_secs()));
    let mut value = HeaderValue::from_str(&text).expect("base64url is visible ASCII");
    value.set_sensitive(true);
    value
}

/// `Set-Cookie` that ends one.
pub fn drop_cookie(name: &str) -> HeaderValue {
    HeaderValue::from_str(&format!("{name}=; Max-Age=0; {ATTRIBUTES}")).expect("names of cookies are visible ASCII")
}

/// Lax, since people come back from a provider by a link; no form of ours is taken from elsewhere.
const ATTRIBUTES: &str = "Path=/; Secure; HttpOnly; SameSite=Lax";

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, line.parse().expect("a header"));
        }
        headers
    }

    #[test]
    fn refuses_cookies_that_are_not_one_secret_of_ours() {
        let good = URL_SAFE_NO_PAD.encode([7; 32]);
        let named = |value: &str| format!("{COOKIE}={value}");
        assert!(cookie(&sent(&[&format!("a=b; {}; c", named(&good))]), COOKIE).is_some());
        for lines in [
            vec![String::new()],
            vec![named("")],
            vec![named(&good[1..])],
            vec![named(&format!("{good}AA"))],
            vec![named(&good.replace('B', "+"))],
            vec![format!("sallyport-session={good}")],
            vec![format!("__host-sallyport-session={good}")],
            vec![format!("{}; {}", named(&good), named(&good))],
            vec![named(&good), named(&URL_SAFE_NO_PAD.encode([8; 32]))],
        ] {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            assert!(cookie(&sent(&lines), COOKIE).is_none(), "{lines:?}");
        }
    }

    #[test]
    fn o7_cookies_are_for_this_origin_and_for_no_script() {
        for value in [set_cookie(COOKIE, &Secret::new([7; 32]), LIFE), drop_cookie(BEGUN_COOKIE)] {
            let text = value.to_str().expect("text");
            assert!(text.starts_with("__Host-"), "{text}");
            for attribute in ["Path=/", "Secure", "HttpOnly", "SameSite=Lax"] {
                assert!(text.split("; ").any(|part| part == attribute), "{text}");
            }
            assert!(!text.contains("Domain"), "{text}");
        }
    }
}
