//! External identities: what the users of an issuer that is not the company's own act as here.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::issuer::Issuer;
use crate::json::{Members, Value};

/// A name for the tokens of one issuer that carry certain claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalIdentity {
    /// Unique; its tokens act as `external-identity:<name>`.
    pub name: String,
    /// The exact `iss`.
    pub issuer: String,
    /// Claims that a token must carry, each with exactly this text.
    pub claims: BTreeMap<String, String>,
}

impl ExternalIdentity {
    /// A claim that is a number or a list is no text, whatever is written in it.
    fn matches(&self, claims: &Members<'_>) -> bool {
        self.claims.iter().all(|(name, wanted)| matches!(claims.get(name), Some(Value::Text(text)) if text == wanted))
    }
}

/// All external identities. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExternalIdentities {
    by_name: BTreeMap<String, Arc<ExternalIdentity>>,
    /// Of each issuer, in the order in which they are tried.
    by_issuer: HashMap<String, Vec<Arc<ExternalIdentity>>>,
}

impl ExternalIdentities {
    /// Takes identities; a later one replaces an earlier one of the same name.
    pub fn new(identities: impl IntoIterator<Item = ExternalIdentity>) -> Self {
        Self::default().with_changes(&[], identities)
    }

    /// These identities without those that are named, and with new ones in place of those of the same name.
    #[must_use]
    pub fn with_changes(&self, removed: &[String], new: impl IntoIterator<Item = ExternalIdentity>) -> Self {
        let mut by_name = self.by_name.clone();
        for name in removed {
            by_name.remove(name);
        }
        by_name.extend(new.into_iter().map(|identity| (identity.name.clone(), Arc::new(identity))));
        let mut by_issuer: HashMap<String, Vec<_>> = HashMap::new();
        for identity in by_name.values() {
            by_issuer.entry(identity.issuer.clone()).or_default().push(Arc::clone(identity));
        }
        // The sort keeps the order of names among those that demand as much.
        by_issuer.values_mut().for_each(|ranked| ranked.sort_by_key(|identity| Reverse(identity.claims.len())));
        Self { by_name, by_issuer }
    }

    /// The one that a token of this issuer stands for: all its claims match, no other that does has more, and of equals
    /// it has the first name.
    ///
    /// An issuer with a login of its own here speaks of users, and the broker's own of accounts too: neither is
    /// external, whatever a manifest says that was applied before the configuration changed.
    pub(crate) fn of(&self, claims: &Members<'_>, issuer: &Issuer) -> Option<&ExternalIdentity> {
        if issuer.login || issuer.self_issued {
            return None;
        }
        self.by_issuer.get(&issuer.issuer)?.iter().find(|identity| identity.matches(claims)).map(Arc::as_ref)
    }
}
