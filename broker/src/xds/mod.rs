//! Envoy's xDS server (ADS, state of the world): routes and clusters of the registered servers.

mod cluster;
mod pages;
mod resources;
mod route;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryService;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

pub use cluster::{Unroutable, Upstream};
pub use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
pub use resources::Resources;
use subscriptions::{Answer, Subscriptions};

use crate::grpc;
use crate::model::Servers;
use crate::peer::Scope;

/// Responses that wait for a slow Envoy; there are two types.
const QUEUE: usize = 4;

/// Envoy's message about a refused update may quote all of it.
const MAX_LOGGED: usize = 2048;

/// What proxies are to have, by what they may serve.
pub type ByScope = HashMap<Scope, Arc<Resources>>;

/// The ADS service. Each stream follows `resources`, and ends with `shutdown`.
#[derive(Clone, Debug)]
pub struct Ads {
    resources: watch::Receiver<Arc<ByScope>>,
    shutdown: CancellationToken,
}

impl Ads {
    /// Serves what `resources` holds and comes to hold.
    pub fn new(resources: watch::Receiver<Arc<ByScope>>, shutdown: CancellationToken) -> Self {
        Self { resources, shutdown }
    }

    /// The gRPC service, for the listeners of proxies.
    pub fn service(self) -> AggregatedDiscoveryServiceServer<Self> {
        AggregatedDiscoveryServiceServer::new(self)
    }
}

/// Keeps resources rendered from the registered servers, on a task of its own, until those are dropped.
pub fn follow(
    mut servers: watch::Receiver<Arc<Servers>>,
    upstream: Upstream,
    scopes: Vec<Scope>,
) -> watch::Receiver<Arc<ByScope>> {
    let render = move |servers: &Servers| {
        let of = |scope: &Scope| (scope.clone(), Arc::new(Resources::new(servers, &upstream, scope)));
        Arc::new(scopes.iter().map(of).collect::<ByScope>())
    };
    let (sender, receiver) = watch::channel(render(&servers.borrow_and_update()));
    tokio::spawn(async move {
        while servers.changed().await.is_ok() {
            let current = Arc::clone(&servers.borrow_and_update());
            sender.send_replace(render(&current));
        }
    });
    receiver
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream = ReceiverStream<Result<DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream = tokio_stream::Empty<Result<DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let scope = grpc::peer(&request)?.scope.clone();
        let resources = self.resources.clone();
        if !resources.borrow().contains_key(&scope) {
            return Err(Status::permission_denied("this proxy may serve nothing"));
        }
        let (responses, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(converse(request.into_inner(), responses, resources, scope, self.shutdown.clone()));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn delta_aggregated_resources(
        &self,
        _request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("set `api_type: GRPC` in ads_config: only state of the world is served"))
    }
}

/// Reads requests and follows changes until either side ends.
async fn converse(
    mut requests: Streaming<DiscoveryRequest>,
    responses: mpsc::Sender<Result<DiscoveryResponse, Status>>,
    mut resources: watch::Receiver<Arc<ByScope>>,
    scope: Scope,
    shutdown: CancellationToken,
) {
    let Some(first) = resources.borrow_and_update().get(&scope).cloned() else { return };
    let streams = metrics::gauge!("sallyport_xds_streams");
    streams.increment(1.0);
    let mut subscriptions = Subscriptions::new(first);
    let mut proxy = String::new();
    loop {
        let due: Vec<DiscoveryResponse> = tokio::select! {
            () = shutdown.cancelled() => break,
            () = responses.closed() => break,
            changed = resources.changed() => match changed {
                Ok(()) => match resources.borrow_and_update().get(&scope) {
                    Some(current) => subscriptions.changed(Arc::clone(current)),
                    None => break,
                },
                Err(_) => break,
            },
            request = requests.message() => match request {
                Ok(Some(request)) => {
                    if let Some(node) = &request.node {
                        proxy.clone_from(&node.id);
                    }
                    let (answer, response) = subscriptions.request(&request);
                    report(&proxy, &request, answer);
                    response.into_iter().collect()
                }
                Ok(None) | Err(_) => break,
            },
        };
        for response in due {
            tracing::debug!(proxy, type_url = response.type_url, version = response.version_info, "sent to Envoy");
            if responses.send(Ok(response)).await.is_err() {
                break;
            }
        }
    }
    streams.decrement(1.0);
}

/// Says in log and metrics what Envoy answered.
fn report(proxy: &str, request: &DiscoveryRequest, answer: Answer) {
    match answer {
        Answer::Nothing => {}
        Answer::Unknown => {
            tracing::warn!(proxy, type_url = request.type_url, "Envoy asks for a type that is not served")
        }
        Answer::Accepted(kind) => {
            metrics::counter!("sallyport_xds_accepted_total", "type" => kind.name()).increment(1);
        }
        Answer::Refused(kind, message) => {
            metrics::counter!("sallyport_xds_refused_total", "type" => kind.name()).increment(1);
            let message: String = message.chars().take(MAX_LOGGED).collect();
            tracing::error!(
                proxy,
                r#type = kind.name(),
                message,
                kept = request.version_info,
                "Envoy refused an update and keeps the one before"
            );
        }
    }
}

fn duration(duration: Duration) -> envoy_types::pb::google::protobuf::Duration {
    envoy_types::pb::google::protobuf::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}
