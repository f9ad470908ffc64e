//! What the provider has issued, and the rules by which it dies. Knows nothing of HTTP; told the time.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{
    pkce,
    refusal::Refusal,
    rules::{Reuse, Rules},
};

/// What a person has approved: all that a code stands for.
#[derive(Clone, Debug)]
pub(super) struct Approval {
    pub(super) client_id: String,
    pub(super) user: String,
    pub(super) redirect_uri: String,
    pub(super) scope: String,
    pub(super) challenge: String,
}

/// Everything that comes of one approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// Who approved.
    pub user: String,
    /// For which client.
    pub client_id: String,
    /// What, space-separated.
    pub scope: String,
    /// Every access token issued, oldest first, dead ones included.
    pub access_tokens: Vec<String>,
    /// Every refresh token issued, oldest first, dead ones included.
    pub refresh_tokens: Vec<String>,
    /// Why the whole family is dead, if it is.
    pub revoked: Option<Revoked>,
}

/// What ended a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// A refresh token was used when it was no longer good.
    Reuse,
    /// Its code was redeemed twice (RFC 6749 section 4.1.2).
    CodeReplay,
    /// The client asked for it (RFC 7009).
    Client,
    /// The person did, at the provider.
    Person,
}

/// What a token request got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Issued {
    pub(super) access_token: String,
    pub(super) refresh_token: Option<String>,
    pub(super) expires_in: u64,
    pub(super) scope: String,
}

enum Code {
    Fresh {
        approval: Approval,
        until: Instant,
    },
    /// Presented wrongly once: dead, and nothing came of it.
    Burnt,
    Redeemed {
        family: usize,
    },
}

enum Holder {
    Person { family: usize },
    Client { id: String },
}

struct Access {
    holder: Holder,
    until: Instant,
    killed: bool,
}

struct Refresh {
    family: usize,
    /// The token it was issued for.
    parent: Option<String>,
    /// When it was first used.
    used: Option<Instant>,
    /// A child of it was used: no grace is left.
    superseded: bool,
}

/// The books.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) rules: Rules,
    pub(super) families: Vec<Family>,
    codes: HashMap<String, Code>,
    access: HashMap<String, Access>,
    refresh: HashMap<String, Refresh>,
}

const CODE_LIFE: Duration = Duration::from_secs(60);

impl Ledger {
    pub(super) fn code(&mut self, approval: Approval, now: Instant) -> String {
        let code = crate::unique("code");
        self.codes.insert(code.clone(), Code::Fresh { approval, until: now + CODE_LIFE });
        code
    }

    /// Redeems a code, once: an attempt that fails burns it, a second one takes back what the first one got.
    pub(super) fn redeem(
        &mut self,
        code: &str,
        client_id: &str,
        redirect_uri: &str,
        verifier: &str,
        now: Instant,
    ) -> Result<Issued, Refusal> {
        let slot = self.codes.get_mut(code).ok_or(Refusal::InvalidGrant)?;
        let (approval, until) = match std::mem::replace(slot, Code::Burnt) {
            Code::Fresh { approval, until } => (approval, until),
            Code::Burnt => return Err(Refusal::InvalidGrant),
            Code::Redeemed { family } => {
                self.end_family(family, Revoked::CodeReplay);
                return Err(Refusal::InvalidGrant);
            }
        };
        let bound = approval.client_id == client_id && approval.redirect_uri == redirect_uri;
        if !bound || now >= until || !pkce::proves(verifier, &approval.challenge) {
            return Err(Refusal::InvalidGrant);
        }
        let family = self.families.len();
        *slot = Code::Redeemed { family };
        self.families.push(Family {
            user: approval.user,
            client_id: approval.client_id,
            scope: approval.scope,
            access_tokens: Vec::new(),
            refresh_tokens: Vec::new(),
            revoked: None,
        });
        let refresh_token = self.issue_refresh(family, None);
        Ok(self.issue(family, Some(refresh_token), now))
    }

    /// A family that began before these books.
    pub(super) fn knows(&mut self, user: &str, client_id: &str, refresh_token: &str) {
        let family = self.families.len();
        self.families.push(Family {
            user: user.to_owned(),
            client_id: client_id.to_owned(),
            scope: "notes:read".to_owned(),
            access_tokens: Vec::new(),
            refresh_tokens: vec![refresh_token.to_owned()],
            revoked: None,
        });
        let refresh = Refresh { family, parent: None, used: None, superseded: false };
        self.refresh.insert(refresh_token.to_owned(), refresh);
    }

    pub(super) fn refresh(&mut self, token: &str, client_id: &str, now: Instant) -> Result<Issued, Refusal> {
        let held = self.refresh.get_mut(token).ok_or(Refusal::InvalidGrant)?;
        let family = held.family;
        let of = &self.families[family];
        if of.client_id != client_id || of.revoked.is_some() {
            return Err(Refusal::InvalidGrant);
        }
        let since_use = held.used.map(|used| now.saturating_duration_since(used));
        match self.rules.rotation.reuse(since_use, held.superseded) {
            Reuse::Fine => {}
            Reuse::Refused => return Err(Refusal::InvalidGrant),
            Reuse::EndsFamily => {
                self.end_family(family, Revoked::Reuse);
                return Err(Refusal::InvalidGrant);
            }
        }
        held.used.get_or_insert(now);
        if let Some(parent) = held.parent.clone()
            && let Some(parent) = self.refresh.get_mut(&parent)
        {
            parent.superseded = true;
        }
        if self.rules.refresh_kills_access_token {
            self.kill_access_tokens(family);
        }
        let refresh_token = self.rules.rotation.rotates().then(|| self.issue_refresh(family, Some(token)));
        Ok(self.issue(family, refresh_token, now))
    }

    pub(super) fn client_credentials(&mut self, client_id: &str, scope: &str, now: Instant) -> Issued {
        let access_token = self.issue_access(Holder::Client { id: client_id.to_owned() }, now);
        self.issued(access_token, None, scope.to_owned())
    }

    /// RFC 7009: a refresh token takes its family along; an unknown token, or another client's, is no error and no harm.
    pub(super) fn revoke(&mut self, token: &str, client_id: &str) {
        if let Some(held) = self.refresh.get(token) {
            let family = held.family;
            if self.families[family].client_id == client_id {
                self.end_family(family, Revoked::Client);
            }
        } else if let Some(access) = self.access.get_mut(token) {
            let holder = match &access.holder {
                Holder::Person { family } => &self.families[*family].client_id,
                Holder::Client { id } => id,
            };
            access.killed |= holder == client_id;
        }
    }

    /// The user, or the client itself, that a live access token speaks for.
    pub(super) fn holder_of(&self, access_token: &str, now: Instant) -> Option<&str> {
        let access = self.access.get(access_token).filter(|access| !access.killed && now < access.until)?;
        match &access.holder {
            Holder::Person { family } => Some(&self.families[*family].user),
            Holder::Client { id } => Some(id),
        }
    }

    pub(super) fn live_access_tokens(&self, now: Instant) -> Vec<String> {
        self.access.keys().filter(|token| self.holder_of(token, now).is_some()).cloned().collect()
    }

    /// Positions of a user's families.
    pub(super) fn families_of(&self, user: &str) -> Vec<usize> {
        (0..self.families.len()).filter(|family| self.families[*family].user == user).collect()
    }

    pub(super) fn end_family(&mut self, family: usize, why: Revoked) {
        self.families[family].revoked.get_or_insert(why);
        self.kill_access_tokens(family);
    }

    pub(super) fn kill_access_tokens(&mut self, family: usize) {
        for token in &self.families[family].access_tokens {
            if let Some(access) = self.access.get_mut(token) {
                access.killed = true;
            }
        }
    }

    fn issue(&mut self, family: usize, refresh_token: Option<String>, now: Instant) -> Issued {
        let access_token = self.issue_access(Holder::Person { family }, now);
        self.families[family].access_tokens.push(access_token.clone());
        let scope = self.families[family].scope.clone();
        self.issued(access_token, refresh_token, scope)
    }

    fn issued(&self, access_token: String, refresh_token: Option<String>, scope: String) -> Issued {
        Issued { access_token, refresh_token, expires_in: self.rules.access_token_life.as_secs(), scope }
    }

    fn issue_access(&mut self, holder: Holder, now: Instant) -> String {
        let token = crate::unique("access-token");
        let until = now + self.rules.access_token_life;
        self.access.insert(token.clone(), Access { holder, until, killed: false });
        token
    }

    fn issue_refresh(&mut self, family: usize, parent: Option<&str>) -> String {
        let token = crate::unique("refresh-token");
        let parent = parent.map(str::to_owned);
        self.refresh.insert(token.clone(), Refresh { family, parent, used: None, superseded: false });
        self.families[family].refresh_tokens.push(token.clone());
        token
    }
}
