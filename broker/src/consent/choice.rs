//! Which of two accounts a person wants (O12). What is held becomes the grant's in one write with the note that it has;
//! whatever else comes of it ends the consent as it was read. So one of them comes first, at whichever brokers, and what
//! a crash cuts off is done by whoever comes next. Nothing becomes the grant's but by a person's own click.

use std::sync::Arc;

use tokio::time::Instant;

use super::grant::Over;
use super::held::{Held, is_connected};
use super::{Consents, Ended, Inner, Refused, Visit, actor};
use crate::audit::{Actor, Call, Event};
use crate::clock::UnixTime;
use crate::grants::{AtProvider, Tokens, provider_client};
use crate::keys::{self, Key, Purpose};
use crate::model::{Generation, PrincipalId};
use crate::oauth::account;
use crate::refresher::Pair;
use crate::store::{Sealed, StoreError, StoredConsent, StoredGrant};

/// How long after its link expired a question waits for its answer.
const UNANSWERED_MS: u64 = 60 * 60 * 1000;

/// What a person does with tokens of another account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The account stays that was connected before.
    Keep,
    /// The other one takes its place.
    Replace,
    /// The other one is not connected, whether or not there is one to keep.
    Decline,
}

impl Consents {
    /// Does with held tokens what the person wants, once. Those that are not wanted are revoked, perhaps twice where two
    /// brokers bring one choice to its end. Answers the consent, whose page says the rest.
    ///
    /// # Errors
    /// As [`Consents::page`], or if it cannot be stored: then nothing was chosen.
    pub async fn choose(&self, id: &str, choice: Choice, visit: Visit<'_>) -> Result<String, Refused> {
        let inner = &self.0;
        let session = visit.session.ok_or(Refused::SignedOut)?;
        let consent = inner.consent(id).await?;
        inner.role_of(visit, session, &consent).await?;
        let Some((number, held)) = inner.held(&consent).await? else { return Ok(consent.id) };
        if !held.is_by(session) {
            return Err(inner.refuse(visit, Some(&consent), Refused::OtherOwner).await);
        }
        if held.may_be_asked_for(&consent, inner.clock.now(), inner.longest_exchange()) {
            return Err(Refused::Pending);
        }
        let grant = inner.store.grant(&consent.key).await?;
        // What there was to keep was disconnected meanwhile: the page asks another question by now.
        if choice == Choice::Keep && !held.is_answered(grant.as_ref()) && !is_connected(grant.as_ref()) {
            return Ok(consent.id);
        }
        self.settle(&consent.id, number, choice, Some(actor(session)), visit.call(Some(&consent.server))).await?;
        Ok(consent.id)
    }

    /// Ends a consent that holds tokens for a question which has its answer; answers whether it has.
    pub(super) async fn end_answered(&self, consent: &StoredConsent, visit: Visit<'_>) -> Result<bool, Refused> {
        let inner = &self.0;
        let Some((number, held)) = inner.held(consent).await? else { return Ok(false) };
        let may_be_asked_for = held.may_be_asked_for(consent, inner.clock.now(), inner.longest_exchange());
        if may_be_asked_for || !held.is_answered(inner.store.grant(&consent.key).await?.as_ref()) {
            return Ok(false);
        }
        let call = visit.call(Some(&consent.server));
        self.settle(&consent.id, number, Choice::Decline, visit.actor(), call).await?;
        Ok(true)
    }

    /// Has tokens revoked that are held for a question which nobody has answered long after the link expired; answers how
    /// many consents that ended. The account stays that is connected.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn abandon(&self) -> Result<usize, Refused> {
        let inner = &self.0;
        let before = UnixTime(inner.clock.now().0.saturating_sub(UNANSWERED_MS));
        let abandoned = inner.store.abandoned_consents(before).await?.readable();
        let count = abandoned.len();
        for consent in abandoned {
            let call = Call { server: consent.server.0.clone(), ..Call::default() };
            if let Err(error) = self.settle(&consent.id, consent.attempts, Choice::Decline, None, call).await {
                tracing::warn!(consent = consent.id, %error, "tokens stay held that nobody asks for");
            }
        }
        Ok(count)
    }

    /// Once, whoever asks for it: a person in two windows, or the clock.
    async fn settle(
        &self,
        id: &str,
        attempt: u32,
        choice: Choice,
        actor: Option<Actor>,
        call: Call,
    ) -> Result<(), Refused> {
        let (inner, id) = (Arc::clone(&self.0), id.to_owned());
        let key = Key::new(&inner.tenant, Purpose::Consent, &[id.as_bytes(), b"choice"]);
        let settling = || async move { inner.settle(&id, attempt, choice, actor, call).await };
        let flight = self.0.flights.join(&key, settling).ok_or(Refused::Draining)?;
        flight.landed().await.unwrap_or(Err(Refused::Pending))
    }
}

impl Inner {
    /// What a consent holds, and of which attempt.
    pub(super) async fn held(&self, consent: &StoredConsent) -> Result<Option<(u32, Held)>, Refused> {
        let (Some(attempt), Some(held)) = (&consent.attempt, &consent.held) else { return Ok(None) };
        Ok(Some((attempt.number, self.open_held(&consent.id, attempt.number, held).await?)))
    }

    /// As it stands now.
    async fn settle(
        &self,
        id: &str,
        attempt: u32,
        choice: Choice,
        actor: Option<Actor>,
        call: Call,
    ) -> Result<(), Refused> {
        let consent = self.consent(id).await?;
        let held = match self.held(&consent).await? {
            Some((number, held)) if number == attempt => held,
            // Settled already.
            Some(_) | None => return Ok(()),
        };
        let grant = self.store.grant(&consent.key).await?;
        if held.chosen.is_some() {
            return self.conclude(&consent, attempt, held, grant.as_ref(), call).await;
        }
        if let Some(stored) = grant.as_ref().filter(|_| held.is_stored(grant.as_ref())) {
            let (generation, account) = (stored.generation, stored.account.clone());
            return self.finished(&consent, attempt, &held.sealed, held.by, generation, account, call).await;
        }
        if held.is_answered(grant.as_ref()) {
            return self.leave_alone(&consent, attempt, &held, actor, call).await;
        }
        match choice {
            Choice::Replace => self.replace(&consent, attempt, held, actor, call).await,
            Choice::Keep | Choice::Decline => {
                self.keep(&consent, attempt, held, is_connected(grant.as_ref()), actor, call).await
            }
        }
    }

    async fn replace(
        &self,
        consent: &StoredConsent,
        attempt: u32,
        held: Held,
        actor: Option<Actor>,
        call: Call,
    ) -> Result<(), Refused> {
        let pair = Pair::new(&self.vault, &keys::grant_id(&self.tenant, &consent.key)).await?;
        let person = PrincipalId(held.by.subject.clone());
        let (over, deadline) = (Over::AnyAccount { attempt, held: &held }, Instant::now() + self.commit_limit);
        match self.commit(consent, &held.granted, &person, over, pair, deadline).await {
            Ok(_) => {}
            // It is nobody's any more, and nothing is taken of it.
            Err(Refused::NotFound) => {
                let is_connected = is_connected(self.store.grant(&consent.key).await?.as_ref());
                return self.keep(consent, attempt, held, is_connected, actor, call).await;
            }
            Err(error) => return Err(error),
        }
        let consent = self.consent(&consent.id).await?;
        match self.held(&consent).await? {
            Some((number, held)) if number == attempt && held.chosen.is_some() => {
                let grant = self.store.grant(&consent.key).await?;
                self.conclude(&consent, attempt, held, grant.as_ref(), call).await
            }
            // Somebody else came to another end, or to this one.
            Some(_) | None => Ok(()),
        }
    }

    /// What follows from held tokens that are the grant's. The end is stored last: until then it is done again.
    async fn conclude(
        &self,
        consent: &StoredConsent,
        attempt: u32,
        held: Held,
        grant: Option<&StoredGrant>,
        call: Call,
    ) -> Result<(), Refused> {
        let Held { granted, by, chosen: Some(chosen), sealed } = held else { return Ok(()) };
        let id = keys::grant_id(&self.tenant, &consent.key);
        self.grants.let_go_of(&consent.key, &id, Generation(chosen.generation.0.saturating_sub(1)));
        self.grants.learn_life(&consent.key);
        // They may have come back to it since: then its tokens are left alone.
        let connected = is_connected(grant).then_some(grant).flatten().and_then(|grant| grant.account.as_ref());
        let is_back = connected.zip(chosen.account.as_ref()).is_some_and(|(now, then)| account::is_same(now, then));
        if !is_back {
            futures::future::join_all(chosen.replaced.iter().map(|tokens| self.unwanted(consent, tokens))).await;
        }
        self.finished(consent, attempt, &sealed, by, chosen.generation, granted.account, call).await
    }

    #[expect(clippy::too_many_arguments, reason = "all that is known of a consent")]
    async fn finished(
        &self,
        consent: &StoredConsent,
        attempt: u32,
        held: &Sealed,
        by: Actor,
        generation: Generation,
        account: Option<String>,
        call: Call,
    ) -> Result<(), Refused> {
        match self.store.finish_held(&consent.id, attempt, held, Ended::Done.code()).await {
            Ok(()) => {}
            // Somebody else did the same.
            Err(StoreError::Conflict) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        metrics::counter!("sallyport_consents_total").increment(1);
        let (grant, holder) = (keys::grant_id(&self.tenant, &consent.key), PrincipalId(consent.key.holder.clone()));
        self.remember(Event::consent_finished(by, holder, call, &grant, generation, account)).await;
        Ok(())
    }

    /// The account they came back with is connected by now, with other tokens.
    async fn leave_alone(
        &self,
        consent: &StoredConsent,
        attempt: u32,
        held: &Held,
        actor: Option<Actor>,
        call: Call,
    ) -> Result<(), Refused> {
        match self.store.finish_held(&consent.id, attempt, &held.sealed, Ended::Done.code()).await {
            Ok(()) => {}
            Err(StoreError::Conflict) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let holder = PrincipalId(consent.key.holder.clone());
        self.remember(Event::consent_refused(actor, Some(holder), call, "connected_meanwhile")).await;
        Ok(())
    }

    async fn keep(
        &self,
        consent: &StoredConsent,
        attempt: u32,
        held: Held,
        is_connected: bool,
        actor: Option<Actor>,
        call: Call,
    ) -> Result<(), Refused> {
        let ended = if is_connected { Ended::Kept } else { Ended::Declined };
        match self.store.finish_held(&consent.id, attempt, &held.sealed, ended.code()).await {
            Ok(()) => {}
            // They have chosen already.
            Err(StoreError::Conflict) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let holder = PrincipalId(consent.key.holder.clone());
        let reason = match (&actor, ended) {
            (None, _) => "unanswered",
            (Some(_), Ended::Declined) => "account_declined",
            (Some(_), _) => "account_kept",
        };
        self.remember(Event::consent_refused(actor, Some(holder), call, reason)).await;
        let Held { granted, .. } = held;
        let tokens = Tokens { access_token: Some(granted.access_token), refresh_token: granted.refresh_token };
        self.unwanted(consent, &tokens).await;
        Ok(())
    }

    async fn unwanted(&self, consent: &StoredConsent, tokens: &Tokens) {
        let client = provider_client(&self.servers(), &consent.key.provider_client);
        let told: AtProvider = self.grants.revoke_tokens(client.as_deref(), tokens).await;
        tracing::info!(outcome = told.code(), "the provider was told of tokens that nobody wants");
    }
}
