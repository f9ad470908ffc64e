//! Tokens of another account than the one that is connected: sealed in the consent until the person says which of the
//! two they want (O12). An agent must not begin to act in another account because a browser was signed in to it.

use std::sync::Arc;
use std::time::Duration;

use super::grant::{Granted, Over};
use super::{Consents, Ended, Inner, Refused, Visit, actor};
use crate::audit::{Actor, Call, Event};
use crate::clock::UnixTime;
use crate::grants::{AtProvider, Tokens, provider_client};
use crate::keys::{self, Key, Purpose};
use crate::model::PrincipalId;
use crate::refresher::Pair;
use crate::secret::Secret;
use crate::signin::Session;
use crate::store::{Sealed, Standing, StoreError, StoredConsent, StoredGrant};
use crate::vault::Place;

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

impl Choice {
    /// Whether the tokens become the grant's.
    fn takes_them(self) -> bool {
        match self {
            Self::Replace => true,
            Self::Keep | Self::Decline => false,
        }
    }
}

/// As it is sealed.
#[derive(serde::Serialize, serde::Deserialize)]
struct Written {
    access_token: String,
    refresh_token: Option<String>,
    scopes: Vec<String>,
    auth_revisions: Vec<String>,
    account: Option<String>,
    issued_at: UnixTime,
    expires_at: UnixTime,
    refresh_after: UnixTime,
    /// Who came back with them, and through what that person had signed in: whoever finishes is who began (O2), although
    /// a virtual account has other owners.
    #[serde(default)]
    by: String,
    #[serde(default)]
    signed_in_at: String,
}

/// Tokens that wait for a choice.
pub(super) struct Held {
    /// What was granted.
    pub(super) granted: Granted,
    /// The person who came back with it: nobody else is asked, or told of the account.
    pub(super) by: Actor,
}

impl Held {
    /// Whether the provider may still be asked whose they are: till then there is nothing to choose.
    pub(super) fn may_be_asked_for(&self, consent: &StoredConsent, now: UnixTime, limit: Duration) -> bool {
        self.granted.account.is_none() && consent.code_taken.is_some_and(|at| now < at.after(limit))
    }

    pub(super) fn is_by(&self, session: &Session) -> bool {
        self.by.subject == session.principal.0
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        use zeroize::Zeroize as _;
        self.access_token.zeroize();
        self.refresh_token.zeroize();
    }
}

impl Consents {
    /// Does with held tokens what the person wants, once. Those that are not wanted are revoked. Answers the consent, whose
    /// page says the rest.
    ///
    /// # Errors
    /// As [`Consents::page`], or if the choice cannot be stored.
    pub async fn choose(&self, id: &str, choice: Choice, visit: Visit<'_>) -> Result<String, Refused> {
        let inner = &self.0;
        let session = visit.session.ok_or(Refused::SignedOut)?;
        let consent = inner.consent(id).await?;
        inner.role_of(visit, session, &consent).await?;
        let (Some(attempt), Some(held)) = (&consent.attempt, &consent.held) else { return Ok(consent.id) };
        let held = inner.open_held(&consent.id, attempt.number, held).await?;
        if !held.is_by(session) {
            return Err(inner.refuse(visit, Some(&consent), Refused::WrongPerson).await);
        }
        if held.may_be_asked_for(&consent, inner.clock.now(), inner.longest_exchange()) {
            return Err(Refused::Pending);
        }
        let grant = inner.store.grant(&consent.key).await?;
        if inner.is_chosen(&consent, attempt.number, &held, grant.as_ref()).await {
            return Ok(consent.id);
        }
        // What there was to keep was disconnected meanwhile: the page asks another question by now.
        if choice == Choice::Keep && !is_connected(grant.as_ref()) {
            return Ok(consent.id);
        }
        let (id, number, call) = (consent.id.clone(), attempt.number, visit.call(Some(&consent.server)));
        self.settle(consent, number, held, choice, Some(actor(session)), call).await?;
        Ok(id)
    }

    /// Has tokens revoked that are held for a question which nobody has answered long after the link expired; answers how
    /// many there were. The account stays that is connected.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn abandon(&self) -> Result<usize, Refused> {
        let inner = &self.0;
        let before = UnixTime(inner.clock.now().0.saturating_sub(UNANSWERED_MS));
        let abandoned = inner.store.abandoned_consents(before).await?.readable();
        let count = abandoned.len();
        for consent in abandoned {
            let id = consent.id.clone();
            if let Err(error) = self.abandon_one(consent).await {
                tracing::warn!(consent = id, %error, "tokens stay held that nobody asks for");
            }
        }
        Ok(count)
    }

    async fn abandon_one(&self, consent: StoredConsent) -> Result<(), Refused> {
        let inner = &self.0;
        let (Some(attempt), Some(held)) = (&consent.attempt, &consent.held) else { return Ok(()) };
        let number = attempt.number;
        let held = inner.open_held(&consent.id, number, held).await?;
        let grant = inner.store.grant(&consent.key).await?;
        if inner.is_chosen(&consent, number, &held, grant.as_ref()).await {
            return Ok(());
        }
        let call = Call { server: consent.server.0.clone(), ..Call::default() };
        self.settle(consent, number, held, Choice::Decline, None, call).await
    }

    /// Once, whoever asks for it and at whichever broker: a person in two windows, or the clock. The first choice is the one
    /// that counts, also where whoever made it did not come to the end.
    async fn settle(
        &self,
        consent: StoredConsent,
        attempt: u32,
        held: Held,
        choice: Choice,
        actor: Option<Actor>,
        call: Call,
    ) -> Result<(), Refused> {
        let inner = Arc::clone(&self.0);
        let key = Key::new(&inner.tenant, Purpose::Consent, &[consent.id.as_bytes(), b"choice"]);
        let settling = || async move {
            match inner.store.choose_held(&consent.id, attempt, choice.takes_them()).await {
                Ok(true) => inner.replace(&consent, attempt, held, call).await,
                Ok(false) => inner.keep(&consent, attempt, held.granted, actor, call).await,
                // Settled already.
                Err(StoreError::Conflict) => Ok(()),
                Err(error) => Err(error.into()),
            }
        };
        let flight = self.0.flights.join(&key, settling).ok_or(Refused::Draining)?;
        flight.landed().await.unwrap_or(Err(Refused::Pending))
    }
}

impl Inner {
    /// Whether the other account was chosen already, and only the end of the consent was not stored: what is held may be used
    /// up by now, and to keep the first would revoke the one that is connected. Then it ends here.
    async fn is_chosen(&self, consent: &StoredConsent, attempt: u32, held: &Held, grant: Option<&StoredGrant>) -> bool {
        let is_chosen = grant.is_some_and(|grant| held.granted.is_stored_as(grant));
        if is_chosen {
            self.finish(consent, attempt, Ended::Done).await;
        }
        is_chosen
    }

    /// Durable before anybody is asked, be it a person or the provider; in place of the same without its account, if that is
    /// held already.
    pub(super) async fn hold(
        &self,
        consent: &StoredConsent,
        attempt: u32,
        granted: &Granted,
        by: &Actor,
        instead_of: Option<&Sealed>,
    ) -> Result<Sealed, Refused> {
        let text = |secret: &Secret| secret.expose_str().unwrap_or_default().to_owned();
        let written = Written {
            // Exposed to be sealed in one piece with what they are for.
            access_token: text(&granted.access_token),
            refresh_token: granted.refresh_token.as_ref().map(text),
            scopes: granted.scopes.clone(),
            auth_revisions: granted.auth_revisions.clone(),
            account: granted.account.clone(),
            issued_at: granted.issued_at,
            expires_at: granted.expires_at,
            refresh_after: granted.refresh_after,
            by: by.subject.clone(),
            signed_in_at: by.issuer.clone(),
        };
        // Room for the longest, so that no copy is left behind by growing.
        let mut json = Vec::with_capacity(64 * 1024);
        serde_json::to_writer(&mut json, &written).expect("text and numbers always become JSON");
        let place = Place::of_consent(&consent.id, "held", attempt);
        let sealed = self.vault.data_key(&place).await?.seal(&place, &Secret::new(json));
        match instead_of {
            Some(before) => self.store.replace_held(&consent.id, attempt, before, &sealed).await?,
            None => self.store.hold_tokens(&consent.id, attempt, &sealed).await?,
        }
        Ok(sealed)
    }

    pub(super) async fn open_held(&self, id: &str, attempt: u32, held: &Sealed) -> Result<Held, Refused> {
        let opened = self.vault.open(&Place::of_consent(id, "held", attempt), held).await?;
        // Read here to be taken apart; the tokens leave as secrets again.
        let unreadable = |_| StoreError::Corrupt { table: "consents", id: id.to_owned(), why: "what it holds" };
        let mut written: Written = serde_json::from_slice(opened.expose()).map_err(unreadable)?;
        let granted = Granted {
            access_token: Secret::new(std::mem::take(&mut written.access_token)),
            refresh_token: written.refresh_token.take().map(Secret::new),
            scopes: std::mem::take(&mut written.scopes),
            auth_revisions: std::mem::take(&mut written.auth_revisions),
            account: written.account.take(),
            issued_at: written.issued_at,
            expires_at: written.expires_at,
            refresh_after: written.refresh_after,
        };
        let issuer = std::mem::take(&mut written.signed_in_at);
        Ok(Held { granted, by: Actor { issuer, subject: std::mem::take(&mut written.by), client_id: None } })
    }

    async fn replace(&self, consent: &StoredConsent, attempt: u32, held: Held, call: Call) -> Result<(), Refused> {
        let Held { granted, by } = held;
        let replaced = self.store.grant(&consent.key).await?.filter(|grant| granted.is_of_another_account(grant));
        let pair = Pair::new(&self.vault, &keys::grant_id(&self.tenant, &consent.key)).await?;
        let person = PrincipalId(by.subject.clone());
        if let Some(generation) = self.commit(consent, &granted, &person, Over::AnyAccount, pair).await? {
            self.connected(consent, attempt, by, call, generation, granted.account).await;
        }
        if let Some(replaced) = &replaced {
            let client = provider_client(&self.servers(), &consent.key.provider_client);
            unwanted(self.grants.revoke_tokens_of(client.as_deref(), replaced).await);
        }
        Ok(())
    }

    async fn keep(
        &self,
        consent: &StoredConsent,
        attempt: u32,
        granted: Granted,
        actor: Option<Actor>,
        call: Call,
    ) -> Result<(), Refused> {
        let ended = match is_connected(self.store.grant(&consent.key).await?.as_ref()) {
            true => Ended::Kept,
            false => Ended::Declined,
        };
        match self.store.finish_consent(&consent.id, attempt, ended.code()).await {
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
        let Granted { access_token, refresh_token, .. } = granted;
        let client = provider_client(&self.servers(), &consent.key.provider_client);
        unwanted(
            self.grants
                .revoke_tokens(client.as_deref(), &Tokens { access_token: Some(access_token), refresh_token })
                .await,
        );
        Ok(())
    }
}

/// Whether there is an account to keep: what its holder has disconnected is none.
pub(super) fn is_connected(grant: Option<&StoredGrant>) -> bool {
    grant.is_some_and(|grant| !matches!(grant.standing, Standing::Revoked(_)))
}

fn unwanted(told: AtProvider) {
    tracing::info!(outcome = told.code(), "the provider was told of tokens that nobody wants");
}
