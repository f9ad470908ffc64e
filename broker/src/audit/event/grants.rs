//! Consents, and the grants that come of them, until they end.

use std::time::Duration;

use super::{Actor, Call, Event, EventName, Outcome};
use crate::model::{Generation, PrincipalId};

impl Event {
    /// A person set out for the provider, so that `holder` gets a grant.
    pub fn consent_started(actor: Actor, holder: PrincipalId, call: Call, grant: &str) -> Self {
        Self {
            actor: Some(actor),
            on_behalf_of: Some(holder),
            call,
            grant: Some(grant.to_owned()),
            ..Self::new(EventName::ConsentStarted, Outcome::Success)
        }
    }

    /// A person agreed: `holder` has this generation of the grant.
    pub fn consent_finished(
        actor: Actor,
        holder: PrincipalId,
        call: Call,
        grant: &str,
        generation: Generation,
        provider_account: Option<String>,
    ) -> Self {
        Self {
            name: EventName::ConsentFinished,
            // Whether it is the account of the consent before cannot be told then.
            reason: provider_account.is_none().then(|| "account_not_told".to_owned()),
            generation: Some(generation),
            provider_account,
            ..Self::consent_started(actor, holder, call, grant)
        }
    }

    /// A consent came to nothing. `reason` is a code; who it was and whose it was to be, as far as that is known.
    pub fn consent_refused(actor: Option<Actor>, holder: Option<PrincipalId>, call: Call, reason: &str) -> Self {
        Self {
            reason: Some(reason.to_owned()),
            actor,
            on_behalf_of: holder,
            call,
            ..Self::new(EventName::ConsentRefused, Outcome::Refused)
        }
    }

    /// A refresh gave this generation without these scopes, which were agreed to.
    pub fn grant_narrowed(grant: &str, generation: Generation, provider_account: &str, lost: &[String]) -> Self {
        Self {
            name: EventName::GrantNarrowed,
            call: Call { target: lost.join(" "), ..Call::default() },
            ..Self::refresh_done(grant, generation, provider_account, Duration::ZERO)
        }
    }

    /// Somebody is ending a grant of `holder`; `reason` is a code that says on whose account.
    pub fn grant_ending(
        actor: Actor,
        holder: PrincipalId,
        call: Call,
        grant: &str,
        generation: Generation,
        reason: &str,
    ) -> Self {
        Self { name: EventName::GrantEnding, ..Self::grant_revoked(actor, holder, call, grant, generation, reason) }
    }

    /// Somebody ended this generation of a grant of `holder`; `reason` is a code that says what the provider did.
    pub fn grant_revoked(
        actor: Actor,
        holder: PrincipalId,
        call: Call,
        grant: &str,
        generation: Generation,
        reason: &str,
    ) -> Self {
        Self {
            name: EventName::GrantRevoked,
            reason: Some(reason.to_owned()),
            generation: Some(generation),
            ..Self::consent_started(actor, holder, call, grant)
        }
    }

    /// An operator asked for the successor of this generation of a grant of `holder`; `reason` is a code.
    pub fn refresh_asked(actor: Actor, holder: PrincipalId, grant: &str, generation: Generation, reason: &str) -> Self {
        let call = Call::default();
        Self { name: EventName::RefreshAsked, ..Self::grant_revoked(actor, holder, call, grant, generation, reason) }
    }

    /// A grant has new material: this generation.
    pub fn refresh_done(grant: &str, generation: Generation, provider_account: &str, latency: Duration) -> Self {
        Self {
            grant: Some(grant.to_owned()),
            generation: Some(generation),
            provider_account: Some(provider_account.to_owned()),
            latency: Some(latency),
            ..Self::new(EventName::RefreshDone, Outcome::Success)
        }
    }

    /// A grant has no new material; `generation` is the one it has (0 for none). `reason` is a code.
    pub fn refresh_failed(
        grant: &str,
        generation: Generation,
        provider_account: &str,
        reason: &str,
        latency: Duration,
    ) -> Self {
        Self {
            reason: Some(reason.to_owned()),
            ..Self {
                name: EventName::RefreshFailed,
                outcome: Outcome::Failure,
                ..Self::refresh_done(grant, generation, provider_account, latency)
            }
        }
    }
}
