//! Where a browser goes on once it is signed in: by an id, never by a URL that a request names (O5).

/// A page of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// What the person has connected.
    Connections,
    /// The consent of this id.
    Consent(String),
}

impl Destination {
    /// From a request: the id of a consent, or the word for the other page; both or neither is nothing.
    pub fn read(flow: Option<&str>, to: Option<&str>) -> Option<Self> {
        match (flow, to) {
            (Some(id), None) if is_id(id) => Some(Self::Consent(id.to_owned())),
            (None, Some("connections")) => Some(Self::Connections),
            (Some(_) | None, _) => None,
        }
    }

    /// Its path.
    pub fn path(&self) -> String {
        match self {
            Self::Connections => "/connections".to_owned(),
            Self::Consent(id) => format!("/connect/{id}"),
        }
    }

    /// What stands in a form: name and value.
    pub fn field(&self) -> (&'static str, &str) {
        match self {
            Self::Connections => ("to", "connections"),
            Self::Consent(id) => ("flow", id),
        }
    }

    pub(super) fn stored(&self) -> String {
        match self {
            Self::Connections => String::new(),
            Self::Consent(id) => id.clone(),
        }
    }

    /// What was stored; an id that is none leads nowhere but to the other page.
    pub(super) fn restored(consent: &str) -> Self {
        Self::read(Some(consent), None).unwrap_or(Self::Connections)
    }
}

/// Ids of consents are lower-case hexadecimal.
fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o5_no_url_is_a_destination() {
        for hostile in [
            "",
            "/",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https://evil.example",
            "https:evil.example",
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            "data:text/html,x",
            "@evil.example",
            "a@evil.example",
            "..",
            "../metrics",
            "%2e%2e",
            "a/../b",
            "a/b",
            "a\\b",
            "a?b",
            "a#b",
            "a;b",
            "a b",
            "a\r\nlocation: x",
            "a\0",
            "A",
            "g",
            "\u{ff41}",
            "\u{2024}\u{2024}",
            "a.b",
            "connections",
            "ab%0d%0a",
            "ab\t",
            "ab\n",
        ] {
            assert_eq!(Destination::read(Some(hostile), None), None, "{hostile:?}");
            if hostile != "connections" {
                assert_eq!(Destination::read(None, Some(hostile)), None, "{hostile:?}");
            }
            assert_eq!(Destination::restored(hostile).path(), "/connections", "{hostile:?}");
        }
        assert_eq!(Destination::read(Some("ab"), Some("connections")), None);
        assert_eq!(Destination::read(None, None), None);
        assert_eq!(Destination::read(Some(&"a".repeat(65)), None), None);
        let consent = Destination::read(Some("00ff"), None).expect("an id");
        assert_eq!(
            (consent.path().as_str(), Destination::restored(&consent.stored())),
            ("/connect/00ff", consent.clone())
        );
    }
}
