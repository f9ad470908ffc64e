//! The registry: the manifests that hold now, in memory, and how they change.
//!
//! The store is their truth, and files enter through [`Registry::apply`] only: all of them, or none (I8).

mod clients;
mod diff;
mod effects;
mod follow;
mod issuers;

pub(crate) use effects::kind as auth_kind;

use std::collections::BTreeMap;
use std::sync::Arc;

use sallyport_caller::Issuers;
use tokio::sync::{Mutex, watch};

use crate::audit::{Actor, Audit, AuditError, Event};
use crate::clock::Clock;
use crate::manifest::{self, Kind, Manifest};
use crate::model::{Auth, Generation, SecretRef, Server, Servers, TemplatePart, Tenant};
use crate::store::{Store, StoreError, StoredManifest};
use crate::yaml::Problem;

/// How often an apply begins anew because another broker applied something meanwhile.
const ATTEMPTS: u32 = 5;

/// The manifests of one tenant.
pub struct Registry {
    store: Arc<dyn Store>,
    audit: Audit,
    clock: Arc<dyn Clock>,
    tenant: Tenant,
    /// As configured: whom an external identity may name.
    issuers: Arc<Issuers>,
    servers: watch::Sender<Arc<Servers>>,
    /// One apply at a time in this process; the store's revision excludes those of others.
    applying: Mutex<()>,
}

/// A file with one or several manifests.
#[derive(Clone, Debug)]
pub struct Document {
    /// As the operator names it.
    pub file: String,
    /// What is in it.
    pub text: String,
}

/// How to apply.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Say what would happen, and change nothing.
    pub dry_run: bool,
    /// Make diffs.
    pub show_diff: bool,
}

/// What became of one manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its type.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Whether it differs from the one there was.
    pub changed: bool,
    /// Unified diff, if asked for; empty for a new manifest.
    pub diff: String,
    /// In words: who gains or loses which server, and who acts as what.
    pub effects: Vec<String>,
}

/// What an apply did, or why it did nothing.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// One for each manifest, in the order given; empty where there are problems.
    pub applied: Vec<Applied>,
    /// Where there is one, nothing was applied.
    pub problems: Vec<Problem>,
    /// What works, but not as the author may think.
    pub warnings: Vec<Problem>,
}

/// Why manifests were not loaded or applied.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A manifest in the store is not one that this version reads.
    #[error("{} problem(s) with stored manifests; start the version that applied them, and mend them there", problems.len())]
    Stored {
        /// What is wrong with them.
        problems: Vec<Problem>,
    },
    /// A stored manifest is not JSON.
    #[error("stored manifest {name} is not readable")]
    NotJson {
        /// Its name.
        name: String,
        /// Where it ends to be JSON.
        #[source]
        source: serde_json::Error,
    },
    /// The store did not do it.
    #[error("manifests could not be read or stored")]
    Store(#[from] StoreError),
    /// The manifests are applied, but there is no record of it.
    #[error("the manifests are applied, but the audit has no record of it")]
    Audit(#[source] AuditError),
}

/// Of every secret.
type Generations = BTreeMap<SecretRef, Generation>;
type ByName = BTreeMap<(Kind, String), Manifest>;

impl Registry {
    /// Loads what the store holds.
    ///
    /// # Errors
    /// If the store cannot be read, or holds a manifest that this version cannot.
    pub async fn load(
        store: Arc<dyn Store>,
        audit: Audit,
        clock: Arc<dyn Clock>,
        tenant: Tenant,
        issuers: Arc<Issuers>,
    ) -> Result<Self, RegistryError> {
        let (revision, manifests) = stored(store.as_ref(), &tenant).await?;
        for problem in manifests.values().filter_map(|manifest| issuers::problem(manifest, &issuers)) {
            // The configuration has changed since it was applied. It names nobody now, and nothing else depends on it.
            tracing::warn!(%problem, hint = problem.hint, "an external identity is without effect");
        }
        let generations = generations(store.as_ref()).await?;
        let (servers, _) = watch::channel(Arc::new(revised(&servers_of(revision, &manifests), &generations)));
        Ok(Self { store, audit, clock, tenant, issuers, servers, applying: Mutex::new(()) })
    }

    /// The issuers of this deployment, as configured.
    pub fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    /// Tells proxies to drop the credentials that hold a secret which has a new value.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn secret_set(&self) -> Result<(), RegistryError> {
        // An apply that read the secrets before this one was set has published by then.
        let _applying = self.applying.lock().await;
        let generations = generations(self.store.as_ref()).await?;
        self.servers.send_modify(|servers| *servers = Arc::new(revised(servers, &generations)));
        Ok(())
    }

    /// The servers and memberships now.
    pub fn servers(&self) -> Arc<Servers> {
        Arc::clone(&self.servers.borrow())
    }

    /// The servers and memberships, now and at each change.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Servers>> {
        self.servers.subscribe()
    }

    /// Applies all manifests of all documents, or none: where one has a problem, nothing changes.
    ///
    /// # Errors
    /// If the store or the audit fails; what is wrong with the documents is in the report.
    pub async fn apply(&self, documents: &[Document], options: Options, actor: Actor) -> Result<Report, RegistryError> {
        let _one_at_a_time = self.applying.lock().await;
        let mut report = Report::default();
        let given = self.read(documents, &mut report);
        for attempt in 1.. {
            match self.attempt(&given, options, &actor, &mut report).await {
                Err(RegistryError::Store(StoreError::Conflict)) if attempt < ATTEMPTS => {}
                done => return done.map(|()| report),
            }
        }
        unreachable!("the loop ends by its last attempt")
    }

    fn read(&self, documents: &[Document], report: &mut Report) -> Vec<Manifest> {
        let mut given: Vec<Manifest> = Vec::new();
        for document in documents {
            let reading = manifest::read(&document.file, &document.text, &self.tenant);
            report.problems.extend(reading.problems);
            report.warnings.extend(reading.warnings);
            for manifest in reading.manifests {
                if let Some(other) =
                    given.iter().find(|other| (other.kind, &other.name) == (manifest.kind, &manifest.name))
                {
                    report.problems.push(Problem {
                        file: manifest.file.clone(),
                        line: manifest.line,
                        field: "name".to_owned(),
                        message: format!("`{}` is also at {}:{}", manifest.name, other.file, other.line),
                        hint: "keep one of the two, or give it another name".to_owned(),
                    });
                }
                given.push(manifest);
            }
        }
        given
    }

    async fn attempt(
        &self,
        given: &[Manifest],
        options: Options,
        actor: &Actor,
        report: &mut Report,
    ) -> Result<(), RegistryError> {
        // An earlier attempt may have found what is mended by now.
        report.applied.clear();
        let (revision, before) = stored(self.store.as_ref(), &self.tenant).await?;
        let mut after = before.clone();
        for manifest in given {
            report.problems.extend(self.unresolved(manifest).await?);
            report.problems.extend(issuers::problem(manifest, &self.issuers));
            after.insert((manifest.kind, manifest.name.clone()), manifest.clone());
        }
        let (was, becomes) = (servers_of(revision, &before), servers_of(revision + 1, &after));
        report.problems.extend(clients::problems(given, &becomes));
        if !report.problems.is_empty() {
            return Ok(());
        }
        let grants = self.store.grants(None).await?.readable();
        let agreed = effects::agreed_by_owners(self.store.as_ref(), &grants).await?;
        for manifest in given {
            let existing = before.get(&(manifest.kind, manifest.name.clone()));
            report.applied.push(Applied {
                kind: manifest.kind,
                name: manifest.name.clone(),
                changed: existing.is_none_or(|existing| existing.body != manifest.body),
                diff: if options.show_diff { diff::unified(existing, manifest) } else { String::new() },
                effects: effects::of(manifest, existing, &was, &becomes, (&grants, &agreed)),
            });
        }
        let changed: Vec<_> = given
            .iter()
            .zip(&report.applied)
            .filter(|(_, applied)| applied.changed)
            .map(|(manifest, _)| manifest)
            .collect();
        if options.dry_run || changed.is_empty() {
            return Ok(());
        }
        let rows: Vec<_> = changed.iter().map(|manifest| row(manifest)).collect();
        let generations = generations(self.store.as_ref()).await?;
        let revision = self.store.put_manifests(revision, &rows, &actor.key(), self.clock.now()).await?;
        let becomes = Servers { revision, ..becomes };
        let revised = revised(&becomes, &generations);
        self.servers.send_replace(Arc::new(revised));
        let names: Vec<_> = changed.iter().map(|manifest| manifest.name.clone()).collect();
        // The history in the store names the actor too; what fails here is told, and undoes nothing.
        self.audit
            .record(Event::manifest_apply(actor.clone(), revision, &names))
            .await
            .map_err(RegistryError::Audit)?;
        Ok(())
    }

    /// References to secrets that are not there, or that this manifest may not use.
    async fn unresolved(&self, manifest: &Manifest) -> Result<Vec<Problem>, StoreError> {
        let mut problems = Vec::new();
        for reference in &manifest.references {
            let (group, key) = (&reference.secret.group, &reference.secret.key);
            let message = match self.store.secret_owners(group).await? {
                None => format!("there is no secret group `{group}`"),
                Some(owners) if !owners.contains(&manifest.name) => {
                    format!("`{}` is not an owner of secret group `{group}`", manifest.name)
                }
                Some(_) if self.store.secret(group, key).await?.is_none() => {
                    format!("secret group `{group}` has no key `{key}`")
                }
                Some(_) => continue,
            };
            problems.push(Problem {
                file: manifest.file.clone(),
                line: reference.line,
                field: reference.field.clone(),
                message,
                hint: format!("set it with `sallyport secret set {group}:{key} --owner {}`", manifest.name),
            });
        }
        Ok(problems)
    }
}

async fn stored(store: &dyn Store, tenant: &Tenant) -> Result<(u64, ByName), RegistryError> {
    let (revision, rows) = store.manifests().await?;
    let mut manifests = ByName::new();
    let mut problems = Vec::new();
    for row in rows {
        let body: serde_json::Value = serde_json::from_str(&row.body)
            .map_err(|source| RegistryError::NotJson { name: row.name.clone(), source })?;
        let reading = manifest::stored(&row.name, &body, tenant);
        problems.extend(reading.problems);
        manifests
            .extend(reading.manifests.into_iter().map(|manifest| ((manifest.kind, manifest.name.clone()), manifest)));
    }
    if problems.is_empty() { Ok((revision, manifests)) } else { Err(RegistryError::Stored { problems }) }
}

fn row(manifest: &Manifest) -> StoredManifest {
    StoredManifest {
        name: manifest.name.clone(),
        kind: manifest.kind.name().to_owned(),
        body: manifest.body.to_string(),
    }
}

fn servers_of(revision: u64, manifests: &ByName) -> Servers {
    let mut servers = Servers { revision, ..Servers::default() };
    for manifest in manifests.values() {
        for server in &manifest.servers {
            servers.by_name.insert(server.name.clone(), Arc::new(server.clone()));
        }
        for member in &manifest.members {
            servers.memberships.entry(format!("user:{member}")).or_default().push(manifest.name.clone());
        }
        if let Some((identity, _)) = &manifest.external_identity {
            servers.external_identities.insert(manifest.name.clone(), identity.clone());
        }
        if let Some(account) = &manifest.virtual_account {
            servers.virtual_accounts.insert(manifest.name.clone(), account.clone());
        }
    }
    servers
}

async fn generations(store: &dyn Store) -> Result<Generations, StoreError> {
    let mut generations = Generations::new();
    for (group, key) in store.secrets().await?.readable() {
        match store.secret(&group, &key).await {
            Ok(Some(secret)) => {
                generations.insert(SecretRef { group, key }, secret.generation);
            }
            Ok(None) => {}
            // Who needs it is refused by it, and nobody else.
            Err(error @ StoreError::Corrupt { .. }) => tracing::error!(%error, "a record is left out"),
            Err(error) => return Err(error),
        }
    }
    Ok(generations)
}

/// The servers, with the generations of the secrets in their headers as part of their revisions.
fn revised(servers: &Servers, generations: &Generations) -> Servers {
    let mut revised = servers.clone();
    for server in revised.by_name.values_mut() {
        let Auth::Header(headers) = &server.auth else { continue };
        let parts = headers.iter().flat_map(|(_, template)| &template.0);
        let held = parts.filter_map(|part| match part {
            TemplatePart::Secret(secret) => generations.get(secret).copied(),
            TemplatePart::Text(_) => None,
        });
        // Each only grows, and so does the sum: it is another after each change.
        let sum = held.fold(0_u64, |sum, generation| sum.saturating_add(generation.0));
        let manifest = server.revision.split('@').next().unwrap_or_default();
        let revision = format!("{manifest}@{sum}");
        *server = Arc::new(Server { revision, ..Server::clone(server) });
    }
    revised
}

#[cfg(test)]
mod tests;
