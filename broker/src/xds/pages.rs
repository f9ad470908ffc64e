//! The broker's own pages behind the gateway: exactly their paths, to a cluster of their own, without the filter.
//!
//! People reach them with a browser and no token, so the filter has nothing to judge there; what else the broker answers
//! on the same listener (metrics, readiness) has no route.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{FilterConfig, Route, RouteAction, RouteMatch};
use envoy_types::util::pack_any;
use url::Host;

use super::cluster::plaintext;
use super::duration;
use crate::http::pages::SOURCE;

/// Cluster and routes are called so. No server is: its cluster is `mcp:<group>/<name>`.
const PAGES: &str = "sallyport-pages";

/// The filter's name in the bootstrap's `http_filters`.
const FILTER: &str = "sallyport";

/// A token endpoint may be slow, and the browser waits for it.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What a client could write as if a gateway had: none of it is believed. `X-Forwarded-Proto` is not here, since Envoy
/// itself has written it.
const NOT_FOR_PAGES: [&str; 6] =
    ["x-envoy-external-address", "x-envoy-internal", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", SOURCE];

/// Who connected, or who that was by as many proxies before this one as its configuration trusts.
const ADDRESS: &str = "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%";

/// Every path that a browser, or an application that confirms a sign-in, may ask for.
fn paths() -> [PathSpecifier; 7] {
    let (exact, below) =
        (|path: &str| PathSpecifier::Path(path.to_owned()), |path: &str| PathSpecifier::Prefix(path.to_owned()));
    [
        below("/connect/"),
        exact("/connections"),
        below("/connections/"),
        below("/oauth/callback/"),
        exact("/signin"),
        below("/signin/"),
        exact("/signout"),
    ]
}

/// Their routes.
pub(super) fn routes() -> impl Iterator<Item = Route> {
    paths().into_iter().map(|path| Route {
        name: PAGES.to_owned(),
        r#match: Some(RouteMatch { path_specifier: Some(path), ..RouteMatch::default() }),
        action: Some(Action::Route(RouteAction {
            cluster_specifier: Some(ClusterSpecifier::Cluster(PAGES.to_owned())),
            timeout: Some(duration(TIMEOUT)),
            ..RouteAction::default()
        })),
        // Removed first, then set.
        request_headers_to_remove: NOT_FOR_PAGES.map(str::to_owned).to_vec(),
        request_headers_to_add: vec![HeaderValueOption {
            header: Some(HeaderValue { key: SOURCE.to_owned(), value: ADDRESS.to_owned(), ..HeaderValue::default() }),
            append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
            ..HeaderValueOption::default()
        }],
        typed_per_filter_config: HashMap::from([(
            FILTER.to_owned(),
            pack_any(FilterConfig { disabled: true, ..FilterConfig::default() }),
        )]),
        ..Route::default()
    })
}

/// Their cluster: the broker's own HTTP listener.
pub(super) fn cluster(listener: SocketAddr) -> Cluster {
    let host = match listener.ip() {
        // An address to listen on is no address to connect to; Envoy is on the same machine then.
        IpAddr::V4(address) if address.is_unspecified() => Host::Ipv4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(address) if address.is_unspecified() => Host::Ipv6(Ipv6Addr::LOCALHOST),
        IpAddr::V4(address) => Host::Ipv4(address),
        IpAddr::V6(address) => Host::Ipv6(address),
    };
    plaintext(PAGES, &host, listener.port())
}
