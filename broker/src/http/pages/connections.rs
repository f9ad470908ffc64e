//! What a person has connected, and could.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use super::Pages;
use super::form::{Posted, Visitor, csrf, see_other};
use super::layout::page;
use super::nowhere::Segment;
use super::present::present;
use super::refused::{recorded, refused};
use crate::consent::{Connection, Connections};
use crate::grants::{AtProvider, Ended};
use crate::oauth::account::shown;
use crate::signin::Session;

/// GET: mine.
pub(super) async fn show(State(pages): State<Pages>, visitor: Visitor) -> Response {
    let Some(session) = &visitor.session else { return see_other("/signin?to=connections") };
    let connections = match pages.consents.connections(session).await {
        Ok(connections) => connections,
        Err(why) => return refused(&why, &visitor.request_id),
    };
    match present(&pages, visitor.visit()).await {
        Ok(present) => page(&visitor.request_id, "Your connections", html! { (list(session, &connections)) (present) }),
        Err(instead) => instead,
    }
}

/// POST: to the page of a consent.
pub(super) async fn connect(State(pages): State<Pages>, form: Posted) -> Response {
    match pages.consents.connect(form.field("server"), &form.session).await {
        Ok(link) => see_other(&format!("/connect/{}", link.id)),
        Err(why) => recorded(&pages, &why, form.source, form.visit()).await,
    }
}

/// POST: ends a grant.
pub(super) async fn disconnect(State(pages): State<Pages>, Segment(grant): Segment, form: Posted) -> Response {
    match pages.consents.disconnect(&grant, form.visit()).await {
        Ok(ended) => page(&form.request_id, "Disconnected", farewell(&ended)),
        Err(why) => recorded(&pages, &why, form.source, form.visit()).await,
    }
}

fn list(session: &Session, connections: &Connections) -> Markup {
    html! {
        @if connections.connected.is_empty() { p { "Nothing is connected." } } @else {
            table {
                thead { tr { th { "Provider" } th { "Servers" } th { "Account" } th { "Since" } th { "" } } }
                tbody { @for connection in &connections.connected { (row(session, connection)) } }
            }
        }
        @if !connections.to_connect.is_empty() {
            h2 { "Not connected" }
            table {
                tbody {
                    @for server in &connections.to_connect {
                        tr {
                            td { (server) }
                            td {
                                form method="post" action="/connections/connect" {
                                    (csrf(session))
                                    input type="hidden" name="server" value=(server);
                                    button type="submit" { "Connect " (server) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn row(session: &Session, connection: &Connection) -> Markup {
    let since = connection.since.map(|since| since.to_rfc3339());
    html! {
        tr {
            td {
                (connection.provider.as_deref().unwrap_or("not configured any more"))
                @if let Some(holder) = &connection.holder { br; "as virtual account " (holder) }
                @if let Some(reason) = connection.needs_consent { br; em { "needs your consent again: " (reason) } }
            }
            td { @for server in &connection.servers { (server) br; } }
            td { (connection.account.as_deref().map_or_else(|| "not told".to_owned(), shown)) }
            td { @if let Some(since) = since { time datetime=(since) { (since.get(..10).unwrap_or_default()) } } }
            td {
                form method="post" action={ "/connections/" (connection.id) "/disconnect" } {
                    (csrf(session))
                    button type="submit" { "Disconnect" }
                }
            }
        }
    }
}

fn farewell(ended: &Ended) -> Markup {
    let provider = ended.provider.as_deref().unwrap_or("the provider");
    html! {
        p role="status" { "It is disconnected: no agent can use it any more." }
        (told_at_provider(provider, ended.at_provider, ended.manage_url))
        p { a href="/connections" { "Your connections" } }
    }
}

/// What became of tokens at the provider, and what is left to do.
pub(super) fn told_at_provider(provider: &str, at_provider: AtProvider, manage_url: Option<&str>) -> Markup {
    html! {
        @match at_provider {
            AtProvider::Revoked => p { (provider) " was told, and has ended the access." },
            AtProvider::NoTokens => p { "There was nothing left to end at " (provider) "." },
            AtProvider::Failed | AtProvider::Unsupported => {
                p {
                    (provider) " could not be told, and may still list this gateway among the applications you allowed. \
                     End it there as well."
                }
                @if let Some(url) = manage_url {
                    p { a href=(url) rel="noreferrer" { (url) } }
                }
            }
        }
    }
}
