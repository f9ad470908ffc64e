//! The value of an `Authorization` header.

use crate::token::{MAX_TOKEN_BYTES, TokenError};

/// The token of a `Bearer` credential (RFC 6750 §2.1): one scheme, one space, one token.
///
/// The scheme may be in any case (RFC 9110 §11.1). Everything else that some servers would forgive is refused: a second
/// space, a list, parameters, padding; two readers must not find two tokens in one header.
///
/// # Errors
/// [`TokenError::NotBearer`], or [`TokenError::TooLarge`].
pub fn bearer(value: &[u8]) -> Result<&[u8], TokenError> {
    let (scheme, rest) = value.split_first_chunk::<6>().ok_or(TokenError::NotBearer)?;
    let (space, token) = rest.split_first().ok_or(TokenError::NotBearer)?;
    if !scheme.eq_ignore_ascii_case(b"bearer") || *space != b' ' || token.is_empty() {
        return Err(TokenError::NotBearer);
    }
    if token.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::TooLarge);
    }
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    // Without a branch for each byte: a token has about a thousand, and every request brings one.
    let is_good = token.iter().fold(true, |good, byte| good & is_token(byte));
    if is_good { Ok(token) } else { Err(TokenError::NotBearer) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_bearer_token() {
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER a.b.c"] {
            assert_eq!(bearer(value.as_bytes()), Ok(b"a.b.c".as_slice()));
        }
    }

    #[test]
    fn j17_refuses_every_other_form() {
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer  a.b.c",
            "Bearer\ta.b.c",
            " Bearer a.b.c",
            "Bearer a.b.c ",
            "Bearer a.b.c, d.e.f",
            "Bearer a.b.c,Bearer d.e.f",
            "Bearer a.b.c d.e.f",
            "Bearer: a.b.c",
            "Bearera.b.c",
            "Basic YTpi",
            "DPoP a.b.c",
            "Token a.b.c",
            "a.b.c",
            "Bearer \"a.b.c\"",
            "Bearer token=a.b.c",
            "Bearer a.b.c=",
            "Bearer a.b.c\0",
            "Bearer a.b.c\r\n",
            "B\u{435}arer a.b.c",
        ] {
            assert_eq!(bearer(value.as_bytes()), Err(TokenError::NotBearer), "{value:?}");
        }
        assert_eq!(bearer(b"Bearer a.\xff.c"), Err(TokenError::NotBearer));
    }

    #[test]
    fn j16_refuses_a_token_over_16_kib() {
        let value = |bytes: usize| format!("Bearer {}", "a".repeat(bytes));
        assert!(bearer(value(MAX_TOKEN_BYTES).as_bytes()).is_ok());
        assert_eq!(bearer(value(MAX_TOKEN_BYTES + 1).as_bytes()), Err(TokenError::TooLarge));
    }
}
