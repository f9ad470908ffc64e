//! Why nobody is signed in, in the words of a page: one exhaustive table.

use axum::http::StatusCode;
use axum::response::Response;

use super::layout::{RequestId, problem};
use super::status::status_of;
use crate::causes;
use crate::signin::Refused;

/// The page for it. Nothing of what an issuer sent stands on it (O7).
pub(super) fn refused(refused: &Refused, request_id: &RequestId) -> Response {
    let (status, sentence) = told(refused);
    if status.is_server_error() {
        tracing::error!(request = request_id.0, error = causes::told(refused), "nobody could be signed in");
    }
    problem(status, sentence, request_id)
}

pub(super) fn told(refused: &Refused) -> (StatusCode, &'static str) {
    match refused {
        Refused::Unknown => (
            StatusCode::BAD_REQUEST,
            "This sign-in was finished before, or took more than ten minutes. Open the link that your agent showed you, and \
             sign in again.",
        ),
        Refused::OtherBrowser | Refused::State => (
            StatusCode::FORBIDDEN,
            "This sign-in was not begun in this browser, and you are not signed in by it. If somebody sent you this link, \
             do not go on. Otherwise open the link that your agent showed you, and sign in again.",
        ),
        Refused::Answer(_) => (
            StatusCode::BAD_REQUEST,
            "This answer belongs to nothing that you began in this browser. Open the link that your agent showed you, and \
             sign in again.",
        ),
        Refused::Link => (
            StatusCode::NOT_FOUND,
            "This sign-in link was used, or has expired after ten minutes. Ask the operator for another.",
        ),
        Refused::NotConfigured | Refused::NoApplication | Refused::NoPerson => {
            (StatusCode::NOT_FOUND, "There is no such way to sign in. Ask the operator of this gateway for a link.")
        }
        Refused::WrongPerson => {
            (StatusCode::FORBIDDEN, "The link was made for somebody else. If somebody sent it to you, do not go on.")
        }
        Refused::Contested(_) => (
            StatusCode::FORBIDDEN,
            "Another account of the place where you signed in has your e-mail address here, and you are not signed in. The \
             operator of this gateway must say whether that is you: ask them, and name the request below.",
        ),
        Refused::Caller(caller) => match status_of(caller) {
            StatusCode::UNAUTHORIZED => {
                (StatusCode::UNAUTHORIZED, "The token that was sent is not accepted for this server.")
            }
            StatusCode::FORBIDDEN => (
                StatusCode::FORBIDDEN,
                "The token is good, but whoever it is may not use this server, or must be known to the operator of this \
                 gateway first.",
            ),
            _ => (
                StatusCode::SERVICE_UNAVAILABLE,
                "This gateway cannot look at the token at the moment. Try again in a minute.",
            ),
        },
        Refused::Denied(denial) => (StatusCode::OK, denial.reason.sentence()),
        Refused::Tokens(_) | Refused::Discovery(_) => (
            StatusCode::BAD_GATEWAY,
            "The place where you sign in does not answer as it should. Try again in a minute; if that does not help, tell \
             your administrator, and name the request below.",
        ),
        Refused::NoIdToken | Refused::IdToken(_) => (
            StatusCode::BAD_GATEWAY,
            "The place where you signed in did not say who you are in a way that can be believed. Tell your administrator, \
             and name the request below.",
        ),
        Refused::AuthorizationUrl(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "Signing in is not configured as it should be. Tell your administrator, and name the request below.",
        ),
        Refused::Store(_) | Refused::Vault(_) | Refused::Audit(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "This gateway cannot store anything at the moment. Try again in a minute.",
        ),
    }
}
