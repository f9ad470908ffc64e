//! What can happen: one constructor for each kind of event (below, by whom it is about), so that none lacks what its kind must say.
//!
//! No field takes a `Secret`; secrets are named by handle, grant, generation and fingerprint (I9).

mod calls;
mod grants;
mod name;
mod operations;
mod people;

use std::time::Duration;

use crate::clock::UnixTime;
use crate::fingerprints::Fingerprint;
use crate::model::{Generation, PrincipalId};

pub use name::EventName;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was tried and did not work.
    Failure,
    /// It was not allowed.
    Refused,
    /// It was done.
    Success,
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Actor {
    /// Exact `iss` of the caller's token; `unix` for an operator at the admin socket.
    pub issuer: String,
    /// Its subject; the user id of an operator.
    pub subject: String,
    /// OAuth client the token was issued to, if it says.
    pub client_id: Option<String>,
}

impl Actor {
    /// A Unix user at the admin socket.
    pub fn operator(uid: u32) -> Self {
        Self { issuer: "unix".to_owned(), subject: uid.to_string(), client_id: None }
    }

    /// `<issuer>#<subject>`: what records are searched by.
    pub fn key(&self) -> String {
        format!("{}#{}", self.issuer, self.subject)
    }
}

/// The call an event is about, as the proxy tells it, but for who that proxy is; what it does not tell stays empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Who the proxy is, as its connection proves it.
    pub peer: String,
    /// Envoy's node id, as the proxy says.
    pub proxy: String,
    /// Version of its filter.
    pub filter_version: String,
    /// Where the request came from.
    pub source_address: String,
    /// Envoy's request id.
    pub request_id: String,
    /// W3C trace context.
    pub traceparent: String,
    /// `<group>/<name>`.
    pub server: String,
    /// JSON-RPC method.
    pub method: String,
    /// Tool, prompt or resource.
    pub target: String,
}

/// What policy said, and in which version.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PolicyDecision {
    /// Revision of the manifests it was taken from.
    pub version: u64,
    /// The subject that matched, or why none did.
    pub rule: String,
}

/// One release of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Names it in reports of use.
    pub use_handle: String,
    /// Record id of the grant; `None` where the server's credential is no grant.
    pub grant: Option<String>,
    /// Generation of the grant.
    pub generation: Option<Generation>,
    /// Secrets in the server's headers: `<reference>#<generation>` each.
    pub secrets: Vec<String>,
    /// Of each value that is released: the access token, the secrets in the server's headers, or the token passed through.
    pub fingerprints: Vec<Fingerprint>,
    /// Account at the provider that the upstream sees.
    pub provider_account: Option<String>,
}

/// Reports of one worker that did not come.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ReportSpan {
    /// VM of the proxy.
    pub worker: String,
    /// Start of that VM, Unix milliseconds.
    pub epoch: UnixTime,
    /// First missing number.
    pub first: u64,
    /// Last missing number.
    pub last: u64,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub(super) name: EventName,
    pub(super) outcome: Outcome,
    pub(super) reason: Option<String>,
    /// When, if not now: a proxy reports what is up to a second past.
    pub(super) at: Option<UnixTime>,
    pub(super) actor: Option<Actor>,
    pub(super) on_behalf_of: Option<PrincipalId>,
    pub(super) call: Call,
    pub(super) policy: Option<PolicyDecision>,
    pub(super) use_handle: Option<String>,
    pub(super) grant: Option<String>,
    pub(super) generation: Option<Generation>,
    pub(super) secrets: Vec<String>,
    pub(super) fingerprints: Vec<Fingerprint>,
    pub(super) provider_account: Option<String>,
    pub(super) latency: Option<Duration>,
    pub(super) report: Option<ReportSpan>,
    /// Of how many things, if not of one.
    pub(super) count: Option<u64>,
}

impl Event {
    fn new(name: EventName, outcome: Outcome) -> Self {
        Self {
            name,
            outcome,
            reason: None,
            at: None,
            actor: None,
            on_behalf_of: None,
            call: Call::default(),
            policy: None,
            use_handle: None,
            grant: None,
            generation: None,
            secrets: Vec::new(),
            fingerprints: Vec::new(),
            provider_account: None,
            latency: None,
            report: None,
            count: None,
        }
    }

    fn with_release(self, release: Release) -> Self {
        Self {
            use_handle: Some(release.use_handle),
            grant: release.grant,
            generation: release.generation,
            secrets: release.secrets,
            fingerprints: release.fingerprints,
            provider_account: release.provider_account,
            ..self
        }
    }
}
