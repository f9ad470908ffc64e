//! Sign-in through an application whose user the person is: it confirms the sign-in with its user's own token.
//!
//! The browser goes to the application with the id of the sign-in, and comes back with a code that only the application
//! was given, and in the same browser. Who sends the id to somebody else gets that person's confirmation neither: it is of
//! another person than the one the link was made for, and the code would come to a browser that did not begin (O2).

use url::Url;

use super::session::{decoded, encoded, hash};
use super::{Begun, Browser, Destination, Inner, Refused, SignIns, SignedIn, Through, actor, is_equal, random_id};
use crate::model::{PrincipalId, PrincipalKind, ServerName};
use crate::secret::Secret;
use crate::store::{SignInKind, StoreError, StoredConsent, StoredSignIn};

/// Through what a person signed in, for records.
const THROUGH: &str = "application";

impl SignIns {
    /// Begins in a browser that wants to go on with this consent.
    ///
    /// # Errors
    /// [`Refused::NoApplication`] unless the consent is for the user of one that confirms sign-ins.
    pub async fn begin_application(&self, consent: &str) -> Result<Begun, Refused> {
        let inner = &self.0;
        let mut url = inner.verifier_of(consent).await?;
        let cookie = Secret::random::<32>();
        let begun = inner.fresh(SignInKind::Application, random_id(), Some(&cookie));
        let begun = StoredSignIn { consent: consent.to_owned(), ..begun };
        inner.store.add_sign_in(&begun).await?;
        url.query_pairs_mut().append_pair("flow", &begun.id);
        let host = url.host_str().unwrap_or_default().to_owned();
        Ok(Begun { cookie, url, host })
    }

    /// The server that the person's agent called: what the application's token must be good for.
    ///
    /// # Errors
    /// [`Refused::Unknown`] if there is no such sign-in.
    pub async fn server_of(&self, id: &str) -> Result<ServerName, Refused> {
        Ok(self.0.asked(id).await?.1.server)
    }

    /// The application says who it is; answers where it must send that person's browser.
    ///
    /// # Errors
    /// [`Refused::WrongPerson`], recorded, if it is not whom the link was made for; [`Refused::Unknown`] if it has
    /// said so before.
    pub async fn confirm(&self, id: &str, principal: &PrincipalId, request_id: &str) -> Result<Secret, Refused> {
        let inner = &self.0;
        let (_, consent) = inner.asked(id).await?;
        if consent.key.holder != principal.0 {
            return Err(inner.refuse(Some(actor(THROUGH, principal)), request_id, Refused::WrongPerson).await);
        }
        let code = Secret::random::<32>();
        match inner.store.confirm_sign_in(id, principal, &hash(&code)).await {
            Ok(()) => Ok(Secret::new(format!("{}/signin/return/{id}?code={}", inner.public_url, *encoded(&code)))),
            Err(StoreError::Conflict) => Err(inner.refuse(None, request_id, Refused::Unknown).await),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends in the browser that began, with the code that the application was given.
    ///
    /// # Errors
    /// [`Refused::OtherBrowser`], [`Refused::State`] or [`Refused::Unknown`], recorded.
    pub async fn finish_application(&self, id: &str, code: &str, browser: Browser<'_>) -> Result<SignedIn, Refused> {
        match self.0.finish_application(id, code, browser).await {
            Err(refused @ (Refused::OtherBrowser | Refused::State | Refused::Unknown)) => {
                Err(self.0.refuse(None, browser.request_id, refused).await)
            }
            other => other,
        }
    }
}

impl Inner {
    /// Where the application of the person for whom the consent is signs its users in.
    pub(super) async fn verifier_of(&self, consent: &str) -> Result<Url, Refused> {
        let consent = self.store.consent(consent).await?.ok_or(Refused::NoApplication)?;
        let holder = self.store.principal_by_id(&PrincipalId(consent.key.holder.clone())).await?;
        if holder.is_none_or(|holder| holder.kind != PrincipalKind::External) {
            return Err(Refused::NoApplication);
        }
        let servers = self.servers.borrow();
        let verifier =
            external_identities(&consent).find_map(|name| servers.external_identities.get(name)?.verifier_url.clone());
        verifier.ok_or(Refused::NoApplication)
    }

    /// A sign-in that waits for the application, and its consent.
    async fn asked(&self, id: &str) -> Result<(StoredSignIn, StoredConsent), Refused> {
        let begun = self.store.sign_in(id, self.clock.now()).await?.ok_or(Refused::Unknown)?;
        if begun.kind != SignInKind::Application || begun.used_at.is_some() {
            return Err(Refused::Unknown);
        }
        let consent = self.store.consent(&begun.consent).await?.ok_or(Refused::Unknown)?;
        Ok((begun, consent))
    }

    async fn finish_application(&self, id: &str, code: &str, browser: Browser<'_>) -> Result<SignedIn, Refused> {
        let begun = self.begun_here(SignInKind::Application, id, browser).await?;
        let sent = decoded(code).ok_or(Refused::State)?;
        let principal = match (begun.code, begun.principal) {
            (Some(given), Some(principal)) if is_equal(&given, &hash(&sent)) => principal,
            (Some(_) | None, _) => return Err(Refused::State),
        };
        // As what their agent came here: the application has confirmed that it is the same person.
        let consent = self.store.consent(&begun.consent).await?.ok_or(Refused::Unknown)?;
        let external_identities: Vec<String> = external_identities(&consent).map(str::to_owned).collect();
        let through = Through { name: THROUGH, teams: &[], external_identities: &external_identities };
        self.finish(&principal, through, Destination::restored(&begun.consent), browser, Some(id)).await
    }
}

/// Names of what the person acts as for whom a consent is.
fn external_identities(consent: &StoredConsent) -> impl Iterator<Item = &str> {
    consent.subjects.iter().filter_map(|subject| subject.strip_prefix("external-identity:"))
}
