//! One server's Envoy cluster: the only one that may receive its credential, to the origin of its URL and no other (I12).

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, CustomClusterType, DiscoveryType};
use envoy_types::pb::envoy::config::cluster::v3::{CircuitBreakers, Cluster};
use envoy_types::pb::envoy::config::core::v3::{
    self as core, Address, DataSource, Http1ProtocolOptions, Http2ProtocolOptions,
    HttpProtocolOptions as CommonOptions, TransportSocket, address, data_source, socket_address, transport_socket,
};
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};
use envoy_types::pb::envoy::extensions::clusters::common::dns::v3::DnsLookupFamily;
use envoy_types::pb::envoy::extensions::clusters::dns::v3::DnsCluster;
use envoy_types::pb::envoy::extensions::clusters::dns::v3::dns_cluster::RefreshRate;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, SubjectAltNameMatcher, TlsParameters, UpstreamTlsContext,
};
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    AutoHttpConfig, ExplicitHttpConfig, UpstreamProtocolOptions,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher};
use envoy_types::pb::google::protobuf::UInt32Value;
use envoy_types::util::pack_any;
use url::Host;

use super::duration;
use crate::model::Server;

/// Where Debian and its kin keep the system's CA bundle.
const SYSTEM_CA_FILE: &str = "/etc/ssl/certs/ca-certificates.crt";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Below the five seconds after which common servers (uvicorn, Node) close an idle connection: nothing is retried, so a
/// request on a connection that is just being closed would fail.
const UPSTREAM_IDLE: Duration = Duration::from_secs(4);

/// Streams count as requests for as long as they live.
const MAX_REQUESTS: u32 = 4096;

const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// How Envoy reaches upstreams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// CA bundle that upstream certificates are verified with: an absolute path, read by Envoy.
    pub ca_file: PathBuf,
}

impl Upstream {
    /// Verifies with `ca_file`, or the system's bundle.
    pub fn new(ca_file: Option<PathBuf>) -> Self {
        Self { ca_file: ca_file.unwrap_or_else(|| PathBuf::from(SYSTEM_CA_FILE)) }
    }
}

/// Why a server gets neither cluster nor route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unroutable {
    /// Its credential would cross a network in the clear (I12).
    #[error("its url is http beyond loopback: use https, or set `allow_plaintext: true`")]
    Plaintext,
    /// Neither http nor https.
    #[error("its url must begin with https:// or http://")]
    Scheme,
    /// No host or port to connect to.
    #[error("its url has no host")]
    NoHost,
}

/// The cluster of one server.
pub(super) fn cluster(server: &Server, upstream: &Upstream) -> Result<Cluster, Unroutable> {
    let host = server.url.host().ok_or(Unroutable::NoHost)?;
    let port = server.url.port_or_known_default().ok_or(Unroutable::NoHost)?;
    let tls = match server.url.scheme() {
        "https" => true,
        "http" if is_loopback(&host) || server.allow_plaintext => false,
        "http" => return Err(Unroutable::Plaintext),
        _ => return Err(Unroutable::Scheme),
    };
    let connected = connected(&server.cluster(), &host, port, tls);
    Ok(Cluster { transport_socket: tls.then(|| transport_socket(&host, upstream)), ..connected })
}

fn connected(name: &str, host: &Host<&str>, port: u16, tls: bool) -> Cluster {
    let discovery = match host {
        Host::Domain(_) => ClusterDiscoveryType::ClusterType(by_name()),
        Host::Ipv4(_) | Host::Ipv6(_) => ClusterDiscoveryType::Type(DiscoveryType::Static.into()),
    };
    Cluster {
        cluster_discovery_type: Some(discovery),
        connect_timeout: Some(duration(CONNECT_TIMEOUT)),
        load_assignment: Some(endpoint(name, host, port)),
        circuit_breakers: Some(CircuitBreakers {
            thresholds: vec![Thresholds {
                max_connections: Some(UInt32Value { value: MAX_REQUESTS }),
                max_pending_requests: Some(UInt32Value { value: MAX_REQUESTS }),
                max_requests: Some(UInt32Value { value: MAX_REQUESTS }),
                max_retries: Some(UInt32Value { value: 0 }),
                ..Thresholds::default()
            }],
            per_host_thresholds: Vec::new(),
        }),
        typed_extension_protocol_options: HashMap::from([(HTTP_OPTIONS.to_owned(), pack_any(http_options(tls)))]),
        name: name.to_owned(),
        ..Cluster::default()
    }
}

/// Found by DNS, and kept while addresses come and go: an open stream outlives the address it was opened to.
fn by_name() -> CustomClusterType {
    let dns = DnsCluster {
        dns_lookup_family: DnsLookupFamily::V4Preferred.into(),
        respect_dns_ttl: true,
        dns_failure_refresh_rate: Some(RefreshRate {
            base_interval: Some(duration(Duration::from_millis(500))),
            max_interval: Some(duration(Duration::from_secs(5))),
        }),
        all_addresses_in_single_endpoint: true,
        ..DnsCluster::default()
    };
    CustomClusterType { name: "envoy.cluster.dns".to_owned(), typed_config: Some(pack_any(dns)) }
}

/// Loopback by its literal, or the one name reserved for it (RFC 6761 §6.3).
fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

fn endpoint(cluster: &str, host: &Host<&str>, port: u16) -> ClusterLoadAssignment {
    let address = core::SocketAddress {
        address: literal(host),
        port_specifier: Some(socket_address::PortSpecifier::PortValue(port.into())),
        ..core::SocketAddress::default()
    };
    let endpoint = Endpoint {
        address: Some(Address { address: Some(address::Address::SocketAddress(address)) }),
        ..Endpoint::default()
    };
    ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: vec![LocalityLbEndpoints {
            lb_endpoints: vec![LbEndpoint {
                host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(endpoint)),
                ..LbEndpoint::default()
            }],
            ..LocalityLbEndpoints::default()
        }],
        ..ClusterLoadAssignment::default()
    }
}

/// The host as addresses and certificates write it: an IPv6 address without brackets.
fn literal(host: &Host<&str>) -> String {
    match host {
        Host::Domain(name) => (*name).to_owned(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    }
}

/// HTTP/2 where ALPN agrees on it, else HTTP/1.1.
fn http_options(tls: bool) -> HttpProtocolOptions {
    let protocol = if tls {
        UpstreamProtocolOptions::AutoConfig(AutoHttpConfig {
            http_protocol_options: Some(Http1ProtocolOptions::default()),
            http2_protocol_options: Some(Http2ProtocolOptions::default()),
            ..AutoHttpConfig::default()
        })
    } else {
        UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions::default())),
        })
    };
    HttpProtocolOptions {
        common_http_protocol_options: Some(CommonOptions {
            idle_timeout: Some(duration(UPSTREAM_IDLE)),
            ..CommonOptions::default()
        }),
        upstream_protocol_options: Some(protocol),
        ..HttpProtocolOptions::default()
    }
}

/// TLS that accepts exactly the host of the URL, from the given authorities, at 1.2 or above.
fn transport_socket(host: &Host<&str>, upstream: &Upstream) -> TransportSocket {
    let (san_type, sni) = match host {
        Host::Domain(name) => (SanType::Dns, (*name).to_owned()),
        // RFC 6066 §3: an address is no server name.
        Host::Ipv4(_) | Host::Ipv6(_) => (SanType::IpAddress, String::new()),
    };
    let validation = CertificateValidationContext {
        trusted_ca: Some(DataSource {
            specifier: Some(data_source::Specifier::Filename(upstream.ca_file.to_string_lossy().into_owned())),
            ..DataSource::default()
        }),
        match_typed_subject_alt_names: vec![SubjectAltNameMatcher {
            san_type: san_type.into(),
            matcher: Some(StringMatcher {
                match_pattern: Some(string_matcher::MatchPattern::Exact(literal(host))),
                ..StringMatcher::default()
            }),
            ..SubjectAltNameMatcher::default()
        }],
        ..CertificateValidationContext::default()
    };
    let context = UpstreamTlsContext {
        sni,
        common_tls_context: Some(CommonTlsContext {
            tls_params: Some(TlsParameters {
                tls_minimum_protocol_version: TlsProtocol::TlSv12.into(),
                tls_maximum_protocol_version: TlsProtocol::TlSv13.into(),
                ..TlsParameters::default()
            }),
            validation_context_type: Some(ValidationContextType::ValidationContext(validation)),
            ..CommonTlsContext::default()
        }),
        ..UpstreamTlsContext::default()
    };
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(pack_any(context))),
    }
}
