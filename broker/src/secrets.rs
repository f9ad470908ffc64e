//! Secrets of the broker's own: what `tfy-secret://<tenant>:<group>:<key>` stands for. Sealed in the store (I4), opened
//! where they are used, printed nowhere (I9).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use moka::sync::Cache;
use tokio_util::sync::CancellationToken;

use crate::audit::{Actor, Audit, AuditError, Event};
use crate::clock::Clock;
use crate::keys::{Key, Purpose};
use crate::model::{Generation, SecretRef, Template, TemplatePart, Tenant};
use crate::refresher::{ResolveError, ResolveTemplate, Resolved, UsedSecret};
use crate::secret::Secret;
use crate::store::{Store, StoreError, StoredSecret};
use crate::vault::{Place, RecordKind, Vault, VaultError};

/// Larger than any key or token; what is larger is a mistake.
const MAX_BYTES: usize = 64 * 1024;
const MAX_NAME: usize = 128;
const ATTEMPTS: u32 = 5;

/// Opened values that are kept in memory: where a key service holds the master key, each call to a server behind a secret
/// would otherwise be a request there.
const OPENED: u64 = 10_000;
/// How long an opened value is kept, as an opened token is.
const OPENED_AGE: Duration = Duration::from_secs(5 * 60);
/// How often those that are too old are let go of.
const TIDY: Duration = Duration::from_secs(5);

/// Sets, lists and opens the broker's own secrets.
#[derive(Clone)]
pub struct Secrets {
    store: Arc<dyn Store>,
    vault: Vault,
    audit: Audit,
    clock: Arc<dyn Clock>,
    tenant: Tenant,
    /// By everything they were sealed as: whatever changes in the store is opened anew.
    opened: Cache<Key, Arc<Secret>>,
}

/// Why a secret was not set or opened.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// Group or key is no name.
    #[error("`{}` is no name of a secret; write GROUP:KEY with letters, digits, `-`, `_` and `.`", name.escape_debug())]
    Name {
        /// What was given.
        name: String,
    },
    /// An owner is no name of a manifest.
    #[error("`{}` is no name of a manifest", owner.escape_debug())]
    Owner {
        /// What was given.
        owner: String,
    },
    /// A new group without owners could not be used by anybody.
    #[error("secret group `{group}` is new, and needs an owner: the manifest that may refer to it")]
    NoOwner {
        /// The group.
        group: String,
    },
    /// There is nothing to keep.
    #[error("the value is empty")]
    Empty,
    /// It is larger than any secret.
    #[error("the value has more than {MAX_BYTES} bytes")]
    TooLarge,
    /// There is no such secret.
    #[error("there is no secret `{0}`")]
    Missing(String),
    /// It does not open.
    #[error("the secret cannot be sealed or opened")]
    Vault(#[from] VaultError),
    /// The store did not do it.
    #[error("the secret could not be read or stored")]
    Store(#[from] StoreError),
    /// The secret is set, but there is no record of it.
    #[error("the secret is set, but the audit has no record of it")]
    Audit(#[source] AuditError),
}

/// A secret without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// `tfy-secret://<tenant>:<group>:<key>`.
    pub reference: String,
    /// Manifests that may refer to its group.
    pub owners: Vec<String>,
}

impl Secrets {
    /// Over a store and the vault that sealed what is in it.
    pub fn new(store: Arc<dyn Store>, vault: Vault, audit: Audit, clock: Arc<dyn Clock>, tenant: Tenant) -> Self {
        let age = crate::failpoint::opened_age(OPENED_AGE);
        let opened = Cache::builder().max_capacity(OPENED).time_to_live(age).build();
        Self { store, vault, audit, clock, tenant, opened }
    }

    /// Lets go of opened values that are too old, until `stop`.
    pub async fn forget_old(self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(TIDY)).await.is_some() {
            self.opened.run_pending_tasks();
        }
    }

    /// Sets a secret and adds to the owners of its group; answers the reference to write into manifests.
    ///
    /// # Errors
    /// If a name or the value is not one, a new group has no owner, or the store fails.
    pub async fn set(
        &self,
        secret: &SecretRef,
        value: &Secret,
        owners: &[String],
        actor: Actor,
    ) -> Result<String, SecretsError> {
        self.check(secret, value, owners).await?;
        let record = self.record(secret);
        for attempt in 1.. {
            let stored = self.store.secret(&secret.group, &secret.key).await?;
            let generation = Generation(stored.map_or(0, |stored| stored.generation.0) + 1);
            let place = place(&record, generation);
            let value = self.vault.data_key(&place).await?.seal(&place, value);
            let row = StoredSecret { group: secret.group.clone(), key: secret.key.clone(), generation, value };
            match self.store.put_secret(&row, owners, self.clock.now()).await {
                Err(StoreError::Conflict) if attempt < ATTEMPTS => {}
                Err(error) => return Err(error.into()),
                Ok(()) => {
                    let reference = self.reference(secret);
                    let event = Event::secret_set(actor, &reference, generation);
                    self.audit.record(event).await.map_err(SecretsError::Audit)?;
                    return Ok(reference);
                }
            }
        }
        unreachable!("the loop ends by its last attempt")
    }

    /// Opens a secret.
    ///
    /// # Errors
    /// If there is none, or it does not open.
    pub async fn get(&self, secret: &SecretRef) -> Result<Secret, SecretsError> {
        Ok(self.opened(secret).await?.0)
    }

    async fn opened(&self, secret: &SecretRef) -> Result<(Secret, Generation), SecretsError> {
        let stored = self.store.secret(&secret.group, &secret.key).await?;
        let stored = stored.ok_or_else(|| SecretsError::Missing(self.reference(secret)))?;
        let record = self.record(secret);
        let sealed_as = [record.as_bytes(), &stored.generation.0.to_be_bytes(), &stored.value.0];
        let key = Key::new(&self.tenant, Purpose::Secret, &sealed_as);
        let value = match self.opened.get(&key) {
            Some(value) => value,
            None => {
                let value = Arc::new(self.vault.open(&place(&record, stored.generation), &stored.value).await?);
                self.opened.insert(key, Arc::clone(&value));
                value
            }
        };
        // Exposed to be used once; what is kept stays where it is.
        Ok((Secret::new(value.expose()), stored.generation))
    }

    /// The text of a template with its secrets in it.
    ///
    /// # Errors
    /// If one of them is not there, or does not open.
    pub async fn resolve(&self, template: &Template) -> Result<Resolved, SecretsError> {
        let mut secrets = Vec::new();
        for part in &template.0 {
            if let TemplatePart::Secret(secret) = part {
                let (value, generation) = self.opened(secret).await?;
                secrets.push(UsedSecret { reference: self.reference(secret), generation, value });
            }
        }
        let mut opened = secrets.iter();
        // Exposed to be joined.
        let parts = template.0.iter().map(|part| match part {
            TemplatePart::Text(text) => text.as_bytes(),
            TemplatePart::Secret(_) => opened.next().map_or(&[][..], |secret| secret.value.expose()),
        });
        let parts: Vec<&[u8]> = parts.collect();
        // In one piece, with room for all of it: growing would leave copies behind.
        let joined = parts.concat();
        Ok(Resolved { value: Secret::new(joined), secrets })
    }

    /// Every secret, without values.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn list(&self) -> Result<Vec<Listed>, SecretsError> {
        let mut listed = Vec::new();
        for (group, key) in self.store.secrets().await?.readable() {
            let owners = self.store.secret_owners(&group).await?.unwrap_or_default();
            listed.push(Listed { reference: self.reference(&SecretRef { group, key }), owners });
        }
        Ok(listed)
    }

    async fn check(&self, secret: &SecretRef, value: &Secret, owners: &[String]) -> Result<(), SecretsError> {
        for name in [&secret.group, &secret.key] {
            if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(crate::manifest::is_word) {
                return Err(SecretsError::Name { name: name.clone() });
            }
        }
        if let Some(owner) = owners.iter().find(|owner| crate::config::name(owner).is_err()) {
            return Err(SecretsError::Owner { owner: owner.clone() });
        }
        // Exposed to be measured.
        match value.expose().len() {
            0 => return Err(SecretsError::Empty),
            1..=MAX_BYTES => {}
            _ => return Err(SecretsError::TooLarge),
        }
        if owners.is_empty() && self.store.secret_owners(&secret.group).await?.is_none_or(|owners| owners.is_empty()) {
            return Err(SecretsError::NoOwner { group: secret.group.clone() });
        }
        Ok(())
    }

    fn record(&self, secret: &SecretRef) -> String {
        format!("{}:{}:{}", self.tenant.0, secret.group, secret.key)
    }

    fn reference(&self, secret: &SecretRef) -> String {
        format!("tfy-secret://{}", self.record(secret))
    }
}

fn place(record: &str, generation: Generation) -> Place<'_> {
    Place { kind: RecordKind::Secret, record, field: "value", generation }
}

#[async_trait]
impl ResolveTemplate for Secrets {
    async fn resolve(&self, template: &Template) -> Result<Resolved, ResolveError> {
        Ok(Self::resolve(self, template).await?)
    }
}

impl From<SecretsError> for ResolveError {
    fn from(error: SecretsError) -> Self {
        match error {
            SecretsError::Store(StoreError::Unavailable(_) | StoreError::Conflict) => {
                Self::Unavailable(Arc::new(error))
            }
            SecretsError::Store(StoreError::Corrupt { .. } | StoreError::OtherSubject(_))
            | SecretsError::Vault(_)
            | SecretsError::Missing(_)
            | SecretsError::Name { .. }
            | SecretsError::Owner { .. }
            | SecretsError::NoOwner { .. }
            | SecretsError::Empty
            | SecretsError::TooLarge
            | SecretsError::Audit(_) => Self::Unusable(Arc::new(error)),
        }
    }
}

#[cfg(test)]
mod tests;
