//! Version numbers as programs print them.

use std::fmt;

/// `major.minor.patch`, compared in that order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32, pub(crate) u32);

impl Version {
    /// The first dotted number in `text`; absent parts are 0.
    pub(crate) fn find(text: &str) -> Option<Self> {
        text.split(|c: char| !(c.is_ascii_digit() || c == '.')).filter(|word| word.contains('.')).find_map(|word| {
            let mut parts = word.split('.').map(|part| part.parse().ok());
            let major = parts.next()??;
            let minor = parts.next().unwrap_or(Some(0))?;
            let patch = parts.next().flatten().unwrap_or(0);
            Some(Self(major, minor, patch))
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(major, minor, patch) = self;
        write!(f, "{major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn finds_the_version_in_what_programs_print() {
        let envoy = "envoy  version: 8c4e0dca/1.40.0/Clean/RELEASE/BoringSSL";
        for (text, expected) in [
            ("v20.20.2\n", Version(20, 20, 2)),
            ("Python 3.11.7", Version(3, 11, 7)),
            ("rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)", Version(1, 96, 0)),
            ("1.95", Version(1, 95, 0)),
            (envoy, Version(1, 40, 0)),
        ] {
            assert_eq!(Version::find(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn finds_no_version_where_there_is_none() {
        for text in ["", "command not found", "20", "..", "a.b", "99999999999.1"] {
            assert_eq!(Version::find(text), None, "{text}");
        }
    }

    #[test]
    fn orders_by_number_not_by_text() {
        assert!(Version(1, 100, 0) > Version(1, 95, 9));
    }
}
