//! Pages for people: what is asked of them, what became of it, and what they have connected. Reached through the
//! gateway, so whatever is here is open to everybody.

pub mod layout;

use axum::{Router, middleware};

/// What the pages answer from.
#[derive(Clone)]
pub struct Pages {}

/// Every page, each with the headers that keep it from being framed, cached or made to run anything.
pub fn router(pages: Pages) -> Router {
    Router::new().layer(middleware::map_response(layout::secure)).with_state(pages)
}
