//! Which bodies are read at all: plain JSON in UTF-8. The gateway judges what it can read; the rest is refused (R4).

/// Why a body is not read: HTTP 415.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentFlaw {
    /// `Content-Type` is missing or is not `application/json` in UTF-8.
    #[error("content-type is not application/json")]
    Type,
    /// `Content-Encoding` is not `identity`: what is read here is not what the upstream reads.
    #[error("content-encoding is not identity")]
    Encoding,
}

/// Checks both headers, as Envoy gives them; a repeated header is a list with commas, and refused.
pub fn check(content_type: Option<&[u8]>, content_encoding: Option<&[u8]>) -> Result<(), ContentFlaw> {
    if !content_type.is_some_and(is_json) {
        return Err(ContentFlaw::Type);
    }
    match content_encoding {
        None => Ok(()),
        Some(encoding) if encoding.trim_ascii().eq_ignore_ascii_case(b"identity") => Ok(()),
        Some(_) => Err(ContentFlaw::Encoding),
    }
}

/// `application/json`, at most with `charset=utf-8`, once (RFC 9110 section 8.3.1).
fn is_json(content_type: &[u8]) -> bool {
    let mut parts = content_type.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let json = parts.next().is_some_and(|media_type| media_type.eq_ignore_ascii_case(b"application/json"));
    let charset = parts.next().is_none_or(|parameter| {
        parameter.eq_ignore_ascii_case(b"charset=utf-8") || parameter.eq_ignore_ascii_case(b"charset=\"utf-8\"")
    });
    json && charset && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_in_utf_8_is_read() {
        for content_type in [
            "application/json",
            "Application/JSON",
            " application/json ",
            "application/json; charset=utf-8",
            "application/json;charset=UTF-8",
            "application/json ; charset=\"utf-8\"",
        ] {
            assert_eq!(check(Some(content_type.as_bytes()), None), Ok(()), "{content_type}");
        }
        for encoding in ["identity", "Identity"] {
            assert_eq!(check(Some(b"application/json"), Some(encoding.as_bytes())), Ok(()));
        }
    }

    #[test]
    fn r4_other_types_are_refused() {
        assert_eq!(check(None, None), Err(ContentFlaw::Type));
        for content_type in [
            "",
            "text/plain",
            "text/json",
            "application/jsonx",
            "application/json-rpc",
            "application/json, application/json",
            "application/json, text/plain",
            "application/x-ndjson",
            "application/problem+json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/json; charset=utf-16",
            "application/json; charset=utf-7",
            "application/json; charset=iso-8859-1",
            "application/json; charset=utf-8; charset=utf-16",
            "application/json; charset=utf-8;",
            "application/json;",
            "application/json; boundary=x",
            "application/json\u{a0}",
        ] {
            assert_eq!(check(Some(content_type.as_bytes()), None), Err(ContentFlaw::Type), "{content_type}");
        }
    }

    #[test]
    fn r4_encoded_bodies_are_refused() {
        for encoding in
            ["", "gzip", "br", "zstd", "deflate", "x-gzip", "compress", "identity, gzip", "identity,identity", "GZIP"]
        {
            let verdict = check(Some(b"application/json"), Some(encoding.as_bytes()));
            assert_eq!(verdict, Err(ContentFlaw::Encoding), "{encoding}");
        }
    }
}
