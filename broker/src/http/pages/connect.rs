//! The page behind a link, and its buttons.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use super::Pages;
use super::form::{Posted, Visitor, csrf, see_other};
use super::layout::{onward, page, problem};
use super::nowhere::Segment;
use super::present::present;
use super::refused::recorded;
use crate::audit::Event;
use crate::consent::{Asked, Begun, Choice, Page, Stage};
use crate::oauth::account::shown;
use crate::signin::Session;

/// GET: changes nothing, since chats and mail programs look behind links as well.
pub(super) async fn show(State(pages): State<Pages>, Segment(id): Segment, visitor: Visitor) -> Response {
    let shown = match pages.consents.page(&id, visitor.visit()).await {
        Ok(shown) => shown,
        Err(why) => return recorded(&pages, &why, visitor.source, visitor.visit()).await,
    };
    let (title, body) = match (&visitor.session, shown) {
        (None, _) | (_, Page::SignIn { .. }) => ("Connect", sign_in(&id)),
        (Some(_), Page::Connected { server }) => ("Connected", connected(&server.0)),
        (Some(session), Page::Ask { server, asked, account, stage }) => {
            ("Connect", ask(&id, session, &server.0, &asked, account.as_deref(), stage))
        }
        (Some(session), Page::Choose { held, came, .. }) => {
            ("Another account", choose_account(&id, session, held.as_deref(), came.as_deref()))
        }
        (Some(session), Page::TakeOrLeave { came, .. }) => {
            ("Another account", take_or_leave(&id, session, came.as_deref()))
        }
    };
    match present(&pages, visitor.visit()).await {
        Ok(present) => page(&visitor.request_id, title, html! { (body) (present) }),
        Err(instead) => instead,
    }
}

/// POST: on to the provider.
pub(super) async fn begin(State(pages): State<Pages>, Segment(id): Segment, form: Posted) -> Response {
    let is_confirmed = form.field("act-as-me") == "yes";
    match pages.consents.begin(&id, form.field("asked"), is_confirmed, form.visit()).await {
        Ok(Begun::Onward { provider, url }) => onward(&form.request_id, &provider, &url),
        Ok(Begun::Look(id)) => see_other(&format!("/connect/{id}")),
        Err(why) => recorded(&pages, &why, form.source, form.visit()).await,
    }
}

/// POST: which of two accounts.
pub(super) async fn choose(State(pages): State<Pages>, Segment(id): Segment, form: Posted) -> Response {
    let choice = match form.field("account") {
        "keep" => Choice::Keep,
        "replace" => Choice::Replace,
        "decline" => Choice::Decline,
        _ => {
            let event = Event::form_refused(form.visit().actor(), &form.request_id.0, "choice");
            pages.budget.record(form.source, event).await;
            let sentence = "Go back and choose one of the two accounts.";
            return problem(axum::http::StatusCode::BAD_REQUEST, sentence, &form.request_id);
        }
    };
    match pages.consents.choose(&id, choice, form.visit()).await {
        // By the id that was found in the store, not by what stands in the path.
        Ok(id) => see_other(&format!("/connect/{id}")),
        Err(why) => recorded(&pages, &why, form.source, form.visit()).await,
    }
}

/// Says nothing of what is behind the link: whoever is not signed in may be anybody.
fn sign_in(id: &str) -> Markup {
    html! {
        p { "An agent needs your consent to go on. Sign in to see what it asks for." }
        p { a.button href={ "/signin?flow=" (id) } { "Sign in" } }
    }
}

fn connected(server: &str) -> Markup {
    html! {
        p role="status" { strong { (server) } " is connected." }
        p { "Return to your agent and let it try again. You can close this page." }
        p { a href="/connections" { "Your connections" } }
    }
}

fn ask(id: &str, session: &Session, server: &str, asked: &Asked, account: Option<&str>, stage: Stage) -> Markup {
    let (notice, button) = match stage {
        Stage::Fresh => (None, "Connect"),
        Stage::Expired => (Some("This link has expired. Starting again takes one click."), "Start again"),
        Stage::Ended(ended) => (Some(ended.sentence()), "Start again"),
    };
    html! {
        @if let Some(notice) = notice { p role="alert" { (notice) } }
        p {
            "An agent wants to use " strong { (server) } " on your behalf. You will be sent to "
            strong { (asked.provider) } ", to sign in there and to agree."
        }
        @if asked.servers.len() > 1 {
            p { "These servers have the same access there, and will be able to use it:" }
            ul { @for server in &asked.servers { li { (server) } } }
        }
        @if !asked.scopes.is_empty() {
            p { @if asked.servers.len() > 1 { "They ask for:" } @else { "It asks for:" } }
            ul { @for scope in &asked.scopes { li { code { (scope) } } } }
        }
        form method="post" action={ "/connect/" (id) } {
            (csrf(session))
            input type="hidden" name="asked" value=(asked.digest);
            @if let Some(account) = account {
                p role="alert" {
                    "This is for the virtual account " strong { (account) } ". Everyone who uses it will act as you at "
                    (asked.provider) "."
                }
                p {
                    label {
                        input type="checkbox" name="act-as-me" value="yes" required;
                        " Everyone who uses " (account) " may act as me."
                    }
                }
            }
            button type="submit" { (button) }
        }
        p { "You did not ask an agent for anything? Then close this page: nothing happens." }
    }
}

fn choose_account(id: &str, session: &Session, held: Option<&str>, came: Option<&str>) -> Markup {
    let held = held.map_or_else(|| "unknown".to_owned(), shown);
    html! {
        p role="alert" {
            @if let Some(came) = came {
                "You came back from the provider with another account (" code { (shown(came)) }
                ") than the one that is connected (" code { (held) } ")."
            } @else {
                "You came back from the provider, which did not say with which account. " code { (held) }
                " is connected."
            }
        }
        form method="post" action={ "/connect/" (id) "/account" } {
            (csrf(session))
            p { button type="submit" name="account" value="keep" { "Keep the account that is connected" } }
            p { button type="submit" name="account" value="replace" { "Use the other account from now on" } }
        }
    }
}

/// There is nothing to keep any more.
fn take_or_leave(id: &str, session: &Session, came: Option<&str>) -> Markup {
    html! {
        p role="alert" {
            @if let Some(came) = came {
                "You came back from the provider with another account (" code { (shown(came)) }
                ") than the one that was connected, and that one was disconnected meanwhile."
            } @else { "You came back from the provider, which did not say with which account. None is connected." }
        }
        form method="post" action={ "/connect/" (id) "/account" } {
            (csrf(session))
            p { button type="submit" name="account" value="replace" { "Connect this account" } }
            p { button type="submit" name="account" value="decline" { "Do not connect it" } }
        }
    }
}
