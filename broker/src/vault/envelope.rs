//! The bytes of a sealed field.
//!
//! ```text
//! "SPV" | version 1 | key id (16) | length (2, big endian) | wrapped data key | nonce (12) | ciphertext | tag (16)
//! ```
//!
//! The key id is a truncated hash: of a master key that is here, of the name of one that a key service keeps. It tells
//! which key is needed, and since AES-GCM commits to no key, it is what a wrong one is found out by: no key is tried. The wrapped data key stands apart from the ciphertext, so that a re-wrap
//! changes it without opening the field. The length of a ciphertext gives away the length of its secret.

use std::fmt;

use sha2::{Digest, Sha256};

use super::master::KeyError;

/// First bytes of every envelope; the fourth is the version.
const MAGIC: &[u8; 3] = b"SPV";
/// The one version there is.
const VERSION: u8 = 1;
/// AES-GCM's nonce, bytes (NIST SP 800-38D §8.2).
pub(super) const NONCE: usize = 12;
/// AES-GCM's tag, bytes.
pub(super) const TAG: usize = 16;
/// Longest wrapped data key, bytes: what a key service answers stays far below.
const WRAPPED_MAX: usize = 1024;

/// Bytes at the beginning of every envelope that say which master key it needs: all that comes before the lengths.
pub const HEADER: usize = MAGIC.len() + 1 + 16;

/// Names a master key without telling it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub(super) [u8; 16]);

impl KeyId {
    /// Of a key that a key service keeps: a hash of how it is named, and of nothing else.
    pub(super) fn of_name(service: &[u8], names: &[&[u8]]) -> Self {
        let mut hash = Sha256::new().chain_update(service);
        for name in names {
            hash.update((name.len() as u64).to_be_bytes());
            hash.update(name);
        }
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize()[..16]);
        Self(id)
    }

    /// The key that envelopes with this header need; nothing if they are not of this version.
    pub fn of_header(header: &[u8; HEADER]) -> Option<Self> {
        let (version, id) = header.strip_prefix(MAGIC)?.split_first()?;
        (*version == VERSION).then_some(())?;
        id.try_into().ok().map(Self)
    }

    /// How every envelope that needs this key begins.
    pub fn header(self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..MAGIC.len()].copy_from_slice(MAGIC);
        header[MAGIC.len()] = VERSION;
        header[MAGIC.len() + 1..].copy_from_slice(&self.0);
        header
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why bytes are not an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// It does not begin as one.
    #[error("these bytes were not sealed by this vault")]
    Foreign,
    /// It ends too early, or a length in it is wrong.
    #[error("the sealed bytes are cut off or changed")]
    Malformed,
    /// It was written by a newer version.
    #[error("sealed in format {version}, which this version does not know; upgrade")]
    UnknownVersion {
        /// The version it names.
        version: u8,
    },
}

/// A wrapped data key that an envelope can hold and give again.
pub(super) fn of_wrappable_length(wrapped: Vec<u8>) -> Result<Vec<u8>, KeyError> {
    match wrapped.len() {
        1..=WRAPPED_MAX => Ok(wrapped),
        _ => Err(KeyError::Failed("it answered with a wrapped key that is empty, or longer than 1 KiB".into())),
    }
}

/// An envelope, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Envelope<'a> {
    pub(super) key_id: KeyId,
    pub(super) wrapped: &'a [u8],
    pub(super) nonce: &'a [u8; NONCE],
    /// With the tag at its end.
    pub(super) ciphertext: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Reads an envelope; every byte belongs to exactly one part.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(EnvelopeError::Foreign)?;
        let (version, rest) = rest.split_first().ok_or(EnvelopeError::Malformed)?;
        if *version != VERSION {
            return Err(EnvelopeError::UnknownVersion { version: *version });
        }
        let (key_id, rest) = rest.split_first_chunk().ok_or(EnvelopeError::Malformed)?;
        let (length, rest) = rest.split_first_chunk().ok_or(EnvelopeError::Malformed)?;
        let length = usize::from(u16::from_be_bytes(*length));
        if !(1..=WRAPPED_MAX).contains(&length) {
            return Err(EnvelopeError::Malformed);
        }
        let (wrapped, rest) = rest.split_at_checked(length).ok_or(EnvelopeError::Malformed)?;
        let (nonce, ciphertext) = rest.split_first_chunk().ok_or(EnvelopeError::Malformed)?;
        if ciphertext.len() < TAG {
            return Err(EnvelopeError::Malformed);
        }
        Ok(Self { key_id: KeyId(*key_id), wrapped, nonce, ciphertext })
    }

    /// The bytes to store.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let length = u16::try_from(self.wrapped.len()).expect("a wrapped key is shorter than WRAPPED_MAX");
        let mut bytes = Vec::with_capacity(HEADER + 2 + self.wrapped.len() + NONCE + self.ciphertext.len());
        bytes.extend_from_slice(&self.key_id.header());
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(self.wrapped);
        bytes.extend_from_slice(self.nonce);
        bytes.extend_from_slice(self.ciphertext);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        Envelope { key_id: KeyId([7; 16]), wrapped: &[1; 60], nonce: &[2; NONCE], ciphertext: &[3; 20] }.to_bytes()
    }

    #[test]
    fn reads_what_it_wrote() {
        let bytes = sample();
        let envelope = Envelope::parse(&bytes).unwrap();
        assert_eq!(envelope.key_id, KeyId([7; 16]));
        assert_eq!((envelope.wrapped, envelope.ciphertext), (&[1; 60][..], &[3; 20][..]));
        assert_eq!(envelope.to_bytes(), bytes);
    }

    #[test]
    fn its_header_tells_the_key_and_nothing_else_does() {
        let bytes = sample();
        let (header, _) = bytes.split_first_chunk().unwrap();
        assert_eq!(KeyId::of_header(header), Some(KeyId([7; 16])));
        assert_eq!(KeyId([7; 16]).header(), *header);
        for position in 0..4 {
            let mut changed = *header;
            changed[position] ^= 1;
            assert_eq!(KeyId::of_header(&changed), None, "{position}");
        }
    }

    #[test]
    fn refuses_what_is_too_short_for_its_parts() {
        let bytes = sample();
        let shortest = bytes.len() - (20 - TAG);
        for length in 0..shortest {
            assert!(Envelope::parse(&bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn refuses_foreign_bytes() {
        assert_eq!(Envelope::parse(b""), Err(EnvelopeError::Foreign));
        assert_eq!(Envelope::parse(b"ghp_0123456789abcdef"), Err(EnvelopeError::Foreign));
    }

    #[test]
    fn refuses_another_version_by_its_number() {
        let mut bytes = sample();
        bytes[3] = 2;
        assert_eq!(Envelope::parse(&bytes), Err(EnvelopeError::UnknownVersion { version: 2 }));
    }

    #[test]
    fn refuses_a_huge_or_empty_wrapped_key() {
        for length in [[0, 0], [0xff, 0xff], [4, 1]] {
            let mut bytes = sample();
            bytes[20..22].copy_from_slice(&length);
            assert_eq!(Envelope::parse(&bytes), Err(EnvelopeError::Malformed));
        }
    }
}
