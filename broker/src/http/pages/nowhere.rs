//! Requests that lead to no page: said so, and on record with the cause within what strangers may cost.

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::Pages;
use super::form::Visitor;
use super::layout::problem;
use crate::audit::Event;

/// Asked by programs, which read no page.
const FOR_PROGRAMS: [&str; 2] = ["/connections/status", "/signin/confirm"];

pub(super) const NOWHERE: &str =
    "This address leads nowhere. Open the link that your agent showed you once more, as a whole.";

/// No such path.
pub(super) async fn nowhere(State(pages): State<Pages>, visitor: Visitor) -> Response {
    refused(&pages, &visitor, "no_page", StatusCode::NOT_FOUND, NOWHERE).await
}

/// There is a page, but not for this method: a form that is loaded again, mostly.
pub(super) async fn wrong_method(State(pages): State<Pages>, uri: Uri, visitor: Visitor) -> Response {
    let status = StatusCode::METHOD_NOT_ALLOWED;
    if !FOR_PROGRAMS.contains(&uri.path()) {
        let sentence = "There is nothing to see at this address: it is for a button of another page. Open the link that your \
                        agent showed you.";
        return refused(&pages, &visitor, "method", status, sentence).await;
    }
    record(&pages, &visitor, "method").await;
    let request = &visitor.request_id.0;
    let message = "this address takes another method, see `allow`";
    (status, Json(json!({"status": "refused", "error": "method", "message": message, "request": request})))
        .into_response()
}

/// One part of a path that names something. What is no text is no name.
pub(super) struct Segment(pub(super) String);

impl FromRequestParts<Pages> for Segment {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, pages: &Pages) -> Result<Self, Response> {
        if let Ok(Path(segment)) = Path::<String>::from_request_parts(parts, pages).await {
            return Ok(Self(segment));
        }
        let visitor = Visitor::from_request_parts(parts, pages).await?;
        Err(refused(pages, &visitor, "path", StatusCode::BAD_REQUEST, NOWHERE).await)
    }
}

pub(super) async fn refused(
    pages: &Pages,
    visitor: &Visitor,
    code: &str,
    status: StatusCode,
    sentence: &str,
) -> Response {
    record(pages, visitor, code).await;
    problem(status, sentence, &visitor.request_id)
}

async fn record(pages: &Pages, visitor: &Visitor, code: &str) {
    let actor = visitor.visit().actor();
    pages.budget.record(visitor.source, Event::form_refused(actor, &visitor.request_id.0, code)).await;
}
