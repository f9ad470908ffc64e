//! Calls, and the credentials that are released for them.

use std::time::Duration;

use super::{Actor, Call, Event, EventName, Outcome, PolicyDecision, Release, ReportSpan};
use crate::clock::UnixTime;
use crate::model::PrincipalId;
use crate::store::ReportNumber;

impl Event {
    /// A credential is about to be released for `principal`; `reason` is a code that says where it came from.
    pub fn credential_release(
        actor: Actor,
        principal: PrincipalId,
        call: Call,
        policy: PolicyDecision,
        release: Release,
        reason: &str,
        latency: Duration,
    ) -> Self {
        Self {
            reason: Some(reason.to_owned()),
            actor: Some(actor),
            on_behalf_of: Some(principal),
            call,
            policy: Some(policy),
            latency: Some(latency),
            ..Self::new(EventName::CredentialRelease, Outcome::Success).with_release(release)
        }
    }

    /// An upstream refused a credential; `reason` is a code, for example `http_401`.
    pub fn credential_reject(actor: Actor, call: Call, release: Release, reason: &str) -> Self {
        Self {
            reason: Some(reason.to_owned()),
            actor: Some(actor),
            call,
            ..Self::new(EventName::CredentialReject, Outcome::Failure).with_release(release)
        }
    }

    /// A caller was refused: by the broker, or (with `at`) by a proxy that reports it. `reason` is a code.
    pub fn call_refused(
        actor: Option<Actor>,
        call: Call,
        policy: Option<PolicyDecision>,
        reason: &str,
        at: Option<UnixTime>,
    ) -> Self {
        Self {
            reason: Some(reason.to_owned()),
            at,
            actor,
            call,
            policy,
            ..Self::new(EventName::CallRefused, Outcome::Refused)
        }
    }

    /// A caller was refused whose address is `owner`'s, by another subject of the same issuer.
    pub fn call_contested(actor: Actor, owner: PrincipalId, call: Call) -> Self {
        Self { on_behalf_of: Some(owner), ..Self::call_refused(Some(actor), call, None, "identity_contested", None) }
    }

    /// A proxy reports the use of a credential; who used it, and whose account, is in the release of that handle.
    pub fn call_used(actor: Option<Actor>, call: Call, use_handle: &str, at: UnixTime) -> Self {
        Self {
            at: Some(at),
            actor,
            call,
            use_handle: Some(use_handle.to_owned()),
            ..Self::new(EventName::CallUsed, Outcome::Success)
        }
    }

    /// Reports up to `number` are missing from `first` to `last`; or, where the proxy counted them, were dropped.
    pub fn calls_gap(number: &ReportNumber, first: u64, last: u64, reason: &str) -> Self {
        let report = ReportSpan { worker: number.worker.clone(), epoch: number.epoch, first, last };
        Self {
            reason: Some(reason.to_owned()),
            call: Call { peer: number.peer.clone(), proxy: number.proxy.clone(), ..Call::default() },
            report: Some(report),
            ..Self::new(EventName::CallsGap, Outcome::Failure)
        }
    }
}
