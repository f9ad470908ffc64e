//! Signatures: the proxy's native code if it offers, else the primitives of jwt-simple, and always the same answer.
//!
//! jwt-simple's own `verify_token` would read the claims a second time, by laxer rules and with a clock; the primitives
//! under it are asked directly, on exactly the bytes that a host would be asked about. What libraries are known to read
//! differently (length, zero, values beyond the order) is refused before either is asked.

use superboring::hash::MessageDigest;
use superboring::rsa::Padding;
use superboring::sign::Verifier;

use crate::algorithm::Algorithm;
use crate::key::{Material, PublicKey};

/// Something outside that checks signatures faster: Envoy's foreign function, for the filter.
pub trait HostSignatures {
    /// Whether `signature` (as in a JWS: raw `r || s` for ECDSA, see [`es256_der`]) is the key's over `message`. `None`:
    /// the host cannot check this algorithm, the fallback must.
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &[u8]) -> Option<bool>;
}

/// No host: everything is checked here.
#[derive(Clone, Copy, Debug)]
pub struct NoHost;

impl HostSignatures for NoHost {
    fn verify(&self, _: &PublicKey, _: &[u8], _: &[u8]) -> Option<bool> {
        None
    }
}

/// The host's answer, or ours where it has none.
pub(crate) fn is_valid(key: &PublicKey, message: &[u8], signature: &[u8], host: &dyn HostSignatures) -> bool {
    is_well_formed(key, signature)
        && host.verify(key, message, signature).unwrap_or_else(|| verify_here(key, message, signature))
}

/// Whether the signature has the one length of its key and, for ECDSA, `r` and `s` from 1 to the order less one.
pub(crate) fn is_well_formed(key: &PublicKey, signature: &[u8]) -> bool {
    match &key.material {
        Material::Rsa { modulus_bytes, .. } => signature.len() == *modulus_bytes,
        Material::P256(_) => scalars::<32>(signature, &P256_ORDER).is_some(),
        Material::P384(_) => scalars::<48>(signature, &P384_ORDER).is_some(),
        Material::Ed25519(_) => signature.len() == 64,
    }
}

/// Checks a well-formed signature in this process.
pub(crate) fn verify_here(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    use p256::ecdsa::signature::Verifier as _;

    match (&key.material, key.algorithm()) {
        (Material::Rsa { key, .. }, Algorithm::Rs256) => {
            rsa(key, MessageDigest::Sha256, Padding::PKCS1, message, signature)
        }
        (Material::Rsa { key, .. }, Algorithm::Rs384) => {
            rsa(key, MessageDigest::Sha384, Padding::PKCS1, message, signature)
        }
        (Material::Rsa { key, .. }, Algorithm::Rs512) => {
            rsa(key, MessageDigest::Sha512, Padding::PKCS1, message, signature)
        }
        (Material::Rsa { key, .. }, Algorithm::Ps256) => {
            rsa(key, MessageDigest::Sha256, Padding::PKCS1_PSS, message, signature)
        }
        (Material::Rsa { key, .. }, Algorithm::Ps384) => {
            rsa(key, MessageDigest::Sha384, Padding::PKCS1_PSS, message, signature)
        }
        (Material::Rsa { key, .. }, Algorithm::Ps512) => {
            rsa(key, MessageDigest::Sha512, Padding::PKCS1_PSS, message, signature)
        }
        (Material::P256(key), Algorithm::Es256) => {
            p256::ecdsa::Signature::from_slice(signature).is_ok_and(|signature| key.verify(message, &signature).is_ok())
        }
        (Material::P384(key), Algorithm::Es384) => {
            p384::ecdsa::Signature::from_slice(signature).is_ok_and(|signature| key.verify(message, &signature).is_ok())
        }
        (Material::Ed25519(key), Algorithm::EdDsa) => ed25519_compact::Signature::from_slice(signature)
            .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
        (Material::Rsa { .. } | Material::P256(_) | Material::P384(_) | Material::Ed25519(_), _) => false,
    }
}

fn rsa(
    key: &superboring::pkey::PKey<superboring::pkey::Public>,
    digest: MessageDigest,
    padding: Padding,
    message: &[u8],
    signature: &[u8],
) -> bool {
    let check = || {
        let mut verifier = Verifier::new(digest, key)?;
        verifier.set_rsa_padding(padding)?;
        verifier.verify_oneshot(signature, message)
    };
    check().unwrap_or(false)
}

/// An ES256 signature as DER (`Ecdsa-Sig-Value`, RFC 3279 §2.2.3); `None` unless it is 64 bytes with `r` and `s` in range.
pub fn es256_der(signature: &[u8]) -> Option<Vec<u8>> {
    scalars::<32>(signature, &P256_ORDER).map(|(r, s)| der(r, s))
}

/// Order of the P-256 group, big-endian (SP 800-186 §3.2.1.3).
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// Order of the P-384 group, big-endian (SP 800-186 §3.2.1.4).
const P384_ORDER: [u8; 48] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf, 0x58, 0x1a, 0x0d, 0xb2, 0x48, 0xb0,
    0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73,
];

/// `r` and `s` of a raw signature, each `N` bytes, neither 0 (the "psychic" signature) nor beyond the order.
fn scalars<'s, const N: usize>(signature: &'s [u8], order: &[u8; N]) -> Option<(&'s [u8; N], &'s [u8; N])> {
    let (r, rest) = signature.split_first_chunk::<N>()?;
    let s: &[u8; N] = rest.try_into().ok()?;
    // Big-endian numbers of one length compare as their bytes do.
    let in_range = |scalar: &[u8; N]| scalar.iter().any(|byte| *byte != 0) && scalar < order;
    (in_range(r) && in_range(s)).then_some((r, s))
}

fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    // Two integers of at most 49 bytes: every length fits the short form, 127.
    let mut body = Vec::with_capacity(104);
    for scalar in [r, s] {
        let digits = scalar.iter().skip_while(|byte| **byte == 0);
        let sign = scalar.iter().find(|byte| **byte != 0).is_some_and(|byte| *byte >= 0x80);
        let length = digits.clone().count().saturating_add(usize::from(sign));
        body.extend([0x02, u8::try_from(length).unwrap_or(u8::MAX)]);
        if sign {
            body.push(0);
        }
        body.extend(digits);
    }
    let mut sequence = Vec::with_capacity(body.len().saturating_add(2));
    sequence.extend([0x30, u8::try_from(body.len()).unwrap_or(u8::MAX)]);
    sequence.append(&mut body);
    sequence
}
