//! The id of a request, told back exactly as it came.

use std::borrow::Cow;

/// Longest id, in bytes of JSON: ids are counters or UUIDs, and each is echoed.
pub(super) const LONGEST: usize = 256;

/// A JSON-RPC id: the JSON text of a string or of an integer, as the body had it.
///
/// It is never read as a number: a float in between would change large ones, and the client would wait for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id<'a>(Cow<'a, str>);

impl<'a> Id<'a> {
    /// `json` is the text of a whole JSON string or integer, found so by the scanner.
    pub(super) fn new(json: &'a str) -> Self {
        Self(Cow::Borrowed(json))
    }

    /// The text to put after `"id":`.
    pub fn as_json(&self) -> &str {
        &self.0
    }

    /// A copy that outlives the body.
    pub fn into_owned(self) -> Id<'static> {
        Id(Cow::Owned(self.0.into_owned()))
    }
}

#[cfg(test)]
impl<'a> Id<'a> {
    /// An id from its JSON text, for tests of what answers carry.
    pub(crate) fn of(json: &'a str) -> Self {
        Self::new(json)
    }
}
