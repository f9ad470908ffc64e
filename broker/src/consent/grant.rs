//! From a provider's answer to a stored grant. Consent wins over a refresh that is under way: it commits on top.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::held::Held;
use super::{Inner, Refused};
use crate::clock::UnixTime;
use crate::keys;
use crate::model::{Generation, PrincipalId, ProviderClient};
use crate::oauth::{Token, account};
use crate::refresher::due::{self, Chance};
use crate::refresher::{Pair, next_refresh_token};
use crate::secret::Secret;
use crate::store::{GrantCommit, Material, Standing, StoreError, StoredConsent, StoredGrant};
use crate::vault::Place;

const COMMIT_PAUSE: Duration = Duration::from_millis(50);

/// For how long the store is asked whether what was cut off was done all the same.
pub(super) const FIND_OUT: Duration = Duration::from_millis(500);

/// What a person's consent gave.
pub(super) struct Granted {
    pub(super) access_token: Secret,
    pub(super) refresh_token: Option<Secret>,
    pub(super) scopes: Vec<String>,
    pub(super) auth_revisions: Vec<String>,
    pub(super) account: Option<String>,
    pub(super) issued_at: UnixTime,
    pub(super) expires_at: UnixTime,
    pub(super) refresh_after: UnixTime,
}

/// What may be replaced by what was granted.
#[derive(Clone, Copy)]
pub(super) enum Over<'a> {
    /// The grant of whichever account, by what this attempt holds.
    AnyAccount {
        /// Counts the times the consent was begun.
        attempt: u32,
        /// What was chosen.
        held: &'a Held,
    },
    /// Only a grant that is not known to be another account's.
    SameAccount,
}

impl Granted {
    /// `issued_at` is from before the request left: the token expires at the provider no earlier than we believe.
    pub(super) fn of(
        token: Token,
        client: &ProviderClient,
        asked: &[String],
        auth_revisions: &[String],
        issued_at: UnixTime,
    ) -> Self {
        let times = due::times(client.profile, token.expires_in, None, issued_at, Chance::draw());
        let mut scopes = match token.scopes {
            Some(listed) => {
                let granted = asked.iter().filter(|scope| client.profile.has_granted(&listed, scope)).cloned();
                granted.chain(listed.iter().cloned()).collect()
            }
            None => asked.to_vec(),
        };
        scopes.sort();
        scopes.dedup();
        Self {
            access_token: token.access_token,
            refresh_token: token.refresh_token,
            scopes,
            auth_revisions: auth_revisions.to_vec(),
            account: token.account,
            issued_at,
            expires_at: times.expires_at,
            refresh_after: times.refresh_after,
        }
    }

    /// Whether the provider told both times who it is, and it is not the same (O12).
    pub(super) fn is_of_another_account(&self, grant: &StoredGrant) -> bool {
        matches!((&self.account, &grant.account), (Some(came), Some(held)) if !account::is_same(came, held))
    }

    /// Whether this is what was stored, whatever it was renewed to since; its account may have been told only after it was
    /// held.
    pub(super) fn is_stored_as(&self, grant: &StoredGrant) -> bool {
        grant.consented_at == Some(self.issued_at) && (self.account.is_none() || grant.account == self.account)
    }

    /// Whether the provider told both times who it is, and it is the same.
    pub(super) fn is_of_the_same_account(&self, grant: &StoredGrant) -> bool {
        matches!((&self.account, &grant.account), (Some(came), Some(held)) if account::is_same(came, held))
    }
}

impl Inner {
    /// Stores what was granted to `by` as the next generation, whatever anybody else stores meanwhile; answers which that is, or
    /// nothing if another account is connected and its replacement was not agreed to, or if somebody else has come to an end
    /// of what was held.
    ///
    /// # Errors
    /// [`Refused::NotFound`] if the consent is nobody's any more; or if the store has not taken it by `deadline`, as far as it
    /// says so within [`FIND_OUT`] more.
    pub(super) async fn commit(
        &self,
        consent: &StoredConsent,
        granted: &Granted,
        by: &PrincipalId,
        over: Over<'_>,
        pair: Pair,
        deadline: Instant,
    ) -> Result<Option<Generation>, Refused> {
        let (mut pair, mut tried) = (Some(pair), None);
        loop {
            let trying = self.try_commit(consent, granted, by, over, &mut pair, &mut tried);
            let error = match timeout_at(deadline, trying).await {
                Ok(Ok(committed)) => return Ok(committed),
                Ok(Err(Refused::NotFound)) => return Err(Refused::NotFound),
                Ok(Err(error)) => error,
                Err(elapsed) => StoreError::Unavailable(Box::new(elapsed)).into(),
            };
            if Instant::now() + COMMIT_PAUSE > deadline {
                return self.found(consent, tried.as_ref()).await.map(Some).ok_or(error);
            }
            if !matches!(&error, Refused::Store(store) if matches!(**store, StoreError::Conflict)) {
                tracing::warn!(%error, "tokens of a consent wait for the store");
                tokio::time::sleep(COMMIT_PAUSE).await;
            }
        }
    }

    /// The generation that the last try became, where only the answer was lost or came too late.
    async fn found(&self, consent: &StoredConsent, tried: Option<&Material>) -> Option<Generation> {
        let (tried, stored) = (tried?, timeout(FIND_OUT, self.store.grant(&consent.key)).await.ok()?.ok()??);
        (stored.material.as_ref() == Some(tried)).then_some(stored.generation)
    }

    async fn try_commit(
        &self,
        consent: &StoredConsent,
        granted: &Granted,
        by: &PrincipalId,
        over: Over<'_>,
        pair: &mut Option<Pair>,
        tried: &mut Option<Material>,
    ) -> Result<Option<Generation>, Refused> {
        let key = &consent.key;
        let stored = self.store.grant(key).await?;
        let id = keys::grant_id(&self.tenant, key);
        // An earlier try arrived without our learning it.
        if let Some(stored) = stored.as_ref().filter(|stored| tried.is_some() && stored.material == *tried) {
            return Ok(Some(stored.generation));
        }
        // An operator has given the holder's name to somebody else, or that of the owner who agreed: nobody would be there
        // for what is stored now.
        let now = self.consent(&consent.id).await?;
        if now.subjects.is_empty() || by.0 != key.holder && self.subject(by).await?.is_none() {
            return Err(Refused::NotFound);
        }
        match over {
            Over::AnyAccount { held, .. } => {
                if now.held.as_ref() != Some(&held.sealed) {
                    return Ok(None);
                }
            }
            // What its holder has disconnected is not in the way.
            Over::SameAccount => {
                let kept = stored.as_ref().filter(|stored| !matches!(stored.standing, Standing::Revoked(_)));
                if kept.is_some_and(|kept| granted.is_of_another_account(kept)) {
                    return Ok(None);
                }
            }
        }
        let generation = Generation(stored.as_ref().map_or(0, |stored| stored.generation.0) + 1);
        let pair = match pair.take() {
            Some(pair) => pair,
            None => Pair::new(&self.vault, &id).await?,
        };
        let live = stored.as_ref().filter(|stored| stored.standing == Standing::Live);
        let carried = self.refresh_token_of(&id, granted, live).await;
        let refresh_token = granted.refresh_token.as_ref().or(carried.as_ref());
        let (access_token, refresh_token) = pair.seal(&id, generation, &granted.access_token, refresh_token);
        let record = GrantCommit {
            key: key.clone(),
            generation,
            material: Material {
                access_token,
                refresh_token,
                issued_at: granted.issued_at,
                expires_at: granted.expires_at,
                refresh_after: granted.refresh_after,
            },
            scopes: granted.scopes.clone(),
            auth_revisions: auth_revisions(granted, live),
            account: granted.account.clone(),
            consented_at: Some(granted.issued_at),
            consented_by: Some(by.clone()),
            // They may be of another account, where the provider names none: no proxy goes on with them.
            invalidates: Some(self.clock.now()),
            id,
        };
        match over {
            Over::SameAccount => {
                *tried = Some(record.material.clone());
                self.store.commit_consented(&record, &consent.id).await?;
            }
            Over::AnyAccount { attempt, held } => {
                let chosen = self.held_as_chosen(consent, attempt, held, stored.as_ref(), generation).await?;
                *tried = Some(record.material.clone());
                self.store.commit_chosen(&record, &consent.id, attempt, &held.sealed, &chosen).await?;
            }
        }
        Ok(Some(generation))
    }

    /// The refresh token there is, where the provider gave no other and is known to speak of the same account.
    async fn refresh_token_of(&self, id: &str, granted: &Granted, live: Option<&StoredGrant>) -> Option<Secret> {
        let kept = live.filter(|live| granted.refresh_token.is_none() && granted.is_of_the_same_account(live))?;
        let (generation, sealed) = next_refresh_token(kept)?;
        match self.vault.open(&Place::refresh_token(id, generation), sealed).await {
            Ok(token) => Some(token),
            // What was just granted is stored all the same.
            Err(error) => {
                tracing::error!(%error, "a stored refresh token does not open, and is not carried over");
                None
            }
        }
    }
}

/// Those that were shown now, and those that were agreed to before for what is known to be the same account: where the
/// provider names none, it may be another, which nobody agreed to have used by a server that was not shown.
fn auth_revisions(granted: &Granted, live: Option<&StoredGrant>) -> Vec<String> {
    let mut revisions = granted.auth_revisions.clone();
    if let Some(live) = live.filter(|live| granted.is_of_the_same_account(live)) {
        revisions.extend(live.auth_revisions.iter().cloned());
    }
    revisions.sort();
    revisions.dedup();
    revisions
}
