use std::sync::Mutex;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};
use tower::Service;

use super::*;

#[derive(Default)]
struct Broker(Mutex<Vec<Missing>>);

#[async_trait]
impl Readiness for Broker {
    async fn missing(&self) -> Vec<Missing> {
        self.0.lock().unwrap().clone()
    }

    fn degraded(&self) -> Vec<Missing> {
        vec![Missing { what: "redis".into(), why: "as a test".into() }]
    }
}

impl PublicKeys for Broker {
    fn jwks(&self) -> serde_json::Value {
        serde_json::json!({ "keys": [] })
    }
}

fn endpoints(missing: Vec<Missing>) -> Endpoints {
    let broker = Arc::new(Broker(Mutex::new(missing)));
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    Endpoints { readiness: broker.clone(), keys: broker, metrics }
}

async fn ask(endpoints: Endpoints, method: Method, path: &str) -> (StatusCode, axum::http::HeaderMap, String) {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    let response = router(endpoints).call(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn not_ready_says_what_is_missing_and_stays_healthy() {
    let missing = vec![Missing { what: "store".to_owned(), why: "the database is locked".to_owned() }];
    let (status, _, body) = ask(endpoints(missing.clone()), Method::GET, "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains(r#""what":"store""#) && body.contains("the database is locked"), "{body}");
    assert_eq!(ask(endpoints(missing), Method::GET, "/healthz").await.0, StatusCode::OK);
}

#[tokio::test]
async fn ready_when_nothing_is_missing() {
    let (status, _, body) = ask(endpoints(Vec::new()), Method::GET, "/readyz").await;
    assert_eq!(
        (status, body.as_str()),
        (StatusCode::OK, r#"{"degraded":[{"what":"redis","why":"as a test"}],"missing":[],"ready":true}"#)
    );
}

#[tokio::test]
async fn only_exact_paths_and_reading_methods_are_answered() {
    for path in ["/", "/healthz/", "//healthz", "/HEALTHZ", "/metrics/x", "/.well-known/jwks", "/readyz/../metrics"] {
        assert_eq!(ask(endpoints(Vec::new()), Method::GET, path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        assert_eq!(
            ask(endpoints(Vec::new()), method.clone(), "/metrics").await.0,
            StatusCode::METHOD_NOT_ALLOWED,
            "{method}"
        );
    }
}

#[tokio::test]
async fn every_answer_forbids_framing_and_sniffing() {
    for path in ["/healthz", "/readyz", "/metrics", "/.well-known/jwks.json", "/nothing"] {
        let (_, headers, _) = ask(endpoints(Vec::new()), Method::GET, path).await;
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["content-security-policy"], "default-src 'none'; frame-ancestors 'none'", "{path}");
        let kept = if path.ends_with("jwks.json") { "public, max-age=60" } else { "no-store" };
        assert_eq!(headers["cache-control"], kept, "{path}");
    }
}

#[tokio::test]
async fn metrics_are_in_prometheus_text() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let endpoints = Endpoints { metrics: recorder.handle(), ..endpoints(Vec::new()) };
    metrics::with_local_recorder(&recorder, || metrics::counter!("sallyport_test_total").increment(3));
    let (status, headers, body) = ask(endpoints, Method::GET, "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(headers["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    assert!(body.contains("sallyport_test_total 3"), "{body}");
}
