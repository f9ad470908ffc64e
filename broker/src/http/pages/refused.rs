//! Why a consent does not go on, in the words of a page: one exhaustive table.

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use maud::html;

use super::Pages;
use super::budget::Source;
use super::connections::told_at_provider;
use super::layout::{self, RequestId};
use super::present::present;
use crate::causes;
use crate::consent::{Refused, Visit};
use crate::oauth::callback::CallbackError;

/// The page for it, and a record of what is refused before there is anything that it could be about: anybody can send that.
pub(super) async fn recorded(pages: &Pages, why: &Refused, source: Source, visit: Visit<'_>) -> Response {
    match why {
        Refused::NotFound
        | Refused::Gone
        | Refused::NoOwner
        | Refused::SignedOut
        | Refused::AuthorizationUrl(_)
        | Refused::Secret(_) => pages.budget.record(source, visit.refused(None, why)).await,
        // On record with what they are about.
        Refused::WrongPerson
        | Refused::OtherOwner
        | Refused::NotConfirmed
        | Refused::State
        | Refused::Client
        | Refused::Answer(_)
        | Refused::Late
        | Refused::Lost { .. }
        | Refused::Denied { .. }
        | Refused::NotStored { .. }
        | Refused::Withdrawn { .. }
        // The fault of nobody who sent anything, and in the log.
        | Refused::Pending
        | Refused::Store(_)
        | Refused::Vault(_)
        | Refused::Audit(_)
        | Refused::Draining => {}
    }
    shown(pages, why, visit).await
}

/// The page for it, to whom it is shown: whoever may have signed in as the wrong one of theirs reads as whom, and gets a way
/// out. Nothing of whose link it is stands there (R9).
pub(super) async fn shown(pages: &Pages, why: &Refused, visit: Visit<'_>) -> Response {
    let request_id = RequestId(visit.request_id.to_owned());
    match why {
        Refused::WrongPerson | Refused::OtherOwner => {
            let (status, sentence) = told(why);
            // The page says the rest also while the store does not say who it is.
            let present = present(pages, visit).await.unwrap_or_default();
            let body = html! {
                p role="alert" { (sentence) }
                @if matches!(why, Refused::WrongPerson) {
                    p {
                        "If your own agent showed it to you, sign out, open the link again and sign in as the one for whom \
                         the agent works."
                    }
                }
                (present)
            };
            (status, layout::page(&request_id, "Not allowed", body)).into_response()
        }
        _ => refused(why, &request_id),
    }
}

/// The page for it. Nothing of what a provider sent stands on it but a refusal whose issuer was found right (O7).
pub(super) fn refused(refused: &Refused, request_id: &RequestId) -> Response {
    let (status, sentence) = told(refused);
    if status.is_server_error() {
        tracing::error!(request = request_id.0, error = causes::told(refused), "a page could not be answered");
    }
    match refused {
        Refused::Denied { consent, denial } => {
            let body = html! {
                p role="alert" { (sentence) }
                @if let Some(description) = &denial.description {
                    p { "The provider says: " q { (description) } }
                }
                p { a.button href={ "/connect/" (consent) } { "Back" } }
            };
            layout::page(request_id, "Not connected", body)
        }
        Refused::NotStored { consent, provider, at_provider, manage_url } => {
            let body = html! {
                p role="alert" { (sentence) }
                (told_at_provider(provider, *at_provider, *manage_url))
                p { a.button href={ "/connect/" (consent) } { "Start again" } }
            };
            (status, layout::page(request_id, "Not connected", body)).into_response()
        }
        Refused::Lost { consent } => {
            let body = html! {
                p role="alert" { (sentence) }
                p { a.button href={ "/connect/" (consent) } { "Start again" } }
            };
            (status, layout::page(request_id, "Not connected", body)).into_response()
        }
        Refused::Withdrawn { provider, at_provider, manage_url } => {
            let body = html! {
                p role="alert" { (sentence) }
                (told_at_provider(provider, *at_provider, *manage_url))
            };
            (status, layout::page(request_id, "Not connected", body)).into_response()
        }
        _ => layout::problem(status, sentence, request_id),
    }
}

fn told(refused: &Refused) -> (StatusCode, &'static str) {
    match refused {
        Refused::NotFound => (
            StatusCode::NOT_FOUND,
            "There is nothing behind this link, or not any more. Let your agent try again: it will show you a new one.",
        ),
        Refused::Gone => {
            (StatusCode::NOT_FOUND, "This server is not there any more, or you may not use it. Ask your administrator.")
        }
        Refused::NoOwner => (
            StatusCode::FORBIDDEN,
            "This virtual account has no owners, so nobody can connect anything for it. Ask your administrator.",
        ),
        Refused::SignedOut => (
            StatusCode::FORBIDDEN,
            "You are not signed in any more. Open the link that your agent showed you, sign in and start again.",
        ),
        Refused::WrongPerson => (
            StatusCode::FORBIDDEN,
            "This was not made for you, and nothing was stored. If somebody sent you this link, do not go on: their \
             agent would have acted in your account.",
        ),
        Refused::OtherOwner => (
            StatusCode::FORBIDDEN,
            "Another owner of this virtual account has begun this, and is being asked which account it is to use. Let your \
             agent try again in ten minutes: it will show you a new link.",
        ),
        Refused::NotConfirmed => {
            (StatusCode::BAD_REQUEST, "Nothing was stored: you did not confirm. Go back if you want to.")
        }
        Refused::State
        | Refused::Client
        | Refused::Answer(
            CallbackError::State
            | CallbackError::Shape
            | CallbackError::Code
            | CallbackError::Duplicate
            | CallbackError::TooLarge,
        ) => (
            StatusCode::BAD_REQUEST,
            "This answer belongs to nothing that you began in this browser, and nothing was stored. Open the link that \
             your agent showed you, and start again.",
        ),
        Refused::Answer(CallbackError::Issuer | CallbackError::IssuerMissing) => (
            StatusCode::BAD_REQUEST,
            "This answer does not come from the provider that was asked, and nothing was stored. Tell your administrator, \
             and name the request below.",
        ),
        Refused::Late => (
            StatusCode::BAD_REQUEST,
            "That took more than ten minutes, and nothing was stored. Open the link that your agent showed you, and \
             start again.",
        ),
        Refused::Denied { denial, .. } => (StatusCode::OK, denial.reason.sentence()),
        Refused::AuthorizationUrl(_) | Refused::Secret(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "This server is not configured as it should be. Tell your administrator, and name the request below.",
        ),
        Refused::Pending => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The provider has not answered yet. Open the link that your agent showed you in a minute: it says what \
             became of it.",
        ),
        Refused::Lost { .. } => (
            StatusCode::SERVICE_UNAVAILABLE,
            "You agreed, but this gateway lost the provider's answer before it could store it, and nothing is connected by \
             it. Start again.",
        ),
        Refused::NotStored { .. } => (
            StatusCode::SERVICE_UNAVAILABLE,
            "You agreed, but this gateway could not store it. Start again in a few minutes.",
        ),
        Refused::Withdrawn { .. } => (
            StatusCode::FORBIDDEN,
            "While you were at the provider, your address was given to somebody else here, and nothing was stored. Ask your \
             administrator.",
        ),
        Refused::Store(_) | Refused::Vault(_) | Refused::Audit(_) | Refused::Draining => (
            StatusCode::SERVICE_UNAVAILABLE,
            "This gateway cannot store anything at the moment. Try again in a minute.",
        ),
    }
}
