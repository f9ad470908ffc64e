//! What is particular about providers: how they rotate, how long tokens live, and in what shape they answer.

use std::time::Duration;

/// What becomes of a refresh token when it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// It stays, and no other is given: asking twice changes nothing.
    NonRotating,
    /// Another is given, and the old one stays valid.
    OldValid,
    /// Another is given, and the old one stays valid for this long.
    Grace(Duration),
    /// Another is given, and the old one is dead at once; using it again may end the whole grant.
    Strict,
}

/// One kind of provider.
#[derive(Debug, PartialEq, Eq)]
pub struct Profile {
    /// As `provider` in manifests.
    pub name: &'static str,
    /// What becomes of a refresh token when it is used.
    pub rotation: Rotation,
    /// Life of an access token whose life the provider does not tell.
    pub default_lifetime: Duration,
    /// A refresh ends the old access token at once: nobody may use it while a refresh is under way.
    pub refresh_kills_access_token: bool,
    /// Hosts of its token endpoint, by which it is known where a manifest does not name it.
    pub hosts: &'static [&'static str],
    /// Sent on every authorization request.
    pub authorization_params: &'static [(&'static str, &'static str)],
}

/// Any provider: assumed to be as strict as one can be, so that nothing is lost at it.
pub static GENERIC: Profile = Profile {
    name: "generic",
    rotation: Rotation::Strict,
    default_lifetime: Duration::from_secs(3600),
    refresh_kills_access_token: false,
    hosts: &[],
    authorization_params: &[],
};

/// GitHub Apps.
pub static GITHUB: Profile = Profile {
    name: "github",
    rotation: Rotation::Strict,
    default_lifetime: Duration::from_secs(8 * 3600),
    refresh_kills_access_token: true,
    hosts: &["github.com"],
    authorization_params: &[],
};

/// Every profile, by name.
pub static ALL: [&Profile; 2] = [&GENERIC, &GITHUB];

impl Profile {
    /// The profile of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.into_iter().find(|profile| profile.name == name)
    }

    /// The profile of the provider whose token endpoint is at `host`; [`GENERIC`] for any other.
    pub fn of_host(host: &str) -> &'static Self {
        ALL.into_iter().find(|profile| profile.hosts.contains(&host)).unwrap_or(&GENERIC)
    }
}
