//! A consent up to the provider: what the page behind its link shows, and setting out.

use url::Url;

use super::asked::Asked;
use super::held::is_connected;
use super::{Consents, Ended, Inner, LIFE, Refused, Visit, actor, authorization_code};
use crate::audit::Event;
use crate::clock::UnixTime;
use crate::keys;
use crate::model::{AuthorizationCode, PrincipalId, ProviderClient, ServerName};
use crate::oauth::Verifier;
use crate::oauth::authorize::AuthorizationRequest;
use crate::secret::Secret;
use crate::signin::Session;
use crate::store::{ConsentAttempt, Material, Standing, StoreError, StoredConsent, StoredGrant};
use crate::vault::Place;

/// How often another attempt of the same person may come between.
const RETRIES: usize = 3;

/// What the page behind a link shows. Looking changes nothing: chats and mail programs look, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// Nobody is signed in.
    SignIn {
        /// What it is about.
        server: ServerName,
    },
    /// What is asked, and a button.
    Ask {
        /// The server that was called.
        server: ServerName,
        /// What is asked.
        asked: Asked,
        /// The virtual account that will act as this person, if it is for one.
        account: Option<String>,
        /// Where it stands.
        stage: Stage,
    },
    /// The person came back as somebody else than before, and must say what they want.
    Choose {
        /// The server that was called.
        server: ServerName,
        /// The account that is connected.
        held: Option<String>,
        /// The account they came back with.
        came: Option<String>,
    },
    /// As [`Page::Choose`], but what was connected was disconnected meanwhile.
    TakeOrLeave {
        /// The server that was called.
        server: ServerName,
        /// The account they came back with.
        came: Option<String>,
    },
    /// There is a grant.
    Connected {
        /// The server that was called.
        server: ServerName,
    },
}

/// Where an unfinished consent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It can be begun.
    Fresh,
    /// Its ten minutes are over: the same button begins it again.
    Expired,
    /// It ended without the grant it was for: the same button begins another.
    Ended(Ended),
}

/// What comes of the button.
pub enum Begun {
    /// To the provider; nobody but this browser may see where.
    Onward {
        /// Host of the provider.
        provider: String,
        /// The authorization URL.
        url: Url,
    },
    /// Back to the page of this consent: there is something else to see.
    Look(String),
}

impl Consents {
    /// What to show behind a link.
    ///
    /// # Errors
    /// [`Refused::WrongPerson`], recorded, for whom it was not made; or if something is not there or fails.
    pub async fn page(&self, id: &str, visit: Visit<'_>) -> Result<Page, Refused> {
        let inner = &self.0;
        let consent = inner.consent(id).await?;
        let Some(session) = visit.session else { return Ok(Page::SignIn { server: consent.server }) };
        let account = inner.role_of(visit, session, &consent).await?.account();
        let grant = inner.store.grant(&consent.key).await?;
        let server = consent.server.clone();
        let held = inner.held(&consent).await?.map(|(_, held)| held);
        let is_answered = held.as_ref().is_some_and(|held| held.is_answered(grant.as_ref()));
        if let Some(held) = held.filter(|_| !is_answered) {
            // Of a virtual account's owners, too, only the one who came back with them.
            if !held.is_by(session) {
                return Err(inner.refuse(visit, Some(&consent), Refused::OtherOwner).await);
            }
            if held.may_be_asked_for(&consent, inner.clock.now(), inner.longest_exchange()) {
                return Err(Refused::Pending);
            }
            let came = held.granted;
            return Ok(match grant {
                Some(grant) if is_connected(Some(&grant)) => {
                    Page::Choose { server, held: grant.account, came: came.account }
                }
                Some(_) | None => Page::TakeOrLeave { server, came: came.account },
            });
        }
        if inner.is_finished(&consent, grant.as_ref()) {
            return Ok(Page::Connected { server });
        }
        let asked = Asked::of(&inner.tenant, &inner.servers(), &consent, grant.as_ref()).ok_or(Refused::Gone)?;
        let stage = match &consent.outcome {
            // Only that it ended was not stored.
            None if is_answered => Stage::Ended(Ended::Done),
            Some(outcome) => Stage::Ended(Ended::from_code(outcome)),
            None if consent.expires_at <= inner.clock.now() => Stage::Expired,
            None => Stage::Fresh,
        };
        Ok(Page::Ask { server, asked, account, stage })
    }

    /// Sets out for the provider. `digest` is that of what the page showed; `is_confirmed` is what an owner of a virtual
    /// account must say.
    ///
    /// # Errors
    /// As [`Consents::page`], and if nobody is signed in or an owner has not confirmed.
    pub async fn begin(&self, id: &str, digest: &str, is_confirmed: bool, visit: Visit<'_>) -> Result<Begun, Refused> {
        let inner = &self.0;
        let session = visit.session.ok_or(Refused::SignedOut)?;
        let mut consent = inner.consent(id).await?;
        let account = inner.role_of(visit, session, &consent).await?.account();
        if consent.held.is_some() && self.end_answered(&consent, visit).await? {
            consent = inner.consent(id).await?;
        }
        let grant = inner.store.grant(&consent.key).await?;
        if consent.held.is_some() || inner.is_finished(&consent, grant.as_ref()) {
            return Ok(Begun::Look(consent.id));
        }
        let asked = Asked::of(&inner.tenant, &inner.servers(), &consent, grant.as_ref()).ok_or(Refused::Gone)?;
        if asked.digest != digest {
            let (holder, call) = (PrincipalId(consent.key.holder.clone()), visit.call(Some(&consent.server)));
            inner.remember(Event::consent_refused(visit.actor(), Some(holder), call, "outdated")).await;
            return Ok(Begun::Look(consent.id));
        }
        if account.is_some() && !is_confirmed {
            return Err(inner.refuse(visit, Some(&consent), Refused::NotConfirmed).await);
        }
        for _ in 0..RETRIES {
            consent = inner.startable(consent).await?;
            match inner.set_out(&consent, &asked, session).await {
                Ok(url) => {
                    let grant = keys::grant_id(&inner.tenant, &consent.key);
                    let holder = PrincipalId(consent.key.holder.clone());
                    let call = visit.call(Some(&consent.server));
                    inner.audit.record(Event::consent_started(actor(session), holder, call, &grant)).await?;
                    return Ok(Begun::Onward { provider: asked.provider, url });
                }
                // The same person was faster elsewhere.
                Err(Refused::Store(error)) if matches!(*error, StoreError::Conflict) => {
                    consent = inner.consent(&consent.id).await?;
                }
                Err(refused) => return Err(refused),
            }
        }
        Ok(Begun::Look(consent.id))
    }
}

impl Inner {
    pub(super) async fn consent(&self, id: &str) -> Result<StoredConsent, Refused> {
        self.store.consent(id).await?.ok_or(Refused::NotFound)
    }

    /// As what this person may consent; if they may not, that is recorded (O2).
    pub(super) async fn role_of(
        &self,
        visit: Visit<'_>,
        session: &Session,
        consent: &StoredConsent,
    ) -> Result<super::person::Role, Refused> {
        match self.role(session, &PrincipalId(consent.key.holder.clone())).await {
            Err(refused @ Refused::WrongPerson) => Err(self.refuse(visit, Some(consent), refused).await),
            other => other,
        }
    }

    /// Whether the holder has a grant that serves this server, with these scopes besides its own.
    pub(super) async fn is_connected(
        &self,
        code: &AuthorizationCode,
        holder: &PrincipalId,
        extra_scopes: &[String],
    ) -> Result<bool, Refused> {
        let grant = self.store.grant(&code.grant_of(holder)).await?;
        Ok(grant.is_some_and(|grant| serves(&grant, code, extra_scopes, self.clock.now())))
    }

    /// Whether what the consent was for is there, by this consent or another.
    fn is_finished(&self, consent: &StoredConsent, grant: Option<&StoredGrant>) -> bool {
        let servers = self.servers();
        let code = servers.by_name.get(&consent.server).and_then(|server| authorization_code(server));
        match (code, grant) {
            (Some(code), Some(grant)) => {
                code.client.id == consent.key.provider_client
                    && serves(grant, code, &consent.extra_scopes, self.clock.now())
            }
            (Some(_) | None, _) => false,
        }
    }

    /// The consent itself with time to live, or one in its place if it has ended.
    async fn startable(&self, consent: StoredConsent) -> Result<StoredConsent, Refused> {
        let now = self.clock.now();
        let expires_at = now.after(LIFE);
        if consent.outcome.is_none() {
            if consent.expires_at <= now {
                self.store.renew_consent(&consent.id, expires_at).await?;
            }
            return Ok(consent);
        }
        let id = keys::hex(Secret::random::<16>().expose());
        let fresh = StoredConsent { id, created_at: now, expires_at, outcome: None, ..consent };
        Ok(self.store.ensure_consent(&fresh).await?)
    }

    /// State and verifier, sealed and stored before the browser leaves; then where it goes.
    async fn set_out(&self, consent: &StoredConsent, asked: &Asked, session: &Session) -> Result<Url, Refused> {
        let number = consent.attempts + 1;
        let client_id = self.secrets.resolve(&asked.client.client_id).await?.value;
        let redirect_uri = self.redirect_uri(&asked.client);
        let verifier = Verifier::random();
        // The random half is what nobody can guess; the id finds the consent again.
        let state = Secret::new(format!("{}.{}", consent.id, keys::hex(Secret::random::<16>().expose())));
        let url = AuthorizationRequest {
            authorization_url: &asked.client.authorization_url,
            client_id: &client_id,
            redirect_uri: &redirect_uri,
            scopes: &asked.scopes,
            state: &state,
            verifier: &verifier,
            resource: asked.client.resource.as_deref(),
            profile: asked.client.profile,
        }
        .url()?;
        let of_state = Place::of_consent(&consent.id, "state", number);
        let of_verifier = Place::of_consent(&consent.id, "verifier", number);
        let (for_state, for_verifier) =
            futures::try_join!(self.vault.data_key(&of_state), self.vault.data_key(&of_verifier))?;
        let attempt = ConsentAttempt {
            number,
            session: session.hash,
            state: for_state.seal(&of_state, &state),
            verifier: for_verifier.seal(&of_verifier, verifier.as_secret()),
            scopes: asked.scopes.clone(),
            auth_revisions: asked.auth_revisions.clone(),
            begun_at: self.clock.now(),
        };
        self.store.begin_consent(&consent.id, &attempt).await?;
        // Exposed because the browser carries it to the provider; it was made of a `Url` just now.
        Ok(url.expose_str().and_then(|url| url.parse().ok()).expect("a serialised URL is one"))
    }

    /// One for each provider client: an answer for one is never taken for another's (O3).
    pub(super) fn redirect_uri(&self, client: &ProviderClient) -> Url {
        let uri = format!("{}/oauth/callback/{}", self.public_url, client.id);
        uri.parse().expect("public_url is an origin, and ids are hexadecimal")
    }
}

/// Whether a grant serves a server now, with these scopes besides its own. One that has expired without a refresh token is
/// over, although nobody has called with it since.
pub(super) fn serves(grant: &StoredGrant, code: &AuthorizationCode, extra_scopes: &[String], now: UnixTime) -> bool {
    let lasts = |material: &Material| material.refresh_token.is_some() || now < material.expires_at;
    grant.standing == Standing::Live
        && grant.material.as_ref().is_some_and(lasts)
        && code.is_agreed_to(&grant.auth_revisions, &grant.scopes)
        && extra_scopes.iter().all(|scope| grant.scopes.contains(scope))
}
