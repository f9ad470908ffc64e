//! Whom tokens are believed from: issuers by exact name, each with its own keys and its own rules.

use std::collections::HashMap;
use std::sync::Arc;

use crate::key::PublicKey;

/// How an issuer marks its access tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenProfile {
    /// `typ` is `at+jwt` or `application/at+jwt` (RFC 9068 §2.1).
    AccessToken,
    /// `typ` may also be `JWT` or absent; whatever looks like another kind of token is refused.
    PlainJwt,
}

/// An issuer of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// The exact `iss`.
    pub issuer: String,
    /// Its keys. A `kid` that comes twice is nobody's: [`Issuers::new`] drops both.
    pub keys: Vec<Arc<PublicKey>>,
    /// Audiences its tokens may name instead of the resource that is called.
    pub audiences: Vec<String>,
    /// How it marks access tokens.
    pub profile: TokenProfile,
    /// The claim that names the subject, for example `sub`.
    pub subject_claim: String,
    /// The claim that holds an e-mail address, if it has one.
    pub email_claim: Option<String>,
    /// The claim that lists teams, if it has one.
    pub teams_claim: Option<String>,
    /// The longest life of a token, milliseconds.
    pub max_lifetime_ms: u64,
    /// Scopes every token must carry.
    pub required_scopes: Vec<String>,
    /// The broker's own issuer: names virtual accounts, never passes through.
    pub self_issued: bool,
    /// Its people are people of this company: its verified e-mail addresses name users, and none of them is external.
    pub login: bool,
}

/// All issuers. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Issuers(HashMap<String, Arc<Issuer>>);

impl Issuers {
    /// Takes issuers; a later one replaces an earlier one of the same name.
    pub fn new(issuers: impl IntoIterator<Item = Issuer>) -> Self {
        let mut all = Self::default();
        for issuer in issuers {
            all.insert(issuer);
        }
        all
    }

    /// Adds or replaces one issuer.
    pub fn insert(&mut self, mut issuer: Issuer) {
        let mut seen: HashMap<String, usize> = HashMap::new();
        for key in &issuer.keys {
            let count = seen.entry(key.kid().to_owned()).or_insert(0);
            *count = count.saturating_add(1);
        }
        issuer.keys.retain(|key| seen.get(key.kid()) == Some(&1));
        self.0.insert(issuer.issuer.clone(), Arc::new(issuer));
    }

    /// Drops an issuer; all its tokens are refused from here on.
    pub fn remove(&mut self, issuer: &str) {
        self.0.remove(issuer);
    }

    /// An issuer, by exact name.
    pub fn get(&self, issuer: &str) -> Option<&Arc<Issuer>> {
        self.0.get(issuer)
    }

    /// A key, by exact issuer and exact `kid`: a key of one issuer is no key of another.
    pub fn key(&self, issuer: &str, kid: &str) -> Option<&Arc<PublicKey>> {
        self.get(issuer)?.keys.iter().find(|key| key.kid() == kid)
    }

    /// These issuers with one more key (in place of one of the same `kid`); unchanged if there is no such issuer.
    #[must_use]
    pub fn with_key(&self, issuer: &str, key: Arc<PublicKey>) -> Self {
        let mut all = self.clone();
        if let Some(known) = all.0.get_mut(issuer) {
            let known = Arc::make_mut(known);
            known.keys.retain(|old| old.kid() != key.kid());
            known.keys.push(key);
        }
        all
    }

    /// Every issuer, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Issuer>> {
        self.0.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none: nobody can enter.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
