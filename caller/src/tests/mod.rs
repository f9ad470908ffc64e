//! Tokens minted here, with real keys, to be refused.

use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::algorithms::{
    ECDSAP256KeyPairLike, ECDSAP384KeyPairLike, ES256KeyPair, ES384KeyPair, Ed25519KeyPair, EdDSAKeyPairLike,
    RS256KeyPair, RSAKeyPairLike,
};
use p256::ecdsa::signature::Signer as _;
use serde_json::{Value, json};
use superboring::hash::MessageDigest;
use superboring::pkey::PKey;
use superboring::rsa::Padding;

use crate::*;

mod doors;
mod external;
mod form;
mod id_tokens;
mod meaning;
mod mutations;
mod signatures;

/// 2027-01-15T08:00:00Z, Unix milliseconds.
pub(crate) const NOW_MS: u64 = 1_800_000_000_000;
pub(crate) const NOW: u64 = NOW_MS / 1000;
pub(crate) const ISSUER: &str = "https://idp.example.com";
pub(crate) const OTHER_ISSUER: &str = "https://other.example.com";
pub(crate) const RESOURCE: &str = "https://gate.example.com/mcp-server/demo/echo/server";

/// A private key, and the public one an issuer would publish.
pub(crate) enum Signer {
    Es256(ES256KeyPair),
    Es384(ES384KeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RS256KeyPair, Algorithm),
}

impl Signer {
    pub(crate) fn es256() -> Self {
        Self::Es256(ES256KeyPair::generate())
    }

    pub(crate) fn rsa(algorithm: Algorithm) -> Self {
        // Making an RSA key is slow; the algorithm is not part of it.
        static KEY: LazyLock<RS256KeyPair> = LazyLock::new(|| RS256KeyPair::generate(2048).unwrap());
        Self::Rsa(KEY.clone(), algorithm)
    }

    /// One of each algorithm.
    pub(crate) fn each() -> Vec<Self> {
        let mut all =
            vec![Self::es256(), Self::Es384(ES384KeyPair::generate()), Self::Ed25519(Ed25519KeyPair::generate())];
        for algorithm in Algorithm::ALL {
            if algorithm.name().starts_with("RS") || algorithm.name().starts_with("PS") {
                all.push(Self::rsa(algorithm));
            }
        }
        all
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Es256(_) => Algorithm::Es256,
            Self::Es384(_) => Algorithm::Es384,
            Self::Ed25519(_) => Algorithm::EdDsa,
            Self::Rsa(_, algorithm) => *algorithm,
        }
    }

    pub(crate) fn spki(&self) -> Vec<u8> {
        match self {
            Self::Es256(key) => key.public_key().to_der().unwrap(),
            Self::Es384(key) => key.public_key().to_der().unwrap(),
            Self::Ed25519(key) => key.public_key().to_der(),
            Self::Rsa(key, _) => key.public_key().to_der().unwrap(),
        }
    }

    pub(crate) fn public(&self, kid: &str) -> Arc<PublicKey> {
        Arc::new(PublicKey::new(kid, self.algorithm(), &self.spki()).unwrap())
    }

    pub(crate) fn signature(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Es256(key) => {
                let signature: p256::ecdsa::Signature = key.key_pair().as_ref().sign(message);
                signature.to_bytes().to_vec()
            }
            Self::Es384(key) => {
                let signature: p384::ecdsa::Signature = key.key_pair().as_ref().sign(message);
                signature.to_bytes().to_vec()
            }
            Self::Ed25519(key) => key.key_pair().as_ref().sk.sign(message, None).to_vec(),
            Self::Rsa(key, algorithm) => {
                let name = algorithm.name();
                let digest = match &name[2..] {
                    "256" => MessageDigest::Sha256,
                    "384" => MessageDigest::Sha384,
                    _ => MessageDigest::Sha512,
                };
                let pkey = PKey::from_rsa(key.key_pair().as_ref().clone()).unwrap();
                let mut signer = superboring::sign::Signer::new(digest, &pkey).unwrap();
                signer
                    .set_rsa_padding(if name.starts_with('P') { Padding::PKCS1_PSS } else { Padding::PKCS1 })
                    .unwrap();
                signer.update(message).unwrap();
                signer.sign_to_vec().unwrap()
            }
        }
    }

    /// A token of exactly these texts.
    pub(crate) fn sign(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = self.signature(message.as_bytes());
        format!("{message}.{}", encode(signature))
    }

    /// A token with the default header and these claims.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.sign(&self.header().to_string(), &claims.to_string())
    }

    pub(crate) fn header(&self) -> Value {
        json!({"alg": self.algorithm().name(), "kid": "k1", "typ": "at+jwt"})
    }
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Claims that are accepted.
pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "alice-id", "aud": RESOURCE, "iat": NOW - 10, "exp": NOW + 3600, "jti": "t-1",
        "client_id": "agent", "scope": "mcp tools", "email": "Alice@Example.com", "email_verified": true,
        "groups": ["dev", "ops"],
    })
}

/// [`claims`] with some replaced; `null` drops one.
pub(crate) fn claims_with(changes: Value) -> Value {
    merged(claims(), changes)
}

pub(crate) fn merged(mut base: Value, changes: Value) -> Value {
    let members = base.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    base
}

pub(crate) fn issuer(keys: Vec<Arc<PublicKey>>) -> Issuer {
    Issuer {
        issuer: ISSUER.into(),
        keys,
        audiences: vec![],
        profile: TokenProfile::AccessToken,
        subject_claim: "sub".into(),
        email_claim: Some("email".into()),
        teams_claim: Some("groups".into()),
        max_lifetime_ms: 24 * 3600 * 1000,
        required_scopes: vec![],
        self_issued: false,
        login: true,
    }
}

/// One issuer with one ES256 key `k1`.
pub(crate) struct World {
    pub(crate) signer: Signer,
    pub(crate) issuers: Issuers,
    pub(crate) identities: ExternalIdentities,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::of(Signer::es256())
    }

    pub(crate) fn of(signer: Signer) -> Self {
        let issuers = Issuers::new([issuer(vec![signer.public("k1")])]);
        Self { signer, issuers, identities: ExternalIdentities::default() }
    }

    pub(crate) fn with(change: impl FnOnce(&mut Issuer)) -> Self {
        let signer = Signer::es256();
        let mut issuer = issuer(vec![signer.public("k1")]);
        change(&mut issuer);
        Self { signer, issuers: Issuers::new([issuer]), identities: ExternalIdentities::default() }
    }

    pub(crate) fn plain() -> Self {
        Self::with(|issuer| issuer.profile = TokenProfile::PlainJwt)
    }

    pub(crate) fn verify(&self, token: impl AsRef<[u8]>) -> Result<Caller, TokenError> {
        verify(token.as_ref(), &self.issuers, &self.identities, NOW_MS, &NoHost)
    }

    /// Signs these claims with the right key, and verifies.
    pub(crate) fn claims(&self, changes: Value) -> Result<Caller, TokenError> {
        self.verify(self.signer.token(&claims_with(changes)))
    }

    /// Signs the good claims under this header with the right key, and verifies.
    pub(crate) fn header(&self, changes: Value) -> Result<Caller, TokenError> {
        self.verify(self.signer.sign(&merged(self.signer.header(), changes).to_string(), &claims().to_string()))
    }

    pub(crate) fn issuer(&self) -> &Issuer {
        self.issuers.iter().next().unwrap()
    }
}

#[test]
fn accepts_a_good_token_of_each_algorithm() {
    for signer in Signer::each() {
        let world = World::of(signer);
        let caller =
            world.claims(json!({})).unwrap_or_else(|error| panic!("{}: {error}", world.signer.algorithm().name()));
        assert_eq!(caller.issuer(), ISSUER);
        assert_eq!(caller.subject(), "alice-id");
        assert_eq!(caller.subjects(), ["user:alice@example.com", "team:dev", "team:ops", "team:everyone"]);
        assert_eq!(caller.expires_at_ms(), NOW_MS + 3_600_000);
        assert_eq!(caller.issued_at_ms(), Some(NOW_MS - 10_000));
        assert_eq!(caller.token_id(), Some("t-1"));
        assert_eq!(caller.client_id(), Some("agent"));
        assert_eq!(caller.scopes(), ["mcp", "tools"]);
        assert_eq!(caller.audiences(), [RESOURCE]);
        assert!(!caller.self_issued());
    }
}
