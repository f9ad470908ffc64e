//! A JSON reader that refuses what other readers guess at: a name that comes twice, at any depth, however it is escaped.
//!
//! Two readers that resolve `{"sub":"a","s\u0075b":"b"}` differently are two different tokens (threats to parsers that
//! keep the last one, or the first). Nothing below the top is kept: it is read only to be refused if it must be.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Objects and arrays inside each other, at most; the outermost object counts as one.
pub(crate) const MAX_DEPTH: u8 = 32;

/// The bytes are not one JSON object that every reader would read in the same way.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotStrict;

/// A member's value, as far as the rules look into it.
#[derive(Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    /// A number without sign, fraction or exponent, below 2^64.
    Integer(u64),
    Text(Cow<'a, str>),
    /// An array of nothing but strings.
    Texts(Vec<Cow<'a, str>>),
    /// Anything else.
    Other,
}

/// The members of one object, no name twice.
#[derive(Debug)]
pub(crate) struct Members<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

impl<'a> Members<'a> {
    /// Reads exactly one object, nothing after it.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, NotStrict> {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let members = reader.deserialize_map(TopLevel).map_err(|_| NotStrict)?;
        reader.end().map_err(|_| NotStrict)?;
        Ok(members)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

struct TopLevel;

impl<'de> Visitor<'de> for TopLevel {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(16);
        while let Some(name) = map.next_key_seed(Text)? {
            members.push((name, map.next_value_seed(Any { depth: MAX_DEPTH.saturating_sub(1) })?));
        }
        if has_duplicate(members.iter().map(|(name, _)| name.as_ref())) {
            return Err(A::Error::custom("a name comes twice"));
        }
        Ok(Members(members))
    }
}

/// Any value; `depth` more levels may open.
#[derive(Clone, Copy)]
struct Any {
    depth: u8,
}

impl<'de> DeserializeSeed<'de> for Any {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl Any {
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        self.depth.checked_sub(1).map(|depth| Self { depth }).ok_or_else(|| E::custom("too deep"))
    }
}

impl<'de> Visitor<'de> for Any {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Value::Other)
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let inner = self.inner()?;
        let mut texts = Vec::new();
        let mut only_texts = true;
        while let Some(item) = seq.next_element_seed(inner)? {
            match item {
                Value::Text(text) => texts.push(text),
                Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Texts(_) | Value::Other => only_texts = false,
            }
        }
        Ok(if only_texts { Value::Texts(texts) } else { Value::Other })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let inner = self.inner()?;
        let mut names = Vec::new();
        while let Some(name) = map.next_key_seed(Text)? {
            names.push(name);
            map.next_value_seed(inner)?;
        }
        if has_duplicate(names.iter().map(Cow::as_ref)) {
            return Err(A::Error::custom("a name comes twice"));
        }
        Ok(Value::Other)
    }
}

/// A string, borrowed where it has no escapes.
struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(value.to_owned()))
    }
}

/// Pairwise for the few names of a real token; sorted where somebody sends thousands, so that it stays cheap.
fn has_duplicate<'n>(names: impl ExactSizeIterator<Item = &'n str> + Clone) -> bool {
    const FEW: usize = 24;
    if names.len() <= FEW {
        let mut later = names.clone();
        return names.into_iter().any(|name| {
            later.next();
            later.clone().any(|other| other == name)
        });
    }
    let mut sorted: Vec<&str> = names.collect();
    sorted.sort_unstable();
    sorted.windows(2).any(|pair| matches!(pair, [a, b] if a == b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Members<'_>, NotStrict> {
        Members::read(json.as_bytes())
    }

    #[test]
    fn reads_each_kind_of_value() {
        let members =
            read(r#"{"n":null,"b":true,"i":7,"t":"x","e":"\u0078","l":["a","b"],"m":["a",1],"f":1.0,"o":{"p":1}}"#)
                .unwrap();
        assert_eq!(members.get("n"), Some(&Value::Null));
        assert_eq!(members.get("b"), Some(&Value::Bool(true)));
        assert_eq!(members.get("i"), Some(&Value::Integer(7)));
        assert_eq!(members.get("t"), Some(&Value::Text("x".into())));
        assert_eq!(members.get("e"), Some(&Value::Text("x".into())));
        assert_eq!(members.get("l"), Some(&Value::Texts(vec!["a".into(), "b".into()])));
        assert_eq!(members.get("m"), Some(&Value::Other));
        assert_eq!(members.get("f"), Some(&Value::Other));
        assert_eq!(members.get("o"), Some(&Value::Other));
        assert_eq!(members.get("q"), None);
    }

    #[test]
    fn numbers_that_are_not_plain_integers_are_other() {
        for number in ["-1", "-0", "1.5", "1e3", "1E30", "18446744073709551616", "0.0"] {
            let json = format!(r#"{{"x":{number}}}"#);
            assert_eq!(read(&json).unwrap().get("x"), Some(&Value::Other), "{number}");
        }
    }

    #[test]
    fn refuses_a_name_that_comes_twice() {
        for json in [
            r#"{"sub":"a","sub":"b"}"#,
            r#"{"sub":"a","sub":"a"}"#,
            r#"{"sub":"a","s\u0075b":"b"}"#,
            r#"{"groups":[],"iss":"i","groups":["admin"]}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":{"b":1,"\u0062":2}}"#,
            r#"{"a":[{"b":{"c":1,"c":1}}]}"#,
            r#"{"":1,"":2}"#,
        ] {
            assert_eq!(read(json).err(), Some(NotStrict), "{json}");
        }
    }

    #[test]
    fn refuses_a_name_that_comes_twice_among_thousands() {
        let many: Vec<String> = (0..2000).map(|n| format!("\"k{n}\":0")).collect();
        assert!(read(&format!("{{{}}}", many.join(","))).is_ok());
        assert!(read(&format!("{{{},\"k77\":1}}", many.join(","))).is_err());
        assert!(read(&format!("{{\"in\":{{{},\"k77\":1}}}}", many.join(","))).is_err());
    }

    #[test]
    fn refuses_what_is_not_one_object() {
        for json in [
            "",
            "null",
            "[]",
            "\"x\"",
            "1",
            "{}{}",
            "{} x",
            "{\"a\":1,}",
            "{'a':1}",
            "{\"a\":01}",
            "{\"a\":NaN}",
            "{\"a\"}",
            "\u{feff}{}",
            "{\"a\":\"\u{1}\"}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\\x\"}",
            "{/**/}",
            "{\"a\":1",
        ] {
            assert!(read(json).is_err(), "{json:?}");
        }
        assert!(Members::read(b"{\"a\":\"\xff\"}").is_err());
        assert!(Members::read(b"{\"a\":\"\xc0\xaf\"}").is_err());
    }

    #[test]
    fn refuses_more_than_32_levels() {
        let nest = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(read(&nest(31)).is_ok());
        assert!(read(&nest(32)).is_err());
        assert!(read(&nest(5000)).is_err());
        let objects = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        assert!(read(&objects(32)).is_ok());
        assert!(read(&objects(33)).is_err());
    }
}
