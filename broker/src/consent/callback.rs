//! The provider's answer: whose it is, before anything in it is used.

use subtle::ConstantTimeEq as _;

use super::exchange::{Exchange, exchange};
use super::{Consents, Inner, LIFE, Refused, Visit, actor};
use crate::grants::provider_client;
use crate::keys::{Key, Purpose};
use crate::oauth::callback::{self, ExpectedIssuer, Outcome};
use crate::secret::Secret;
use crate::signin::Session;
use crate::store::{ConsentAttempt, StoredConsent};
use crate::vault::{Place, VaultError};

impl Consents {
    /// Takes an answer that came to the redirect URI of a provider client, and answers the consent whose page says what
    /// became of it. The same answer again, however often and at whichever broker, comes to the same (O6).
    ///
    /// # Errors
    /// If the answer is not one to what this person asked in this browser; recorded, and nothing is stored.
    pub async fn callback(&self, client_id: &str, query: &str, visit: Visit<'_>) -> Result<String, Refused> {
        let inner = &self.0;
        let Some(client) = provider_client(&inner.servers(), client_id) else {
            return Err(inner.refuse(visit, None, Refused::NotFound).await);
        };
        let issuer = client.issuer.as_deref().map_or(ExpectedIssuer::Unknown, ExpectedIssuer::Always);
        let answer = match callback::read(query, issuer) {
            Ok(answer) => answer,
            Err(error) => return Err(inner.refuse(visit, None, error.into()).await),
        };
        let Some(consent) = inner.consent_of(&answer.state).await? else {
            return Err(inner.refuse(visit, None, Refused::State).await);
        };
        // Asked at one client, answered to another: a mix-up (RFC 9700 §4.4), whatever the state says.
        if consent.key.provider_client != client.id {
            return Err(inner.refuse(visit, Some(&consent), Refused::Client).await);
        }
        let Some(session) = visit.session else {
            return Err(inner.refuse(visit, Some(&consent), Refused::SignedOut).await);
        };
        inner.role_of(visit, session, &consent).await?;
        let Some(attempt) = &consent.attempt else {
            return match consent.outcome {
                Some(_) => Ok(consent.id),
                None => Err(inner.refuse(visit, Some(&consent), Refused::State).await),
            };
        };
        if let Err(refused) = inner.is_answer_to(&consent, attempt, session, &answer.state).await {
            return Err(inner.refuse(visit, Some(&consent), refused).await);
        }
        let code = match answer.outcome {
            Outcome::Code(code) => code,
            Outcome::Denied(denial) => {
                let denied = Refused::Denied { consent: consent.id.clone(), denial };
                return Err(inner.refuse(visit, Some(&consent), denied).await);
            }
        };
        let number = attempt.number.to_be_bytes();
        let key = Key::new(&inner.tenant, Purpose::Consent, &[consent.id.as_bytes(), &number]);
        let id = consent.id.clone();
        let (inner, call) = (std::sync::Arc::clone(inner), visit.call(Some(&consent.server)));
        let exchanging = Exchange { attempt: attempt.clone(), consent, client, code, actor: actor(session), call };
        // Detached: a browser that is closed now loses nothing (I5).
        let flight = self.0.flights.join(&key, || exchange(inner, exchanging)).ok_or(Refused::Draining)?;
        flight.landed().await.unwrap_or(Err(Refused::Pending))?;
        Ok(id)
    }
}

impl Inner {
    async fn consent_of(&self, state: &Secret) -> Result<Option<StoredConsent>, Refused> {
        // Exposed to be looked up by its first half, which is no secret.
        match state.expose_str().and_then(|state| state.split_once('.')) {
            Some((id, _)) => Ok(self.store.consent(id).await?),
            None => Ok(None),
        }
    }

    /// The same browser, the very state, and in time (O1).
    async fn is_answer_to(
        &self,
        consent: &StoredConsent,
        attempt: &ConsentAttempt,
        session: &Session,
        state: &Secret,
    ) -> Result<(), Refused> {
        let place = Place::of_consent(&consent.id, "state", attempt.number);
        let ours = match self.vault.open(&place, &attempt.state).await {
            Ok(ours) => ours,
            Err(error @ (VaultError::NotAuthentic { .. } | VaultError::Unreadable { .. })) => {
                tracing::error!(%error, "a stored state was tampered with");
                return Err(Refused::State);
            }
            Err(error @ (VaultError::OtherMasterKey { .. } | VaultError::MasterKey { .. })) => return Err(error.into()),
        };
        if !bool::from(attempt.session.ct_eq(&session.hash)) || ours != *state {
            return Err(Refused::State);
        }
        match self.clock.now() < attempt.begun_at.after(LIFE) {
            true => Ok(()),
            false => Err(Refused::Late),
        }
    }
}
