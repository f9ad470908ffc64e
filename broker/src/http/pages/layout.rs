//! The shell of every page: plain HTML without scripts. maud escapes whatever is put into it, so that no word of a
//! provider, a manifest or a URL becomes markup.

use std::convert::Infallible;
use std::sync::LazyLock;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};
use url::Url;

use crate::keys;
use crate::secret::Secret;

/// The only style there is; the policy names its hash, so that no other can be brought in.
const STYLE: &str = ":root{color-scheme:light dark}\
    body{font:1.1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}\
    h1{font-size:1.6rem;line-height:1.2}\
    button,.button{font:inherit;padding:.5rem 1rem;cursor:pointer}\
    table{border-collapse:collapse;width:100%}\
    th,td{text-align:left;vertical-align:top;padding:.4rem .8rem .4rem 0;border-bottom:1px solid}\
    form{margin:1rem 0}td form{margin:0}\
    p,li,td{overflow-wrap:anywhere}\
    footer{margin-top:3rem;font-size:.8rem}";

/// On every answer below the pages' router. Chromium holds each redirect that follows a form to `form-action`, and
/// nobody knows through which origins a provider sends people: so no form is answered by a redirect to elsewhere, and
/// the way there is [`onward`].
static SECURITY_HEADERS: LazyLock<[(HeaderName, HeaderValue); 6]> = LazyLock::new(|| {
    let style = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    [
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_str(&policy).expect("base64 is visible ASCII")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    ]
});

/// Longest request id taken from a proxy.
const REQUEST_ID_MAX: usize = 64;

/// Names one request to whoever is asked for help: Envoy's, so that its log tells the same, or one of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub String);

impl<S: Send + Sync> FromRequestParts<S> for RequestId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let is_plain = |id: &&str| {
            (1..=REQUEST_ID_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let given = parts.headers.get("x-request-id").and_then(|value| value.to_str().ok()).filter(is_plain);
        // Random, so that it names one request only; no secret.
        Ok(Self(given.map_or_else(|| keys::hex(Secret::random::<8>().expose()), str::to_owned)))
    }
}

/// A page.
pub fn page(request_id: &RequestId, title: &str, body: Markup) -> Response {
    shell(request_id, title, html! {}, body).into_response()
}

/// A page that says in one sentence what is wrong, and what to do.
pub fn problem(status: StatusCode, sentence: &str, request_id: &RequestId) -> Response {
    let body = html! { p role="alert" { (sentence) } };
    (status, shell(request_id, title_of(status), html! {}, body)).into_response()
}

/// A page that takes the browser on to another site at once: the answer to a form whose way leads there.
pub fn onward(request_id: &RequestId, whom: &str, to: &Url) -> Response {
    // A `Url` is percent-encoded: nothing in it ends the value of the refresh.
    let refresh = format!("0;url={to}");
    let head = html! { meta http-equiv="refresh" content=(refresh); };
    let body = html! { p { a href=(to) rel="noreferrer" { "Continue to " (whom) } } };
    shell(request_id, "One moment", head, body).into_response()
}

/// Sets on an answer what every page has.
pub async fn secure(mut response: Response) -> Response {
    for (name, value) in SECURITY_HEADERS.iter() {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

fn title_of(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::FORBIDDEN => "Not allowed",
        status if status.is_server_error() => "This does not work at the moment",
        _ => "That did not work",
    }
}

fn shell(request_id: &RequestId, title: &str, head: Markup, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                (head)
                title { (title) " – Sallyport" }
                // Its hash is in the policy: it must stand there byte for byte.
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { (title) }
                    (body)
                }
                footer { "Request " code { (request_id.0) } }
            }
        }
    }
}
