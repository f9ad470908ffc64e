//! What a proxy may ask of the broker, as use cases: no transport here.
//!
//! Nothing a proxy says about a caller is believed. It hands over the caller's token, and what it gets is what that
//! token, policy and the grant say, once the release is on record (I3, I7).

mod callers;
mod credential;
mod refused;
mod reports;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use moka::sync::Cache;
use sallyport_caller::{Caller, Door, PublicKey, TokenError};
use sallyport_proto::broker::acquire_credential_response::Answer;
use sallyport_proto::broker::{
    AcquireCredentialRequest, AcquireCredentialResponse, Credential, RejectCredentialRequest, ResolveKeyRequest,
    ResolveKeyResponse, Timings,
};

pub use refused::Refused;
pub use reports::{MAX_REPORTS, ReportError};

use self::callers::{Callers, Verified};
use self::reports::clip;
use crate::audit::{Actor, Audit, Call, Event, PolicyDecision, Release};
use crate::causes;
use crate::clock::Clock;
use crate::consent::{Consents, Status};
use crate::fingerprints::Fingerprints;
use crate::issuers::Issuers;
use crate::keys::{self, Key, Purpose};
use crate::model::{Auth, Generation, GrantKey, PrincipalId, Server, ServerName, Tenant};
use crate::peer::Peer;
use crate::principals::Contested;
use crate::refresher::{Need, RefreshError, Refresher, ResolveTemplate, Source};
use crate::secret::Secret;
use crate::snapshot::{self, Published, Publisher};
use crate::store::Store;

#[cfg(test)]
pub(crate) mod tests;

/// How long the rejection of a grant's token is remembered: one renewal in that time.
const REJECTION_AGE: Duration = Duration::from_secs(60);

/// Rejections remembered.
const MAX_REJECTIONS: u64 = 100_000;

/// Where keys that the snapshot does not hold may be found.
#[async_trait]
pub trait KeySource: Send + Sync + 'static {
    /// A key, by exact issuer and `kid`; rate-limited, and `None` for what is not there now.
    async fn resolve_key(&self, issuer: &str, kid: &str) -> Option<Arc<PublicKey>>;
}

#[async_trait]
impl KeySource for Arc<Issuers> {
    async fn resolve_key(&self, issuer: &str, kid: &str) -> Option<Arc<PublicKey>> {
        Issuers::resolve_key(self, issuer, kid).await
    }
}

/// What a [`Service`] is made of.
pub struct Parts {
    /// Part of every key.
    pub tenant: Tenant,
    /// Principals, tokens, reports.
    pub store: Arc<dyn Store>,
    /// What the proxies know.
    pub publisher: Publisher,
    /// Finds keys.
    pub keys: Arc<dyn KeySource>,
    /// Tokens of grants.
    pub refresher: Refresher,
    /// Asks people for their consent.
    pub consents: Consents,
    /// Resolves headers.
    pub secrets: Arc<dyn ResolveTemplate>,
    /// Remembers every release.
    pub audit: Audit,
    /// By which the records name what is released.
    pub fingerprints: Arc<Fingerprints>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

/// The use cases. Cheap to clone.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

/// What an upstream refused of one grant within a minute.
struct Rejections {
    /// The newest generation that was replaced for it.
    replaced: Generation,
    /// The newest that it refused.
    latest: Generation,
}

struct Inner {
    tenant: Tenant,
    store: Arc<dyn Store>,
    publisher: Publisher,
    keys: Arc<dyn KeySource>,
    refresher: Refresher,
    consents: Consents,
    secrets: Arc<dyn ResolveTemplate>,
    audit: Audit,
    fingerprints: Arc<Fingerprints>,
    clock: Arc<dyn Clock>,
    callers: Callers,
    /// The latest generation of each grant that an upstream refused.
    rejections: Cache<Key, Arc<Mutex<Rejections>>>,
}

/// A call that may go on: verified, meant for this server, allowed by policy.
struct Admitted {
    /// The proxy that asks, as its connection proves it.
    peer: String,
    verified: Arc<Verified>,
    server: Arc<Server>,
    policy: PolicyDecision,
}

impl Service {
    /// Over its parts.
    pub fn new(parts: Parts) -> Self {
        let Parts { tenant, store, publisher, keys, refresher, consents, secrets, audit, fingerprints, clock } = parts;
        let callers = Callers::new(tenant.clone(), Arc::clone(&store), Arc::clone(&keys), Arc::clone(&clock));
        let rejections = Cache::builder().max_capacity(MAX_REJECTIONS).time_to_live(REJECTION_AGE).build();
        Self(Arc::new(Inner {
            tenant,
            store,
            publisher,
            keys,
            refresher,
            consents,
            secrets,
            audit,
            fingerprints,
            clock,
            callers,
            rejections,
        }))
    }

    fn inner(&self) -> &Inner {
        &self.0
    }

    /// The publisher whose snapshots proxies watch.
    pub fn publisher(&self) -> &Publisher {
        &self.0.publisher
    }

    /// Releases the credential for one caller at one server to this proxy, or says why not.
    pub async fn acquire(&self, peer: &Peer, request: &AcquireCredentialRequest) -> AcquireCredentialResponse {
        self.answer(peer, request, None).await
    }

    /// An upstream refused what was released: says what to do next, renewing a grant's token at most once a minute.
    pub async fn reject(&self, peer: &Peer, request: &RejectCredentialRequest) -> AcquireCredentialResponse {
        let Some(original) = &request.request else {
            return AcquireCredentialResponse {
                answer: Some(Refused::Token(TokenError::NotBearer).answer()),
                timings: None,
            };
        };
        self.answer(peer, original, Some(request)).await
    }

    /// Whether the caller behind a token has to consent to a server, which policy must let it use.
    ///
    /// # Errors
    /// As [`Service::acquire`] refuses.
    pub async fn consent_status(&self, token: &str, server: &str, request_id: &str) -> Result<Status, Refused> {
        let inner = &self.0;
        let published = inner.publisher.current();
        let (server, request_id) = (server.to_owned(), request_id.to_owned());
        let method = "connections/status".to_owned();
        let asked = AcquireCredentialRequest { server, request_id, method, ..AcquireCredentialRequest::default() };
        let verified = match inner.callers.verify(token, &published).await {
            Ok(verified) => verified,
            Err(refused) => {
                if let Refused::Contested(contested) = &refused {
                    inner.record_contest(call(None, &asked), contested).await;
                }
                return Err(refused);
            }
        };
        let status = inner.status(&asked.server, &published, &verified).await;
        if let Err(refused) = &status {
            inner.record_refusal(call(None, &asked), &published, &verified.caller, refused).await;
        }
        status
    }

    /// Whose token this is, if it would be let through to this server. For what an application says of its user.
    ///
    /// # Errors
    /// As [`Service::acquire`] refuses.
    pub async fn caller_at(&self, token: &str, server: &ServerName) -> Result<PrincipalId, Refused> {
        let inner = &self.0;
        let published = inner.publisher.current();
        let verified = inner.callers.verify(token, &published).await?;
        let server = published.servers.by_name.get(server).ok_or(Refused::Server)?;
        inner.let_through(server, &published, &verified.caller)?;
        Ok(verified.principal.clone())
    }

    /// Finds a key of an issuer that the snapshot names.
    pub async fn resolve_key(&self, request: &ResolveKeyRequest) -> ResolveKeyResponse {
        let key = match self.0.publisher.current().issuers.get(&request.issuer) {
            Some(_) => self.0.keys.resolve_key(&request.issuer, &request.kid).await,
            None => None,
        };
        ResolveKeyResponse { key: key.map(|key| snapshot::key(&key)) }
    }

    async fn answer(
        &self,
        peer: &Peer,
        request: &AcquireCredentialRequest,
        rejection: Option<&RejectCredentialRequest>,
    ) -> AcquireCredentialResponse {
        let inner = &self.0;
        let published = inner.publisher.current();
        let mut timings = Timings::default();
        let started = Instant::now();
        let verified = inner.callers.verify(&request.token, &published).await;
        timings.verify_us = micros(started.elapsed());
        let verified = match verified {
            Ok(verified) => verified,
            Err(refused) => {
                // Of all others nobody is known to have been refused: counted, not recorded.
                if let Refused::Contested(contested) = &refused {
                    inner.record_contest(call(Some(peer), request), contested).await;
                }
                return refusal(&refused, timings);
            }
        };
        let started = Instant::now();
        let admitted = inner.admit(peer, request, &published, Arc::clone(&verified));
        timings.policy_us = micros(started.elapsed());
        let result = match admitted {
            Ok(admitted) => match inner.serve(request, rejection, &admitted, &mut timings).await {
                Err(Refused::Refresh(RefreshError::NeedsConsent { .. })) => Err(inner.consent(&admitted).await),
                other => other,
            },
            Err(refused) => Err(refused),
        };
        let refused = match result {
            Ok(credential) => {
                return AcquireCredentialResponse {
                    answer: Some(Answer::Credential(credential)),
                    timings: Some(timings),
                };
            }
            Err(refused) => refused,
        };
        inner.record_refusal(call(Some(peer), request), &published, &verified.caller, &refused).await;
        if refused.is_for_operator() {
            tracing::warn!(server = ?request.server, error = causes::told(&refused), "no credential");
        }
        refusal(&refused, timings)
    }
}

impl Inner {
    /// Server, revision, audience, scopes, policy: each again, with what the broker itself knows.
    fn admit(
        &self,
        peer: &Peer,
        request: &AcquireCredentialRequest,
        published: &Published,
        verified: Arc<Verified>,
    ) -> Result<Admitted, Refused> {
        let name = ServerName(request.server.clone());
        let server = published.servers.by_name.get(&name).ok_or(Refused::Server)?;
        if !peer.scope.serves(&server.name) || request.proxy.is_empty() {
            return Err(Refused::Server);
        }
        // The proxy's route is that of another revision: it may lead to another origin (I12).
        if request.server_revision != server.revision {
            return Err(Refused::ServerChanged);
        }
        let policy = self.let_through(server, published, &verified.caller)?;
        Ok(Admitted { server: Arc::clone(server), policy, verified, peer: peer.identity.to_string() })
    }

    /// Audience, scopes and policy of a verified caller at one server.
    async fn status(&self, server: &str, published: &Published, verified: &Verified) -> Result<Status, Refused> {
        let server = published.servers.by_name.get(&ServerName(server.to_owned())).ok_or(Refused::Server)?;
        self.let_through(server, published, &verified.caller)?;
        let status = self.consents.status(&verified.principal, verified.caller.subjects(), server).await;
        status.map_err(Refused::NoConsent)
    }

    fn let_through(&self, server: &Server, published: &Published, caller: &Caller) -> Result<PolicyDecision, Refused> {
        let issuer = published.issuers.get(caller.issuer()).ok_or(TokenError::Issuer)?;
        let resource = snapshot::resource(&published.snapshot.public_url, server);
        let passthrough_audience = match &server.auth {
            Auth::Passthrough { audience } => Some(audience.as_str()),
            Auth::AuthorizationCode(_) | Auth::ClientCredentials(_) | Auth::Header(_) | Auth::None => None,
        };
        let door = Door { resource: &resource, passthrough_audience };
        let entered = caller.enter(&door, issuer, self.clock.now().0)?;
        let policy = published.policies.get(&server.name).ok_or(Refused::Server)?;
        let _allowed = entered.authorize(policy, &*published.servers)?;
        Ok(PolicyDecision {
            version: published.servers.revision,
            rule: published.servers.admits(caller.subjects(), server).unwrap_or_default().to_owned(),
        })
    }

    async fn serve(
        &self,
        request: &AcquireCredentialRequest,
        rejection: Option<&RejectCredentialRequest>,
        admitted: &Admitted,
        timings: &mut Timings,
    ) -> Result<Credential, Refused> {
        let need = match rejection {
            Some(rejection) => self.rejected(rejection, request, admitted).await?,
            None if request.background => Need::NotDue,
            None => Need::Live,
        };
        self.release(request, admitted, need, timings).await
    }

    /// Prepares a credential, records its release durably, and only then lets go of it (I7).
    async fn release(
        &self,
        request: &AcquireCredentialRequest,
        admitted: &Admitted,
        need: Need,
        timings: &mut Timings,
    ) -> Result<Credential, Refused> {
        let started = Instant::now();
        let caller = &admitted.verified.caller;
        let prepared = self.prepare(admitted, &request.token, need, timings).await?;
        // Random, so that no handle can be guessed; no secret: it names a record.
        let use_handle = keys::hex(Secret::random::<16>().expose());
        let release = Release {
            use_handle: use_handle.clone(),
            grant: prepared.grant.as_ref().map(|(id, _)| id.clone()),
            generation: prepared.grant.as_ref().map(|(_, generation)| *generation),
            secrets: prepared.secrets,
            fingerprints: prepared.fingerprints,
            provider_account: prepared.provider_account,
        };
        let event = Event::credential_release(
            actor(caller),
            admitted.verified.principal.clone(),
            Call { peer: admitted.peer.clone(), ..call(None, request) },
            admitted.policy.clone(),
            release,
            prepared.source,
            started.elapsed(),
        );
        let recording = Instant::now();
        self.audit.record(event).await?;
        timings.store_us += micros(recording.elapsed());
        let (grant, generation) = prepared.grant.unwrap_or((String::new(), Generation(0)));
        Ok(Credential {
            headers: prepared.headers,
            use_handle,
            grant,
            generation: generation.0,
            issued_at_ms: prepared.issued_at.0,
            expires_at_ms: prepared.expires_at.0,
            refresh_after_ms: prepared.refresh_after.0,
            source: prepared.source.to_owned(),
        })
    }

    /// What follows from a rejection: a later generation once, and the operator's attention if that is refused too.
    async fn rejected(
        &self,
        request: &RejectCredentialRequest,
        original: &AcquireCredentialRequest,
        admitted: &Admitted,
    ) -> Result<Need, Refused> {
        let caller = &admitted.verified.caller;
        let source = match &admitted.server.auth {
            Auth::AuthorizationCode(client) => {
                let (client, holder) = (Arc::clone(client), admitted.verified.principal.clone());
                Some(Source::Person { client, holder })
            }
            Auth::ClientCredentials(client) => Some(Source::Service(Arc::clone(client))),
            // There is no other: only the operator (or, passed through, the caller's own provider) can mend it.
            Auth::Header(_) | Auth::None | Auth::Passthrough { .. } => None,
        };
        let (need, is_news) = match source {
            Some(Source::Person { .. }) if request.error == "insufficient_scope" => {
                (Err(self.wider_consent(admitted, &request.scope).await), true)
            }
            Some(source) => {
                let refused = Generation(request.generation);
                match self.refresher.generation(&source).await? {
                    Some(held) if refused <= held => self.rejected_generation(&source.grant(), refused),
                    // Never given out: believed, it would let every later report have the token renewed.
                    Some(_) | None => (Ok(Need::Live), true),
                }
            }
            None => (Err(Refused::Upstream), true),
        };
        if is_news {
            let release = Release {
                use_handle: clip(request.use_handle.clone()),
                grant: Some(clip(request.grant.clone())).filter(|grant| !grant.is_empty()),
                generation: Some(Generation(request.generation)),
                secrets: Vec::new(),
                fingerprints: Vec::new(),
                provider_account: None,
            };
            let reason = format!("http_{}", request.status);
            let call = Call { peer: admitted.peer.clone(), ..call(None, original) };
            self.audit.record(Event::credential_reject(actor(caller), call, release, &reason)).await?;
        }
        need
    }

    /// What a person without a usable grant is told: where to consent.
    async fn consent(&self, admitted: &Admitted) -> Refused {
        let (principal, subjects) = (&admitted.verified.principal, admitted.verified.caller.subjects());
        match self.consents.required(principal, subjects, &admitted.server, &[]).await {
            Ok(link) => Refused::Consent(link),
            Err(refused) => Refused::NoConsent(refused),
        }
    }

    /// The same where the upstream wants more than was agreed to. Its words reach the person's page as scopes, no further.
    async fn wider_consent(&self, admitted: &Admitted, scope: &str) -> Refused {
        let scopes: Vec<String> = scope.split_ascii_whitespace().map(str::to_owned).collect();
        let (principal, subjects) = (&admitted.verified.principal, admitted.verified.caller.subjects());
        match self.consents.widened(principal, subjects, &admitted.server, &scopes).await {
            Ok(Some(link)) => Refused::Consent(link),
            Ok(None) => Refused::Upstream,
            Err(refused) => Refused::NoConsent(refused),
        }
    }

    /// Also answers whether this generation was not known to be refused.
    fn rejected_generation(&self, grant: &GrantKey, refused: Generation) -> (Result<Need, Refused>, bool) {
        let key = Key::of_grant(&self.tenant, Purpose::Rejection, grant);
        let mut is_first = false;
        let last = self.rejections.get_with(key, || {
            is_first = true;
            Arc::new(Mutex::new(Rejections { replaced: refused, latest: refused }))
        });
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if refused <= last.replaced {
            return (Ok(Need::LaterThan(refused)), is_first);
        }
        // What replaced a refused token within this minute is refused as well: another one would be, too.
        let is_news = refused > last.latest;
        last.latest = refused.max(last.latest);
        (Err(Refused::Upstream), is_news)
    }

    async fn record_refusal(&self, call: Call, published: &Published, caller: &Caller, refused: &Refused) {
        let policy = PolicyDecision { version: published.servers.revision, rule: refused.code().to_owned() };
        self.remember(Event::call_refused(Some(actor(caller)), call, Some(policy), refused.code(), None)).await;
    }

    async fn record_contest(&self, call: Call, contested: &Contested) {
        self.remember(Event::call_contested(contested.actor(), contested.owner.clone(), call)).await;
    }

    /// Nothing is released, so nothing depends on the record.
    async fn remember(&self, refusal: Event) {
        if let Err(error) = self.audit.record(refusal).await {
            tracing::error!(%error, "a refusal was not recorded");
        }
    }
}

fn actor(caller: &Caller) -> Actor {
    Actor {
        issuer: caller.issuer().to_owned(),
        subject: caller.subject().to_owned(),
        client_id: caller.client_id().map(str::to_owned),
    }
}

/// Without a peer where no proxy of ours asks for itself: at the pages.
fn call(peer: Option<&Peer>, request: &AcquireCredentialRequest) -> Call {
    Call {
        peer: peer.map(|peer| peer.identity.to_string()).unwrap_or_default(),
        proxy: clip(request.proxy.clone()),
        filter_version: clip(request.filter_version.clone()),
        source_address: clip(request.source_address.clone()),
        request_id: clip(request.request_id.clone()),
        traceparent: clip(request.traceparent.clone()),
        server: clip(request.server.clone()),
        method: clip(request.method.clone()),
        target: clip(request.target.clone()),
    }
}

fn refusal(refused: &Refused, timings: Timings) -> AcquireCredentialResponse {
    tracing::debug!(code = refused.code(), "no credential");
    metrics::counter!("sallyport_refusals_total", "code" => refused.code()).increment(1);
    AcquireCredentialResponse { answer: Some(refused.answer()), timings: Some(timings) }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
