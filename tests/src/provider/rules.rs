//! The habits in which providers differ.

use std::time::Duration;

/// What becomes of a refresh token when it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// Nothing: there is one for the life of the grant, and answers do not repeat it (Google).
    None,
    /// A new one comes with each answer, and the old ones stay good (Microsoft).
    OldValid,
    /// The old one stays good for this long, unless its successor is used; later use ends the family (Auth0, Cognito).
    Grace(Duration),
    /// The old one is dead at once (GitHub, Slack).
    Strict,
    /// The same, and to use a dead one ends the family (Notion, `oidc-provider`).
    FamilyRevoke,
}

/// What the use of a refresh token leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reuse {
    Fine,
    Refused,
    EndsFamily,
}

impl Rotation {
    pub(super) fn rotates(self) -> bool {
        match self {
            Self::None => false,
            Self::OldValid | Self::Grace(_) | Self::Strict | Self::FamilyRevoke => true,
        }
    }

    /// `since_use` is absent for a token that has not been used.
    pub(super) fn reuse(self, since_use: Option<Duration>, superseded: bool) -> Reuse {
        let Some(since_use) = since_use else { return Reuse::Fine };
        match self {
            Self::None | Self::OldValid => Reuse::Fine,
            Self::Grace(window) if since_use < window && !superseded => Reuse::Fine,
            Self::Strict => Reuse::Refused,
            Self::Grace(_) | Self::FamilyRevoke => Reuse::EndsFamily,
        }
    }
}

/// How this provider behaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) rotation: Rotation,
    pub(super) refresh_kills_access_token: bool,
    pub(super) access_token_life: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        let access_token_life = Duration::from_secs(3600);
        Self { rotation: Rotation::Strict, refresh_kills_access_token: false, access_token_life }
    }
}
