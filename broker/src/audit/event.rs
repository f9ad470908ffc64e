//! What can happen: one constructor for each kind of event, so that none lacks what its kind must say.
//!
//! No field takes a `Secret`; secrets are named by handle, grant, generation and fingerprint (I9).

use std::time::Duration;

use crate::clock::UnixTime;
use crate::fingerprints::Fingerprint;
use crate::model::{Generation, Identity, PrincipalId};
use crate::store::{ReportNumber, StoredIdentity};

/// Kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventName {
    /// A proxy refused a verified caller, or the broker did.
    CallRefused,
    /// A proxy used a credential that had been released to it.
    CallUsed,
    /// Reports of a proxy are missing.
    CallsGap,
    /// A person agreed, and the grant is stored.
    ConsentFinished,
    /// A consent came to nothing; nothing is stored.
    ConsentRefused,
    /// A person set out for the provider.
    ConsentStarted,
    /// An upstream refused a credential.
    CredentialReject,
    /// A credential was released to a proxy.
    CredentialRelease,
    /// A grant is about to be ended, by its holder or by an operator.
    GrantEnding,
    /// A refresh gave fewer scopes than there were.
    GrantNarrowed,
    /// A grant was ended, and its provider told as far as that can be done.
    GrantRevoked,
    /// An operator said that a subject is somebody who was known before.
    IdentityLink,
    /// An operator said that an address belongs to somebody else now.
    IdentityRelease,
    /// Records were moved to the current master key.
    KeyRewrapped,
    /// The master key was replaced.
    KeyRotated,
    /// What was sealed for somebody, or for all, was destroyed.
    KeyShredded,
    /// That was begun.
    KeyShredding,
    /// Manifests were applied.
    ManifestApply,
    /// A form was not taken; or strangers asked for more than they may, one record for all of a minute.
    PagesRefused,
    /// An operator asked for a refresh.
    RefreshAsked,
    /// A grant was renewed.
    RefreshDone,
    /// A grant could not be renewed.
    RefreshFailed,
    /// A secret of the broker's own was set.
    SecretSet,
    /// Everything was moved here from another store.
    StoreMigrated,
    /// The store was put back from a backup.
    StoreRestored,
    /// A person signed in at a browser.
    SignInDone,
    /// An operator made a link by which a person can sign in.
    SignInLink,
    /// Nobody was signed in.
    SignInRefused,
    /// A person signed out.
    SignOut,
    /// The broker issued a token.
    TokenIssue,
    /// A token was revoked.
    TokenRevoke,
}

impl EventName {
    /// As it stands in the records; never changed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CallRefused => "call.refused",
            Self::CallUsed => "call.used",
            Self::CallsGap => "calls.gap",
            Self::ConsentFinished => "consent.finished",
            Self::ConsentRefused => "consent.refused",
            Self::ConsentStarted => "consent.started",
            Self::CredentialReject => "credential.reject",
            Self::CredentialRelease => "credential.release",
            Self::GrantEnding => "grant.ending",
            Self::GrantNarrowed => "grant.narrowed",
            Self::GrantRevoked => "grant.revoked",
            Self::IdentityLink => "identity.link",
            Self::IdentityRelease => "identity.release",
            Self::KeyRewrapped => "key.rewrapped",
            Self::KeyRotated => "key.rotated",
            Self::KeyShredded => "key.shredded",
            Self::KeyShredding => "key.shredding",
            Self::ManifestApply => "manifest.apply",
            Self::PagesRefused => "pages.refused",
            Self::RefreshAsked => "refresh.asked",
            Self::RefreshDone => "refresh.done",
            Self::RefreshFailed => "refresh.failed",
            Self::SecretSet => "secret.set",
            Self::StoreMigrated => "store.migrated",
            Self::StoreRestored => "store.restored",
            Self::SignInDone => "signin.done",
            Self::SignInLink => "signin.link",
            Self::SignInRefused => "signin.refused",
            Self::SignOut => "signout",
            Self::TokenIssue => "token.issue",
            Self::TokenRevoke => "token.revoke",
        }
    }
}

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

/// The call an event is about, as the proxy tells it; what it does not tell stays empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Envoy's node id.
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
            call: Call { proxy: number.proxy.clone(), ..Call::default() },
            report: Some(report),
            ..Self::new(EventName::CallsGap, Outcome::Failure)
        }
    }

    /// Manifests became revision `revision`.
    pub fn manifest_apply(actor: Actor, revision: u64, names: &[String]) -> Self {
        Self {
            actor: Some(actor),
            call: Call { target: names.join(" "), ..Call::default() },
            policy: Some(PolicyDecision { version: revision, rule: "apply".to_owned() }),
            ..Self::new(EventName::ManifestApply, Outcome::Success)
        }
    }

    /// The master key was replaced by this one.
    pub fn key_rotated(actor: Actor, key: &str) -> Self {
        Self {
            actor: Some(actor),
            call: Call { target: key.to_owned(), ..Call::default() },
            ..Self::new(EventName::KeyRotated, Outcome::Success)
        }
    }

    /// So many stored secrets were moved to this master key.
    pub fn key_rewrapped(actor: Actor, key: &str, fields: u64) -> Self {
        Self {
            actor: Some(actor),
            call: Call { target: key.to_owned(), ..Call::default() },
            reason: Some(format!("{fields} fields")),
            ..Self::new(EventName::KeyRewrapped, Outcome::Success)
        }
    }

    /// What is sealed for this principal, or for the whole tenant, is being destroyed: so many fields.
    pub fn key_shredding(actor: Actor, whose: Option<PrincipalId>, fields: u64) -> Self {
        Self::shred(EventName::KeyShredding, actor, whose, fields)
    }

    /// It is gone.
    pub fn key_shredded(actor: Actor, whose: Option<PrincipalId>, fields: u64) -> Self {
        Self::shred(EventName::KeyShredded, actor, whose, fields)
    }

    fn shred(name: EventName, actor: Actor, whose: Option<PrincipalId>, fields: u64) -> Self {
        let target = if whose.is_none() { "tenant".to_owned() } else { String::new() };
        Self {
            actor: Some(actor),
            on_behalf_of: whose,
            call: Call { target, ..Call::default() },
            reason: Some(format!("{fields} fields")),
            ..Self::new(name, Outcome::Success)
        }
    }

    /// Everything was moved here: so many records from this store.
    pub fn store_migrated(actor: Actor, source: &str, records: u64) -> Self {
        Self {
            actor: Some(actor),
            call: Call { target: source.to_owned(), ..Call::default() },
            reason: Some(format!("{records} records")),
            ..Self::new(EventName::StoreMigrated, Outcome::Success)
        }
    }

    /// The store was put back from a backup whose audit ended here.
    pub fn store_restored(actor: Actor, sequence: u64) -> Self {
        Self {
            actor: Some(actor),
            reason: Some(format!("audit up to {sequence}")),
            ..Self::new(EventName::StoreRestored, Outcome::Success)
        }
    }

    /// A secret of the broker's own got a value; `reference` is its name.
    pub fn secret_set(actor: Actor, reference: &str, generation: Generation) -> Self {
        Self {
            actor: Some(actor),
            call: Call { target: reference.to_owned(), ..Call::default() },
            generation: Some(generation),
            ..Self::new(EventName::SecretSet, Outcome::Success)
        }
    }

    /// A person signed in, through what the actor says.
    pub fn signed_in(actor: Actor, request_id: &str) -> Self {
        Self {
            actor: Some(actor),
            call: Call { request_id: request_id.to_owned(), ..Call::default() },
            ..Self::new(EventName::SignInDone, Outcome::Success)
        }
    }

    /// A person signed out.
    pub fn signed_out(actor: Actor, request_id: &str) -> Self {
        Self { name: EventName::SignOut, ..Self::signed_in(actor, request_id) }
    }

    /// Nobody was signed in; `reason` is a code.
    pub fn sign_in_refused(actor: Option<Actor>, request_id: &str, reason: &str) -> Self {
        Self {
            reason: Some(reason.to_owned()),
            actor,
            call: Call { request_id: request_id.to_owned(), ..Call::default() },
            ..Self::new(EventName::SignInRefused, Outcome::Refused)
        }
    }

    /// Nobody was signed in: the address is `owner`'s, by another subject of the same issuer.
    pub fn sign_in_contested(actor: Actor, owner: PrincipalId, request_id: &str) -> Self {
        Self { on_behalf_of: Some(owner), ..Self::sign_in_refused(Some(actor), request_id, "identity_contested") }
    }

    /// An operator made an identity, `<issuer>#<subject>`, one of `principal`.
    pub fn identity_link(actor: Actor, principal: PrincipalId, identity: &Identity) -> Self {
        Self {
            actor: Some(actor),
            on_behalf_of: Some(principal),
            call: Call { target: format!("{}#{}", identity.issuer, identity.subject), ..Call::default() },
            ..Self::new(EventName::IdentityLink, Outcome::Success)
        }
    }

    /// An operator took the name of `principal` away; `identities` were its own.
    pub fn identity_release(actor: Actor, principal: PrincipalId, identities: &[StoredIdentity]) -> Self {
        let keys: Vec<_> =
            identities.iter().map(|of| format!("{}#{}", of.identity.issuer, of.identity.subject)).collect();
        Self {
            actor: Some(actor),
            on_behalf_of: Some(principal),
            call: Call { target: keys.join(" "), ..Call::default() },
            ..Self::new(EventName::IdentityRelease, Outcome::Success)
        }
    }

    /// An operator made a link by which `principal` can sign in once.
    pub fn sign_in_link(actor: Actor, principal: PrincipalId) -> Self {
        Self { actor: Some(actor), on_behalf_of: Some(principal), ..Self::new(EventName::SignInLink, Outcome::Success) }
    }

    /// The broker issued a token with this `jti` for a principal.
    pub fn token_issue(actor: Actor, principal: PrincipalId, id: &str) -> Self {
        Self {
            actor: Some(actor),
            on_behalf_of: Some(principal),
            call: Call { target: id.to_owned(), ..Call::default() },
            ..Self::new(EventName::TokenIssue, Outcome::Success)
        }
    }

    /// The token with this `jti` was revoked.
    pub fn token_revoke(actor: Actor, id: &str) -> Self {
        Self {
            actor: Some(actor),
            call: Call { target: id.to_owned(), ..Call::default() },
            ..Self::new(EventName::TokenRevoke, Outcome::Success)
        }
    }

    /// A form was not taken, or a request led to no page; `reason` is a code.
    pub fn form_refused(actor: Option<Actor>, request_id: &str, reason: &str) -> Self {
        Self {
            reason: Some(reason.to_owned()),
            actor,
            call: Call { request_id: request_id.to_owned(), ..Call::default() },
            ..Self::new(EventName::PagesRefused, Outcome::Refused)
        }
    }

    /// So many requests of strangers were over budget, within a minute.
    pub fn pages_refused(count: u64) -> Self {
        Self {
            reason: Some("over_budget".to_owned()),
            count: Some(count),
            ..Self::new(EventName::PagesRefused, Outcome::Refused)
        }
    }

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
