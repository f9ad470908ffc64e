//! YAML that people write, as a tree that remembers its lines, so that every flaw of a file is told at once and where it is.
//!
//! Serde stops at the first flaw; an operator with five typing errors would have to start five times.

mod fields;
mod problem;

pub(crate) use fields::closest;
pub use fields::{Field, Fields};
pub use problem::{Flaw, Problem, Problems};

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// One value and the line it is on.
#[derive(Clone, Debug)]
pub struct Node {
    /// From 1; 0 where the text had no lines, as with stored JSON.
    pub line: u32,
    /// What it is.
    pub value: Value,
}

/// A YAML value; mappings keep the order of the text, and have no two equal keys.
#[derive(Clone, Debug)]
pub enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`; `yes` and `on` are text.
    Bool(bool),
    /// A number, as JSON has it.
    Number(serde_json::Number),
    /// Text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping with text keys: key, line of the key, value.
    Map(Vec<(String, u32, Node)>),
}

/// Reads every document of `text`; a problem with the syntax ends the reading.
pub fn parse(file: &str, text: &str) -> Result<Vec<Node>, Problem> {
    // No snippet: the lines around an error may hold what must not be printed (I9). Property and include
    // expansion are compiled out, and aliases count against the reader's default budget.
    let options = serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
    };
    serde_saphyr::from_multiple_with_options::<Spanned<Value>>(text, options)
        .map(|documents| {
            documents.into_iter().map(Node::from).filter(|node| !matches!(node.value, Value::Null)).collect()
        })
        .map_err(|error| Problem {
            file: file.to_owned(),
            line: error.location().map_or(0, line),
            field: String::new(),
            message: format!("not readable as YAML: {}", problem::without_place(&error.to_string())),
            hint: "check indentation, quotes and colons on this line and the one above it".to_owned(),
        })
}

fn line(at: serde_saphyr::Location) -> u32 {
    u32::try_from(at.line()).unwrap_or(u32::MAX)
}

impl From<Spanned<Value>> for Node {
    fn from(spanned: Spanned<Value>) -> Self {
        Self { line: line(spanned.referenced), value: spanned.value }
    }
}

impl From<&serde_json::Value> for Node {
    fn from(json: &serde_json::Value) -> Self {
        let value = match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(value) => Value::Bool(*value),
            serde_json::Value::Number(value) => Value::Number(value.clone()),
            serde_json::Value::String(value) => Value::Text(value.clone()),
            serde_json::Value::Array(items) => Value::List(items.iter().map(Self::from).collect()),
            serde_json::Value::Object(fields) => {
                Value::Map(fields.iter().map(|(key, value)| (key.clone(), 0, Self::from(value))).collect())
            }
        };
        Self { line: 0, value }
    }
}

impl Node {
    /// The same value as JSON with sorted keys.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(value) => value.clone().into(),
            Value::Text(value) => value.clone().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => {
                let sorted: std::collections::BTreeMap<_, _> =
                    entries.iter().map(|(key, _, value)| (key.clone(), value.to_json())).collect();
                serde_json::Value::Object(sorted.into_iter().collect())
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Value;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_none<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
                deserializer.deserialize_any(self)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Bool(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(Value::Number(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(Value::Number(value.into()))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
                serde_json::Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
            }

            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(Value::Text(value.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element::<Spanned<Value>>()? {
                    list.push(item.into());
                }
                Ok(Value::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
                let mut map = Vec::new();
                while let Some(key) = entries.next_key::<Spanned<String>>()? {
                    let value = entries.next_value::<Spanned<Value>>()?;
                    map.push((key.value, line(key.referenced), value.into()));
                }
                Ok(Value::Map(map))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_and_value_knows_its_line() {
        let nodes = parse("f", "a: 1\nb:\n  - x\n  - {c: no}\n---\nd: null\n").unwrap();
        assert_eq!(nodes.len(), 2);
        let Value::Map(entries) = &nodes[0].value else { panic!("a map") };
        assert_eq!((entries[0].0.as_str(), entries[0].1, entries[0].2.line), ("a", 1, 1));
        assert_eq!(entries[1].1, 2);
        let Value::List(items) = &entries[1].2.value else { panic!("a list") };
        assert_eq!((items[0].line, items[1].line), (3, 4));
        assert_eq!(nodes[0].to_json(), serde_json::json!({"a": 1, "b": ["x", {"c": "no"}]}));
        let Value::Map(entries) = &nodes[1].value else { panic!("a map") };
        assert_eq!(entries[0].1, 6);
    }

    #[test]
    fn json_and_back_is_the_same() {
        let json = serde_json::json!({"value": {"a": [1, true, null, "x"]}, "b": -1.5});
        assert_eq!(Node::from(&json).to_json(), json);
    }

    #[test]
    fn an_alias_is_expanded_in_place() {
        let nodes = parse("f", "a: &x [1]\nb: *x\n").unwrap();
        assert_eq!(nodes[0].to_json(), serde_json::json!({"a": [1], "b": [1]}));
    }

    #[test]
    fn refuses_duplicate_keys_with_their_line_and_never_shows_the_text() {
        let problem = parse("f", "a: canary\nb: 1\na: canary\n").unwrap_err();
        assert_eq!(problem.line, 3);
        assert!(!problem.message.contains("canary"), "{}", problem.message);
    }

    #[test]
    fn refuses_a_bomb_of_aliases() {
        let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..12 {
            let previous = vec![format!("*a{}", level - 1); 10].join(",");
            text.push_str(&format!("a{level}: &a{level} [{previous}]\n"));
        }
        assert!(parse("f", &text).is_err());
    }

    #[test]
    fn refuses_nesting_without_end() {
        assert!(parse("f", &"[".repeat(100_000)).is_err());
    }
}
