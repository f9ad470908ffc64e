//! Callers as the broker sees them: verified here, whatever the proxy says about them (I3).

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use sallyport_caller::{self as caller, Caller, NoHost, TokenError};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

use super::{KeySource, Refused};
use crate::clock::Clock;
use crate::keys::{Key, Purpose};
use crate::model::{Identity, PrincipalId, Tenant};
use crate::principals;
use crate::snapshot::Published;
use crate::store::Store;

/// Verified tokens remembered.
const MAX_CALLERS: u64 = 50_000;

/// How long one is remembered; its expiry is looked at each time.
const MAX_AGE: Duration = Duration::from_secs(60);

/// A caller whose token was found good under one version of the snapshot.
pub(super) struct Verified {
    pub(super) caller: Caller,
    pub(super) principal: PrincipalId,
    version: u64,
}

/// Verifies callers, and remembers them by a hash of the whole token.
pub(super) struct Callers {
    pub(super) tenant: Tenant,
    pub(super) store: Arc<dyn Store>,
    pub(super) keys: Arc<dyn KeySource>,
    pub(super) clock: Arc<dyn Clock>,
    verified: Cache<Key, Arc<Verified>>,
}

impl Callers {
    pub(super) fn new(tenant: Tenant, store: Arc<dyn Store>, keys: Arc<dyn KeySource>, clock: Arc<dyn Clock>) -> Self {
        let verified = Cache::builder().max_capacity(MAX_CALLERS).time_to_live(MAX_AGE).build();
        Self { tenant, store, keys, clock, verified }
    }

    /// The caller behind a token. A new version of the snapshot, which a revocation makes, has every token verified
    /// again; the state of our own tokens is read from the store each time.
    pub(super) async fn verify(&self, token: &str, published: &Published) -> Result<Arc<Verified>, Refused> {
        let key = Key::new(&self.tenant, Purpose::VerifiedToken, &[token.as_bytes()]);
        let version = published.snapshot.version;
        let known = self.verified.get(&key).filter(|known| known.version == version);
        let verified = match known {
            Some(known) => {
                if known.caller.self_issued() {
                    self.own_token(&known.caller, token).await?;
                }
                known
            }
            None => {
                let caller = self.verify_anew(token, published).await?;
                let principal = match caller.self_issued() {
                    true => self.own_token(&caller, token).await?,
                    false => self.principal(&caller).await?,
                };
                let verified = Arc::new(Verified { caller, principal, version });
                self.verified.insert(key, Arc::clone(&verified));
                verified
            }
        };
        if published.revocations.revokes(&verified.caller) {
            return Err(Refused::Revoked);
        }
        Ok(verified)
    }

    async fn verify_anew(&self, token: &str, published: &Published) -> Result<Caller, Refused> {
        let now = self.clock.now().0;
        let verify = |issuers| caller::verify(token.as_bytes(), issuers, &published.external_identities, now, &NoHost);
        match verify(&published.issuers) {
            Ok(caller) => Ok(caller),
            Err(TokenError::UnknownKey { issuer, kid }) => {
                let unknown = || TokenError::UnknownKey { issuer: issuer.clone(), kid: kid.clone() };
                let key = self.keys.resolve_key(&issuer, &kid).await.ok_or_else(unknown)?;
                let issuers = published.issuers.with_key(&issuer, key);
                Ok(verify(&issuers)?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// One of our own tokens must be the very one that was issued, to whom it says, and not revoked since.
    async fn own_token(&self, caller: &Caller, token: &str) -> Result<PrincipalId, Refused> {
        let id = caller.token_id().ok_or(Refused::UnknownToken)?;
        let stored = self.store.token(id).await?.ok_or(Refused::UnknownToken)?;
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if !bool::from(stored.hash.ct_eq(&hash)) || stored.principal.0 != caller.subject() {
            return Err(Refused::UnknownToken);
        }
        if stored.revoked_at.is_some() {
            return Err(Refused::Revoked);
        }
        Ok(stored.principal)
    }

    async fn principal(&self, caller: &Caller) -> Result<PrincipalId, Refused> {
        let identity = Identity { issuer: caller.issuer().to_owned(), subject: caller.subject().to_owned() };
        // `user:` is there only for a verified address of a login issuer.
        let email = caller.subjects().iter().find_map(|subject| subject.strip_prefix("user:"));
        Ok(principals::of(&*self.store, &identity, email, self.clock.now()).await?)
    }
}
