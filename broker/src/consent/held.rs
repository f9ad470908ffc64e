//! Tokens of another account than the one that is connected: sealed in the consent until the person says which of the
//! two they want (O12). An agent must not begin to act in another account because a browser was signed in to it.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::grant::{FIND_OUT, Granted};
use super::{Inner, Refused};
use crate::audit::Actor;
use crate::clock::UnixTime;
use crate::grants::Tokens;
use crate::model::Generation;
use crate::secret::Secret;
use crate::signin::Session;
use crate::store::{Sealed, Standing, StoreError, StoredConsent, StoredGrant};
use crate::vault::Place;

/// Room for the longest tokens of two accounts, so that no copy is left behind by growing.
const ROOM: usize = 256 * 1024;

/// Tokens that wait for a choice, or for what follows from it.
pub(super) struct Held {
    /// What was granted.
    pub(super) granted: Granted,
    /// The person who came back with it: nobody else is asked, or told of the account.
    pub(super) by: Actor,
    /// Once they are the grant's: written with it, so that no crash leaves what was chosen without its end.
    pub(super) chosen: Option<Chosen>,
    /// As it was read: whoever finds something else has been overtaken.
    pub(super) sealed: Sealed,
}

/// What follows once held tokens are the grant's.
pub(super) struct Chosen {
    /// The generation they are.
    pub(super) generation: Generation,
    /// The account that was connected before.
    pub(super) account: Option<String>,
    /// Its tokens, to be revoked.
    pub(super) replaced: Vec<Tokens>,
}

impl Held {
    /// Whether the provider may still be asked whose they are: till then there is nothing to choose.
    pub(super) fn may_be_asked_for(&self, consent: &StoredConsent, now: UnixTime, limit: Duration) -> bool {
        let is_over = self.chosen.is_some() || self.granted.account.is_some();
        !is_over && consent.code_taken.is_some_and(|at| now < at.after(limit))
    }

    pub(super) fn is_by(&self, session: &Session) -> bool {
        self.by.subject == session.principal.0
    }

    /// Whether nothing is left to be chosen: it was, or the very account is connected by now. Then these tokens are not
    /// revoked: many a provider ends all that it gave for the account, and some give the same token again.
    pub(super) fn is_answered(&self, grant: Option<&StoredGrant>) -> bool {
        let is_same = |grant: &StoredGrant| self.granted.is_of_the_same_account(grant);
        self.chosen.is_some() || self.is_stored(grant) || is_connected(grant) && grant.is_some_and(is_same)
    }

    /// Whether they were stored unasked, and only the end of that was not.
    pub(super) fn is_stored(&self, grant: Option<&StoredGrant>) -> bool {
        grant.is_some_and(|grant| self.granted.is_stored_as(grant))
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
    #[serde(default)]
    chosen: Option<WrittenChoice>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct WrittenChoice {
    generation: u64,
    account: Option<String>,
    replaced: Vec<WrittenTokens>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct WrittenTokens {
    access_token: Option<String>,
    refresh_token: Option<String>,
}

impl Drop for Written {
    fn drop(&mut self) {
        use zeroize::Zeroize as _;
        self.access_token.zeroize();
        self.refresh_token.zeroize();
    }
}

impl Drop for WrittenTokens {
    fn drop(&mut self) {
        use zeroize::Zeroize as _;
        self.access_token.zeroize();
        self.refresh_token.zeroize();
    }
}

impl Written {
    /// Exposed to be sealed in one piece with what they are for.
    fn of(granted: &Granted, by: &Actor, chosen: Option<WrittenChoice>) -> Self {
        Self {
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
            chosen,
        }
    }
}

fn text(secret: &Secret) -> String {
    secret.expose_str().unwrap_or_default().to_owned()
}

impl Inner {
    /// Durable before anybody is asked, be it a person or the provider; in place of the same without its account, if that is
    /// held already.
    async fn hold(
        &self,
        consent: &StoredConsent,
        attempt: u32,
        granted: &Granted,
        by: &Actor,
        instead_of: Option<&Sealed>,
    ) -> Result<Sealed, Refused> {
        let sealed = self.seal_held(&consent.id, attempt, &Written::of(granted, by, None)).await?;
        match instead_of {
            Some(before) => self.store.replace_held(&consent.id, attempt, before, &sealed).await?,
            None => self.store.hold_tokens(&consent.id, attempt, &sealed).await?,
        }
        Ok(sealed)
    }

    /// As [`Inner::hold`], by `deadline`. What was cut off then is held all the same if the store says so.
    pub(super) async fn hold_by(
        &self,
        deadline: Instant,
        consent: &StoredConsent,
        attempt: u32,
        granted: &Granted,
        by: &Actor,
        instead_of: Option<&Sealed>,
    ) -> Result<Sealed, Refused> {
        let error = match timeout_at(deadline, self.hold(consent, attempt, granted, by, instead_of)).await {
            Ok(Ok(held)) => return Ok(held),
            Ok(Err(error)) => error,
            Err(elapsed) => StoreError::Unavailable(Box::new(elapsed)).into(),
        };
        if matches!(&error, Refused::Store(store) if matches!(**store, StoreError::Conflict)) {
            return Err(error);
        }
        match timeout(FIND_OUT, self.consent(&consent.id)).await {
            Ok(Ok(now)) if now.attempts == attempt => now.held.filter(|held| Some(held) != instead_of).ok_or(error),
            Ok(Ok(_) | Err(_)) | Err(_) => Err(error),
        }
    }

    /// What is held, once it is this generation of the grant in place of `stored`.
    pub(super) async fn held_as_chosen(
        &self,
        consent: &StoredConsent,
        attempt: u32,
        held: &Held,
        stored: Option<&StoredGrant>,
        generation: Generation,
    ) -> Result<Sealed, Refused> {
        let before = stored.filter(|grant| held.granted.is_of_another_account(grant));
        let tokens = match before {
            Some(before) => self.grants.tokens_of(before).await?,
            None => Vec::new(),
        };
        let written = |tokens: &Tokens| WrittenTokens {
            // Exposed to be sealed: once the grant is another's, they are nowhere else.
            access_token: tokens.access_token.as_ref().map(text),
            refresh_token: tokens.refresh_token.as_ref().map(text),
        };
        let chosen = WrittenChoice {
            generation: generation.0,
            account: before.and_then(|grant| grant.account.clone()),
            replaced: tokens.iter().map(written).collect(),
        };
        self.seal_held(&consent.id, attempt, &Written::of(&held.granted, &held.by, Some(chosen))).await
    }

    async fn seal_held(&self, id: &str, attempt: u32, written: &Written) -> Result<Sealed, Refused> {
        let mut json = Vec::with_capacity(ROOM);
        serde_json::to_writer(&mut json, written).expect("text and numbers always become JSON");
        let (json, place) = (Secret::new(json), Place::of_consent(id, "held", attempt));
        Ok(self.vault.data_key(&place).await?.seal(&place, &json))
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
        let tokens = |mut tokens: WrittenTokens| Tokens {
            access_token: tokens.access_token.take().map(Secret::new),
            refresh_token: tokens.refresh_token.take().map(Secret::new),
        };
        let chosen = written.chosen.take().map(|chosen| Chosen {
            generation: Generation(chosen.generation),
            account: chosen.account,
            replaced: chosen.replaced.into_iter().map(tokens).collect(),
        });
        let issuer = std::mem::take(&mut written.signed_in_at);
        let by = Actor { issuer, subject: std::mem::take(&mut written.by), client_id: None };
        Ok(Held { granted, by, chosen, sealed: held.clone() })
    }
}

/// Whether there is an account to keep: what its holder has disconnected is none.
pub(super) fn is_connected(grant: Option<&StoredGrant>) -> bool {
    grant.is_some_and(|grant| !matches!(grant.standing, Standing::Revoked(_)))
}
