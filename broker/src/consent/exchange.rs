//! A code for tokens, once: whoever takes the code asks the provider, everybody else waits for what comes of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::grant::{Granted, Over};
use super::{Ended, Inner, Refused};
use crate::audit::{Actor, Call, Event};
use crate::grants::{AtProvider, Tokens, host};
use crate::keys;
use crate::model::{Generation, PrincipalId, ProviderClient};
use crate::oauth::account::Question;
use crate::oauth::{Given, Grant, TokenEndpointError, TokenRequest, Verifier, request_token};
use crate::refresher::{Pair, Registered};
use crate::secret::Secret;
use crate::store::{ConsentAttempt, Sealed, StoreError, StoredConsent};
use crate::vault::Place;

/// One request to the token endpoint.
pub(super) const PROVIDER: Duration = Duration::from_secs(10);

/// One request for the account that tokens are for.
const ACCOUNT: Duration = Duration::from_secs(4);

/// Giving back what cannot be stored or used.
pub(super) const GIVE_BACK: Duration = Duration::from_secs(4);

/// How long another broker may take to come to an end, and how often its outcome is looked for.
const OTHERS: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(100);

/// An answer that was found to be this attempt's.
pub(super) struct Exchange {
    pub(super) consent: StoredConsent,
    pub(super) attempt: ConsentAttempt,
    pub(super) client: Arc<ProviderClient>,
    pub(super) code: Secret,
    pub(super) actor: Actor,
    pub(super) call: Call,
}

/// Comes to an outcome in the store. An error before the code is taken leaves the consent as it was.
pub(super) async fn exchange(inner: Arc<Inner>, exchange: Exchange) -> Result<(), Refused> {
    let Exchange { consent, attempt, client, code, actor, call } = exchange;
    let (consent, attempt, client) = (&consent, &attempt, &*client);
    // Whatever can fail without the provider comes first: a code can be used once only, and what the provider answers
    // must be kept whatever becomes of the key service (I5).
    let registered = match Registered::resolve(&*inner.secrets, client).await {
        Ok(registered) => registered,
        Err(error) => {
            let (holder, refused) = (PrincipalId(consent.key.holder.clone()), Refused::from(error));
            inner.remember(Event::consent_refused(Some(actor), Some(holder), call, refused.code())).await;
            return Err(refused);
        }
    };
    let place = Place::of_consent(&consent.id, "verifier", attempt.number);
    let verifier = inner.vault.open(&place, &attempt.verifier).await?;
    let verifier = Verifier::restored(verifier).ok_or(Refused::State)?;
    let pair = Pair::new(&inner.vault, &keys::grant_id(&inner.tenant, &consent.key)).await?;
    match inner.store.take_code(&consent.id, attempt.number, inner.clock.now()).await {
        Ok(()) => {}
        Err(StoreError::Conflict) => {
            let outcome = inner.outcome_elsewhere(consent, attempt).await;
            if let Err(refused @ Refused::Lost { .. }) = &outcome {
                let holder = PrincipalId(consent.key.holder.clone());
                inner.remember(Event::consent_refused(Some(actor), Some(holder), call, refused.code())).await;
            }
            return outcome;
        }
        Err(error) => return Err(error.into()),
    }

    let issued_at = inner.clock.now();
    let redirect_uri = inner.redirect_uri(client);
    let request = TokenRequest {
        token_url: &client.token_url,
        client: registered.client(),
        grant: Grant::AuthorizationCode { code: &code, verifier: &verifier, redirect_uri: &redirect_uri },
        resource: client.resource.as_deref(),
        additional_params: &client.additional_params,
        profile: client.profile,
    };
    metrics::counter!("sallyport_token_requests_total").increment(1);
    let given = request_token(&*inner.endpoint, &request, PROVIDER).await;
    let error = match given {
        Ok(Given::Token(token)) => {
            let mut granted = Granted::of(token, client, &attempt.scopes, &attempt.auth_revisions, issued_at);
            let deadline = Instant::now() + inner.commit_limit;
            let held = inner.learn_account(consent, attempt.number, client, &mut granted, &actor).await;
            // What is held is durable: the time for it begins anew.
            let deadline = if held.is_some() { Instant::now() + inner.commit_limit } else { deadline };
            let by = PrincipalId(actor.subject.clone());
            let stored = match inner.commit(consent, &granted, &by, Over::SameAccount, pair, deadline).await {
                Ok(Some(generation)) => {
                    inner.connected(consent, attempt.number, actor, call, generation, granted.account).await;
                    return Ok(());
                }
                Ok(None) => inner.hold_by(deadline, consent, attempt.number, &granted, &actor, held.as_ref()).await,
                Err(error) => Err(error),
            };
            return match stored {
                Ok(_) => Ok(()),
                // It is held already, and the person is asked, without being told the name.
                Err(Refused::Store(error)) if held.is_some() => {
                    tracing::warn!(consent = consent.id, %error, "tokens stay held until somebody says what with them");
                    Ok(())
                }
                Err(error) => {
                    let refused = inner.let_go(consent, client, &registered, granted, actor, call, error).await;
                    // The store may be back: whoever loads the answer again need not wait for what never comes.
                    inner.finish(consent, attempt.number, Ended::NotStored).await;
                    Err(refused)
                }
            };
        }
        // Nobody can be served with it, and nobody had one that it replaces: it is given back.
        Ok(Given::RefreshTokenAlone { refresh_token, why }) => {
            let tokens = Tokens { access_token: None, refresh_token: Some(refresh_token) };
            match inner.give_back(client, &registered, &tokens).await {
                AtProvider::Revoked | AtProvider::NoTokens => {}
                // Whoever agreed has to end it there.
                alive @ (AtProvider::Failed | AtProvider::Unsupported) => {
                    tracing::warn!(host = client.token_url.host_str(), %why, "a refresh token that came alone lives on");
                    inner.finish(consent, attempt.number, Ended::LeftOver).await;
                    let holder = PrincipalId(consent.key.holder.clone());
                    inner.remember(Event::consent_refused(Some(actor), Some(holder), call, alive.code())).await;
                    return Ok(());
                }
            }
            TokenEndpointError::Malformed(why)
        }
        Err(error) => error,
    };
    tracing::warn!(host = client.token_url.host_str(), %error, "a code was not exchanged");
    inner.finish(consent, attempt.number, Ended::of(&error)).await;
    let holder = PrincipalId(consent.key.holder.clone());
    inner.remember(Event::consent_refused(Some(actor), Some(holder), call, error.code())).await;
    Ok(())
}

impl Inner {
    /// Asks the provider whose the tokens are, if it did not say and can be asked. They are held first: what was given is
    /// durable before it is used (I5). Answers what is held; nothing comes of it otherwise.
    async fn learn_account(
        &self,
        consent: &StoredConsent,
        attempt: u32,
        client: &ProviderClient,
        granted: &mut Granted,
        by: &Actor,
    ) -> Option<Sealed> {
        if granted.account.is_some() {
            return None;
        }
        let question = Question::of(client.profile, &client.token_url, &granted.scopes)?;
        // The rest of the time is for storing them without it.
        let soon = Instant::now() + self.commit_limit / 2;
        let held = match self.hold_by(soon, consent, attempt, granted, by, None).await {
            Ok(held) => held,
            Err(error) => {
                tracing::warn!(%error, "the provider is not asked whose tokens these are");
                return None;
            }
        };
        granted.account = question.ask(&*self.endpoint, &granted.access_token, ACCOUNT).await;
        Some(held)
    }

    /// What follows from a stored grant.
    pub(super) async fn connected(
        &self,
        consent: &StoredConsent,
        attempt: u32,
        actor: Actor,
        call: Call,
        generation: Generation,
        account: Option<String>,
    ) {
        let grant = keys::grant_id(&self.tenant, &consent.key);
        // The one before may be of another account, where the provider names none: no proxy goes on with it.
        self.grants.let_go_of(&consent.key, &grant, Generation(generation.0.saturating_sub(1)));
        self.grants.learn_life(&consent.key);
        self.finish(consent, attempt, Ended::Done).await;
        metrics::counter!("sallyport_consents_total").increment(1);
        let holder = PrincipalId(consent.key.holder.clone());
        self.remember(Event::consent_finished(actor, holder, call, &grant, generation, account)).await;
    }

    /// Gives tokens back that cannot be stored: nobody here will ever know them again, and whoever agreed must not leave
    /// them alive without knowing it. If the store took them and only never said so, their first use leads to consent.
    #[expect(clippy::too_many_arguments, reason = "all that is known of an exchange")]
    async fn let_go(
        &self,
        consent: &StoredConsent,
        client: &ProviderClient,
        registered: &Registered,
        granted: Granted,
        actor: Actor,
        call: Call,
        error: Refused,
    ) -> Refused {
        tracing::error!(%error, "tokens of a consent could not be stored");
        let is_withdrawn = matches!(error, Refused::NotFound);
        let Granted { access_token, refresh_token, .. } = granted;
        let tokens = Tokens { access_token: Some(access_token), refresh_token };
        let at_provider = self.give_back(client, registered, &tokens).await;
        let holder = PrincipalId(consent.key.holder.clone());
        let (provider, manage_url) = (host(client), client.profile.manage_url);
        let refused = match is_withdrawn {
            true => Refused::Withdrawn { provider, at_provider, manage_url },
            false => Refused::NotStored { consent: consent.id.clone(), provider, at_provider, manage_url },
        };
        self.remember(Event::consent_refused(Some(actor), Some(holder), call, refused.code())).await;
        refused
    }

    /// Tells the provider that tokens are not wanted, for as long as there is time for it.
    async fn give_back(&self, client: &ProviderClient, registered: &Registered, tokens: &Tokens) -> AtProvider {
        let telling = self.grants.revoke_tokens_as(client, registered, tokens);
        tokio::time::timeout(GIVE_BACK, telling).await.unwrap_or(AtProvider::Failed)
    }

    /// Says how an attempt ended, unless the person has begun another: what matters is the grant.
    pub(super) async fn finish(&self, consent: &StoredConsent, attempt: u32, ended: Ended) {
        match self.store.finish_consent(&consent.id, attempt, ended.code()).await {
            Ok(()) | Err(StoreError::Conflict) => {}
            Err(error) => tracing::error!(%error, "how a consent ended was not stored"),
        }
    }

    /// From when a code is taken: the requests, the commit, giving back, and as much again of what the store may take for
    /// each.
    pub(super) fn longest_exchange(&self) -> Duration {
        PROVIDER + ACCOUNT + GIVE_BACK + 2 * self.commit_limit
    }

    /// Whether a question is there to be answered by the person, and none any more by the provider.
    async fn is_held_to_be_chosen(&self, consent: &StoredConsent) -> Result<bool, Refused> {
        let (Some(attempt), Some(held)) = (&consent.attempt, &consent.held) else { return Ok(false) };
        let held = self.open_held(&consent.id, attempt.number, held).await?;
        Ok(!held.may_be_asked_for(consent, self.clock.now(), self.longest_exchange()))
    }

    /// Another broker took the code.
    async fn outcome_elsewhere(&self, consent: &StoredConsent, attempt: &ConsentAttempt) -> Result<(), Refused> {
        let ended = async {
            loop {
                let now = self.consent(&consent.id).await?;
                if now.outcome.is_some() || now.attempts != attempt.number || self.is_held_to_be_chosen(&now).await? {
                    return Ok(());
                }
                // Whoever took it has died, or could not store even that it came to nothing.
                if now.code_taken.is_some_and(|at| at.after(self.longest_exchange()) <= self.clock.now()) {
                    return Err(Refused::Lost { consent: now.id });
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(OTHERS, ended).await.unwrap_or(Err(Refused::Pending))
    }
}
