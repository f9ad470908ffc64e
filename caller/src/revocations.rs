//! Tokens that were good and are not any more (I11).

use std::collections::{HashMap, HashSet};

use crate::caller::Caller;

/// What has been revoked: single tokens, and everything issued to somebody before a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations(HashMap<String, OfIssuer>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct OfIssuer {
    token_ids: HashSet<String>,
    issued_before_ms: HashMap<String, u64>,
}

impl Revocations {
    /// Revokes the token with this `jti`.
    pub fn revoke_token(&mut self, issuer: &str, token_id: &str) {
        self.0.entry(issuer.to_owned()).or_default().token_ids.insert(token_id.to_owned());
    }

    /// Revokes every token of this subject issued before `issued_before_ms` (Unix milliseconds); the latest moment counts.
    pub fn revoke_subject(&mut self, issuer: &str, subject: &str, issued_before_ms: u64) {
        let of_issuer = self.0.entry(issuer.to_owned()).or_default();
        let moment = of_issuer.issued_before_ms.entry(subject.to_owned()).or_insert(issued_before_ms);
        *moment = issued_before_ms.max(*moment);
    }

    /// Whether the caller's token is revoked. A token that does not say when it was issued was issued before everything.
    pub fn revokes(&self, caller: &Caller) -> bool {
        let Some(of_issuer) = self.0.get(caller.issuer()) else { return false };
        caller.token_id().is_some_and(|id| of_issuer.token_ids.contains(id))
            || of_issuer
                .issued_before_ms
                .get(caller.subject())
                .is_some_and(|moment| caller.issued_at_ms().unwrap_or(0) < *moment)
    }
}
