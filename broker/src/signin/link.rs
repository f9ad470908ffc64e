//! The operator's one-time link, for people who cannot sign in at an issuer. Looking at it uses nothing up: chats and mail
//! programs look, too.

use super::session::{decoded, encoded, hash};
use super::{Browser, Destination, Inner, LIFE, Refused, SignIns, SignedIn, Through};
use crate::audit::{Actor, Event};
use crate::clock::UnixTime;
use crate::keys;
use crate::model::{PrincipalId, PrincipalKind};
use crate::secret::Secret;
use crate::store::{SignInKind, StoredSignIn};

/// Through what a person signed in, for records.
const THROUGH: Through<'_> = Through { name: "link", teams: &[], external_identities: &[] };

/// A link that was made.
#[derive(Debug)]
pub struct Link {
    /// Good for one sign-in: whoever has it is that person.
    pub url: Secret,
    /// Until when.
    pub expires_at: UnixTime,
}

impl SignIns {
    /// Makes a link for a user, who need not be known yet.
    ///
    /// # Errors
    /// If store or audit do not answer.
    pub async fn link_for_user(&self, email: &str, operator: Actor) -> Result<Link, Refused> {
        let kind = PrincipalKind::User { email: email.to_owned() };
        let principal = self.0.store.ensure_principal(&kind, None, self.0.clock.now()).await?;
        self.0.link_for(&principal.id, operator).await
    }

    /// Makes a link for a principal that is known.
    ///
    /// # Errors
    /// [`Refused::NoPerson`] if it is not, or is a virtual account: its owners sign in as themselves.
    pub async fn link_for_principal(&self, id: &PrincipalId, operator: Actor) -> Result<Link, Refused> {
        match self.0.store.principal_by_id(id).await?.map(|principal| principal.kind) {
            Some(PrincipalKind::External | PrincipalKind::User { .. }) => self.0.link_for(id, operator).await,
            Some(PrincipalKind::VirtualAccount { .. }) | None => Err(Refused::NoPerson),
        }
    }

    /// Whom a link signs in; uses nothing up.
    ///
    /// # Errors
    /// [`Refused::Link`] if it is not good, or not any more.
    pub async fn link(&self, secret: &str) -> Result<PrincipalId, Refused> {
        self.0.unused_link(secret).await.map(|(_, principal)| principal)
    }

    /// Signs a browser in by a link, once.
    ///
    /// # Errors
    /// As [`SignIns::link`].
    pub async fn use_link(&self, secret: &str, browser: Browser<'_>) -> Result<SignedIn, Refused> {
        match self.0.use_link(secret, browser).await {
            Err(refused @ Refused::Link) => Err(self.0.refuse(None, browser.request_id, refused).await),
            other => other,
        }
    }
}

impl Inner {
    async fn link_for(&self, principal: &PrincipalId, operator: Actor) -> Result<Link, Refused> {
        let secret = Secret::random::<32>();
        let link =
            StoredSignIn { principal: Some(principal.clone()), ..self.fresh(SignInKind::Link, id(&secret), None) };
        self.store.add_sign_in(&link).await?;
        self.audit.record(Event::sign_in_link(operator, principal.clone())).await?;
        let url = Secret::new(format!("{}/signin/link/{}", self.public_url, *encoded(&secret)));
        Ok(Link { url, expires_at: link.created_at.after(LIFE) })
    }

    async fn unused_link(&self, secret: &str) -> Result<(StoredSignIn, PrincipalId), Refused> {
        let secret = decoded(secret).ok_or(Refused::Link)?;
        let link = self.store.sign_in(&id(&secret), self.clock.now()).await?.ok_or(Refused::Link)?;
        match (link.kind, link.used_at, link.principal.clone()) {
            (SignInKind::Link, None, Some(principal)) => Ok((link, principal)),
            (SignInKind::Link | SignInKind::Application | SignInKind::Oidc, _, _) => Err(Refused::Link),
        }
    }

    async fn use_link(&self, secret: &str, browser: Browser<'_>) -> Result<SignedIn, Refused> {
        let (link, principal) = self.unused_link(secret).await?;
        match self.finish(&principal, THROUGH, Destination::Connections, browser, Some(&link.id)).await {
            Err(Refused::Unknown) => Err(Refused::Link),
            other => other,
        }
    }
}

/// Found by a hash: who reads the store learns no link.
fn id(secret: &Secret) -> String {
    keys::hex(&hash(secret))
}
