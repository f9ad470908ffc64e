//! Who is at a browser: sessions, known by a cookie whose secret is not kept.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::keys;
use crate::model::PrincipalId;
use crate::secret::Secret;
use crate::store::{Store, StoreError};

/// The cookie. Its prefix keeps it to this origin and to https (RFC 6265bis §4.1.3.2); browsers take loopback for that.
pub const COOKIE: &str = "__Host-sallyport-session";

/// A browser that is signed in.
#[derive(Debug)]
pub struct Session {
    /// Who.
    pub principal: PrincipalId,
    /// SHA-256 of the cookie's secret.
    pub hash: [u8; 32],
    /// Through what: an issuer, or `link`.
    pub signed_in_at: String,
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

/// Finds sessions. Cheap to clone.
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
        // Exposed to be hashed: only its hash is stored, and the other one stands in forms.
        let hash: [u8; 32] = Sha256::digest(secret.expose()).into();
        let csrf = Sha256::new().chain_update(b"sallyport.csrf.v1").chain_update(secret.expose()).finalize();
        let stored = self.store.session(&hash, self.clock.now()).await?;
        Ok(stored.map(|stored| Session {
            principal: stored.principal,
            hash,
            signed_in_at: stored.signed_in_at,
            csrf: Secret::new(keys::hex(&csrf)),
        }))
    }
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
    let mut bytes = Zeroizing::new([0; 33]);
    let length = URL_SAFE_NO_PAD.decode_slice(value, &mut *bytes).ok()?;
    (length == 32).then(|| Secret::new(&bytes[..32]))
}

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
}
