//! Parameters of a request, of which none but `resource` may come twice (RFC 6749 section 3.2, RFC 8707 section 2).

use super::refusal::Refusal;

/// Parameters in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form(Vec<(String, String)>);

impl Form {
    pub(super) fn parse(encoded: &[u8]) -> Self {
        Self(url::form_urlencoded::parse(encoded).into_owned().collect())
    }

    /// The value of a parameter; an empty one counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, value)| given == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_str()).collect()
    }

    pub(super) fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    pub(super) fn required(&self, name: &str) -> Result<String, Refusal> {
        self.get(name).map(str::to_owned).ok_or(Refusal::InvalidRequest)
    }

    pub(super) fn has_duplicates(&self) -> bool {
        self.0.iter().any(|(name, _)| name != "resource" && self.all(name).len() > 1)
    }
}
