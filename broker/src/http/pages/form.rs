//! Forms: taken only from pages of ours, in a browser that is signed in (CSRF). And whoever only looks.

use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};

use super::Pages;
use super::layout::{RequestId, problem};
use super::refused::refused;
use crate::consent::Visit;
use crate::secret::Secret;
use crate::signin::{BEGUN_COOKIE, Session, cookie};

/// Largest form read; ours are far below.
const MAX_FORM: usize = 16 * 1024;

/// A browser that looks at a page.
pub struct Visitor {
    /// Who it is, if they are signed in.
    pub session: Option<Session>,
    /// What it brings back of a sign-in that it began.
    pub begun: Option<Secret>,
    /// Of this request.
    pub request_id: RequestId,
}

impl Visitor {
    pub(super) fn visit(&self) -> Visit<'_> {
        Visit { session: self.session.as_ref(), request_id: &self.request_id.0 }
    }
}

impl FromRequestParts<Pages> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, pages: &Pages) -> Result<Self, Response> {
        let request_id = request_id(parts).await;
        match pages.sign_ins.sessions().of(&parts.headers).await {
            Ok(session) => Ok(Self { session, begun: cookie(&parts.headers, BEGUN_COOKIE), request_id }),
            Err(error) => Err(refused(&error.into(), &request_id)),
        }
    }
}

/// A form of ours, sent by anybody: so it does no more than begin a sign-in, or end one that needs a secret.
pub struct Pressed {
    /// Who is signed in, if anybody.
    pub session: Option<Session>,
    /// Of this request.
    pub request_id: RequestId,
    /// Each once.
    pub fields: BTreeMap<String, String>,
}

impl FromRequest<Pages> for Pressed {
    type Rejection = Response;

    async fn from_request(request: Request, pages: &Pages) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let Visitor { session, request_id, .. } = Visitor::from_request_parts(&mut parts, pages).await?;
        match is_same_origin(&parts.headers, &pages.public_url) {
            true => match fields(body).await {
                Some(fields) => Ok(Self { session, request_id, fields }),
                None => Err(foreign(&request_id)),
            },
            false => Err(foreign(&request_id)),
        }
    }
}

/// A form of ours, sent by the person whom we gave it to.
pub struct Posted {
    /// Who.
    pub session: Session,
    /// Of this request.
    pub request_id: RequestId,
    fields: BTreeMap<String, String>,
}

impl Posted {
    pub(super) fn visit(&self) -> Visit<'_> {
        Visit { session: Some(&self.session), request_id: &self.request_id.0 }
    }

    /// A field; empty if it is not there.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map(String::as_str).unwrap_or_default()
    }
}

impl FromRequest<Pages> for Posted {
    type Rejection = Response;

    async fn from_request(request: Request, pages: &Pages) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let Visitor { session, request_id, .. } = Visitor::from_request_parts(&mut parts, pages).await?;
        if !is_same_origin(&parts.headers, &pages.public_url) {
            return Err(foreign(&request_id));
        }
        let Some(session) = session else {
            let sentence = "You are not signed in any more. Go back, load the page again and sign in.";
            return Err(problem(StatusCode::FORBIDDEN, sentence, &request_id));
        };
        let fields = fields(body).await.ok_or_else(|| foreign(&request_id))?;
        match fields.get("csrf") {
            Some(given) if session.is_csrf(given) => Ok(Self { session, request_id, fields }),
            Some(_) | None => Err(foreign(&request_id)),
        }
    }
}

fn foreign(request_id: &RequestId) -> Response {
    problem(StatusCode::FORBIDDEN, "This form was not sent from one of our pages.", request_id)
}

/// Each name once; none if one comes twice, or it is no form of ours.
async fn fields(body: Body) -> Option<BTreeMap<String, String>> {
    let body = to_bytes(body, MAX_FORM).await.ok()?;
    let mut fields = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(&body) {
        if fields.insert(name.into_owned(), value.into_owned()).is_some() {
            return None;
        }
    }
    Some(fields)
}

/// The hidden field that each form needs.
pub fn csrf(session: &Session) -> Markup {
    html! { input type="hidden" name="csrf" value=(session.csrf()); }
}

pub(super) async fn request_id(parts: &mut Parts) -> RequestId {
    let extracted: Result<RequestId, Infallible> = RequestId::from_request_parts(parts, &()).await;
    extracted.unwrap_or_else(|never| match never {})
}

/// Fetch metadata say so, or the origin does. With `no-referrer`, which our pages have, browsers send `Origin: null`
/// even to ourselves (Fetch §3.2), so that alone says nothing; a request with neither is refused.
fn is_same_origin(headers: &HeaderMap, public_url: &str) -> bool {
    let one = |name| {
        let mut values = headers.get_all(name).iter();
        (values.next(), values.next().is_some())
    };
    let site_is_ours = match one("sec-fetch-site") {
        (None, _) => None,
        (Some(site), more) => Some(site == "same-origin" && !more),
    };
    let origin_is_ours = match one(header::ORIGIN.as_str()) {
        (None, _) => None,
        (Some(origin), false) if origin == "null" => None,
        (Some(origin), more) => Some(origin == public_url && !more),
    };
    match (site_is_ours, origin_is_ours) {
        (Some(true), Some(true) | None) | (None, Some(true)) => true,
        (Some(false), _) | (_, Some(false)) | (None, None) => false,
    }
}

/// To a path of ours, which is made of ids we made: never to what a request names (O5).
pub(super) fn see_other(path: &str) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, path.to_owned())]).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ours(headers: &[(&'static str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a header"));
        }
        is_same_origin(&map, "https://gate.example.com")
    }

    #[test]
    fn o1_takes_forms_from_our_own_pages_only() {
        let (site, origin) = ("sec-fetch-site", "origin");
        for ours in [
            &[(site, "same-origin"), (origin, "null")][..],
            &[(site, "same-origin"), (origin, "https://gate.example.com")],
            &[(site, "same-origin")],
            &[(origin, "https://gate.example.com")],
        ] {
            assert!(is_ours(ours), "{ours:?}");
        }
        for foreign in [
            &[][..],
            &[(origin, "null")],
            &[(origin, "https://evil.example")],
            &[(origin, "https://gate.example.com.evil.example")],
            &[(origin, "http://gate.example.com")],
            &[(origin, "https://gate.example.com/")],
            &[(origin, "https://gate.example.com:444")],
            &[(origin, "https://gate.example.com"), (origin, "https://evil.example")],
            &[(site, "cross-site")],
            &[(site, "same-site")],
            &[(site, "none")],
            &[(site, "")],
            &[(site, "cross-site"), (origin, "https://gate.example.com")],
            &[(site, "same-origin"), (origin, "https://evil.example")],
            &[(site, "same-origin"), (site, "cross-site")],
        ] {
            assert!(!is_ours(foreign), "{foreign:?}");
        }
    }
}
