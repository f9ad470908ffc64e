//! Signing keys of issuers, made by another library than the one under test.

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jwt_simple::prelude::{RS256KeyPair, RS256PublicKey};
use ring::{
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
        RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
    },
};
use serde_json::{Value, json};

/// What a key signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA on P-256.
    Es256,
    /// RSA-PSS.
    Ps256,
    /// RSA PKCS#1 v1.5.
    Rs256,
    /// The same with SHA-384.
    Rs384,
    /// The same with SHA-512.
    Rs512,
}

impl Algorithm {
    /// JOSE name.
    pub fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Ps256 => "PS256",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
        }
    }
}

/// A private key and its `kid`.
pub struct SigningKey {
    /// Key id in the set.
    pub kid: String,
    /// What it signs with.
    pub algorithm: Algorithm,
    private: Private,
}

enum Private {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
}

/// Making an RSA key takes long; one of each size serves the process.
static RSA_2048: LazyLock<Vec<u8>> = LazyLock::new(|| rsa(2048));

fn rsa(bits: usize) -> Vec<u8> {
    RS256KeyPair::generate(bits).expect("the size is usual").to_der().expect("it encodes")
}

impl SigningKey {
    /// A new key; RSA keys of one process are all the same one.
    ///
    /// # Panics
    /// When the libraries disagree on what a key is.
    pub fn new(algorithm: Algorithm, kid: &str) -> Self {
        let random = SystemRandom::new();
        let private = match algorithm {
            Algorithm::EdDsa => {
                let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).expect("the system has randomness");
                Private::Ed(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("just made"))
            }
            Algorithm::Es256 => {
                let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("the system has randomness");
                Private::Ec(EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).expect("just made"))
            }
            Algorithm::Ps256 => Private::Rsa(rsa_pair(), &RSA_PSS_SHA256),
            Algorithm::Rs256 => Private::Rsa(rsa_pair(), &RSA_PKCS1_SHA256),
            Algorithm::Rs384 => Private::Rsa(rsa_pair(), &RSA_PKCS1_SHA384),
            Algorithm::Rs512 => Private::Rsa(rsa_pair(), &RSA_PKCS1_SHA512),
        };
        Self { kid: kid.to_owned(), algorithm, private }
    }

    /// Signature as a JWS carries it.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.private {
            Private::Ec(pair) => pair.sign(&random, message).expect("signing works").as_ref().to_vec(),
            Private::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Private::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(*encoding, &random, message, &mut signature).expect("signing works");
                signature
            }
        }
    }

    /// The public key as a JWK (RFC 7517).
    pub fn jwk(&self) -> Value {
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match &self.private {
            Private::Ec(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                json!({"kty": "EC", "crv": "P-256", "x": b64(&point[..32]), "y": b64(&point[32..])})
            }
            Private::Ed(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key().as_ref())}),
            Private::Rsa(pair, _) => {
                let public: PublicKeyComponents<Vec<u8>> = pair.public().into();
                json!({"kty": "RSA", "n": b64(&public.n), "e": b64(&public.e)})
            }
        };
        jwk["kid"] = json!(self.kid);
        jwk["alg"] = json!(self.algorithm.name());
        jwk["use"] = json!("sig");
        jwk
    }

    /// The ways in which careless verifiers turn an RSA public key into an HMAC secret.
    pub fn as_hmac_secrets(&self) -> Vec<(&'static str, Vec<u8>)> {
        let Private::Rsa(pair, _) = &self.private else { panic!("an RSA key") };
        let public: PublicKeyComponents<Vec<u8>> = pair.public().into();
        let public_key = RS256PublicKey::from_components(&public.n, &public.e).expect("a good key");
        let pem = public_key.to_pem().expect("it encodes");
        vec![
            ("PEM", pem.clone().into_bytes()),
            ("PEM without its last newline", pem.trim_end().as_bytes().to_vec()),
            ("DER", public_key.to_der().expect("it encodes")),
            ("JWK", self.jwk().to_string().into_bytes()),
            ("modulus", public.n.clone()),
        ]
    }
}

fn rsa_pair() -> RsaKeyPair {
    RsaKeyPair::from_pkcs8(&RSA_2048).or_else(|_| RsaKeyPair::from_der(&RSA_2048)).expect("just made")
}
