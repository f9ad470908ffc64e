//! Who may use a server: the caller's subjects meet the policy's, or the answer is no.

use std::collections::HashSet;
use std::sync::Arc;

use crate::caller::Entered;

/// The subjects that may use a server. Empty: nobody (I8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Without those of teams.
    subjects: HashSet<String>,
    /// Names of teams, without `team:`, so that memberships are found without building a string for each.
    teams: HashSet<String>,
}

impl Policy {
    /// Takes subjects as manifests write them, for example `user:alice@example.com` and `team:everyone`.
    pub fn new(subjects: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let mut policy = Self::default();
        for subject in subjects {
            let subject = subject.into();
            match subject.strip_prefix("team:") {
                Some(team) => policy.teams.insert(team.to_owned()),
                None => policy.subjects.insert(subject),
            };
        }
        policy
    }

    fn names(&self, subject: &str) -> bool {
        match subject.strip_prefix("team:") {
            Some(team) => self.teams.contains(team),
            None => self.subjects.contains(subject),
        }
    }
}

/// Memberships that claims cannot give.
pub trait Teams {
    /// Names of teams, without `team:`, that a subject belongs to.
    fn teams_of(&self, subject: &str) -> &[String];
}

/// The policy names none of the caller's subjects. Says nothing about whom it does name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("policy does not let this caller use the server")]
pub struct PolicyDenied;

impl Entered<'_> {
    /// Lets the caller through if policy names one of its subjects or a team of one of them.
    ///
    /// # Errors
    /// [`PolicyDenied`].
    pub fn authorize(self, policy: &Policy, teams: &dyn Teams) -> Result<Allowed, PolicyDenied> {
        let caller = self.caller();
        let is_named = caller.subjects().iter().any(|subject| {
            policy.names(subject) || teams.teams_of(subject).iter().any(|team| policy.teams.contains(team))
        });
        if !is_named {
            return Err(PolicyDenied);
        }
        let (issuer, subject) = caller.shared_identity();
        Ok(Allowed { issuer, subject, expires_at_ms: caller.expires_at_ms() })
    }
}

/// Proof that policy lets a caller use the server it entered; made by [`Entered::authorize`] only.
#[derive(Debug)]
#[must_use = "what was allowed must be done or refused"]
pub struct Allowed {
    issuer: Arc<str>,
    subject: Arc<str>,
    expires_at_ms: u64,
}

impl Allowed {
    /// Exact `iss` of the caller.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The caller's subject at its issuer.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// `exp` of the caller's token, Unix milliseconds.
    pub fn expires_at_ms(&self) -> u64 {
        self.expires_at_ms
    }
}
