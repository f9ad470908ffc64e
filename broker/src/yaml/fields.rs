//! Reads a mapping field by field; what nobody asked for is unknown, and unknown is refused (I8).

use std::cell::RefCell;

use super::{Flaw, Node, Problems, Value};

/// One value of a file and the path to it.
#[derive(Clone, Debug)]
pub struct Field<'a> {
    node: &'a Node,
    line: u32,
    path: String,
    problems: &'a Problems,
}

/// The fields of one mapping. [`Fields::finish`] refuses those that were not asked for.
#[derive(Debug)]
pub struct Fields<'a> {
    entries: &'a [(String, u32, Node)],
    line: u32,
    path: String,
    asked: RefCell<Vec<&'static str>>,
    problems: &'a Problems,
}

impl<'a> Field<'a> {
    /// The root of a document.
    pub fn root(node: &'a Node, problems: &'a Problems) -> Self {
        Self { node, line: node.line, path: String::new(), problems }
    }

    /// Line of its key, or of the value itself in a list.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// Path from the root, for example `issuers[0].jwks_uri`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Reports a problem with this value.
    pub fn report(&self, flaw: Flaw) {
        self.problems.report(self.line, &self.path, flaw);
    }

    /// Warns about this value.
    pub fn warn(&self, flaw: Flaw) {
        self.problems.warn(self.line, &self.path, flaw);
    }

    /// Text that is not empty; else a problem.
    pub fn text(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) if text.is_empty() => {
                self.refuse(Flaw::new("is empty", "write a value, or remove the field"))
            }
            Value::Text(text) => Some(text),
            Value::Number(_) | Value::Bool(_) => {
                self.refuse(Flaw::new(format!("must be text, not {}", self.kind()), "put it in quotes"))
            }
            Value::Null | Value::List(_) | Value::Map(_) => self.mismatch("text"),
        }
    }

    /// Whether it is text, be it empty.
    pub fn is_text(&self) -> bool {
        matches!(self.node.value, Value::Text(_))
    }

    /// Text as `read` understands it; else a problem.
    pub fn parse<T>(&self, read: impl FnOnce(&str) -> Result<T, Flaw>) -> Option<T> {
        self.text().and_then(|text| read(text).map_err(|flaw| self.report(flaw)).ok())
    }

    /// `true` or `false`; else a problem.
    pub fn bool(&self) -> Option<bool> {
        match self.node.value {
            Value::Bool(value) => Some(value),
            _ => self.mismatch("`true` or `false`"),
        }
    }

    /// A number from 0 to 2^32 - 1; else a problem.
    pub fn number(&self) -> Option<u32> {
        let number = match &self.node.value {
            Value::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
            _ => None,
        };
        if number.is_none() { self.mismatch("a number that is not negative") } else { number }
    }

    /// The items of a list; else a problem, and none.
    pub fn list(&self) -> Vec<Field<'a>> {
        let Value::List(items) = &self.node.value else {
            self.mismatch::<()>("a list");
            return Vec::new();
        };
        let item = |(index, node): (usize, &'a Node)| Field {
            node,
            line: node.line,
            path: format!("{}[{index}]", self.path),
            problems: self.problems,
        };
        items.iter().enumerate().map(item).collect()
    }

    /// Every item of a list that `read` understands; a problem for each other.
    pub fn list_of<T>(&self, read: impl Fn(&str) -> Result<T, Flaw>) -> Vec<T> {
        self.list().iter().filter_map(|item| item.parse(&read)).collect()
    }

    /// The fields of a mapping; else a problem.
    pub fn fields(&self) -> Option<Fields<'a>> {
        let Value::Map(entries) = &self.node.value else { return self.mismatch("a mapping") };
        Some(Fields {
            entries,
            line: self.line,
            path: self.path.clone(),
            asked: RefCell::default(),
            problems: self.problems,
        })
    }

    /// Key and value of each entry of a mapping whose keys are the author's; else a problem, and none.
    pub fn entries(&self) -> Vec<(&'a str, Field<'a>)> {
        self.fields().map_or_else(Vec::new, |fields| {
            fields.entries.iter().map(|entry| (entry.0.as_str(), fields.field(entry))).collect()
        })
    }

    fn kind(&self) -> &'static str {
        match self.node.value {
            Value::Null => "nothing",
            Value::Bool(_) => "`true` or `false`",
            Value::Number(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    fn mismatch<T>(&self, wanted: &str) -> Option<T> {
        self.refuse(Flaw::new(format!("must be {wanted}, not {}", self.kind()), ""))
    }

    fn refuse<T>(&self, flaw: Flaw) -> Option<T> {
        self.report(flaw);
        None
    }
}

impl<'a> Fields<'a> {
    /// The field of this name; nothing if it is absent or null.
    pub fn optional(&self, name: &'static str) -> Option<Field<'a>> {
        self.asked.borrow_mut().push(name);
        let entry = self.entries.iter().find(|(key, ..)| key == name)?;
        (!matches!(entry.2.value, Value::Null)).then(|| self.field(entry))
    }

    /// The field of this name; a problem with `hint` if it is absent or null.
    pub fn required(&self, name: &'static str, hint: &str) -> Option<Field<'a>> {
        let field = self.optional(name);
        if field.is_none() {
            self.problems.report(self.line, &self.path_of(name), Flaw::new("is missing", hint));
        }
        field
    }

    /// Reports each of these fields that is there, with the reason why it may not be.
    pub fn refuse(&self, names: &[&'static str], why: impl Fn(&str) -> Flaw) {
        for name in names {
            if let Some(field) = self.optional(name) {
                field.report(why(name));
            }
        }
    }

    /// Reports a problem with the mapping as a whole.
    pub fn report(&self, flaw: Flaw) {
        self.problems.report(self.line, &self.path, flaw);
    }

    /// Refuses what was not asked for, and names the field that may have been meant.
    pub fn finish(self) {
        let asked = self.asked.borrow();
        for entry in self.entries.iter().filter(|(key, ..)| !asked.contains(&key.as_str())) {
            let hint = match closest(&entry.0, &asked) {
                Some(name) => format!("did you mean `{name}`?"),
                None => {
                    let mut known = asked.clone();
                    known.sort_unstable();
                    known.dedup();
                    format!("known here: {}", known.join(", "))
                }
            };
            self.field(entry).report(Flaw::new("unknown field", hint));
        }
    }

    fn field(&self, (key, line, node): &'a (String, u32, Node)) -> Field<'a> {
        Field { node, line: *line, path: self.path_of(key), problems: self.problems }
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

/// The known word that is likely meant by `word`.
pub(crate) fn closest<'n>(word: &str, known: &[&'n str]) -> Option<&'n str> {
    let word = word.to_lowercase();
    known
        .iter()
        .map(|name| (strsim::jaro_winkler(&word, &name.to_lowercase()), *name))
        .filter(|(likeness, _)| *likeness >= 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_every_problem_at_once() {
        let nodes = crate::yaml::parse("f", "name: 7\nurls: x\nlist: {a: 1}\nports: [1, -1]\n").unwrap();
        let problems = Problems::of("f");
        let fields = Field::root(&nodes[0], &problems).fields().unwrap();
        assert!(fields.required("name", "").unwrap().text().is_none());
        assert!(fields.required("url", "write it").is_none());
        assert!(fields.required("list", "").unwrap().list().is_empty());
        for port in fields.required("ports", "").unwrap().list() {
            port.number();
        }
        fields.finish();
        let told: Vec<_> = problems.into_parts().0.iter().map(ToString::to_string).collect();
        let expected = [
            "f:1: name: must be text, not a number",
            "f:1: url: is missing",
            "f:2: urls: unknown field",
            "f:3: list: must be a list, not a mapping",
            "f:4: ports[1]: must be a number that is not negative, not a number",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn the_field_that_was_meant_is_named() {
        let names = ["authorized_subjects", "auth_data", "url"];
        assert_eq!(closest("authorised_subjects", &names), Some("authorized_subjects"));
        assert_eq!(closest("authData", &names), Some("auth_data"));
        assert_eq!(closest("colour", &names), None);
    }
}
