//! The ways to sign in, and out.

use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use maud::{Markup, html};

use super::Pages;
use super::budget::Paid;
use super::form::{Posted, Pressed, Visitor, see_other};
use super::layout::{RequestId, onward, page, problem};
use super::nowhere::{self, NOWHERE, Segment};
use super::present::present;
use super::sign_in_refused::refused;
use crate::audit::Event;
use crate::consent::Visit;
use crate::secret::Secret;
use crate::signin::{
    BEGUN_COOKIE, Begun, Browser, COOKIE, Destination, LIFE, Refused, SESSION_LIFE, SignedIn, Ways, drop_cookie,
    set_cookie,
};

/// Requests of one sign-in elsewhere: the button, and the way back.
const BEGUN_AND_BACK: u32 = 2;

/// GET: the ways that are open.
pub(super) async fn show(State(pages): State<Pages>, RawQuery(query): RawQuery, visitor: Visitor) -> Response {
    let request_id = &visitor.request_id;
    let query = query.unwrap_or_default();
    let Some(to) = destination(&once(&query, "flow"), &once(&query, "to")) else {
        return nowhere::refused(&pages, &visitor, "destination", StatusCode::BAD_REQUEST, NOWHERE).await;
    };
    let ways = match pages.sign_ins.ways(&to).await {
        Ok(ways) => ways,
        Err(why) => return refused(&why, request_id),
    };
    let present = match present(&pages, visitor.visit()).await {
        Ok(present) => present,
        Err(instead) => return instead,
    };
    let body = html! {
        @if visitor.session.is_some() {
            (present)
            p { a.button href=(to.path()) { "Go on" } }
            p { "Or sign in as somebody else:" }
        }
        (choices(&to, &ways))
    };
    page(request_id, "Sign in", body)
}

fn choices(to: &Destination, ways: &Ways) -> Markup {
    let (name, value) = to.field();
    let button = |action: &str, host: &str| {
        html! {
            form method="post" action=(action) {
                input type="hidden" name=(name) value=(value);
                button type="submit" { "Sign in at " (host) }
            }
        }
    };
    html! {
        @if let Some(host) = &ways.application { (button("/signin/application", host)) }
        @if let Some(host) = &ways.oidc { (button("/signin/oidc", host)) }
        @if ways.application.is_none() && ways.oidc.is_none() {
            p { "There is no way to sign in by yourself here. Ask the operator of this gateway for a sign-in link; once you \
                 have used it, open the link of your agent again." }
        }
    }
}

/// POST: to the login issuer.
pub(super) async fn oidc(State(pages): State<Pages>, form: Pressed) -> Response {
    let Some(to) = destination(&form.fields.get("flow").cloned(), &form.fields.get("to").cloned()) else {
        return form.leads_nowhere().await;
    };
    leave(pages.sign_ins.begin_oidc(&to).await, form).await
}

/// POST: to the application.
pub(super) async fn application(State(pages): State<Pages>, form: Pressed) -> Response {
    match destination(&form.fields.get("flow").cloned(), &None) {
        Some(Destination::Consent(consent)) => leave(pages.sign_ins.begin_application(&consent).await, form).await,
        Some(Destination::Connections) | None => form.leads_nowhere().await,
    }
}

/// GET: the issuer's answer.
pub(super) async fn callback(
    State(pages): State<Pages>,
    paid: Paid,
    RawQuery(query): RawQuery,
    visitor: Visitor,
) -> Response {
    let signed_in = pages.sign_ins.finish_oidc(&query.unwrap_or_default(), visitor.browser()).await;
    arrive(signed_in, paid, BEGUN_AND_BACK, &visitor.request_id)
}

/// GET: back from the application.
pub(super) async fn application_return(
    State(pages): State<Pages>,
    paid: Paid,
    Segment(id): Segment,
    RawQuery(query): RawQuery,
    visitor: Visitor,
) -> Response {
    let code = once(&query.unwrap_or_default(), "code").unwrap_or_default();
    let signed_in = pages.sign_ins.finish_application(&id, &code, visitor.browser()).await;
    arrive(signed_in, paid, BEGUN_AND_BACK, &visitor.request_id)
}

/// GET: whom an operator's link signs in, and a button. Chats and mail programs look as well: nothing is used up.
pub(super) async fn link(State(pages): State<Pages>, Segment(secret): Segment, visitor: Visitor) -> Response {
    let name = async { pages.sign_ins.name_of(&pages.sign_ins.link(&secret).await?).await };
    match name.await {
        Ok(name) => page(
            &visitor.request_id,
            "Sign in",
            html! {
                p { "This link signs this browser in as " strong { (name) } ", once." }
                form method="post" action={ "/signin/link/" (secret) } {
                    button type="submit" { "Sign in as " (name) }
                }
                p { "That is not you? Then close this page, and do not go on: what you connect would be theirs to use." }
            },
        ),
        Err(why) => {
            let actor = visitor.visit().actor();
            pages.budget.record(visitor.source, why.event(actor, &visitor.request_id.0)).await;
            refused(&why, &visitor.request_id)
        }
    }
}

/// POST: uses it up.
pub(super) async fn use_link(State(pages): State<Pages>, Segment(secret): Segment, form: Pressed) -> Response {
    let signed_in = pages.sign_ins.use_link(&secret, form.browser()).await;
    arrive(signed_in, form.paid, 1, &form.request_id)
}

/// POST: ends the session.
pub(super) async fn sign_out(State(pages): State<Pages>, form: Posted) -> Response {
    match pages.sign_ins.sign_out(&form.session, &form.request_id.0).await {
        Ok(()) => with_cookies(see_other("/signin?to=connections"), [drop_cookie(COOKIE)]),
        Err(why) => refused(&why, &form.request_id),
    }
}

/// On to another site, with what this browser must bring back.
async fn leave(begun: Result<Begun, Refused>, form: Pressed) -> Response {
    let request_id = &form.request_id;
    match begun {
        Ok(Begun { cookie, url, host }) => {
            with_cookies(onward(request_id, &host, &url), [set_cookie(BEGUN_COOKIE, &cookie, LIFE)])
        }
        Err(why) => {
            let visit = Visit { session: form.session.as_ref(), request_id: &request_id.0 };
            form.paid.record(why.event(visit.actor(), &request_id.0)).await;
            refused(&why, request_id)
        }
    }
}

/// `cost` is what it took to come here.
fn arrive(signed_in: Result<SignedIn, Refused>, paid: Paid, cost: u32, request_id: &RequestId) -> Response {
    match signed_in {
        Ok(SignedIn { cookie, to }) => {
            paid.back(cost);
            let cookies = [set_cookie(COOKIE, &cookie, SESSION_LIFE), drop_cookie(BEGUN_COOKIE)];
            with_cookies(see_other(&to.path()), cookies)
        }
        Err(why) => refused(&why, request_id),
    }
}

fn with_cookies<const N: usize>(mut response: Response, cookies: [HeaderValue; N]) -> Response {
    for cookie in cookies {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

fn destination(flow: &Option<String>, to: &Option<String>) -> Option<Destination> {
    Destination::read(flow.as_deref(), to.as_deref())
}

/// A parameter; one that comes twice is as good as wrong.
pub(super) fn once(query: &str, name: &str) -> Option<String> {
    let mut values = url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
    match (values.next(), values.next()) {
        (Some((_, value)), None) => Some(value.into_owned()),
        (Some(_), Some(_)) => Some("\0".to_owned()),
        (None, _) => None,
    }
}

impl Visitor {
    fn browser(&self) -> Browser<'_> {
        browser(self.begun.as_ref(), self.session.as_ref(), &self.request_id)
    }
}

impl Pressed {
    async fn leads_nowhere(&self) -> Response {
        let visit = Visit { session: self.session.as_ref(), request_id: &self.request_id.0 };
        self.paid.record(Event::form_refused(visit.actor(), visit.request_id, "destination")).await;
        problem(StatusCode::BAD_REQUEST, NOWHERE, &self.request_id)
    }

    fn browser(&self) -> Browser<'_> {
        browser(None, self.session.as_ref(), &self.request_id)
    }
}

fn browser<'a>(
    begun: Option<&'a Secret>,
    session: Option<&'a crate::signin::Session>,
    request_id: &'a RequestId,
) -> Browser<'a> {
    Browser { begun, session, request_id: &request_id.0 }
}
