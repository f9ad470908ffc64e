//! Public keys of issuers: only such as cannot be weak, mistaken for another kind, or read in two ways.

use std::fmt;

use jwt_simple::algorithms::{
    ECDSAP256PublicKeyLike, ECDSAP384PublicKeyLike, ES256PublicKey, ES384PublicKey, Ed25519PublicKey,
    EdDSAPublicKeyLike, RS256PublicKey, RSAPublicKeyLike,
};
use superboring::pkey::{PKey, Public};

use crate::algorithm::Algorithm;
use crate::signature;

mod roca;

/// The longest `kid` that is looked at, in bytes.
pub const MAX_KID_BYTES: usize = 256;

/// Why a key is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No `kid`, or one longer than [`MAX_KID_BYTES`].
    #[error("the key id is empty or longer than 256 bytes")]
    KeyId,
    /// Not the canonical SubjectPublicKeyInfo of a strong enough key of the algorithm's kind: RSA of 2048 to 4096 bits
    /// with exponent 65537, a point on the algorithm's curve, or an Ed25519 key of full order.
    #[error("the key is not a strong {} key in canonical form", .0.name())]
    Unfit(Algorithm),
    /// Made by the generator of CVE-2017-15361, whose keys can be factored.
    #[error("the key was made by a broken generator (CVE-2017-15361)")]
    Factorable,
}

/// One public key of an issuer, good for one algorithm only (RFC 8725 §3.1).
#[derive(Clone)]
pub struct PublicKey {
    kid: Box<str>,
    algorithm: Algorithm,
    spki: Box<[u8]>,
    pub(crate) material: Material,
}

/// The key as its algorithm's implementation wants it.
#[derive(Clone)]
pub(crate) enum Material {
    Rsa { key: Box<PKey<Public>>, modulus_bytes: usize },
    P256(Box<p256::ecdsa::VerifyingKey>),
    P384(Box<p384::ecdsa::VerifyingKey>),
    Ed25519(ed25519_compact::PublicKey),
}

impl PublicKey {
    /// Takes a key by `kid`, algorithm and SubjectPublicKeyInfo (DER, RFC 5280 §4.1.2.7).
    ///
    /// # Errors
    /// [`KeyError`] if the key is weak, not of the algorithm's kind, or not in canonical form: host and fallback must
    /// read the same key in the same bytes.
    pub fn new(kid: &str, algorithm: Algorithm, spki: &[u8]) -> Result<Self, KeyError> {
        if kid.is_empty() || kid.len() > MAX_KID_BYTES {
            return Err(KeyError::KeyId);
        }
        let (material, canonical) = match algorithm {
            Algorithm::Rs256
            | Algorithm::Rs384
            | Algorithm::Rs512
            | Algorithm::Ps256
            | Algorithm::Ps384
            | Algorithm::Ps512 => rsa(algorithm, spki)?,
            Algorithm::Es256 => {
                let key = ES256PublicKey::from_der(spki).map_err(|_| KeyError::Unfit(algorithm))?;
                let point = *key.public_key().as_ref();
                (Material::P256(Box::new(point)), key.to_der().map_err(|_| KeyError::Unfit(algorithm))?)
            }
            Algorithm::Es384 => {
                let key = ES384PublicKey::from_der(spki).map_err(|_| KeyError::Unfit(algorithm))?;
                let point = *key.public_key().as_ref();
                (Material::P384(Box::new(point)), key.to_der().map_err(|_| KeyError::Unfit(algorithm))?)
            }
            Algorithm::EdDsa => {
                let key = Ed25519PublicKey::from_der(spki).map_err(|_| KeyError::Unfit(algorithm))?;
                (Material::Ed25519(*key.public_key().as_ref()), key.to_der())
            }
        };
        if canonical != spki {
            return Err(KeyError::Unfit(algorithm));
        }
        Ok(Self { kid: kid.into(), algorithm, spki: spki.into(), material })
    }

    /// Its `kid`: an opaque name, compared to the byte.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The only algorithm it verifies.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// SubjectPublicKeyInfo, DER, canonical.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Whether `signature` (as in a JWS: raw `r || s` for ECDSA) is this key's over `message`, without a host.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        signature::is_well_formed(self, signature) && signature::verify_here(self, message, signature)
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.kid == other.kid && self.algorithm == other.algorithm && self.spki == other.spki
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey").field("kid", &self.kid).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

fn rsa(algorithm: Algorithm, spki: &[u8]) -> Result<(Material, Vec<u8>), KeyError> {
    // The padding is not part of an RSA key: one reader, with jwt-simple's limits on size and exponent, serves all six.
    let key = RS256PublicKey::from_der(spki).map_err(|_| KeyError::Unfit(algorithm))?;
    let inner = key.public_key().as_ref();
    let modulus = inner.n().to_vec();
    if roca::is_factorable(&modulus) {
        return Err(KeyError::Factorable);
    }
    let canonical = key.to_der().map_err(|_| KeyError::Unfit(algorithm))?;
    let modulus_bytes = modulus.iter().skip_while(|byte| **byte == 0).count();
    let key = PKey::from_rsa(inner.clone()).map_err(|_| KeyError::Unfit(algorithm))?;
    Ok((Material::Rsa { key: Box::new(key), modulus_bytes }, canonical))
}

#[cfg(test)]
mod tests;
