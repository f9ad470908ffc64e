//! What one Envoy has asked for, been sent and answered on one stream: state of the world, one response per type.

use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};

use super::resources::{Kind, Resources};

/// What a request said about an earlier response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A first request for its type, or one about a response that has been overtaken.
    Nothing,
    /// Envoy uses this version.
    Accepted(Kind),
    /// Envoy keeps what it had, for this reason.
    Refused(Kind, String),
    /// A type that is not served here.
    Unknown,
}

#[derive(Debug, Default)]
struct Subscription {
    wanted: bool,
    /// Version Envoy was last sent on this stream, or came with.
    version: Option<String>,
    nonce: Option<String>,
}

/// The subscriptions of one stream.
#[derive(Debug)]
pub(super) struct Subscriptions {
    current: Arc<Resources>,
    clusters: Subscription,
    routes: Subscription,
    sent: u64,
}

impl Subscriptions {
    pub(super) fn new(current: Arc<Resources>) -> Self {
        Self { current, clusters: Subscription::default(), routes: Subscription::default(), sent: 0 }
    }

    /// Takes a request in; answers what it meant and what to send now.
    pub(super) fn request(&mut self, request: &DiscoveryRequest) -> (Answer, Option<DiscoveryResponse>) {
        let Some(kind) = Kind::of(&request.type_url) else {
            return (Answer::Unknown, None);
        };
        let subscription = self.of(kind);
        if request.response_nonce.is_empty() {
            // Envoy brings the version it had from an earlier stream; a new one has none.
            subscription.version = Some(request.version_info.clone()).filter(|version| !version.is_empty());
            subscription.nonce = None;
        } else if subscription.nonce.as_ref() != Some(&request.response_nonce) {
            // About a response that another one has overtaken: its refusal is still worth saying.
            let answer = match &request.error_detail {
                Some(error) => Answer::Refused(kind, error.message.clone()),
                None => Answer::Nothing,
            };
            return (answer, None);
        }
        subscription.wanted = kind.wanted(&request.resource_names);
        let answer = match (&request.error_detail, request.response_nonce.is_empty()) {
            // What was refused is not sent again before it changes.
            (Some(error), _) => Answer::Refused(kind, error.message.clone()),
            (None, false) => Answer::Accepted(kind),
            (None, true) => Answer::Nothing,
        };
        (answer, self.due(kind))
    }

    /// Takes new resources in; answers what to send, clusters before routes.
    pub(super) fn changed(&mut self, current: Arc<Resources>) -> Vec<DiscoveryResponse> {
        self.current = current;
        Kind::ALL.into_iter().filter_map(|kind| self.due(kind)).collect()
    }

    fn of(&mut self, kind: Kind) -> &mut Subscription {
        match kind {
            Kind::Clusters => &mut self.clusters,
            Kind::Routes => &mut self.routes,
        }
    }

    /// The response for one type, unless nobody wants it or it was sent.
    fn due(&mut self, kind: Kind) -> Option<DiscoveryResponse> {
        let current = Arc::clone(&self.current);
        let set = current.of(kind);
        let nonce = self.sent.saturating_add(1).to_string();
        let subscription = self.of(kind);
        let sent = subscription.version.as_deref().is_some_and(|version| set.is(version));
        if !subscription.wanted || sent {
            return None;
        }
        subscription.version = Some(set.version.clone());
        subscription.nonce = Some(nonce.clone());
        self.sent = self.sent.saturating_add(1);
        Some(DiscoveryResponse {
            version_info: set.version.clone(),
            resources: set.resources.clone(),
            type_url: kind.type_url(),
            nonce,
            ..DiscoveryResponse::default()
        })
    }
}
