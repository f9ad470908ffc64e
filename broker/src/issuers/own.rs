//! The broker's own issuer: tokens for people and virtual accounts, signed with a key that never leaves the vault.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::algorithms::{ECDSAP256KeyPairLike, ES256KeyPair};
use jwt_simple::claims::Claims;
use jwt_simple::common::HeaderOptions;
use jwt_simple::prelude::UnixTimeStamp;
use sallyport_caller::{Algorithm, KeyError, PublicKey, TokenProfile};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::causes;
use crate::clock::{Clock, UnixTime};
use crate::master_keys;
use crate::model::{Generation, Principal, PrincipalKind};
use crate::secret::Secret;
use crate::store::{Found, Store, StoreError, StoredKey, StoredToken};
use crate::vault::{Place, RecordKind, Vault, VaultError};

/// Purpose of the keys in the store.
pub const PURPOSE: &str = "token-signing";

/// The longest life of a token issued here.
pub const MAX_LIFETIME: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Why no token could be issued, or no key opened.
#[derive(Debug, thiserror::Error)]
pub enum OwnIssuerError {
    /// The store did not answer.
    #[error("the signing keys or tokens cannot be stored or read")]
    Store(#[from] StoreError),
    /// The vault did not open or seal the key.
    #[error("the signing key cannot be sealed or opened")]
    Vault(#[from] VaultError),
    /// What would sign does not open. Nobody takes its place unasked: all that it has signed would be refused.
    #[error(
        "signing key {kid} was changed in the store; put its record in table `keys` back from a backup, or delete it there: \
         then the key before it signs, or a new one, and what this one has signed is refused"
    )]
    Newest {
        /// Its `kid`, which is the record's id.
        kid: String,
        /// What is wrong with it.
        #[source]
        source: Box<Self>,
    },
    /// What was opened is no key.
    #[error("signing key {kid} is not a P-256 private key")]
    NotAKey {
        /// Its `kid`.
        kid: String,
    },
    /// The public half is not accepted by our own rules.
    #[error("the signing key is not usable")]
    Unfit(#[from] KeyError),
    /// The life asked for is nothing, or more than [`MAX_LIFETIME`].
    #[error("a token lives between one second and 366 days; ask for a time to live in between")]
    Lifetime,
    /// Signing failed.
    #[error("the token could not be signed")]
    Sign(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A token that was issued.
#[derive(Debug)]
pub struct Issued {
    /// The token; kept nowhere else.
    pub token: Secret,
    /// Its `jti`.
    pub id: String,
    /// Its `exp`.
    pub expires_at: UnixTime,
}

/// Issues tokens in the gate's own name.
pub struct OwnIssuer {
    url: String,
    /// The newest first: it signs; all are published.
    signing: SigningKey,
    published: Vec<Arc<PublicKey>>,
    jwks: serde_json::Value,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

struct SigningKey {
    kid: String,
    pair: ES256KeyPair,
}

/// What a token says besides the registered claims.
#[derive(serde::Serialize)]
struct Names<'p> {
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'p str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_verified: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    virtual_account: Option<&'p str>,
}

impl OwnIssuer {
    /// Opens the signing keys, or makes the first one. `public_url` is the gateway's origin: `iss` and `aud` of every token.
    ///
    /// # Errors
    /// [`OwnIssuerError`].
    pub async fn open(
        public_url: &str,
        store: Arc<dyn Store>,
        vault: &Vault,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OwnIssuerError> {
        let mut stored = store.keys(PURPOSE).await?;
        // One that is corrupt is one: no other may take its place unseen.
        if stored.records.is_empty() && stored.corrupt.is_empty() {
            let key = make_key(vault, clock.now()).await?;
            match store.add_first_key(&key).await {
                // Another broker may be the first, and its key is the one: what a broker signs, all others must know.
                Ok(()) | Err(StoreError::Conflict) => stored = store.keys(PURPOSE).await?,
                Err(error) => return Err(error.into()),
            }
        }
        let keys = open_keys(&*store, vault, stored).await?;
        let mut published = Vec::with_capacity(keys.len());
        let mut jwks = Vec::with_capacity(keys.len());
        for key in &keys {
            published.push(Arc::new(public_key(key)?));
            jwks.push(jwk(key));
        }
        let signing = keys.into_iter().next().ok_or(StoreError::Conflict)?;
        Ok(Self { url: public_url.to_owned(), signing, published, jwks: json!({ "keys": jwks }), store, clock })
    }

    /// Issues a token that names `principal` and lives for `ttl`. What is needed to revoke it is durable before the token
    /// is handed out.
    ///
    /// # Errors
    /// [`OwnIssuerError`].
    pub async fn issue(&self, principal: &Principal, ttl: Duration) -> Result<Issued, OwnIssuerError> {
        if ttl < Duration::from_secs(1) || ttl > MAX_LIFETIME {
            return Err(OwnIssuerError::Lifetime);
        }
        // Dates in tokens are whole seconds.
        let issued_at = UnixTime(self.clock.now().0 / 1000 * 1000);
        let expires_at = issued_at.after(Duration::from_secs(ttl.as_secs()));
        let id = random_name::<16>();
        let mut claims = Claims::with_custom_claims(names(principal), jwt_simple::prelude::Duration::from_secs(0))
            .with_issuer(&self.url)
            .with_audience(&self.url)
            .with_subject(&principal.id.0)
            .with_jwt_id(&id);
        claims.issued_at = Some(UnixTimeStamp::from_secs(issued_at.0 / 1000));
        claims.invalid_before = None;
        claims.expires_at = Some(UnixTimeStamp::from_secs(expires_at.0 / 1000));
        let header = HeaderOptions { signature_type: Some("at+jwt".to_owned()), ..HeaderOptions::default() };
        let token = self.signing.pair.sign_with_options(claims, &header);
        let token = token.map_err(|error| OwnIssuerError::Sign(error.into()))?;
        let hash = Sha256::digest(token.as_bytes()).into();
        let record = StoredToken {
            id: id.clone(),
            hash,
            principal: principal.id.clone(),
            issued_at,
            expires_at,
            revoked_at: None,
        };
        let token = Secret::new(token);
        self.store.add_token(&record).await?;
        Ok(Issued { token, id, expires_at })
    }

    /// The rules for tokens issued here, with the public keys.
    pub fn issuer(&self) -> sallyport_caller::Issuer {
        sallyport_caller::Issuer {
            issuer: self.url.clone(),
            keys: self.published.clone(),
            audiences: vec![self.url.clone()],
            profile: TokenProfile::AccessToken,
            subject_claim: "sub".to_owned(),
            email_claim: Some("email".to_owned()),
            teams_claim: None,
            max_lifetime_ms: u64::try_from(MAX_LIFETIME.as_millis()).unwrap_or(u64::MAX),
            required_scopes: Vec::new(),
            self_issued: true,
            login: false,
        }
    }

    /// The public keys as a JSON Web Key Set (RFC 7517 §5), for `/.well-known/jwks.json`.
    pub fn public_jwks(&self) -> &serde_json::Value {
        &self.jwks
    }
}

fn names(principal: &Principal) -> Names<'_> {
    match &principal.kind {
        PrincipalKind::User { email } => {
            Names { email: Some(email), email_verified: Some(true), virtual_account: None }
        }
        PrincipalKind::VirtualAccount { name } => {
            Names { email: None, email_verified: None, virtual_account: Some(name) }
        }
        PrincipalKind::External => Names { email: None, email_verified: None, virtual_account: None },
    }
}

async fn make_key(vault: &Vault, now: UnixTime) -> Result<StoredKey, OwnIssuerError> {
    let kid = random_name::<8>();
    let data_key = vault.data_key(&place(&kid)).await?;
    let private = Secret::new(ES256KeyPair::generate().to_bytes());
    let value = data_key.seal(&place(&kid), &private);
    Ok(StoredKey { id: kid, purpose: PURPOSE.to_owned(), created_at: now, value })
}

/// The newest, which signs, and those before it that open: what another one has signed is refused.
async fn open_keys(
    store: &dyn Store,
    vault: &Vault,
    mut stored: Found<StoredKey>,
) -> Result<Vec<SigningKey>, OwnIssuerError> {
    if stored.records.is_empty()
        && let Some(corrupt) = stored.corrupt.pop()
    {
        let kid = corrupt.record().unwrap_or_default();
        return Err(OwnIssuerError::Newest { kid, source: Box::new(corrupt.into()) });
    }
    let mut keys: Vec<SigningKey> = Vec::new();
    for key in stored.readable() {
        let kid = key.id.clone();
        let error = match open_key(vault, key).await {
            Ok(key) => {
                keys.push(key);
                continue;
            }
            Err(error) => error,
        };
        let is_damaged = match &error {
            OwnIssuerError::Vault(error) => master_keys::is_damaged(store, error).await?,
            OwnIssuerError::NotAKey { .. } => true,
            _ => false,
        };
        match is_damaged {
            true if keys.is_empty() => return Err(OwnIssuerError::Newest { kid, source: Box::new(error) }),
            true => tracing::error!(
                id = kid,
                error = causes::told(&error),
                "an old signing key was changed in the store and is left out: what it has signed is refused"
            ),
            false => return Err(error),
        }
    }
    Ok(keys)
}

async fn open_key(vault: &Vault, stored: StoredKey) -> Result<SigningKey, OwnIssuerError> {
    let private = vault.open(&place(&stored.id), &stored.value).await?;
    // Exposed to become the signing key, which zeroizes itself.
    match ES256KeyPair::from_bytes(private.expose()) {
        Ok(pair) => Ok(SigningKey { pair: pair.with_key_id(&stored.id), kid: stored.id }),
        Err(_) => Err(OwnIssuerError::NotAKey { kid: stored.id }),
    }
}

pub(crate) fn place(kid: &str) -> Place<'_> {
    Place { kind: RecordKind::Key, record: kid, field: "private_key", generation: Generation(1) }
}

fn public_key(key: &SigningKey) -> Result<PublicKey, OwnIssuerError> {
    let unfit = |_| OwnIssuerError::NotAKey { kid: key.kid.clone() };
    let spki = key.pair.public_key().to_der().map_err(unfit)?;
    Ok(PublicKey::new(&key.kid, Algorithm::Es256, &spki)?)
}

fn jwk(key: &SigningKey) -> serde_json::Value {
    use jwt_simple::algorithms::ECDSAP256PublicKeyLike as _;

    // 0x04, then the two coordinates (SEC 1 §2.3.3).
    let public = key.pair.public_key();
    let point = public.public_key().to_bytes_uncompressed();
    let (x, y) = point[1..].split_at(32);
    json!({
        "kty": "EC", "crv": "P-256", "alg": Algorithm::Es256.name(), "use": "sig", "kid": key.kid,
        "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
    })
}

/// A short name that nobody guesses and nothing else has.
fn random_name<const N: usize>() -> String {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests;
