//! Whose grant a server's token is of, and whether what was agreed to covers that server.

use std::fmt;
use std::sync::Arc;

use crate::keys;
use crate::model::{AuthorizationCode, ClientCredentials, GrantKey, PrincipalId};
use crate::store::{Standing, StoredGrant};

/// Whose grant a server's token is of. Servers whose sources name one grant share its token, its renewals and its
/// pauses: two renewals of one refresh token would end the grant at a provider that rotates.
#[derive(Clone, Debug)]
pub enum Source {
    /// Nobody's in particular: the client's own.
    Service(Arc<ClientCredentials>),
    /// One person's.
    Person {
        /// As the server is configured.
        client: Arc<AuthorizationCode>,
        /// Whose.
        holder: PrincipalId,
    },
}

/// Why a person must agree (again).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsentReason {
    /// There never was a consent.
    Missing,
    /// It was ended by its holder or an operator.
    Revoked,
    /// The provider says that it is over.
    InvalidGrant,
    /// The upstream refused its token, and there is no way to get another.
    Rejected,
    /// Its token expired, and there is no way to get another.
    Expired,
    /// The broker ended between a provider's answer and its commit, and asking again brought no answer either.
    Lost,
    /// What is stored does not open: it was changed, or belongs to somebody else.
    Unreadable,
    /// The server needs scopes that were not agreed to.
    Scopes,
    /// The server is not the one it was agreed to be used for: its origin or its provider client changed.
    Settings,
}

impl ConsentReason {
    /// A code for records, also as the reason of [`Standing::NeedsConsent`].
    pub fn code(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Revoked => "revoked",
            Self::InvalidGrant => "invalid_grant",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Lost => "lost",
            Self::Unreadable => "unreadable",
            Self::Scopes => "scopes",
            Self::Settings => "settings",
        }
    }

    /// Why an ended grant was ended.
    pub fn of_standing(code: &str) -> Self {
        let known = [Self::InvalidGrant, Self::Rejected, Self::Expired, Self::Lost, Self::Unreadable];
        known.into_iter().find(|reason| reason.code() == code).unwrap_or(Self::InvalidGrant)
    }

    pub(super) fn as_standing(self) -> Standing {
        Standing::NeedsConsent(self.code().to_owned())
    }
}

impl fmt::Display for ConsentReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "nobody has agreed yet",
            Self::Revoked => "the access was ended",
            Self::InvalidGrant => "the provider says that the access is over",
            Self::Rejected => "the server refused the access token, and the provider gave no refresh token",
            Self::Expired => "the access token expired, and the provider gave no refresh token",
            Self::Lost => "a renewal was cut off",
            Self::Unreadable => "the stored access cannot be read",
            Self::Scopes => "the server needs scopes that were not agreed to",
            Self::Settings => "the server was changed since it was agreed to",
        })
    }
}

/// What a person agreed to; empty for client credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreed {
    /// Scopes, sorted.
    pub scopes: Vec<String>,
    /// Of the servers, sorted.
    pub auth_revisions: Vec<String>,
}

impl Source {
    /// The grant.
    pub fn grant(&self) -> GrantKey {
        match self {
            Self::Service(client) => keys::service_grant(client),
            Self::Person { client, holder } => client.grant_of(holder),
        }
    }

    /// Whether a grant, as stored, can be served to this server; it may have to be refreshed first.
    pub fn usable(&self, stored: Option<&StoredGrant>) -> Result<(), ConsentReason> {
        match (self, stored) {
            (Self::Service(_), _) => Ok(()),
            (Self::Person { .. }, None) => Err(ConsentReason::Missing),
            (Self::Person { .. }, Some(stored)) => {
                has_a_token(stored)?;
                self.covered_by(&Agreed {
                    scopes: stored.scopes.clone(),
                    auth_revisions: stored.auth_revisions.clone(),
                })
            }
        }
    }

    /// Whether what was agreed to covers this server.
    pub(super) fn covered_by(&self, agreed: &Agreed) -> Result<(), ConsentReason> {
        match self {
            Self::Service(_) => Ok(()),
            Self::Person { client, .. } if !agreed.auth_revisions.contains(&client.auth_revision) => {
                Err(ConsentReason::Settings)
            }
            Self::Person { client, .. } if !client.scopes.iter().all(|scope| agreed.scopes.contains(scope)) => {
                Err(ConsentReason::Scopes)
            }
            Self::Person { .. } => Ok(()),
        }
    }

    /// Whether a refresh ends the old access token at once.
    pub(super) fn refresh_kills_access_token(&self) -> bool {
        match self {
            Self::Service(_) => false,
            Self::Person { client, .. } => client.client.profile.refresh_kills_access_token,
        }
    }

    /// The provider, as it is counted.
    pub(super) fn authority(&self) -> String {
        authority(match self {
            Self::Service(client) => &client.token_url,
            Self::Person { client, .. } => &client.client.token_url,
        })
    }

    /// The provider's host, for people.
    pub(super) fn host(&self) -> String {
        host(match self {
            Self::Service(client) => &client.token_url,
            Self::Person { client, .. } => &client.client.token_url,
        })
    }
}

/// Whether a person's grant has a token, which may have expired: it has not been ended, or its refreshes only.
pub(super) fn has_a_token(stored: &StoredGrant) -> Result<(), ConsentReason> {
    match (&stored.standing, &stored.material) {
        (Standing::Live, _) | (Standing::NeedsConsent(_), Some(_)) => Ok(()),
        (Standing::NeedsConsent(code), None) => Err(ConsentReason::of_standing(code)),
        (Standing::Revoked(_), _) => Err(ConsentReason::Revoked),
    }
}

/// The host of a token endpoint, for people.
pub(super) fn host(token_url: &url::Url) -> String {
    token_url.host_str().unwrap_or("the provider").to_owned()
}

/// A provider, as it is counted: the host of its token endpoint, and the port if it is not the usual one.
pub(super) fn authority(token_url: &url::Url) -> String {
    match token_url.port() {
        Some(port) => format!("{}:{port}", host(token_url)),
        None => host(token_url),
    }
}
