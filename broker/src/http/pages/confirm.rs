//! What an application says of its user who signs in: called by the application, not by a browser.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::json;

use super::Pages;
use super::bearer::token;
use super::budget::Source;
use super::layout::RequestId;
use super::sign_in_refused::told;
use crate::audit::Event;
use crate::secret::Secret;
use crate::signin::Refused;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    flow: String,
}

/// POST, with the user's own token, good for the server that their agent called: verified as at a call.
pub(super) async fn confirm(
    State(pages): State<Pages>,
    request_id: RequestId,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let source = Source::of(&headers);
    let body = body.unwrap_or_default();
    let Ok(Confirmation { flow }) = serde_json::from_slice(&body) else {
        pages.budget.record(source, Event::sign_in_refused(None, &request_id.0, "body")).await;
        let message = "send {\"flow\": \"<id>\"}";
        let body = json!({"error": "body", "message": message, "request": request_id.0});
        return (StatusCode::BAD_REQUEST, Json(body)).into_response();
    };
    match confirmed(&pages, &flow, token(&headers), &request_id.0, source).await {
        // Exposed to the application alone, which sends its user's browser there.
        Ok(url) => Json(json!({"return_url": url.expose_str().unwrap_or_default()})).into_response(),
        Err(refused) => {
            let (status, sentence) = told(&refused);
            let body = Json(json!({"error": refused.code(), "message": sentence, "request": request_id.0}));
            match status {
                StatusCode::UNAUTHORIZED => (status, [(header::WWW_AUTHENTICATE, "Bearer")], body).into_response(),
                status => (status, body).into_response(),
            }
        }
    }
}

async fn confirmed(
    pages: &Pages,
    flow: &str,
    token: &str,
    request_id: &str,
    source: Source,
) -> Result<Secret, Refused> {
    let caller = async {
        let server = pages.sign_ins.server_of(flow).await?;
        let caller = pages.service.caller_at(token, &server).await;
        caller.map_err(|refused| Refused::Caller(Box::new(refused)))
    };
    match caller.await {
        Ok(principal) => pages.sign_ins.confirm(flow, &principal, request_id).await,
        Err(refused) => {
            // Anybody can send that.
            pages.budget.record(source, refused.event(None, request_id)).await;
            Err(refused)
        }
    }
}
