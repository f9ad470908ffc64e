//! Reads the keys an issuer publishes (RFC 7517). A key that is weak, private, ambiguous or meant for something else is
//! left out with a line in the log; it spoils none of the others.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::algorithms::{ES256PublicKey, ES384PublicKey, Ed25519PublicKey, RS256PublicKey};
use sallyport_caller::{Algorithm, KeyError, PublicKey};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// The most keys that are read of one set.
const MAX_KEYS: usize = 256;

/// Members that only private or symmetric keys have.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Why a key set is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not a JSON object with an array `keys`.
    #[error("the answer is not a JSON Web Key Set")]
    Shape,
    /// More than 256 keys.
    #[error("the key set has more than 256 keys")]
    TooManyKeys,
}

/// Why one key is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeftOut {
    /// No `kid`, or not a string.
    #[error("it has no kid")]
    KeyId,
    /// Two keys have this `kid`.
    #[error("another key has the same kid")]
    DuplicateKeyId,
    /// `kty` is not `RSA`, `EC` or `OKP`; `oct` is a shared secret.
    #[error("its type is not RSA, EC or OKP")]
    Type,
    /// It is, or holds, a private key.
    #[error("it holds private key material, which its owner should consider published")]
    Private,
    /// `use` or `key_ops` is for something else.
    #[error("it is not for verifying signatures")]
    Use,
    /// `alg` or `crv` is unknown, contradicts the type, or is not among the issuer's algorithms.
    #[error("its algorithm is not one that this issuer may use")]
    Algorithm,
    /// `n`, `e`, `x` or `y` is missing or not canonical base64url of the right length.
    #[error("its numbers cannot be read")]
    Encoding,
    /// It is weak or invalid.
    #[error("it is not fit for use")]
    Unfit(#[from] KeyError),
}

/// The usable keys of a set, in its order, and what was left out, by `kid` as far as there is one.
#[derive(Debug)]
pub struct KeySet {
    /// What can verify tokens.
    pub keys: Vec<Arc<PublicKey>>,
    /// What cannot, and why.
    pub left_out: Vec<(String, LeftOut)>,
}

impl KeySet {
    /// Reads a key set of an issuer that may use `algorithms`.
    ///
    /// # Errors
    /// [`KeySetError`] if it is no key set at all; single bad keys are only left out.
    pub fn read(json: &[u8], algorithms: &[Algorithm]) -> Result<Self, KeySetError> {
        let set: Map<String, Value> = serde_json::from_slice(json).map_err(|_| KeySetError::Shape)?;
        let entries = set.get("keys").and_then(Value::as_array).ok_or(KeySetError::Shape)?;
        if entries.len() > MAX_KEYS {
            return Err(KeySetError::TooManyKeys);
        }
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for kid in entries.iter().filter_map(|entry| entry.get("kid")?.as_str()) {
            *counts.entry(kid).or_insert(0) += 1;
        }
        let mut read = Self { keys: Vec::new(), left_out: Vec::new() };
        for entry in entries {
            let kid = entry.get("kid").and_then(Value::as_str).unwrap_or_default();
            let key = if counts.get(kid).is_some_and(|count| *count > 1) {
                Err(LeftOut::DuplicateKeyId)
            } else {
                key(kid, entry, algorithms)
            };
            match key {
                Ok(key) => read.keys.push(Arc::new(key)),
                Err(reason) => read.left_out.push((kid.chars().take(64).collect(), reason)),
            }
        }
        Ok(read)
    }
}

fn key(kid: &str, entry: &Value, algorithms: &[Algorithm]) -> Result<PublicKey, LeftOut> {
    let jwk = entry.as_object().ok_or(LeftOut::Type)?;
    if kid.is_empty() {
        return Err(LeftOut::KeyId);
    }
    let kty = jwk.get("kty").and_then(Value::as_str).ok_or(LeftOut::Type)?;
    if !matches!(kty, "RSA" | "EC" | "OKP") {
        return Err(LeftOut::Type);
    }
    if PRIVATE.iter().any(|member| jwk.contains_key(*member)) {
        return Err(LeftOut::Private);
    }
    if !is_for_signatures(jwk) {
        return Err(LeftOut::Use);
    }
    let algorithm = algorithm(kty, jwk, algorithms).ok_or(LeftOut::Algorithm)?;
    let spki = spki(algorithm, jwk)?;
    Ok(PublicKey::new(kid, algorithm, &spki)?)
}

/// RFC 7517 §4.2 and §4.3: both are optional, and both must agree if they are there.
fn is_for_signatures(jwk: &Map<String, Value>) -> bool {
    let right_use = jwk.get("use").is_none_or(|usage| usage == "sig");
    let right_operations = jwk.get("key_ops").is_none_or(|operations| {
        operations.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(|operation| operation == "verify"))
    });
    right_use && right_operations
}

/// The one algorithm of a key: its `alg`, or what its type leaves no choice about. An RSA key without `alg` is for RS256,
/// as several large providers publish theirs, unless the issuer may use exactly one other RSA algorithm.
fn algorithm(kty: &str, jwk: &Map<String, Value>, allowed: &[Algorithm]) -> Option<Algorithm> {
    let of_type: &[Algorithm] = match (kty, jwk.get("crv").and_then(Value::as_str)) {
        ("RSA", None) => &[
            Algorithm::Rs256,
            Algorithm::Rs384,
            Algorithm::Rs512,
            Algorithm::Ps256,
            Algorithm::Ps384,
            Algorithm::Ps512,
        ],
        ("EC", Some("P-256")) => &[Algorithm::Es256],
        ("EC", Some("P-384")) => &[Algorithm::Es384],
        ("OKP", Some("Ed25519")) => &[Algorithm::EdDsa],
        _ => &[],
    };
    let mut possible = of_type.iter().copied().filter(|algorithm| allowed.contains(algorithm));
    match jwk.get("alg") {
        Some(Value::String(name)) => {
            let named = Algorithm::from_name(name)?;
            possible.find(|algorithm| *algorithm == named)
        }
        Some(_) => None,
        None => {
            let first = possible.next()?;
            (first == Algorithm::Rs256 || possible.next().is_none()).then_some(first)
        }
    }
}

fn spki(algorithm: Algorithm, jwk: &Map<String, Value>) -> Result<Vec<u8>, LeftOut> {
    let number = |member: &str, length: Option<usize>| {
        let text = jwk.get(member).and_then(Value::as_str).ok_or(LeftOut::Encoding)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| LeftOut::Encoding)?;
        let right_length = length.is_none_or(|length| bytes.len() == length);
        if right_length && !bytes.is_empty() { Ok(bytes) } else { Err(LeftOut::Encoding) }
    };
    let unfit = LeftOut::Unfit(KeyError::Unfit(algorithm));
    match algorithm {
        Algorithm::Es256 => {
            let point = [&[4][..], &number("x", Some(32))?, &number("y", Some(32))?].concat();
            ES256PublicKey::from_bytes(&point).and_then(|key| key.to_der()).map_err(|_| unfit)
        }
        Algorithm::Es384 => {
            let point = [&[4][..], &number("x", Some(48))?, &number("y", Some(48))?].concat();
            ES384PublicKey::from_bytes(&point).and_then(|key| key.to_der()).map_err(|_| unfit)
        }
        Algorithm::EdDsa => {
            Ed25519PublicKey::from_bytes(&number("x", Some(32))?).map(|key| key.to_der()).map_err(|_| unfit)
        }
        Algorithm::Rs256
        | Algorithm::Rs384
        | Algorithm::Rs512
        | Algorithm::Ps256
        | Algorithm::Ps384
        | Algorithm::Ps512 => {
            let (n, e) = (number("n", None)?, number("e", None)?);
            RS256PublicKey::from_components(&n, &e).and_then(|key| key.to_der()).map_err(|_| unfit)
        }
    }
}

#[cfg(test)]
mod tests;
