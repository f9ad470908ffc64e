//! PKCE (RFC 7636), S256 only: who catches a code on its way cannot use it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// A code verifier: 43 to 128 unreserved characters (RFC 7636 §4.1).
#[derive(Debug)]
pub struct Verifier(Secret);

impl Verifier {
    /// 256 bits from the operating system, as 43 characters.
    pub fn random() -> Self {
        let random = Secret::random::<32>();
        let mut text = Zeroizing::new(String::with_capacity(64));
        // Exposed to be written in the alphabet that verifiers have.
        URL_SAFE_NO_PAD.encode_string(random.expose(), &mut text);
        Self(Secret::new(text.as_bytes()))
    }

    /// One that was kept; none if it is no verifier.
    pub fn restored(kept: Secret) -> Option<Self> {
        // Judged by its bytes; nothing of it leaves.
        let bytes = kept.expose();
        let unreserved = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
        ((43..=128).contains(&bytes.len()) && bytes.iter().all(unreserved)).then_some(Self(kept))
    }

    /// To be sealed, or sent to the token endpoint.
    pub fn as_secret(&self) -> &Secret {
        &self.0
    }

    /// `code_challenge` for the method S256.
    pub fn challenge(&self) -> String {
        // Exposed to be hashed: the challenge tells nothing of it.
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.0.expose()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_appendix_b_of_the_rfc() {
        let verifier = Verifier::restored(Secret::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")).expect("one");
        assert_eq!(verifier.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn o4_no_two_are_alike_and_each_can_be_kept() {
        let (one, other) = (Verifier::random(), Verifier::random());
        assert!(one.as_secret() != other.as_secret());
        assert_ne!(one.challenge(), other.challenge());
        let kept = Verifier::restored(Secret::new(one.as_secret().expose())).expect("a verifier");
        assert_eq!(kept.challenge(), one.challenge());
    }

    #[test]
    fn refuses_what_is_no_verifier() {
        let long = "a".repeat(129);
        let short = "a".repeat(42);
        let foreign = format!("{short}é");
        for text in ["", &short, &long, &foreign, &format!("{short} "), &format!("{short}+"), &format!("{short}\n")] {
            assert!(Verifier::restored(Secret::new(text)).is_none(), "{text:?}");
        }
        assert!(Verifier::restored(Secret::new("a".repeat(128))).is_some());
    }

    #[test]
    fn i9_debug_shows_nothing() {
        assert_eq!(format!("{:?}", Verifier::random()), "Verifier([secret])");
    }
}
