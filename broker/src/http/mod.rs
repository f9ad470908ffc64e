//! What the broker answers over plain HTTP on loopback: health, readiness, metrics and its public keys. No secret.

pub mod pages;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Media type of Prometheus's text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Bounds of histograms: a commit takes milliseconds, a provider may take its whole deadline.
const SECONDS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// On every answer: nothing here is a page, and nothing may make one of it.
const SECURITY_HEADERS: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
];

/// Something the broker still waits for, or does without.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Missing {
    /// What: `store`, `key`, `redis`, or the issuer whose keys have never been fetched.
    pub what: String,
    /// Why, in words for the operator; no secret (I9).
    pub why: String,
}

/// Knows what is missing before the broker can serve.
#[async_trait]
pub trait Readiness: Send + Sync + 'static {
    /// Everything that is missing now; nothing if it can serve.
    async fn missing(&self) -> Vec<Missing>;
    /// What it does without, for the time being, and what that means.
    fn degraded(&self) -> Vec<Missing>;
}

/// The broker's own public keys.
pub trait PublicKeys: Send + Sync + 'static {
    /// The JWK Set (RFC 7517 §5) that verifies self-issued tokens: public members only.
    fn jwks(&self) -> serde_json::Value;
}

/// What the router answers from.
#[derive(Clone)]
pub struct Endpoints {
    /// For `/readyz`.
    pub readiness: Arc<dyn Readiness>,
    /// For `/.well-known/jwks.json`.
    pub keys: Arc<dyn PublicKeys>,
    /// For `/metrics`.
    pub metrics: PrometheusHandle,
}

/// Makes this process record its metrics; the answer renders them. Once per process.
///
/// # Errors
/// If a recorder is there already.
pub fn record_metrics() -> Result<PrometheusHandle, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .install_recorder()
}

/// Exactly these paths; all else is 404, and 405 for other methods than GET and HEAD.
pub fn router(endpoints: Endpoints) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/.well-known/jwks.json", get(jwks))
        .layer(middleware::map_response(secure))
        .with_state(endpoints)
}

/// The process runs.
async fn healthz() -> &'static str {
    "ok\n"
}

/// 200 if the broker can serve; 503 and what is missing if not. Either way, what it does without.
async fn readyz(State(endpoints): State<Endpoints>) -> Response {
    let missing = endpoints.readiness.missing().await;
    let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let degraded = endpoints.readiness.degraded();
    let body = serde_json::json!({ "ready": missing.is_empty(), "missing": missing, "degraded": degraded });
    (status, Json(body)).into_response()
}

async fn metrics(State(endpoints): State<Endpoints>) -> impl IntoResponse {
    endpoints.metrics.run_upkeep();
    ([(header::CONTENT_TYPE, PROMETHEUS)], endpoints.metrics.render())
}

/// Kept by others for a minute at most, so that a new key is found soon.
async fn jwks(State(endpoints): State<Endpoints>) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "public, max-age=60")], Json(endpoints.keys.jwks()))
}

async fn secure(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
