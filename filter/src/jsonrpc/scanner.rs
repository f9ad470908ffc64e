//! One pass over JSON text: strict, iterative, without a copy of what is skipped.

use std::borrow::Cow;

use super::keys::{self, Keys};
use super::{MessageFlaw, ParseFlaw};

/// Deepest nesting; below the limits of the parsers upstreams use, so that what passes here is read there.
const DEEPEST: u32 = 100;

/// Numbers longer than this are checked for overflow; shorter ones without exponent cannot reach `f64::MAX`.
const LONG_NUMBER: usize = 300;

/// Either kind of reason to refuse a body, before the id is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    Parse(ParseFlaw),
    Message(MessageFlaw),
}

impl From<ParseFlaw> for Flaw {
    fn from(flaw: ParseFlaw) -> Self {
        Self::Parse(flaw)
    }
}

impl From<MessageFlaw> for Flaw {
    fn from(flaw: MessageFlaw) -> Self {
        Self::Message(flaw)
    }
}

/// A string of the text, without its quotes, found well-formed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    raw: &'a str,
    escaped: bool,
    nul: bool,
}

impl<'a> Text<'a> {
    /// Bytes as written.
    pub(super) fn raw_len(&self) -> usize {
        self.raw.len()
    }

    /// Whether an escape spells U+0000, which ends a string for some readers.
    pub(super) fn has_nul(&self) -> bool {
        self.nul
    }

    /// What it means; a copy only if it has escapes.
    pub(super) fn unescape(&self) -> Result<Cow<'a, str>, ParseFlaw> {
        if self.escaped {
            unescape(self.raw).map(Cow::Owned).ok_or(ParseFlaw::Escape)
        } else {
            Ok(Cow::Borrowed(self.raw))
        }
    }
}

/// A place in the text.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next byte that is not white space, not taken.
    #[inline]
    pub(super) fn peek(&mut self) -> Result<u8, ParseFlaw> {
        self.white_space();
        self.byte().ok_or(ParseFlaw::Truncated)
    }

    /// Only white space may remain.
    pub(super) fn end(&mut self) -> Result<(), ParseFlaw> {
        self.white_space();
        if self.byte().is_none() { Ok(()) } else { Err(ParseFlaw::Trailing) }
    }

    /// The text of the next value, for ids: string or integer, as written.
    pub(super) fn scalar(&mut self) -> Result<&'a str, ParseFlaw> {
        self.white_space();
        let start = self.at;
        self.skip_scalar()?;
        self.text.get(start..self.at).ok_or(ParseFlaw::Unexpected)
    }

    /// The next value if it is a string; else it is skipped.
    pub(super) fn text(&mut self, depth: u32) -> Result<Option<Text<'a>>, Flaw> {
        if self.peek()? == b'"' {
            return Ok(Some(self.string()?));
        }
        self.skip(depth)?;
        Ok(None)
    }

    /// Walks the object that begins here; `depth` is that of its keys, from 1. `field` must take the value of each key.
    ///
    /// Repeated keys and look-alikes of `reserved` are refused after unescaping.
    pub(super) fn object(
        &mut self,
        depth: u32,
        reserved: &[&str],
        mut field: impl FnMut(&mut Self, &str) -> Result<(), Flaw>,
    ) -> Result<(), Flaw> {
        if depth > DEEPEST {
            return Err(ParseFlaw::Depth.into());
        }
        self.expect(b'{')?;
        if self.peek()? == b'}' {
            self.advance(1);
            return Ok(());
        }
        let mut seen = Keys::new();
        loop {
            let key = self.key()?.unescape()?;
            if keys::looks_like_another(&key, reserved) {
                return Err(MessageFlaw::LookAlikeKey.into());
            }
            let key = seen.add(key)?;
            field(self, key)?;
            match self.take()? {
                b',' => {}
                b'}' => return Ok(()),
                _ => return Err(ParseFlaw::Unexpected.into()),
            }
        }
    }

    /// Skips one value inside a container of this depth. Iterative: nesting costs a bit, not stack.
    pub(super) fn skip(&mut self, depth: u32) -> Result<(), Flaw> {
        // One bit for each container that is open, the innermost lowest; set: object.
        let mut objects: u128 = 0;
        let mut open: u32 = 0;
        loop {
            match self.peek()? {
                bracket @ (b'{' | b'[') => {
                    self.advance(1);
                    if depth.saturating_add(open) >= DEEPEST {
                        return Err(ParseFlaw::Depth.into());
                    }
                    let is_object = bracket == b'{';
                    let close = if is_object { b'}' } else { b']' };
                    if self.peek()? == close {
                        self.advance(1);
                    } else {
                        objects = (objects << 1) | u128::from(is_object);
                        open = open.saturating_add(1);
                        if is_object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                _ => self.skip_scalar()?,
            }
            // Behind a value: close what ends here, or go on in what is open.
            loop {
                if open == 0 {
                    return Ok(());
                }
                let in_object = objects & 1 == 1;
                match (self.take()?, in_object) {
                    (b',', true) => {
                        self.key()?;
                        break;
                    }
                    (b',', false) => break,
                    (b'}', true) | (b']', false) => {
                        objects >>= 1;
                        open = open.saturating_sub(1);
                    }
                    _ => return Err(ParseFlaw::Unexpected.into()),
                }
            }
        }
    }

    /// A key and its colon. NUL ends a key for readers in C, so it may be in none.
    fn key(&mut self) -> Result<Text<'a>, Flaw> {
        if self.peek()? != b'"' {
            return Err(ParseFlaw::Unexpected.into());
        }
        let key = self.string()?;
        if key.has_nul() {
            return Err(MessageFlaw::LookAlikeKey.into());
        }
        self.expect(b':')?;
        Ok(key)
    }

    fn skip_scalar(&mut self) -> Result<(), ParseFlaw> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => Err(ParseFlaw::Unexpected),
        }
    }

    fn literal(&mut self, literal: &'static str) -> Result<(), ParseFlaw> {
        if self.rest().starts_with(literal.as_bytes()) {
            self.advance(literal.len());
            Ok(())
        } else if literal.as_bytes().starts_with(self.rest()) {
            Err(ParseFlaw::Truncated)
        } else {
            Err(ParseFlaw::Unexpected)
        }
    }

    fn number(&mut self) -> Result<(), ParseFlaw> {
        let start = self.at;
        self.advance_if(b'-');
        if self.advance_if(b'0') {
            if self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
                return Err(ParseFlaw::Number);
            }
        } else {
            self.digits()?;
        }
        if self.advance_if(b'.') {
            self.digits()?;
        }
        let exponent = self.advance_if(b'e') || self.advance_if(b'E');
        if exponent {
            if !self.advance_if(b'+') {
                self.advance_if(b'-');
            }
            self.digits()?;
        }
        // Out of the range of a double it is infinite for one reader and an error for the next.
        let number = self.text.get(start..self.at).unwrap_or_default();
        let long = exponent || number.len() > LONG_NUMBER;
        if long && !number.parse::<f64>().is_ok_and(f64::is_finite) { Err(ParseFlaw::Number) } else { Ok(()) }
    }

    fn digits(&mut self) -> Result<(), ParseFlaw> {
        let run = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.advance(run);
        match (run, self.byte()) {
            (0, None) => Err(ParseFlaw::Truncated),
            (0, Some(_)) => Err(ParseFlaw::Number),
            _ => Ok(()),
        }
    }

    fn string(&mut self) -> Result<Text<'a>, ParseFlaw> {
        self.advance(1);
        let start = self.at;
        let (mut escaped, mut nul) = (false, false);
        loop {
            self.advance(plain_run(self.rest()));
            match self.byte().ok_or(ParseFlaw::Truncated)? {
                b'"' => {
                    let raw = self.text.get(start..self.at).ok_or(ParseFlaw::Utf8)?;
                    self.advance(1);
                    return Ok(Text { raw, escaped, nul });
                }
                b'\\' => {
                    escaped = true;
                    let (character, length) = escape(self.rest())?;
                    nul |= character == '\0';
                    self.advance(length);
                }
                _ => return Err(ParseFlaw::Control),
            }
        }
    }

    fn expect(&mut self, wanted: u8) -> Result<(), ParseFlaw> {
        if self.take()? == wanted { Ok(()) } else { Err(ParseFlaw::Unexpected) }
    }

    fn take(&mut self) -> Result<u8, ParseFlaw> {
        let byte = self.peek()?;
        self.advance(1);
        Ok(byte)
    }

    #[inline]
    fn white_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.byte() {
            self.advance(1);
        }
    }

    #[inline]
    fn advance_if(&mut self, wanted: u8) -> bool {
        let found = self.byte() == Some(wanted);
        if found {
            self.advance(1);
        }
        found
    }

    #[inline]
    fn advance(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }
}

/// Length of the run without quote, backslash or control character; eight bytes at a time.
#[inline]
fn plain_run(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let (words, tail) = bytes.as_chunks::<8>();
    let mut run: usize = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        // A high bit for each byte that is zero, or below 0x20. A borrow can mark bytes above a true mark, never
        // below it, so the lowest mark is exact.
        let zero = |word: u64| word.wrapping_sub(ONES) & !word;
        let quote = zero(word ^ (ONES.wrapping_mul(0x22)));
        let backslash = zero(word ^ (ONES.wrapping_mul(0x5c)));
        let control = word.wrapping_sub(ONES.wrapping_mul(0x20)) & !word;
        let marks = (quote | backslash | control) & HIGHS;
        if marks != 0 {
            return run.saturating_add((marks.trailing_zeros() >> 3) as usize);
        }
        run = run.saturating_add(8);
    }
    let rest = tail.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)).unwrap_or(tail.len());
    run.saturating_add(rest)
}

/// The character an escape at the start of `bytes` spells, and how many bytes it takes.
fn escape(bytes: &[u8]) -> Result<(char, usize), ParseFlaw> {
    let simple = match bytes {
        [b'\\', b'u', rest @ ..] => return unicode_escape(rest),
        [b'\\', letter, ..] => match letter {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            _ => return Err(ParseFlaw::Escape),
        },
        _ => return Err(ParseFlaw::Truncated),
    };
    Ok((simple, 2))
}

/// Behind `\u`: one unit, or a pair of surrogates. Half a pair is read as U+FFFD, `?` or an error, so it is refused.
fn unicode_escape(bytes: &[u8]) -> Result<(char, usize), ParseFlaw> {
    let (first, rest) = unit(bytes)?;
    if let Some(character) = char::from_u32(first) {
        return Ok((character, 6));
    }
    let [b'\\', b'u', rest @ ..] = rest else {
        return Err(ParseFlaw::Escape);
    };
    let (second, _) = unit(rest)?;
    match (first, second) {
        (0xD800..=0xDBFF, 0xDC00..=0xDFFF) => {
            let code = (((first & 0x3FF) << 10) | (second & 0x3FF)).saturating_add(0x10000);
            char::from_u32(code).map(|character| (character, 12)).ok_or(ParseFlaw::Escape)
        }
        _ => Err(ParseFlaw::Escape),
    }
}

fn unit(bytes: &[u8]) -> Result<(u32, &[u8]), ParseFlaw> {
    let [a, b, c, d, rest @ ..] = bytes else {
        return Err(ParseFlaw::Escape);
    };
    let unit = [a, b, c, d]
        .into_iter()
        .try_fold(0u32, |unit, digit| char::from(*digit).to_digit(16).map(|digit| (unit << 4) | digit));
    unit.map(|unit| (unit, rest)).ok_or(ParseFlaw::Escape)
}

fn unescape(raw: &str) -> Option<String> {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((plain, _)) = rest.split_once('\\') {
        text.push_str(plain);
        let (character, length) = escape(rest.as_bytes().get(plain.len()..)?).ok()?;
        text.push(character);
        rest = rest.get(plain.len().checked_add(length)?..)?;
    }
    text.push_str(rest);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_run_ends_exactly_at_the_first_special_byte() {
        for special in (0..0x20).chain([b'"', b'\\']) {
            for position in 0..20 {
                for filler in [b' ', b'!', b'#', b'[', b']', 0x7f, 0x80, 0xa2, 0xdc, 0xff] {
                    let mut bytes = vec![filler; 24];
                    bytes[position] = special;
                    bytes[position + 1] = special ^ 1;
                    assert_eq!(plain_run(&bytes), position, "{special:#x} {filler:#x}");
                }
            }
        }
        assert_eq!(plain_run(&[]), 0);
        assert_eq!(plain_run(&[b'a'; 23]), 23);
    }

    #[test]
    fn every_surrogate_pair_spells_its_character() {
        for character in ('\u{10000}'..=char::MAX).step_by(0x3F) {
            let mut units = [0; 2];
            let text: String = character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect();
            assert_eq!(escape(text.as_bytes()), Ok((character, 12)));
        }
    }
}
