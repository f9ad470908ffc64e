//! The token of whoever calls without a browser.

use axum::http::{HeaderMap, header};

/// Exactly one `Authorization`; else nothing, which is no token.
pub(super) fn token(headers: &HeaderMap) -> &str {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => sallyport_caller::bearer(value.as_bytes())
            .ok()
            .and_then(|token| std::str::from_utf8(token).ok())
            .unwrap_or_default(),
        (Some(_) | None, _) => "",
    }
}
