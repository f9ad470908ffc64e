//! Telling the provider that tokens are not wanted any more. Best effort: whatever comes of it, they are gone here.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Grants, provider_client};
use crate::keys;
use crate::model::{Generation, GrantKey, ProviderClient};
use crate::oauth::revocation::{RevocationError, RevocationRequest, revoke};
use crate::refresher::Registered;
use crate::secret::Secret;
use crate::store::{GrantCommit, Material, Spare, StoredGrant};
use crate::vault::{Place, VaultError};

/// One request to the revocation endpoint.
const PROVIDER: Duration = Duration::from_secs(10);

/// What became of tokens at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtProvider {
    /// They are dead.
    Revoked,
    /// They may be alive: the provider did not do it.
    Failed,
    /// They may be alive: there is no way to ask for it.
    Unsupported,
    /// The grant had none any more.
    NoTokens,
}

impl AtProvider {
    /// A code for records.
    pub fn code(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Failed => "revocation_failed",
            Self::Unsupported => "revocation_unsupported",
            Self::NoTokens => "no_tokens",
        }
    }
}

/// Tokens to be revoked, opened.
pub struct Tokens {
    /// The access token, where the provider gave one.
    pub access_token: Option<Secret>,
    /// The refresh token, where the provider gave one.
    pub refresh_token: Option<Secret>,
}

impl Grants {
    /// The tokens of a grant as it was read: its pair, and its spare. What was tampered with is told loudly, and is none.
    ///
    /// # Errors
    /// If a master key is not there.
    pub async fn tokens_of(&self, grant: &StoredGrant) -> Result<Vec<Tokens>, VaultError> {
        let mut opened = Vec::new();
        if let Some(material) = &grant.material {
            opened.push(self.open(&grant.key, grant.generation, material).await);
        }
        if let Some(spare) = &grant.spare {
            opened.push(self.open_spare(&grant.key, spare).await);
        }
        let mut tokens = Vec::new();
        for one in opened {
            match one {
                Ok(one) => tokens.push(one),
                Err(error @ (VaultError::NotAuthentic { .. } | VaultError::Unreadable { .. })) => {
                    tracing::error!(%error, "tokens to be revoked do not open");
                }
                Err(error @ (VaultError::OtherMasterKey { .. } | VaultError::MasterKey { .. })) => return Err(error),
            }
        }
        Ok(tokens)
    }

    /// Tells the provider that the tokens of a grant, as it was read, are not wanted any more: its pair, and at the same
    /// time its spare.
    pub async fn revoke_tokens_of(&self, client: Option<&ProviderClient>, grant: &StoredGrant) -> AtProvider {
        let pair = async {
            match &grant.material {
                Some(material) => {
                    self.revoke_opened(client, self.open(&grant.key, grant.generation, material).await).await
                }
                None => AtProvider::NoTokens,
            }
        };
        let spare = async {
            match &grant.spare {
                Some(spare) => self.revoke_opened(client, self.open_spare(&grant.key, spare).await).await,
                None => AtProvider::NoTokens,
            }
        };
        match tokio::join!(pair, spare) {
            (_, AtProvider::Failed) => AtProvider::Failed,
            (pair, AtProvider::Revoked | AtProvider::Unsupported | AtProvider::NoTokens) => pair,
        }
    }

    /// Has those revoked that come home to a grant that has ended, until no more of them can come.
    pub async fn revoke_unwanted(self, mut unwanted: mpsc::UnboundedReceiver<GrantCommit>, no_more: CancellationToken) {
        while let Some(Some(commit)) = no_more.run_until_cancelled(unwanted.recv()).await {
            self.revoke_late(commit);
        }
        while let Ok(commit) = unwanted.try_recv() {
            self.revoke_late(commit);
        }
    }

    /// A provider that is slow holds up no other.
    fn revoke_late(&self, commit: GrantCommit) {
        let grants = self.clone();
        self.1.spawn(async move {
            let client = provider_client(&grants.0.servers.borrow(), &commit.key.provider_client);
            let opened = grants.open(&commit.key, commit.generation, &commit.material).await;
            let outcome = grants.revoke_opened(client.as_deref(), opened).await.code();
            tracing::info!(grant = commit.id, outcome, "the provider was told of tokens that came too late");
        });
    }

    async fn open(&self, key: &GrantKey, generation: Generation, material: &Material) -> Result<Tokens, VaultError> {
        let (vault, id) = (&self.0.vault, keys::grant_id(&self.0.tenant, key));
        let access_token = vault.open(&Place::access_token(&id, generation), &material.access_token).await?;
        let refresh_token = match &material.refresh_token {
            Some(sealed) => Some(vault.open(&Place::refresh_token(&id, generation), sealed).await?),
            None => None,
        };
        Ok(Tokens { access_token: Some(access_token), refresh_token })
    }

    async fn open_spare(&self, key: &GrantKey, spare: &Spare) -> Result<Tokens, VaultError> {
        let id = keys::grant_id(&self.0.tenant, key);
        let place = Place::refresh_token(&id, spare.generation);
        let refresh_token = Some(self.0.vault.open(&place, &spare.refresh_token).await?);
        Ok(Tokens { access_token: None, refresh_token })
    }

    async fn revoke_opened(&self, client: Option<&ProviderClient>, opened: Result<Tokens, VaultError>) -> AtProvider {
        match opened {
            Ok(tokens) => self.revoke_tokens(client, &tokens).await,
            Err(error) => {
                tracing::error!(%error, "tokens to be revoked do not open");
                AtProvider::Failed
            }
        }
    }

    /// Tells the provider, once.
    pub async fn revoke_tokens(&self, client: Option<&ProviderClient>, tokens: &Tokens) -> AtProvider {
        // No server says any more where to go, and as whom.
        let Some(client) = client else { return AtProvider::Unsupported };
        let registered = match Registered::resolve(&*self.0.secrets, client).await {
            Ok(registered) => registered,
            Err(error) => {
                tracing::error!(%error, "tokens cannot be revoked");
                return AtProvider::Failed;
            }
        };
        self.revoke_tokens_as(client, &registered, tokens).await
    }

    /// Tells the provider, once, as a client whose secrets are open: also while the store, where they are, is down.
    pub async fn revoke_tokens_as(
        &self,
        client: &ProviderClient,
        registered: &Registered,
        tokens: &Tokens,
    ) -> AtProvider {
        let request = RevocationRequest {
            revocation_url: client.revocation_url.as_ref(),
            token_url: &client.token_url,
            client: registered.client(),
            refresh_token: tokens.refresh_token.as_ref(),
            access_token: tokens.access_token.as_ref(),
            profile: client.profile,
        };
        match revoke(&*self.0.endpoint, &request, PROVIDER).await {
            Ok(()) => AtProvider::Revoked,
            Err(RevocationError::Unsupported) => AtProvider::Unsupported,
            Err(RevocationError::NoToken) => AtProvider::NoTokens,
            Err(error @ (RevocationError::Refused | RevocationError::Unavailable)) => {
                tracing::warn!(host = client.token_url.host_str(), %error, "tokens may still be alive");
                AtProvider::Failed
            }
        }
    }
}
