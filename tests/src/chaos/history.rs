//! What was seen of a run, from outside and from the records: times in milliseconds since its start.

use std::collections::BTreeMap;

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Of each person at each server, who has one grant there.
    pub grants: Vec<Grant>,
    /// What befell brokers that could cost one of them an answer.
    pub faults: Vec<Fault>,
    /// When the store was away.
    pub outages: Vec<Outage>,
    /// Whether every chain of the audit holds together.
    pub audit_verifies: bool,
}

/// A broker was killed, or paused for longer than what it has begun is its own.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// When.
    pub at: u64,
    /// When it was to be there again.
    pub until: u64,
}

/// A time in which nothing could be stored.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    /// From when.
    pub from: u64,
    /// Until when.
    pub to: u64,
}

/// One grant.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Whose.
    pub person: String,
    /// For which server.
    pub server: String,
    /// Answers to one refresh token that may be lost before it is lost for good: none where it works once, one where the
    /// provider gives grace, and any number where it stays valid.
    pub bears: Option<usize>,
    /// To use one that is used up ends everything there.
    pub reuse_ends_it: bool,
    /// Every access token that the provider issued for it, oldest first.
    pub issued: Vec<String>,
    /// Every request for a refresh that the provider did not refuse, whether or not anybody heard.
    pub refreshes: Vec<Refresh>,
    /// How often each refresh token was presented, oldest first.
    pub uses: Vec<usize>,
    /// The provider ended it because a refresh token was used again.
    pub ended_for_reuse: bool,
    /// Every token that the upstream was called with for this person.
    pub served: Vec<Served>,
    /// What the audit says of its releases.
    pub releases: Vec<Release>,
    /// Its generation as the store had it, in the order of looking.
    pub generations: Vec<u64>,
    /// What its person is told once everything is well again.
    pub verdict: Verdict,
}

/// A request in the provider's books.
#[derive(Clone, Copy, Debug)]
pub struct Refresh {
    /// When it came.
    pub at: u64,
    /// When it was answered, or would have been.
    pub answered: u64,
    /// The provider withheld the answer.
    pub withheld: bool,
    /// Which refresh token it presented, the oldest being 0.
    pub token: usize,
}

/// A call that was answered.
#[derive(Clone, Debug)]
pub struct Served {
    /// When it was answered.
    pub at: u64,
    /// What the upstream was called with.
    pub token: String,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    /// Id of the grant.
    pub grant: String,
    /// Of the token.
    pub generation: u64,
    /// Of the token.
    pub fingerprint: String,
    /// Who got it.
    pub subject: String,
    /// For which server.
    pub server: String,
}

/// What a person is told at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Their calls succeed.
    Lives,
    /// They are asked to consent anew.
    AsksForConsent,
    /// Neither: they are refused for ever.
    Silent,
}

impl History {
    /// Fingerprints by grant and generation.
    pub(crate) fn tokens_of_generations(&self) -> BTreeMap<(&str, u64), Vec<&str>> {
        let mut tokens: BTreeMap<(&str, u64), Vec<&str>> = BTreeMap::new();
        for release in self.grants.iter().flat_map(|grant| &grant.releases) {
            let known = tokens.entry((&release.grant, release.generation)).or_default();
            if !known.contains(&release.fingerprint.as_str()) {
                known.push(&release.fingerprint);
            }
        }
        tokens
    }
}
