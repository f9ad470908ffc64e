//! Telling the provider that tokens are not wanted any more. Best effort: whatever comes of it, they are gone here.

use std::time::Duration;

use super::Inner;
use crate::keys;
use crate::model::ProviderClient;
use crate::oauth::revocation::{RevocationError, RevocationRequest, revoke};
use crate::secret::Secret;
use crate::store::StoredGrant;
use crate::vault::Place;

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
}

impl AtProvider {
    /// A code for records.
    pub fn code(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Failed => "revocation_failed",
            Self::Unsupported => "revocation_unsupported",
        }
    }
}

/// Tokens to be revoked, opened.
pub(super) struct Tokens {
    pub(super) access_token: Secret,
    pub(super) refresh_token: Option<Secret>,
}

impl Inner {
    /// The tokens of a grant, as far as they open.
    pub(super) async fn open_tokens(&self, grant: &StoredGrant) -> Option<Tokens> {
        let material = grant.material.as_ref()?;
        let id = keys::grant_id(&self.tenant, &grant.key);
        let opened = async {
            let access_token =
                self.vault.open(&Place::access_token(&id, grant.generation), &material.access_token).await?;
            let refresh_token = match &material.refresh_token {
                Some(sealed) => Some(self.vault.open(&Place::refresh_token(&id, grant.generation), sealed).await?),
                None => None,
            };
            Ok::<_, crate::vault::VaultError>(Tokens { access_token, refresh_token })
        };
        match opened.await {
            Ok(tokens) => Some(tokens),
            Err(error) => {
                tracing::error!(%error, "tokens to be revoked do not open");
                None
            }
        }
    }

    pub(super) async fn revoke(&self, client: Option<&ProviderClient>, tokens: Option<Tokens>) -> AtProvider {
        let (Some(client), Some(tokens)) = (client, tokens) else { return AtProvider::Unsupported };
        let registered = match self.registered(client).await {
            Ok(registered) => registered,
            Err(error) => {
                tracing::error!(%error, "tokens cannot be revoked");
                return AtProvider::Failed;
            }
        };
        let request = RevocationRequest {
            revocation_url: client.revocation_url.as_ref(),
            token_url: &client.token_url,
            client: registered.client(client),
            refresh_token: tokens.refresh_token.as_ref(),
            access_token: Some(&tokens.access_token),
            profile: client.profile,
        };
        match revoke(&*self.endpoint, &request, PROVIDER).await {
            Ok(()) => AtProvider::Revoked,
            Err(RevocationError::Unsupported | RevocationError::NoToken) => AtProvider::Unsupported,
            Err(error @ (RevocationError::Refused | RevocationError::Unavailable)) => {
                tracing::warn!(host = client.token_url.host_str(), %error, "tokens may still be alive");
                AtProvider::Failed
            }
        }
    }
}
