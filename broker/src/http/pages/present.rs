//! Says who is at a browser, so that nobody connects something as somebody else without noticing.

use axum::response::Response;
use maud::{Markup, html};

use super::Pages;
use super::form::csrf;
use super::layout::RequestId;
use super::sign_in_refused::refused;
use crate::consent::Visit;

/// For the end of a page: who is signed in, and the way out; nothing where nobody is.
///
/// # Errors
/// The page to show in place of this one, if the store does not tell.
pub(super) async fn present(pages: &Pages, visit: Visit<'_>) -> Result<Markup, Response> {
    let Some(session) = visit.session else { return Ok(html! {}) };
    match pages.sign_ins.name_of(&session.principal).await {
        Ok(name) => Ok(html! {
            form method="post" action="/signout" {
                (csrf(session))
                p { "You are signed in as " strong { (name) } ". " button type="submit" { "Sign out" } }
            }
        }),
        Err(why) => Err(refused(&why, &RequestId(visit.request_id.to_owned()))),
    }
}
