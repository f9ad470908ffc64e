//! What an agent may ask before it calls: whether its user has to consent, so that nobody must fail a call to learn it.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::Pages;
use super::bearer::token;
use super::budget::Source;
use super::layout::RequestId;
use super::signin::once;
use crate::audit::Event;
use crate::consent::{Refused as ConsentRefused, Status};
use crate::service::Refused;

#[derive(Serialize)]
struct Answer<'a> {
    server: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// GET, with the caller's token: verified, and held to policy, as at a call.
pub(super) async fn status(
    State(pages): State<Pages>,
    RawQuery(query): RawQuery,
    request_id: RequestId,
    headers: HeaderMap,
) -> Response {
    let Some(server) = once(&query.unwrap_or_default(), "server").filter(|server| server.contains('/')) else {
        pages.budget.record(Source::of(&headers), Event::form_refused(None, &request_id.0, "no_server")).await;
        let message = Some("name one server: /connections/status?server=<group>/<name>".to_owned());
        let body = Json(Answer { server: "", status: "refused", url: None, message });
        return (StatusCode::BAD_REQUEST, body).into_response();
    };
    match pages.service.consent_status(token(&headers), &server, &request_id.0).await {
        Ok(status) => Json(told(&server, status)).into_response(),
        Err(refused) => problem(&server, &refused),
    }
}

fn told(server: &str, status: Status) -> Answer<'_> {
    match status {
        Status::Connected => Answer { server, status: "connected", url: None, message: None },
        Status::NotRequired => Answer { server, status: "not_required", url: None, message: None },
        Status::ConsentRequired(link) => {
            Answer { server, status: "consent_required", url: Some(link.url), message: Some(link.message) }
        }
    }
}

/// As what a refused caller is answered who calls without a browser.
pub(super) fn status_of(refused: &Refused) -> StatusCode {
    match refused {
        Refused::Token(_) | Refused::Revoked | Refused::UnknownToken => StatusCode::UNAUTHORIZED,
        // The same for both: who may not use a server does not learn whether it is there.
        Refused::Server | Refused::Policy(_) => StatusCode::FORBIDDEN,
        Refused::NoConsent(ConsentRefused::NoOwner) | Refused::Contested(_) => StatusCode::FORBIDDEN,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn problem(server: &str, refused: &Refused) -> Response {
    let status = status_of(refused);
    let message = match status {
        StatusCode::FORBIDDEN if !matches!(refused, Refused::NoConsent(_) | Refused::Contested(_)) => {
            "there is no such server, or policy does not let this caller use it".to_owned()
        }
        _ => refused.to_string(),
    };
    let body = Json(Answer { server, status: "refused", url: None, message: Some(message) });
    match status {
        StatusCode::UNAUTHORIZED => (status, [(header::WWW_AUTHENTICATE, "Bearer")], body).into_response(),
        _ => (status, body).into_response(),
    }
}
