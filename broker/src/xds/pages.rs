//! The broker's own pages behind the gateway: exactly their paths, to the brokers, without the filter.
//!
//! People reach them with a browser and no token, so the filter has nothing to judge there. They come by the way that the
//! proxy itself reaches a broker: by whichever broker is there, and with mutual TLS where that is on another machine.

use std::collections::HashMap;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{FilterConfig, Route, RouteAction, RouteMatch};
use envoy_types::util::pack_any;

use super::duration;
use crate::http::pages::SOURCE;

/// The routes are called so. No server is: its route is `<group>/<name>`.
const PAGES: &str = "sallyport-pages";

/// The bootstrap's cluster, by which everything of a proxy reaches a broker.
const BROKERS: &str = "sallyport_broker";

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
            cluster_specifier: Some(ClusterSpecifier::Cluster(BROKERS.to_owned())),
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
