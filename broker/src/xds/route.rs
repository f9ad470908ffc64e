//! The one route configuration: every path of every server to its own cluster, the broker's pages, and 404 for all else.

use std::time::Duration;

use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::{ClusterSpecifier, HostRewriteSpecifier};
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{
    DirectResponseAction, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
};
use url::Url;

use super::{duration, pages};
use crate::model::Server;

/// Name that Envoy's listener asks for.
pub(super) const ROUTES: &str = "sallyport";

/// How long a stream may stay silent.
const STREAM_IDLE: Duration = Duration::from_mins(15);

/// What a gateway writes for its own upstreams, and callers' directives to a gateway: none of a server's business.
/// `Authorization` is not here: by now it is the server's credential.
const NOT_FOR_UPSTREAMS: [&str; 8] = [
    "x-envoy-external-address",
    "x-envoy-internal",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-tfy-mcp-headers",
    "x-upstream-authorization",
];

/// The route configuration for these servers.
pub(super) fn routes<'a>(servers: impl Iterator<Item = &'a Server>) -> RouteConfiguration {
    let mut routes: Vec<Route> = servers
        .flat_map(|server| server.paths().into_iter().map(|path| route(server, path)).collect::<Vec<_>>())
        .collect();
    routes.extend(pages::routes());
    routes.push(nothing());
    RouteConfiguration {
        name: ROUTES.to_owned(),
        virtual_hosts: vec![VirtualHost {
            name: ROUTES.to_owned(),
            // The filter judges `Host`.
            domains: vec!["*".to_owned()],
            routes,
            ..VirtualHost::default()
        }],
        ..RouteConfiguration::default()
    }
}

fn route(server: &Server, path: String) -> Route {
    Route {
        name: server.name.to_string(),
        r#match: Some(RouteMatch { path_specifier: Some(PathSpecifier::Path(path)), ..RouteMatch::default() }),
        action: Some(Action::Route(RouteAction {
            cluster_specifier: Some(ClusterSpecifier::Cluster(server.cluster())),
            host_rewrite_specifier: Some(HostRewriteSpecifier::HostRewriteLiteral(authority(&server.url))),
            // The match is exact, so this replaces the whole path.
            prefix_rewrite: server.url[url::Position::BeforePath..url::Position::AfterQuery].to_owned(),
            timeout: Some(duration(Duration::ZERO)),
            idle_timeout: Some(duration(STREAM_IDLE)),
            ..RouteAction::default()
        })),
        request_headers_to_remove: NOT_FOR_UPSTREAMS.map(str::to_owned).to_vec(),
        ..Route::default()
    }
}

/// Host, and port if it is not the scheme's own.
fn authority(url: &Url) -> String {
    url[url::Position::BeforeHost..url::Position::AfterPort].to_owned()
}

/// Reached only by what the filter did not answer itself.
fn nothing() -> Route {
    Route {
        name: "nothing".to_owned(),
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
            ..RouteMatch::default()
        }),
        action: Some(Action::DirectResponse(DirectResponseAction { status: 404, ..DirectResponseAction::default() })),
        ..Route::default()
    }
}
