//! Tokens of every shape, good ones first: each broken token differs from a good one in one thing.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use crate::SigningKey;

/// Unix seconds.
pub fn now_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set");
    i64::try_from(since.as_secs()).expect("it fits for long")
}

/// A token in the making; [`TokenBuilder::mint`] signs it.
#[derive(Clone)]
pub struct TokenBuilder {
    key: Arc<SigningKey>,
    header: Map<String, Value>,
    claims: Map<String, Value>,
    raw_header: Option<String>,
    raw_claims: Option<String>,
}

impl TokenBuilder {
    pub(crate) fn new(issuer: &str, subject: &str, audience: &str, key: Arc<SigningKey>) -> Self {
        let now = now_seconds();
        let claims = json!({
            "iss": issuer, "sub": subject, "aud": audience, "client_id": "agent", "jti": crate::unique("jti"),
            "iat": now, "exp": now + 600, "email": format!("{subject}@example.com"), "email_verified": true,
        });
        let header = json!({"alg": key.algorithm.name(), "typ": "at+jwt", "kid": key.kid});
        let (Value::Object(claims), Value::Object(header)) = (claims, header) else { unreachable!("both are objects") };
        Self { key, header, claims, raw_header: None, raw_claims: None }
    }

    /// Sets a claim; null removes it.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        set(&mut self.claims, name, value.into());
        self
    }

    /// Sets a header parameter; null removes it.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        set(&mut self.header, name, value.into());
        self
    }

    /// `exp`, in seconds from now; issued ten minutes before that.
    pub fn expires_in(self, seconds: i64) -> Self {
        let exp = now_seconds() + seconds;
        self.claim("exp", exp).claim("iat", (exp - 600).min(now_seconds()))
    }

    /// Signs with another key and leaves the header as it is.
    pub fn signed_by(mut self, key: &Arc<SigningKey>) -> Self {
        self.key = key.clone();
        self
    }

    /// The header, character by character.
    pub fn raw_header(mut self, text: &str) -> Self {
        self.raw_header = Some(text.to_owned());
        self
    }

    /// The claims, character by character.
    pub fn raw_claims(mut self, text: &str) -> Self {
        self.raw_claims = Some(text.to_owned());
        self
    }

    /// The header as JSON text.
    pub fn header_text(&self) -> String {
        self.raw_header.clone().unwrap_or_else(|| Value::Object(self.header.clone()).to_string())
    }

    /// The claims as JSON text.
    pub fn claims_text(&self) -> String {
        self.raw_claims.clone().unwrap_or_else(|| Value::Object(self.claims.clone()).to_string())
    }

    /// Header and claims, encoded: what is signed.
    pub fn unsigned(&self) -> String {
        format!("{}.{}", URL_SAFE_NO_PAD.encode(self.header_text()), URL_SAFE_NO_PAD.encode(self.claims_text()))
    }

    /// The signed token.
    pub fn mint(&self) -> String {
        let unsigned = self.unsigned();
        let signature = self.key.sign(unsigned.as_bytes());
        format!("{unsigned}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The token with this signature in place of a true one.
    pub fn mint_with_signature(&self, signature: &[u8]) -> String {
        format!("{}.{}", self.unsigned(), URL_SAFE_NO_PAD.encode(signature))
    }

    /// The true signature, to be bent.
    pub fn signature(&self) -> Vec<u8> {
        self.key.sign(self.unsigned().as_bytes())
    }
}

fn set(map: &mut Map<String, Value>, name: &str, value: Value) {
    if value.is_null() {
        map.remove(name);
    } else {
        map.insert(name.to_owned(), value);
    }
}
