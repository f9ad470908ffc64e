//! Where providers send people back to.

use axum::extract::{RawQuery, State};
use axum::response::Response;

use super::Pages;
use super::form::{Arrival, see_other};
use super::nowhere::Segment;
use super::refused::shown;

/// GET: takes the provider's answer, and goes on to the page that says what became of it: so that neither code nor state
/// stay in the address bar, and whoever loads the page again does not send them again.
pub(super) async fn callback(
    State(pages): State<Pages>,
    Arrival(visitor): Arrival,
    Segment(client): Segment,
    RawQuery(query): RawQuery,
) -> Response {
    match pages.consents.callback(&client, query.as_deref().unwrap_or_default(), visitor.visit()).await {
        Ok(consent) => see_other(&format!("/connect/{consent}")),
        Err(why) => shown(&pages, &why, visitor.visit()).await,
    }
}
