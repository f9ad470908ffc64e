//! The body of an answer, taken apart without being believed: JSON or a form, as one small tree.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Malformed;
use crate::secret::Secret;

/// Deepest object looked into; `owner.user.id` is the deepest that any profile names.
const MAX_DEPTH: usize = 3;

/// A value. Text is a secret at once, since only its key says whether it is one.
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(f64),
    Text(Secret),
    List(Vec<Value>),
    Object(Object),
    /// Deeper than anybody looks, or of a key that comes twice.
    Unread,
}

/// A body, taken apart.
pub(super) enum Body {
    /// It reads in one way.
    Plain(Object),
    /// Some key comes twice (also if one of the two is written with escapes): what has that key is not read.
    Ambiguous(Object),
}

impl Body {
    fn of(object: Object, twice: bool) -> Self {
        if twice { Self::Ambiguous(object) } else { Self::Plain(object) }
    }

    pub(super) fn plain(self) -> Option<Object> {
        match self {
            Self::Plain(object) => Some(object),
            Self::Ambiguous(_) => None,
        }
    }
}

/// An object, or a form.
#[derive(Default)]
pub(super) struct Object(Vec<(String, Value)>);

impl Object {
    pub(super) fn get(&self, key: &str) -> &Value {
        self.0.iter().find(|(name, _)| name == key).map_or(&Value::Null, |(_, value)| value)
    }

    /// Takes a value out.
    pub(super) fn take(&mut self, key: &str) -> Value {
        match self.0.iter().position(|(name, _)| name == key) {
            Some(at) => self.0.swap_remove(at).1,
            None => Value::Null,
        }
    }

    /// The text at a path.
    pub(super) fn text_at(&self, path: &[&str]) -> Option<&str> {
        match path {
            [] => None,
            [key] => self.get(key).text(),
            [key, rest @ ..] => match self.get(key) {
                Value::Object(object) => object.text_at(rest),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) | Value::Unread => {
                    None
                }
            },
        }
    }
}

impl Value {
    /// Text, to be compared with what is known, or shown to nobody.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => text.expose_str(),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::List(_) | Self::Object(_) | Self::Unread => None,
        }
    }
}

/// Reads a body. `content_type` only tells a form from prose: endpoints label JSON in many ways.
pub(super) fn read(content_type: Option<&str>, body: &[u8]) -> Result<Body, Malformed> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
    if body.first() == Some(&b'{') {
        return read_json(body);
    }
    let media = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let form = media.eq_ignore_ascii_case("application/x-www-form-urlencoded")
        || ((media.is_empty() || media.eq_ignore_ascii_case("text/plain")) && body.contains(&b'='));
    if form && !body.is_empty() { read_form(body) } else { Err(Malformed::Shape) }
}

fn read_form(body: &[u8]) -> Result<Body, Malformed> {
    let mut members = Members::default();
    for (key, value) in url::form_urlencoded::parse(body) {
        members.add(key.into_owned(), Value::Text(Secret::new(value.into_owned())));
    }
    Ok(Body::of(members.object, members.twice))
}

/// One object and nothing after it.
fn read_json(body: &[u8]) -> Result<Body, Malformed> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let mut twice = false;
    let value = Reader { depth: 0, twice: &mut twice }.deserialize(&mut json).map_err(|_| Malformed::Shape)?;
    json.end().map_err(|_| Malformed::Shape)?;
    match value {
        Value::Object(object) => Ok(Body::of(object, twice)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) | Value::Unread => {
            Err(Malformed::Shape)
        }
    }
}

/// The members of an object as they come.
#[derive(Default)]
struct Members {
    object: Object,
    at: HashMap<String, usize>,
    twice: bool,
}

impl Members {
    fn add(&mut self, key: String, value: Value) {
        match self.at.entry(key) {
            Entry::Vacant(free) => {
                self.object.0.push((free.key().clone(), value));
                free.insert(self.object.0.len() - 1);
            }
            Entry::Occupied(taken) => {
                self.twice = true;
                if let Some((_, first)) = self.object.0.get_mut(*taken.get()) {
                    *first = Value::Unread;
                }
            }
        }
    }
}

/// Reads a value at some depth. What is deeper than [`MAX_DEPTH`] is skipped, which takes no stack.
struct Reader<'a> {
    depth: usize,
    twice: &'a mut bool,
}

impl Reader<'_> {
    fn inner(&mut self) -> Reader<'_> {
        Reader { depth: self.depth + 1, twice: self.twice }
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.depth > MAX_DEPTH {
            return IgnoredAny::deserialize(deserializer).map(|_| Value::Unread);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(Secret::new(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = seq.next_element_seed(self.inner())? {
            list.push(value);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Members::default();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(self.inner())?;
            members.add(key, value);
        }
        *self.twice |= members.twice;
        Ok(Value::Object(members.object))
    }
}
