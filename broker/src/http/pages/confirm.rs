//! What an application says of its user who signs in: called by the application, not by a browser.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::json;

use super::Pages;
use super::bearer::token;
use super::layout::RequestId;
use super::sign_in_refused::told;
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
    body: Bytes,
) -> Response {
    let Ok(Confirmation { flow }) = serde_json::from_slice(&body) else {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "send {\"flow\": \"<id>\"}"}))).into_response();
    };
    match confirmed(&pages, &flow, token(&headers), &request_id.0).await {
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

async fn confirmed(pages: &Pages, flow: &str, token: &str, request_id: &str) -> Result<Secret, Refused> {
    let server = pages.sign_ins.server_of(flow).await?;
    let caller = pages.service.caller_at(token, &server).await;
    let principal = caller.map_err(|refused| Refused::Caller(Box::new(refused)))?;
    pages.sign_ins.confirm(flow, &principal, request_id).await
}
