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
use super::budget::{Paid, Source};
use super::layout::{RequestId, problem};
use super::refused::refused;
use crate::audit::Event;
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
    pub(super) source: Source,
}

impl Visitor {
    pub(super) fn visit(&self) -> Visit<'_> {
        Visit { session: self.session.as_ref(), request_id: &self.request_id.0 }
    }
}

impl FromRequestParts<Pages> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, pages: &Pages) -> Result<Self, Response> {
        let (request_id, source) = (request_id(parts).await, Source::of(&parts.headers));
        match pages.sign_ins.sessions().of(&parts.headers).await {
            Ok(session) => Ok(Self { session, begun: cookie(&parts.headers, BEGUN_COOKIE), request_id, source }),
            Err(error) => Err(refused(&error.into(), &request_id)),
        }
    }
}

/// A browser that brings what leaves a record, whatever comes of it. Whoever is signed in is named there; a stranger pays for
/// it.
pub(super) struct Arrival(pub(super) Visitor);

impl FromRequestParts<Pages> for Arrival {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, pages: &Pages) -> Result<Self, Response> {
        let visitor = Visitor::from_request_parts(parts, pages).await?;
        if visitor.session.is_none() {
            Paid::from_request_parts(parts, pages).await?;
        }
        Ok(Self(visitor))
    }
}

/// A form of ours, sent by anybody: so it is paid for, and does no more than begin a sign-in, or end one that needs a
/// secret.
pub struct Pressed {
    pub(super) paid: Paid,
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
        let paid = Paid::from_request_parts(&mut parts, pages).await?;
        let visitor = Visitor::from_request_parts(&mut parts, pages).await?;
        let not_taken = match is_same_origin(&parts.headers, &pages.public_url) {
            true => match fields(body).await {
                Some(fields) => {
                    return Ok(Self { paid, session: visitor.session, request_id: visitor.request_id, fields });
                }
                None => NotTaken::Fields,
            },
            false => NotTaken::CrossSite,
        };
        paid.record(not_taken.record(visitor.visit())).await;
        Err(not_taken.page(&visitor.request_id))
    }
}

/// A form of ours, sent by the person whom we gave it to.
pub struct Posted {
    /// Who.
    pub session: Session,
    /// Of this request.
    pub request_id: RequestId,
    pub(super) source: Source,
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
        let Visitor { session, request_id, source, .. } = Visitor::from_request_parts(&mut parts, pages).await?;
        let read = match &session {
            _ if !is_same_origin(&parts.headers, &pages.public_url) => Err(NotTaken::CrossSite),
            None => Err(NotTaken::SignedOut),
            Some(session) => match fields(body).await {
                Some(fields) if fields.get("csrf").is_some_and(|given| session.is_csrf(given)) => Ok(fields),
                Some(_) => Err(NotTaken::Csrf),
                None => Err(NotTaken::Fields),
            },
        };
        match (session, read) {
            (Some(session), Ok(fields)) => Ok(Self { session, request_id, source, fields }),
            (session, read) => {
                let not_taken = read.err().unwrap_or(NotTaken::SignedOut);
                let visit = Visit { session: session.as_ref(), request_id: &request_id.0 };
                pages.budget.record(source, not_taken.record(visit)).await;
                Err(not_taken.page(&request_id))
            }
        }
    }
}

/// Why a form is not taken.
#[derive(Clone, Copy)]
enum NotTaken {
    /// Another site sent it, or nobody says which.
    CrossSite,
    /// It is not the one that this person was given.
    Csrf,
    /// It is no form, too large, or has a field twice.
    Fields,
    /// Nobody is signed in any more.
    SignedOut,
}

impl NotTaken {
    fn record(self, visit: Visit<'_>) -> Event {
        let code = match self {
            Self::CrossSite => "cross_site",
            Self::Csrf => "csrf",
            Self::Fields => "fields",
            Self::SignedOut => "signed_out",
        };
        Event::form_refused(visit.actor(), visit.request_id, code)
    }

    fn page(self, request_id: &RequestId) -> Response {
        let sentence = match self {
            Self::CrossSite | Self::Csrf | Self::Fields => "This form was not sent from one of our pages.",
            Self::SignedOut => "You are not signed in any more. Go back, load the page again and sign in.",
        };
        problem(StatusCode::FORBIDDEN, sentence, request_id)
    }
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
