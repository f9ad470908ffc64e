//! Signatures by Envoy's own crypto: 48 times faster for RS256 than in wasm.

use prost::Message;
use proxy_wasm::hostcalls;
use sallyport_caller::{Algorithm, HostSignatures, PublicKey, es256_der};

use super::Envoy;

/// Arguments of Envoy's foreign function `verify_signature`.
#[derive(Clone, PartialEq, Message)]
struct Arguments {
    #[prost(string, tag = "1")]
    hash_function: String,
    #[prost(bytes = "vec", tag = "2")]
    public_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    signature: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    text: Vec<u8>,
}

/// Its result.
#[derive(Clone, PartialEq, Message)]
struct Outcome {
    #[prost(bool, tag = "1")]
    result: bool,
    #[prost(string, tag = "2")]
    error: String,
}

impl HostSignatures for Envoy {
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &[u8]) -> Option<bool> {
        let (hash, signature) = match key.algorithm() {
            Algorithm::Rs256 => ("sha256", signature.to_vec()),
            Algorithm::Rs384 => ("sha384", signature.to_vec()),
            Algorithm::Rs512 => ("sha512", signature.to_vec()),
            Algorithm::Es256 => match es256_der(signature) {
                Some(der) => ("sha256", der),
                None => return Some(false),
            },
            Algorithm::EdDsa | Algorithm::Es384 | Algorithm::Ps256 | Algorithm::Ps384 | Algorithm::Ps512 => {
                return None;
            }
        };
        let arguments = Arguments {
            hash_function: hash.into(),
            public_key: key.spki().to_vec(),
            signature,
            text: message.to_vec(),
        };
        // A host without the function, or one that cannot say, leaves it to the pure implementation.
        let outcome = hostcalls::call_foreign_function("verify_signature", Some(&arguments.encode_to_vec())).ok()??;
        Outcome::decode(outcome.as_slice()).ok().map(|outcome| outcome.result)
    }
}
