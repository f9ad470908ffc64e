//! Pages for people: what is asked of them, what became of it, and what they have connected. Reached through the
//! gateway, so whatever is here is open to everybody.

mod bearer;
mod budget;
mod callback;
mod confirm;
mod connect;
mod connections;
pub mod form;
pub mod layout;
mod nowhere;
mod present;
mod refused;
mod sign_in_refused;
mod signin;
mod status;
#[cfg(test)]
mod tests;

use axum::routing::{get, post};
use axum::{Router, middleware};

use crate::consent::Consents;
use crate::service::Service;
use crate::signin::SignIns;

pub use budget::{Budget, SOURCE};

/// What the pages answer from.
#[derive(Clone)]
pub struct Pages {
    /// Makes and ends grants.
    pub consents: Consents,
    /// Knows who is at a browser, and signs people in.
    pub sign_ins: SignIns,
    /// Verifies agents that ask for their status.
    pub service: Service,
    /// Keeps strangers from filling the store.
    pub budget: Budget,
    /// Origin of the gateway: forms come from nowhere else.
    pub public_url: String,
}

/// Every page, each with the headers that keep it from being framed, cached or made to run anything.
pub fn router(pages: Pages) -> Router {
    Router::new()
        .route("/connect/{consent}", get(connect::show).post(connect::begin))
        .route("/connect/{consent}/account", post(connect::choose))
        .route("/oauth/callback/{client}", get(callback::callback))
        .route("/connections", get(connections::show))
        .route("/connections/connect", post(connections::connect))
        .route("/connections/status", get(status::status))
        .route("/connections/{grant}/disconnect", post(connections::disconnect))
        .route("/signin", get(signin::show))
        .route("/signin/application", post(signin::application))
        .route("/signin/callback", get(signin::callback))
        .route("/signin/confirm", post(confirm::confirm))
        .route("/signin/link/{secret}", get(signin::link).post(signin::use_link))
        .route("/signin/oidc", post(signin::oidc))
        .route("/signin/return/{id}", get(signin::application_return))
        .route("/signout", post(signin::sign_out))
        .fallback(nowhere::nowhere)
        .method_not_allowed_fallback(nowhere::wrong_method)
        .layer(middleware::map_response(layout::secure))
        .with_state(pages)
}
