//! What Envoy is to have, versioned by type.

use envoy_types::pb::google::protobuf::Any;
use envoy_types::util::pack_any;
use prost::Name;
use sha2::{Digest, Sha256};

use super::cluster::{Upstream, cluster};
use super::route::{ROUTES, routes};
use crate::keys;
use crate::model::Servers;
use crate::peer::Scope;

/// The types this server knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// CDS. Sent first, so that a route never names a cluster Envoy has not heard of.
    Clusters,
    /// RDS.
    Routes,
}

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::Clusters, Self::Routes];

    pub(super) fn type_url(self) -> String {
        match self {
            Self::Clusters => envoy_types::pb::envoy::config::cluster::v3::Cluster::type_url(),
            Self::Routes => envoy_types::pb::envoy::config::route::v3::RouteConfiguration::type_url(),
        }
    }

    pub(super) fn of(type_url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == type_url)
    }

    /// Short name, for logs and metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Clusters => "clusters",
            Self::Routes => "routes",
        }
    }

    /// Whether a subscription to `names` wants it. No name means everything, for clusters only.
    pub(super) fn wanted(self, names: &[String]) -> bool {
        match self {
            Self::Clusters => names.is_empty() || names.iter().any(|name| name == "*"),
            Self::Routes => names.iter().any(|name| name == ROUTES),
        }
    }
}

/// All resources of one type.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Set {
    /// `<registry revision>-<digest of the content>`.
    pub(super) version: String,
    pub(super) resources: Vec<Any>,
}

impl Set {
    /// Equal content gives equal digests: the only maps in it have one entry.
    fn new(revision: u64, resources: Vec<Any>) -> Self {
        let mut digest = Sha256::new();
        for resource in &resources {
            digest.update((resource.value.len() as u64).to_be_bytes());
            digest.update(&resource.value);
        }
        let digest = keys::hex(&digest.finalize()[..8]);
        Self { version: format!("{revision}-{digest}"), resources }
    }

    /// Whether `version` names this content, at whatever revision: what has not changed is not sent again.
    pub(super) fn is(&self, version: &str) -> bool {
        match (self.version.rsplit_once('-'), version.rsplit_once('-')) {
            (Some((_, mine)), Some((_, theirs))) => mine == theirs,
            _ => false,
        }
    }
}

/// Everything an Envoy of one scope is to have at one revision of the registry.
#[derive(Clone, Debug, PartialEq)]
pub struct Resources {
    clusters: Set,
    routes: Set,
}

impl Resources {
    /// Renders the servers, in order of name. One that may not be routed to is left out, and so answers 404; the log
    /// says why.
    pub fn new(servers: &Servers, upstream: &Upstream, scope: &Scope) -> Self {
        let (routable, clusters): (Vec<_>, Vec<_>) = servers
            .by_name
            .values()
            .filter(|server| scope.serves(&server.name))
            .filter_map(|server| match cluster(server, upstream) {
                Ok(cluster) => Some((server.as_ref(), pack_any(cluster))),
                Err(reason) => {
                    tracing::error!(server = %server.name, %reason, "server is not served");
                    None
                }
            })
            .unzip();
        let routes = pack_any(routes(routable.into_iter()));
        Self { clusters: Set::new(servers.revision, clusters), routes: Set::new(servers.revision, vec![routes]) }
    }

    pub(super) fn of(&self, kind: Kind) -> &Set {
        match kind {
            Kind::Clusters => &self.clusters,
            Kind::Routes => &self.routes,
        }
    }
}
