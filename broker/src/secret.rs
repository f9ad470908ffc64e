//! A secret: zeroized when dropped, never printed, compared in constant time, exposed only by name.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes that must never be seen (I9). Has no `Clone`, `Serialize` or `Display`; `{:?}` prints `[secret]`.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over; the caller keeps no copy.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// `N` bytes from the operating system's generator.
    ///
    /// # Panics
    /// If the operating system has no randomness to give: nothing safe can be done then.
    pub fn random<const N: usize>() -> Self {
        let mut bytes = Zeroizing::new(vec![0; N]);
        getrandom::fill(&mut bytes).expect("the operating system gives randomness");
        Self(bytes)
    }

    /// The bytes. Each call says in a comment why they are needed there.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text, if they are UTF-8.
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i9_debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("canary")), "[secret]");
    }

    #[test]
    fn equal_only_to_the_same_bytes() {
        assert!(Secret::new("a") == Secret::new("a"));
        assert!(Secret::new("a") != Secret::new("b"));
        assert!(Secret::new("a") != Secret::new("aa"));
    }
}
