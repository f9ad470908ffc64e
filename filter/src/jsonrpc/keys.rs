//! Keys that two readers could take for different ones, or one reader for two.

use std::borrow::Cow;

use super::MessageFlaw;

/// Most keys of one object that is read; comparing each with each stays cheap.
const MOST: usize = 128;

/// The keys of one object so far.
pub(super) struct Keys<'a>(Vec<Cow<'a, str>>);

impl<'a> Keys<'a> {
    /// None yet.
    pub(super) fn new() -> Self {
        // As many as the envelope and the params of a call have.
        Self(Vec::with_capacity(8))
    }

    /// Adds a key that was not there: the first wins for some readers, the last for others (R1).
    pub(super) fn add(&mut self, key: Cow<'a, str>) -> Result<&str, MessageFlaw> {
        if self.0.contains(&key) {
            return Err(MessageFlaw::RepeatedKey);
        }
        if self.0.len() >= MOST {
            return Err(MessageFlaw::TooManyKeys);
        }
        self.0.push(key);
        self.0.last().map(AsRef::as_ref).ok_or(MessageFlaw::TooManyKeys)
    }
}

/// Whether `key` is none of `reserved`, but a reader that folds case, width or invisible characters takes it for one (R2).
///
/// Go's encoding/json folds case and so reads U+017F as `s` and U+212A as `k`; Java's `equalsIgnoreCase` also reads
/// U+0130 and U+0131 as `i`; NFKC turns full-width letters into ASCII.
pub(super) fn looks_like_another(key: &str, reserved: &[&str]) -> bool {
    if key.bytes().all(|byte| byte.is_ascii_graphic()) {
        // Nearly every key: no character to drop, so only one of the same length can be meant.
        return reserved.iter().any(|reserved| *reserved != key && reserved.eq_ignore_ascii_case(key));
    }
    reserved.iter().any(|reserved| folds_to(key, reserved))
}

fn folds_to(key: &str, reserved: &str) -> bool {
    key.chars().filter_map(fold).eq(reserved.chars().map(|character| character.to_ascii_lowercase()))
}

/// The plainest character a reader may take it for; none if a reader may drop it.
fn fold(character: char) -> Option<char> {
    match character {
        'A'..='Z' => Some(character.to_ascii_lowercase()),
        '!'..='~' => Some(character),
        '\u{17F}' => Some('s'),
        '\u{212A}' => Some('k'),
        '\u{130}' | '\u{131}' => Some('i'),
        // Full-width forms of U+0021 to U+007E.
        '\u{FF01}'..='\u{FF5E}' => {
            let ascii = u32::from(character).saturating_sub(0xFEE0);
            char::from_u32(ascii).map(|ascii| ascii.to_ascii_lowercase())
        }
        // White space, soft hyphen, combining and zero-width characters, marks of direction, byte order mark.
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{3164}' => None,
        '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' => None,
        '\u{300}'..='\u{36F}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF9}'..='\u{FFFD}' => None,
        '\u{E0000}'..='\u{E0FFF}' => None,
        other if other.is_whitespace() || other.is_control() => None,
        other => Some(other),
    }
}
