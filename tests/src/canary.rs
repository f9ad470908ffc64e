//! Secrets planted so that they can be searched for, in every spelling a leak could take.

use std::path::Path;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use hyper::body::Bytes;

/// A secret value and where it was planted.
#[derive(Clone, Debug)]
pub struct Canary {
    /// What it is, for the message.
    pub what: String,
    /// The secret.
    pub value: String,
}

impl Canary {
    /// Names a secret that exists already.
    pub fn new(what: &str, value: impl Into<String>) -> Self {
        Self { what: what.to_owned(), value: value.into() }
    }

    /// Fails if any spelling of the secret is in these bytes.
    ///
    /// # Panics
    /// When one is.
    pub fn assert_absent(&self, place: &str, bytes: &[u8]) {
        assert_absent(&self.what, self.value.as_bytes(), place, bytes);
    }

    /// Fails if the secret is in any file below this directory.
    ///
    /// # Panics
    /// When it is, or a file cannot be read.
    pub fn assert_absent_below(&self, directory: &Path) {
        for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
            let path = entry.path();
            let kind = entry.file_type().expect("it is there");
            if kind.is_dir() {
                self.assert_absent_below(&path);
            } else if kind.is_file() {
                match std::fs::read(&path) {
                    Ok(bytes) => self.assert_absent(&path.display().to_string(), &bytes),
                    // Its program has renamed or removed it since.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => panic!("{}: {error}", path.display()),
                }
            }
        }
    }

    /// Fails if the secret is in the arguments or the environment of a process.
    ///
    /// # Panics
    /// When it is.
    pub fn assert_absent_from_process(&self, pid: u32) {
        for file in ["cmdline", "environ"] {
            let path = format!("/proc/{pid}/{file}");
            self.assert_absent(&path, &std::fs::read(&path).expect("the process runs"));
        }
    }
}

/// Fails if any spelling of a secret is in these bytes.
pub(crate) fn assert_absent(what: &str, secret: &[u8], place: &str, bytes: &[u8]) {
    for (spelling, needle) in spellings(secret) {
        assert!(!contains(bytes, &needle), "{what} is in {place}, as {spelling}");
    }
}

/// The bytes as they stand, and as base64 (three alignments), base64url, hex, percent-encoded, UTF-16, back to front, and as
/// `Debug` prints bytes: a list of numbers, or text with escapes, those escaped once more where that is in JSON.
pub fn spellings(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex = |upper: bool| -> String {
        secret.iter().map(|byte| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") }).collect()
    };
    let percent: String = secret.iter().map(|byte| format!("%{byte:02X}")).collect();
    let mut all = vec![
        ("itself", secret.to_vec()),
        ("hex", hex(false).into_bytes()),
        ("hex", hex(true).into_bytes()),
        ("percent", percent.into_bytes()),
        ("UTF-16", secret.iter().flat_map(|byte| [*byte, 0]).collect()),
        ("itself, reversed", secret.iter().rev().copied().collect()),
        ("a list", format!("{secret:?}").trim_matches(['[', ']']).to_owned().into_bytes()),
    ];
    let escaped = format!("{:?}", Bytes::copy_from_slice(secret));
    let escaped =
        escaped.strip_prefix("b\"").and_then(|rest| rest.strip_suffix('"')).expect("so `Bytes` prints itself");
    if escaped.as_bytes() != secret {
        all.push(("text with escapes in JSON", escaped.replace('\\', r"\\").replace('"', "\\\"").into_bytes()));
        all.push(("text with escapes", escaped.as_bytes().to_vec()));
    }
    for offset in 0..3 {
        all.push(("base64", inner(&STANDARD_NO_PAD, secret, offset)));
        all.push(("base64url", inner(&URL_SAFE_NO_PAD, secret, offset)));
    }
    all
}

/// The part of the encoding that does not depend on what stands before and after the secret.
fn inner(engine: &impl Engine, secret: &[u8], offset: usize) -> Vec<u8> {
    let mut shifted = vec![0; offset];
    shifted.extend_from_slice(secret);
    let encoded = engine.encode(&shifted).into_bytes();
    let start = (offset * 8).div_ceil(6);
    let end = shifted.len() * 8 / 6;
    encoded[start..end].to_vec()
}

/// Horspool's search, which looks at few of the bytes: logs are long.
fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    let Some((last, head)) = needle.split_last() else { return false };
    let mut skip = [needle.len(); 256];
    for (index, byte) in head.iter().enumerate() {
        skip[usize::from(*byte)] = head.len() - index;
    }
    let mut end = head.len();
    while let Some(byte) = haystack.get(end) {
        if byte == last && haystack[end - head.len()..end] == *head {
            return true;
        }
        end += skip[usize::from(*byte)];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_secret_in_each_spelling_at_any_offset() {
        let secret = b"s3cret-canary-value";
        for padding in ["", "a", "ab", "abc"] {
            let text = format!("{padding}{}tail", String::from_utf8_lossy(secret));
            for hidden in [STANDARD_NO_PAD.encode(&text).into_bytes(), URL_SAFE_NO_PAD.encode(&text).into_bytes()] {
                assert!(spellings(secret).iter().any(|(_, needle)| contains(&hidden, needle)), "{padding}");
            }
            assert!(contains(text.as_bytes(), secret));
        }
    }

    #[test]
    fn finds_a_key_as_debug_prints_it() {
        let key = b"\x00k\xff\"y\n\\k\x7f";
        let printed = format!("Once(Some({:?}))", Bytes::from_static(key));
        for hidden in [&format!("Blob {{ inner: {key:?} }}"), &printed, &serde_json::to_string(&printed).unwrap()] {
            assert!(spellings(key).iter().any(|(_, needle)| contains(hidden.as_bytes(), needle)), "{hidden}");
        }
    }

    #[test]
    fn finds_nothing_where_there_is_nothing() {
        let hay = vec![b's'; 10_000];
        assert!(spellings(b"s3cret-canary-value").iter().all(|(_, needle)| !contains(&hay, needle)));
    }
}
