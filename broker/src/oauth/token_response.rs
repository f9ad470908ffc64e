//! Reads what token endpoints answer, in all the shapes they are seen in, and never shows any of it.
//!
//! RFC 6749 §5 is the norm; the tolerance here is for what providers do instead: form bodies, numbers in strings, errors
//! under status 200, byte order marks. What could be read in two ways (duplicate keys) is not read at all.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::secret::Secret;

#[cfg(test)]
mod tests;

/// Longest access token taken; what is longer would not fit the headers of most upstreams.
pub const MAX_ACCESS_TOKEN: usize = 16 * 1024;

/// Longest life believed: a year. A larger `expires_in` means the same as this.
pub const MAX_EXPIRES_IN: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What a token endpoint gave.
#[derive(Debug)]
pub struct Token {
    /// The access token: visible ASCII, so that it can be a header's value.
    pub access_token: Secret,
    /// Its life, if the endpoint named one above zero; at most [`MAX_EXPIRES_IN`].
    pub expires_in: Option<Duration>,
}

/// Why there is no token. Holds nothing of the answer but what is known beforehand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenEndpointError {
    /// The provider says no to this client or request; asking again changes nothing.
    #[error("the token endpoint refused: {code}")]
    Refused {
        /// Which of the known codes.
        code: RefusalCode,
    },
    /// It may work later: status 408, 429 or 5xx, an overload in words, or no answer at all.
    #[error("the token endpoint is not available")]
    Transient {
        /// What the provider asked to wait.
        retry_after: Option<Duration>,
    },
    /// An answer that is neither a token nor a refusal.
    #[error("the token endpoint's answer is not usable: {0}")]
    Malformed(Malformed),
}

impl TokenEndpointError {
    /// A code for records.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused { code: RefusalCode::Unlisted } => "refused",
            Self::Refused { code } => code.name(),
            Self::Transient { .. } => "unavailable",
            Self::Malformed(_) => "malformed",
        }
    }
}

/// `error` of a token endpoint's answer: only codes of RFC 6749 §5.2 and RFC 8707 §2 are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalCode {
    /// `invalid_client`, or status 401 without a code.
    InvalidClient,
    /// `invalid_grant`.
    InvalidGrant,
    /// `invalid_request`.
    InvalidRequest,
    /// `invalid_scope`.
    InvalidScope,
    /// `invalid_target` (RFC 8707).
    InvalidTarget,
    /// `unauthorized_client`.
    UnauthorizedClient,
    /// Any other word; not kept, since it is the provider's text.
    Unlisted,
    /// `unsupported_grant_type`.
    UnsupportedGrantType,
}

impl RefusalCode {
    /// The code as the RFC spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::Unlisted => "an error of its own",
            Self::UnsupportedGrantType => "unsupported_grant_type",
        }
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// In which way an answer was not usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// The access token has bytes that no header may carry, or is a word for nothing.
    #[error("the access token is not one")]
    AccessToken,
    /// A key comes twice.
    #[error("a key comes twice")]
    DuplicateKey,
    /// No access token where RFC 6749 §5.1 puts it.
    #[error("it holds no access token")]
    NoAccessToken,
    /// Neither JSON nor a form.
    #[error("it is neither a JSON object nor a form")]
    Shape,
    /// A status that says nothing; redirects are not followed.
    #[error("it has status {0}")]
    Status(u16),
    /// A token that is of no use without a proof or a signature.
    #[error("the token's type is not bearer")]
    TokenType,
    /// Larger than the cap.
    #[error("it is too large")]
    TooLarge,
}

/// Reads an answer. `content_type` only tells a form from prose: endpoints label JSON in many ways.
pub fn read(
    status: u16,
    content_type: Option<&str>,
    retry_after: Option<Duration>,
    body: &Secret,
) -> Result<Token, TokenEndpointError> {
    if matches!(status, 408 | 429 | 500..=599) {
        return Err(TokenEndpointError::Transient { retry_after });
    }
    // Read here to be taken apart; only the access token leaves, as a secret again.
    let fields = read_fields(content_type, body.expose());
    let success = (200..300).contains(&status);
    match fields {
        Ok(fields) => match fields.refusal() {
            Some(Refusal::Busy) => Err(TokenEndpointError::Transient { retry_after }),
            Some(Refusal::Code(code)) => Err(TokenEndpointError::Refused { code }),
            None if success => fields.into_token(),
            None => Err(bare_status(status)),
        },
        Err(why) if success => Err(TokenEndpointError::Malformed(why)),
        Err(_) => Err(bare_status(status)),
    }
}

/// What a status means when the body says nothing.
fn bare_status(status: u16) -> TokenEndpointError {
    match status {
        // RFC 6749 §5.2: the status for failed client authentication.
        401 => TokenEndpointError::Refused { code: RefusalCode::InvalidClient },
        other => TokenEndpointError::Malformed(Malformed::Status(other)),
    }
}

/// The fields of interest; nested ones are never looked at.
#[derive(Default)]
struct Fields {
    access_token: Field<Secret>,
    token_type: Field<String>,
    expires_in: Option<f64>,
    error: Option<Refusal>,
    not_ok: bool,
}

/// A field that may be there in a type of its own.
#[derive(Default)]
enum Field<T> {
    #[default]
    Absent,
    OtherType,
    Text(T),
}

#[derive(Clone, Copy)]
enum Refusal {
    Busy,
    Code(RefusalCode),
}

impl Refusal {
    fn from_text(text: &str) -> Self {
        Self::Code(match text {
            "invalid_client" => RefusalCode::InvalidClient,
            "invalid_grant" => RefusalCode::InvalidGrant,
            "invalid_request" => RefusalCode::InvalidRequest,
            "invalid_scope" => RefusalCode::InvalidScope,
            "invalid_target" => RefusalCode::InvalidTarget,
            "unauthorized_client" => RefusalCode::UnauthorizedClient,
            "unsupported_grant_type" => RefusalCode::UnsupportedGrantType,
            // Overload in words, as some endpoints say it under status 200 or 400.
            "temporarily_unavailable"
            | "server_error"
            | "slow_down"
            | "ratelimited"
            | "rate_limited"
            | "rate_limit_exceeded"
            | "too_many_requests"
            | "internal_error"
            | "service_unavailable" => {
                return Self::Busy;
            }
            _ => RefusalCode::Unlisted,
        })
    }
}

impl Fields {
    fn refusal(&self) -> Option<Refusal> {
        match self.error {
            Some(refusal) => Some(refusal),
            None if self.not_ok => Some(Refusal::Code(RefusalCode::Unlisted)),
            None => None,
        }
    }

    fn into_token(self) -> Result<Token, TokenEndpointError> {
        let access_token = match self.access_token {
            Field::Absent => return Err(TokenEndpointError::Malformed(Malformed::NoAccessToken)),
            Field::OtherType => return Err(TokenEndpointError::Malformed(Malformed::AccessToken)),
            Field::Text(token) => token,
        };
        // Checked byte by byte before it can become a header's value: no control, no space, no word for nothing.
        let bytes = access_token.expose();
        let usable = !bytes.is_empty()
            && bytes.len() <= MAX_ACCESS_TOKEN
            && bytes.iter().all(u8::is_ascii_graphic)
            && !matches!(bytes, b"null" | b"undefined" | b"None" | b"nil" | b"false");
        if !usable {
            return Err(TokenEndpointError::Malformed(Malformed::AccessToken));
        }
        if let Field::Text(kind) = &self.token_type {
            // RFC 6749 §7.1: a token of a type not understood must not be used. Endpoints put many words there for
            // bearer tokens, so only the types that need a proof (RFC 9449) are refused.
            if ["dpop", "mac", "pop"].iter().any(|proof| kind.eq_ignore_ascii_case(proof)) {
                return Err(TokenEndpointError::Malformed(Malformed::TokenType));
            }
        }
        Ok(Token { access_token, expires_in: self.expires_in.and_then(lifetime) })
    }
}

/// Zero, less, and no number at all are how endpoints say that they do not say.
fn lifetime(seconds: f64) -> Option<Duration> {
    if seconds.is_nan() || seconds < 1.0 {
        return None;
    }
    let capped = seconds.min(MAX_EXPIRES_IN.as_secs_f64());
    Duration::try_from_secs_f64(capped.trunc()).ok()
}

fn read_fields(content_type: Option<&str>, body: &[u8]) -> Result<Fields, Malformed> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
    if body.first() == Some(&b'{') {
        return read_json(body);
    }
    let media = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let form = media.eq_ignore_ascii_case("application/x-www-form-urlencoded")
        || ((media.is_empty() || media.eq_ignore_ascii_case("text/plain")) && body.contains(&b'='));
    if form && !body.is_empty() { read_form(body) } else { Err(Malformed::Shape) }
}

fn read_form(body: &[u8]) -> Result<Fields, Malformed> {
    let mut fields = Fields::default();
    let mut seen = HashSet::new();
    for (key, value) in url::form_urlencoded::parse(body) {
        if !seen.insert(key.to_string()) {
            return Err(Malformed::DuplicateKey);
        }
        match key.as_ref() {
            "access_token" => fields.access_token = Field::Text(Secret::new(value.into_owned())),
            "token_type" => fields.token_type = Field::Text(value.into_owned()),
            "expires_in" => fields.expires_in = value.trim().parse().ok(),
            "error" => fields.error = Some(Refusal::from_text(&value)),
            "ok" => fields.not_ok = value == "false",
            _ => {}
        }
    }
    Ok(fields)
}

fn read_json(body: &[u8]) -> Result<Fields, Malformed> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let fields = json.deserialize_map(FieldsVisitor).map_err(|_| Malformed::Shape)?;
    json.end().map_err(|_| Malformed::Shape)?;
    fields.ok_or(Malformed::DuplicateKey)
}

/// Reads one object; `None` for one with a key twice (also if one of the two is written with escapes).
struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Option<Fields>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::default();
        let mut seen = HashSet::new();
        let mut twice = false;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "access_token" => {
                    fields.access_token = match map.next_value::<Scalar>()? {
                        Scalar::Text(text) => Field::Text(text),
                        Scalar::Number(_) | Scalar::Bool(_) | Scalar::Other => Field::OtherType,
                        Scalar::Null => Field::Absent,
                    };
                }
                "token_type" => {
                    fields.token_type = match map.next_value::<Scalar>()? {
                        Scalar::Text(text) => Field::Text(text.expose_str().unwrap_or_default().to_owned()),
                        Scalar::Number(_) | Scalar::Bool(_) | Scalar::Null | Scalar::Other => Field::OtherType,
                    };
                }
                "expires_in" => {
                    fields.expires_in = match map.next_value::<Scalar>()? {
                        Scalar::Number(seconds) => Some(seconds),
                        Scalar::Text(text) => text.expose_str().and_then(|text| text.trim().parse().ok()),
                        Scalar::Bool(_) | Scalar::Null | Scalar::Other => None,
                    };
                }
                "error" => {
                    fields.error = match map.next_value::<Scalar>()? {
                        Scalar::Null | Scalar::Bool(false) => None,
                        Scalar::Text(text) if text.expose().is_empty() => None,
                        Scalar::Text(text) => Some(Refusal::from_text(text.expose_str().unwrap_or_default())),
                        Scalar::Number(_) | Scalar::Bool(true) | Scalar::Other => {
                            Some(Refusal::Code(RefusalCode::Unlisted))
                        }
                    };
                }
                "ok" => fields.not_ok = matches!(map.next_value::<Scalar>()?, Scalar::Bool(false)),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            twice |= !seen.insert(key);
        }
        Ok((!twice).then_some(fields))
    }
}

/// A value one deep. Text is taken as a secret at once, since only its key says whether it is one.
enum Scalar {
    Null,
    Bool(bool),
    Number(f64),
    Text(Secret),
    Other,
}

impl<'de> serde::Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(Secret::new(value)))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while let Some((IgnoredAny, IgnoredAny)) = map.next_entry()? {}
        Ok(Scalar::Other)
    }

    fn visit_bytes<E: serde::de::Error>(self, _: &[u8]) -> Result<Scalar, E> {
        Err(E::custom("no bytes in JSON"))
    }
}
