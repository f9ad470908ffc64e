//! Where a renewed pair waits for the store: sealed, in files of their own, durable (I5).
//!
//! A provider that rotates has ended the old refresh token by the time it answers. If the store is down then, and this
//! process may end before it is back, the pair must be somewhere else.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::commit::Committed;
use super::{Inner, RefreshError, Refresher};
use crate::audit::Event;
use crate::clock::UnixTime;
use crate::keys::{Key, Purpose};
use crate::model::{Generation, GrantKey, PrincipalId};
use crate::store::{GrantCommit, Material, Sealed, StoreError};

/// How often what waits is tried, and how long one try takes at most. A store that is back has what waited within
/// [`TAKEN_WITHIN`], so nobody else needs to ask the provider for it again.
const EVERY: Duration = Duration::from_millis(250);
const REPLAY: Duration = Duration::from_secs(2);

/// How long after a store is back a broker that lives has taken to it what waited for it.
pub(super) const TAKEN_WITHIN: Duration = Duration::from_secs(5);

/// How long one is not tried again that the store refuses although it is there.
const REFUSED_AGAIN: Duration = Duration::from_secs(60);

/// How many tries in a row come to nothing for one line in the log.
const TOLD_EVERY: u32 = 20;

/// The spool of one broker. Cheap to clone.
#[derive(Clone)]
pub struct Spool(Arc<Contents>);

struct Contents {
    directory: PathBuf,
    /// What waits, by name of its file.
    waiting: Mutex<BTreeMap<String, GrantCommit>>,
    /// What the store refused, and when.
    refused: Mutex<BTreeMap<String, Instant>>,
    /// Files that nothing could be made of, by name.
    unreadable: Vec<String>,
}

/// One file. Tokens are as sealed as they are in the store; all else names and times only.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    provider_client: String,
    holder: String,
    generation: u64,
    access_token: String,
    refresh_token: Option<String>,
    issued_at: UnixTime,
    expires_at: UnixTime,
    refresh_after: UnixTime,
    scopes: Vec<String>,
    auth_revisions: Vec<String>,
    account: Option<String>,
    consented_at: Option<UnixTime>,
    consented_by: Option<String>,
    #[serde(default)]
    invalidates: Option<UnixTime>,
}

impl Spool {
    /// Reads what an earlier start has left; makes the directory, for its owner alone, if it is not there.
    ///
    /// # Errors
    /// If the directory cannot be made or read: a pair could then be lost.
    pub fn open(directory: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let (mut waiting, mut unreadable) = (BTreeMap::new(), Vec::new());
        for file in fs::read_dir(directory)? {
            let file = file?;
            let Ok(name) = file.file_name().into_string() else { continue };
            if !name.ends_with(".json") {
                // Half of one: its broker ended before it was whole, and before anybody was told that it is there.
                fs::remove_file(file.path())?;
                continue;
            }
            match serde_json::from_slice::<Entry>(&fs::read(file.path())?).ok().and_then(Entry::into_commit) {
                Some(commit) => {
                    waiting.insert(name, commit);
                }
                // Kept, for whoever can make sense of it.
                None => {
                    tracing::error!(name, "a file in the spool is not readable");
                    unreadable.push(name);
                }
            }
        }
        if !waiting.is_empty() {
            tracing::warn!(count = waiting.len(), "renewed tokens wait in the spool");
        }
        let (directory, waiting) = (directory.to_owned(), Mutex::new(waiting));
        let spool = Self(Arc::new(Contents { directory, waiting, refused: Mutex::default(), unreadable }));
        spool.count();
        spool.unreadable();
        Ok(spool)
    }

    /// Where they wait.
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    fn count(&self) {
        metrics::gauge!("sallyport_spool_waiting").set(f64::from(u32::try_from(self.len()).unwrap_or(u32::MAX)));
    }

    /// Names of files that nothing could be made of at the start, and that are still there; the metric is brought up to it.
    pub fn unreadable(&self) -> Vec<String> {
        let (all, directory) = (self.0.unreadable.iter(), &self.0.directory);
        let there: Vec<_> = all.filter(|name| directory.join(name).exists()).cloned().collect();
        metrics::gauge!("sallyport_spool_unreadable").set(f64::from(u32::try_from(there.len()).unwrap_or(u32::MAX)));
        there
    }

    /// How many pairs wait.
    pub fn len(&self) -> usize {
        self.waiting().len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting().is_empty()
    }

    /// Every sealed token that waits, with the id of its grant: a master key that has wrapped one is needed still.
    pub fn sealed(&self) -> Vec<(String, Sealed)> {
        let waiting = self.waiting();
        let tokens = waiting.values().flat_map(|commit| {
            let material = &commit.material;
            let both = std::iter::once(&material.access_token).chain(&material.refresh_token);
            both.map(|token| (commit.id.clone(), token.clone()))
        });
        tokens.collect()
    }

    /// How many sealed tokens wait of one holder, or of all.
    pub fn sealed_of(&self, holder: Option<&PrincipalId>) -> u64 {
        let waiting = self.waiting();
        let theirs = waiting.values().filter(|commit| holder.is_none_or(|holder| commit.key.holder == holder.0));
        theirs.map(|commit| 1 + u64::from(commit.material.refresh_token.is_some())).sum()
    }

    /// Keeps a pair until the store takes it. In memory, if the disk does not take it either: it is tried as long as this
    /// process lives.
    pub(crate) async fn put(&self, commit: GrantCommit) {
        let name = name(&commit);
        let (directory, file) = (self.0.directory.clone(), name.clone());
        let bytes = Entry::of_commit(&commit);
        self.waiting().insert(name, commit);
        self.count();
        let written = tokio::task::spawn_blocking(move || write(&directory, &file, &bytes)).await;
        match written.map_err(io::Error::other).flatten() {
            Ok(()) => {}
            Err(error) => tracing::error!(%error, "a renewed token is in memory only: the spool cannot be written"),
        }
    }

    /// The store is there, and does not take it.
    fn refused(&self, name: String) {
        self.0.refused.lock().unwrap_or_else(PoisonError::into_inner).insert(name, Instant::now());
    }

    fn was_refused(&self, name: &str) -> bool {
        let mut refused = self.0.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.retain(|_, at| at.elapsed() < REFUSED_AGAIN);
        refused.contains_key(name)
    }

    /// Removes a pair that the store has taken.
    pub(super) async fn settled(&self, commit: &GrantCommit) {
        self.remove(name(commit)).await;
    }

    /// Destroys what waits for grants of one holder, or of all; answers how many sealed tokens those were.
    pub async fn shred(&self, holder: Option<&PrincipalId>) -> u64 {
        let theirs: Vec<_> = {
            let waiting = self.waiting();
            let theirs = waiting.iter().filter(|(_, commit)| holder.is_none_or(|holder| commit.key.holder == holder.0));
            theirs
                .map(|(name, commit)| (name.clone(), 1 + u64::from(commit.material.refresh_token.is_some())))
                .collect()
        };
        let mut tokens = 0;
        for (name, count) in theirs {
            self.remove(name).await;
            tokens += count;
        }
        tokens
    }

    /// What waits for one grant, or for all, in order of generation.
    fn waiting_for(&self, id: Option<&str>) -> Vec<(String, GrantCommit)> {
        let waiting = self.waiting();
        let ours = waiting.iter().filter(|(_, commit)| id.is_none_or(|id| commit.id == id));
        let mut ours: Vec<_> = ours.map(|(name, commit)| (name.clone(), commit.clone())).collect();
        ours.sort_by_key(|(_, commit)| commit.generation);
        ours
    }

    async fn remove(&self, name: String) {
        let path = self.0.directory.join(&name);
        self.waiting().remove(&name);
        self.count();
        let removed = tokio::task::spawn_blocking(move || fs::remove_file(path)).await;
        match removed.map_err(io::Error::other).flatten() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Replayed again at the next start, where it loses against itself.
            Err(error) => tracing::error!(%error, "a file cannot be removed from the spool"),
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, GrantCommit>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Refresher {
    /// Takes to the store what waits, until `stop`. A task of its own: nothing else that waits for the store may hold it up.
    pub(super) async fn replay(&self, stop: CancellationToken) {
        let (mut ticks, mut failures) = (interval(EVERY), 0);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            match self.0.replay_all().await {
                Ok(()) => failures = 0,
                Err(error) => {
                    if failures % TOLD_EVERY == 0 {
                        tracing::warn!(%error, count = self.0.spool.len(), "renewed tokens stay in the spool");
                    }
                    failures += 1;
                }
            }
        }
    }
}

impl Inner {
    /// Commits what waits for a grant, or learns that it lost.
    pub(super) async fn replay(&self, id: &str) -> Result<(), RefreshError> {
        for (name, commit) in self.spool.waiting_for(Some(id)) {
            self.replay_one(name, &commit).await?;
        }
        Ok(())
    }

    /// Commits all that waits. What the store does not take although it is there holds up nothing else.
    pub(super) async fn replay_all(&self) -> Result<(), RefreshError> {
        for (name, commit) in self.spool.waiting_for(None) {
            if self.spool.was_refused(&name) {
                continue;
            }
            let replayed = timeout(REPLAY, self.replay_one(name.clone(), &commit));
            let late = || RefreshError::store(StoreError::Unavailable("it has not answered in time".into()));
            match replayed.await.unwrap_or_else(|_| Err(late())) {
                Ok(()) => {}
                Err(error) if timeout(REPLAY, self.store.ready()).await.is_ok_and(|ready| ready.is_ok()) => {
                    tracing::error!(grant = commit.id, %error, "a renewed token stays in the spool: the store refuses it");
                    self.spool.refused(name);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn replay_one(&self, name: String, commit: &GrantCommit) -> Result<(), RefreshError> {
        match self.commit_once(commit).await {
            Ok(Committed::Ours) => {
                tracing::info!(grant = commit.id, "a renewed token came from the spool to the store")
            }
            Ok(Committed::Theirs(winner)) => self.lose(commit, &winner).await?,
            Err(StoreError::Conflict) => {
                tracing::error!(grant = commit.id, "a renewed token is given back: its grant is not in the store");
                let account = commit.account.as_deref().unwrap_or_default();
                let gone = Event::refresh_failed(&commit.id, commit.generation, account, "grant_gone", Duration::ZERO);
                self.remember(gone).await;
                let _ = self.unwanted.send(commit.clone());
            }
            Err(error) => return Err(RefreshError::store(error)),
        }
        // What is open in memory is a generation behind.
        self.forget(&Key::of_grant(&self.tenant, Purpose::Grant, &commit.key));
        self.spool.remove(name).await;
        Ok(())
    }
}

/// Of its file.
fn name(commit: &GrantCommit) -> String {
    format!("{}.{}.json", commit.id, commit.generation.0)
}

/// Whole and durable under its name, or not there at all.
fn write(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let half = directory.join(format!("{name}.half"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&half)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&half, directory.join(name))?;
    File::open(directory)?.sync_all()
}

impl Entry {
    fn of_commit(commit: &GrantCommit) -> Vec<u8> {
        let GrantCommit {
            id,
            key,
            generation,
            material,
            scopes,
            auth_revisions,
            account,
            consented_at,
            consented_by,
            invalidates,
        } = commit.clone();
        let entry = Self {
            id,
            provider_client: key.provider_client,
            holder: key.holder,
            generation: generation.0,
            access_token: STANDARD.encode(&material.access_token.0),
            refresh_token: material.refresh_token.map(|sealed| STANDARD.encode(&sealed.0)),
            issued_at: material.issued_at,
            expires_at: material.expires_at,
            refresh_after: material.refresh_after,
            scopes,
            auth_revisions,
            account,
            consented_at,
            consented_by: consented_by.map(|who| who.0),
            invalidates,
        };
        serde_json::to_vec(&entry).expect("text and numbers are JSON")
    }

    fn into_commit(self) -> Option<GrantCommit> {
        let sealed = |text: &str| STANDARD.decode(text).ok().map(Sealed);
        let refresh_token = match &self.refresh_token {
            Some(text) => Some(sealed(text)?),
            None => None,
        };
        Some(GrantCommit {
            id: self.id,
            key: GrantKey { provider_client: self.provider_client, holder: self.holder },
            generation: Generation(self.generation),
            material: Material {
                access_token: sealed(&self.access_token)?,
                refresh_token,
                issued_at: self.issued_at,
                expires_at: self.expires_at,
                refresh_after: self.refresh_after,
            },
            scopes: self.scopes,
            auth_revisions: self.auth_revisions,
            account: self.account,
            consented_at: self.consented_at,
            consented_by: self.consented_by.map(PrincipalId),
            invalidates: self.invalidates,
        })
    }
}
