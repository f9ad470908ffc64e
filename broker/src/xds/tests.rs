use super::resources::Kind;
use super::*;
use crate::model::{Auth, Server, ServerName};
use crate::peer::{Peer, PeerIdentity};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::{ClusterSpecifier, HostRewriteSpecifier};
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{FilterConfig, Route, RouteConfiguration};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::UpstreamTlsContext;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::google::rpc::Status as RpcStatus;
use prost::{Message, Name};

fn server(name: &str, url: &str) -> Server {
    Server {
        name: ServerName(name.to_owned()),
        url: url.parse().unwrap(),
        auth: Auth::None,
        subjects: Vec::new(),
        allow_plaintext: false,
        revision: "1".to_owned(),
    }
}

fn upstream() -> Upstream {
    Upstream::new(None)
}

fn servers(revision: u64, servers: &[Server]) -> Arc<Servers> {
    let by_name = servers.iter().map(|server| (server.name.clone(), Arc::new(server.clone()))).collect();
    Arc::new(Servers { revision, by_name, ..Servers::default() })
}

fn resources(revision: u64, list: &[Server]) -> Arc<Resources> {
    Arc::new(Resources::new(&servers(revision, list), &upstream(), &Scope::Every))
}

fn routes_of(resources: &Resources) -> Vec<Route> {
    let mut routes = RouteConfiguration::decode(resources.of(Kind::Routes).resources[0].value.as_slice()).unwrap();
    routes.virtual_hosts.remove(0).routes
}

fn names_of_clusters(resources: &Resources) -> Vec<String> {
    let clusters = &resources.of(Kind::Clusters).resources;
    clusters.iter().map(|cluster| Cluster::decode(cluster.value.as_slice()).unwrap().name).collect()
}

fn cluster(url: &str) -> Result<Cluster, Unroutable> {
    super::cluster::cluster(&server("demo/echo", url), &upstream())
}

fn tls(cluster: &Cluster) -> Option<UpstreamTlsContext> {
    match cluster.transport_socket.clone()?.config_type? {
        ConfigType::TypedConfig(any) => Some(UpstreamTlsContext::decode(any.value.as_slice()).unwrap()),
    }
}

fn ask(kind: Kind, names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        type_url: kind.type_url(),
        resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..DiscoveryRequest::default()
    }
}

fn accept(kind: Kind, names: &[&str], response: &DiscoveryResponse) -> DiscoveryRequest {
    DiscoveryRequest {
        version_info: response.version_info.clone(),
        response_nonce: response.nonce.clone(),
        ..ask(kind, names)
    }
}

#[test]
fn i12_a_cluster_verifies_authority_name_and_version() {
    let cluster = cluster("https://mcp.example.com/mcp").unwrap();
    let tls = tls(&cluster).unwrap();
    assert_eq!(tls.sni, "mcp.example.com");
    let common = tls.common_tls_context.unwrap();
    assert_eq!(common.tls_params.unwrap().tls_minimum_protocol_version, 3);
    let Some(ValidationContextType::ValidationContext(validation)) = common.validation_context_type else {
        panic!("no validation context");
    };
    assert!(validation.trusted_ca.is_some());
    let name = validation.match_typed_subject_alt_names[0].clone();
    assert_eq!(name.san_type, 2);
    assert_eq!(name.matcher.unwrap().match_pattern, Some(MatchPattern::Exact("mcp.example.com".to_owned())));
}

#[test]
fn i12_an_address_is_verified_as_an_address_and_is_no_server_name() {
    let cluster = cluster("https://[2001:db8::1]:8443/mcp").unwrap();
    assert_eq!(cluster.cluster_discovery_type, Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into())));
    let tls = tls(&cluster).unwrap();
    assert_eq!(tls.sni, "");
    let Some(ValidationContextType::ValidationContext(validation)) =
        tls.common_tls_context.unwrap().validation_context_type
    else {
        panic!("no validation context");
    };
    let name = validation.match_typed_subject_alt_names[0].clone();
    assert_eq!(
        (name.san_type, name.matcher.unwrap().match_pattern),
        (4, Some(MatchPattern::Exact("2001:db8::1".to_owned())))
    );
}

#[test]
fn i12_refuses_plaintext_beyond_loopback() {
    for url in ["http://mcp.example.com/", "http://10.0.0.1/", "http://[2001:db8::1]/", "http://localhost.example.com/"]
    {
        assert_eq!(cluster(url), Err(Unroutable::Plaintext), "{url}");
    }
    for url in ["http://127.0.0.1:9000/", "http://[::1]:9000/", "http://localhost:9000/"] {
        assert_eq!(tls(&cluster(url).unwrap()), None, "{url}");
    }
    let allowed = Server { allow_plaintext: true, ..server("demo/echo", "http://mcp.example.com/") };
    assert!(super::cluster::cluster(&allowed, &upstream()).is_ok());
}

#[test]
fn refuses_other_schemes() {
    assert_eq!(cluster("ftp://mcp.example.com/"), Err(Unroutable::Scheme));
    assert_eq!(cluster("unix:/run/mcp.sock"), Err(Unroutable::NoHost));
}

#[test]
fn i12_an_unroutable_server_has_neither_cluster_nor_route() {
    let resources =
        resources(1, &[server("demo/bad", "http://mcp.example.com/"), server("demo/echo", "http://127.0.0.1:1/")]);
    assert_eq!(names_of_clusters(&resources), ["mcp:demo/echo"]);
    let routes = routes_of(&resources);
    let names: Vec<_> =
        routes.iter().map(|route| route.name.as_str()).filter(|name| *name != "sallyport-pages").collect();
    assert_eq!(names, ["demo/echo", "nothing"]);
}

#[test]
fn a_route_leads_to_the_servers_own_cluster_host_and_path_and_nothing_is_retried() {
    let resources = resources(1, &[server("demo/echo", "https://mcp.example.com:8443/v1/mcp?k=1")]);
    let route = routes_of(&resources).swap_remove(0);
    for removed in ["x-forwarded-for", "x-forwarded-proto", "x-tfy-mcp-headers", "x-upstream-authorization"] {
        assert!(route.request_headers_to_remove.iter().any(|name| name == removed), "{removed}");
    }
    let Some(Action::Route(action)) = route.action else { panic!("not a route") };
    assert_eq!(action.cluster_specifier, Some(ClusterSpecifier::Cluster("mcp:demo/echo".to_owned())));
    let host = HostRewriteSpecifier::HostRewriteLiteral("mcp.example.com:8443".to_owned());
    assert_eq!(action.host_rewrite_specifier, Some(host));
    assert_eq!(action.prefix_rewrite, "/v1/mcp?k=1");
    assert_eq!(action.retry_policy, None);
    assert_eq!(action.timeout, Some(duration(Duration::ZERO)));
}

#[test]
fn what_is_not_a_server_is_not_found() {
    let last = routes_of(&resources(0, &[])).pop().unwrap();
    assert!(matches!(&last.action, Some(Action::DirectResponse(answer)) if answer.status == 404));
}

#[test]
fn the_filter_is_off_for_the_pages_and_for_nothing_else() {
    let resources = resources(1, &[server("demo/echo", "https://mcp.example.com/mcp")]);
    let (mut exact, mut below) = (Vec::new(), Vec::new());
    for route in routes_of(&resources) {
        if route.name != "sallyport-pages" {
            assert!(route.typed_per_filter_config.is_empty(), "{}", route.name);
            continue;
        }
        let config = &route.typed_per_filter_config["sallyport"];
        assert_eq!(config.type_url, FilterConfig::type_url());
        let expected = FilterConfig { disabled: true, ..FilterConfig::default() };
        assert_eq!(FilterConfig::decode(config.value.as_slice()).unwrap(), expected);
        let Some(Action::Route(action)) = route.action else { panic!("not a route") };
        assert_eq!(action.cluster_specifier, Some(ClusterSpecifier::Cluster("sallyport_broker".to_owned())));
        // Host and path go on as they came.
        assert_eq!((action.host_rewrite_specifier, action.prefix_rewrite.as_str()), (None, ""));
        match route.r#match.unwrap().path_specifier.unwrap() {
            PathSpecifier::Path(path) => exact.push(path),
            PathSpecifier::Prefix(path) => below.push(path),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(exact, ["/connections", "/signin", "/signout"]);
    assert_eq!(below, ["/connect/", "/connections/", "/oauth/callback/", "/signin/"]);
}

#[test]
fn sends_what_changed_and_nothing_else() {
    let one = [server("demo/echo", "http://127.0.0.1:1/")];
    let mut subscriptions = Subscriptions::new(resources(1, &one));
    let clusters = subscriptions.request(&ask(Kind::Clusters, &[])).1.unwrap();
    let routes = subscriptions.request(&ask(Kind::Routes, &["sallyport"])).1.unwrap();
    assert_eq!(
        subscriptions.request(&accept(Kind::Clusters, &[], &clusters)),
        (Answer::Accepted(Kind::Clusters), None)
    );
    assert_eq!(
        subscriptions.request(&accept(Kind::Routes, &["sallyport"], &routes)),
        (Answer::Accepted(Kind::Routes), None)
    );
    // A new revision of the same content.
    assert_eq!(subscriptions.changed(resources(2, &one)), []);
    // Another port: the cluster and the host it is called by.
    let moved = subscriptions.changed(resources(3, &[server("demo/echo", "http://127.0.0.1:2/")]));
    assert_eq!(moved.iter().map(|r| r.type_url.clone()).collect::<Vec<_>>(), Kind::ALL.map(Kind::type_url));
    assert!(moved[0].version_info.starts_with("3-"));
    // Another path: the route only.
    let renamed = subscriptions.changed(resources(4, &[server("demo/echo", "http://127.0.0.1:2/x")]));
    assert_eq!(renamed.iter().map(|r| r.type_url.clone()).collect::<Vec<_>>(), [Kind::Routes.type_url()]);
}

#[test]
fn a_refused_update_is_not_sent_again_and_the_next_one_is() {
    let mut subscriptions = Subscriptions::new(resources(1, &[]));
    let sent = subscriptions.request(&ask(Kind::Clusters, &[])).1.unwrap();
    let refusal = DiscoveryRequest {
        error_detail: Some(RpcStatus { message: "no".to_owned(), ..RpcStatus::default() }),
        version_info: String::new(),
        ..accept(Kind::Clusters, &[], &sent)
    };
    assert_eq!(subscriptions.request(&refusal), (Answer::Refused(Kind::Clusters, "no".to_owned()), None));
    assert_eq!(subscriptions.changed(resources(2, &[])), []);
    assert_eq!(subscriptions.changed(resources(3, &[server("demo/echo", "http://127.0.0.1:1/")])).len(), 1);
}

#[test]
fn an_overtaken_answer_changes_nothing() {
    let mut subscriptions = Subscriptions::new(resources(1, &[]));
    let first = subscriptions.request(&ask(Kind::Clusters, &[])).1.unwrap();
    let second = subscriptions.changed(resources(2, &[server("demo/echo", "http://127.0.0.1:1/")])).remove(0);
    assert_eq!(subscriptions.request(&accept(Kind::Clusters, &[], &first)), (Answer::Nothing, None));
    assert_eq!(subscriptions.request(&accept(Kind::Clusters, &[], &second)), (Answer::Accepted(Kind::Clusters), None));
}

#[test]
fn an_envoy_that_comes_back_is_sent_only_what_it_lacks() {
    let servers = [server("demo/echo", "http://127.0.0.1:1/")];
    let held = Subscriptions::new(resources(1, &servers)).request(&ask(Kind::Clusters, &[])).1.unwrap();
    let back = DiscoveryRequest { version_info: held.version_info.clone(), ..ask(Kind::Clusters, &[]) };
    assert_eq!(Subscriptions::new(resources(1, &servers)).request(&back).1, None);
    assert!(Subscriptions::new(resources(2, &[])).request(&back).1.is_some());
}

#[test]
fn unknown_types_and_names_are_sent_nothing() {
    let mut subscriptions = Subscriptions::new(resources(1, &[]));
    let other = DiscoveryRequest { type_url: "type.googleapis.com/other".to_owned(), ..DiscoveryRequest::default() };
    assert_eq!(subscriptions.request(&other), (Answer::Unknown, None));
    assert_eq!(subscriptions.request(&ask(Kind::Routes, &["another"])).1, None);
    assert_eq!(subscriptions.request(&ask(Kind::Routes, &[])).1, None);
}

/// Serves on a socket of its own, and a client of the same protocol as Envoy's: a proxy of this scope, or nobody.
async fn served(
    resources: watch::Receiver<Arc<ByScope>>,
    scope: Option<Scope>,
    shutdown: &CancellationToken,
    directory: &std::path::Path,
) -> AggregatedDiscoveryServiceClient<tonic::transport::Channel> {
    let socket = directory.join("ads.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let peer = scope.map(|scope| Arc::new(Peer { identity: PeerIdentity::Uid(101), scope }));
    let service = Ads::new(resources, shutdown.clone());
    let service = AggregatedDiscoveryServiceServer::with_interceptor(service, move |mut request: Request<()>| {
        peer.clone().map(|peer| request.extensions_mut().insert(peer));
        Ok(request)
    });
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(tokio_stream::wrappers::UnixListenerStream::new(listener)),
    );
    let channel = tonic::transport::Endpoint::from_static("http://broker")
        .connect_with_connector(tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { tokio::net::UnixStream::connect(socket).await.map(hyper_util::rt::TokioIo::new) }
        }))
        .await
        .unwrap();
    AggregatedDiscoveryServiceClient::new(channel)
}

#[tokio::test]
async fn a_new_server_is_sent_at_once_and_shutdown_ends_the_stream() {
    let directory = tempfile::tempdir().unwrap();
    let one = server("demo/echo", "http://127.0.0.1:1/");
    let (registry, watched) = watch::channel(servers(1, std::slice::from_ref(&one)));
    let resources = follow(watched, upstream(), vec![Scope::Every]);
    let shutdown = CancellationToken::new();
    let mut client = served(resources, Some(Scope::Every), &shutdown, directory.path()).await;
    let (requests, receiver) = mpsc::channel(4);
    requests.send(ask(Kind::Clusters, &[])).await.unwrap();
    requests.send(ask(Kind::Routes, &["sallyport"])).await.unwrap();
    let mut responses = client.stream_aggregated_resources(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    for kind in Kind::ALL {
        let response = responses.message().await.unwrap().unwrap();
        assert_eq!((response.type_url.clone(), response.resources.len()), (kind.type_url(), 1));
        requests.send(accept(kind, if kind == Kind::Routes { &["sallyport"] } else { &[] }, &response)).await.unwrap();
    }
    registry.send_replace(servers(2, &[one, server("demo/new", "http://127.0.0.1:2/")]));
    let clusters = responses.message().await.unwrap().unwrap();
    assert_eq!((clusters.type_url.clone(), clusters.resources.len()), (Kind::Clusters.type_url(), 2));
    assert_eq!(responses.message().await.unwrap().unwrap().type_url, Kind::Routes.type_url());
    shutdown.cancel();
    assert_eq!(responses.message().await.unwrap(), None);
}

#[tokio::test]
async fn delta_is_refused_with_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let (_servers, resources) = watch::channel(Arc::default());
    let mut client = served(resources, Some(Scope::Every), &CancellationToken::new(), directory.path()).await;
    let refusal = client.delta_aggregated_resources(tokio_stream::empty()).await.unwrap_err();
    assert_eq!(refusal.code(), tonic::Code::Unimplemented);
    assert!(refusal.message().contains("api_type: GRPC"));
}

#[tokio::test]
async fn i3_a_proxy_is_sent_the_clusters_of_its_groups_and_nobody_is_sent_anything() {
    let directory = tempfile::tempdir().unwrap();
    let all = [server("pay/ledger", "http://127.0.0.1:1/"), server("payroll/ledger", "http://127.0.0.1:2/")];
    let (_registry, watched) = watch::channel(servers(1, &all));
    let pay = Scope::Groups(["pay".to_owned()].into());
    let resources = follow(watched, upstream(), vec![pay.clone()]);
    let shutdown = CancellationToken::new();
    for (index, (scope, told)) in
        [(Some(pay), true), (Some(Scope::Every), false), (None, false)].into_iter().enumerate()
    {
        let directory = directory.path().join(index.to_string());
        std::fs::create_dir(&directory).unwrap();
        let mut client = served(resources.clone(), scope, &shutdown, &directory).await;
        let (requests, receiver) = mpsc::channel(4);
        requests.send(ask(Kind::Clusters, &[])).await.unwrap();
        let answer = client.stream_aggregated_resources(ReceiverStream::new(receiver)).await;
        assert_eq!(answer.is_ok(), told);
        let Ok(responses) = answer else { continue };
        let response = responses.into_inner().message().await.unwrap().unwrap();
        let clusters = response.resources.iter().map(|any| Cluster::decode(any.value.as_slice()).unwrap().name);
        let clusters: Vec<_> = clusters.collect();
        assert!(clusters.iter().any(|name| name.contains("pay/ledger")), "{clusters:?}");
        assert!(!clusters.iter().any(|name| name.contains("payroll")), "{clusters:?}");
    }
}
