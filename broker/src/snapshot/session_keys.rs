//! The keys that bind session ids to callers: the snapshot's only secret, made here, sealed, replaced daily.

use std::collections::BTreeMap;
use std::time::Duration;

use sallyport_proto::broker::SessionKeys;
use tokio::sync::Mutex;

use crate::clock::UnixTime;
use crate::model::Generation;
use crate::secret::Secret;
use crate::store::{Store, StoreError, StoredKey};
use crate::vault::{Place, RecordKind, Vault, VaultError};

/// Purpose under which they are stored.
pub const PURPOSE: &str = "session-binding";

/// How long one is the current one.
const ROTATION: Duration = Duration::from_secs(24 * 60 * 60);

/// How long one is kept: longer than it can be the previous one.
const KEPT: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// Why there is no key to bind sessions with.
#[derive(Debug, thiserror::Error)]
pub enum SessionKeyError {
    /// The store does not answer.
    #[error("session keys cannot be read or stored")]
    Store(#[from] StoreError),
    /// The vault does not open or seal them.
    #[error("session keys cannot be opened or sealed")]
    Vault(#[from] VaultError),
    /// A key was made, and was not there afterwards.
    #[error("the store holds no session key")]
    Missing,
}

/// Keys that were opened before, by id. A snapshot is made whenever something changes, and a revocation must not wait for a
/// key service (I11).
#[derive(Default)]
pub(super) struct Opened(Mutex<BTreeMap<String, Secret>>);

/// The current and the previous key; makes a new one if the newest has served its day.
pub(super) async fn current(
    store: &dyn Store,
    vault: &Vault,
    opened: &Opened,
    now: UnixTime,
) -> Result<SessionKeys, SessionKeyError> {
    let mut keys = store.keys(PURPOSE).await?;
    if keys.first().is_none_or(|newest| newest.created_at.after(ROTATION) <= now) {
        add(store, vault, now).await?;
        keys = store.keys(PURPOSE).await?;
        store.drop_keys(PURPOSE, now.before(KEPT)).await?;
    }
    let mut newest_first = keys.iter();
    let current = open(vault, opened, newest_first.next().ok_or(SessionKeyError::Missing)?).await?;
    let previous = match newest_first.next() {
        Some(key) => open(vault, opened, key).await?,
        None => Vec::new(),
    };
    opened.0.lock().await.retain(|id, _| keys.iter().any(|key| key.id == *id));
    Ok(SessionKeys { current, previous })
}

async fn add(store: &dyn Store, vault: &Vault, now: UnixTime) -> Result<(), SessionKeyError> {
    // Named by the day, so that of two brokers that find it missing one only adds it.
    let id = format!("session-{}", now.0 / UnixTime(0).after(ROTATION).0);
    let value = vault.data_key(&place(&id)).await?.seal(&place(&id), &Secret::random::<32>());
    match store.add_key(&StoredKey { id, purpose: PURPOSE.to_owned(), created_at: now, value }).await {
        Ok(()) | Err(StoreError::Conflict) => Ok(()),
        Err(error @ (StoreError::Corrupt { .. } | StoreError::OtherSubject(_) | StoreError::Unavailable(_))) => {
            Err(error.into())
        }
    }
}

async fn open(vault: &Vault, opened: &Opened, key: &StoredKey) -> Result<Vec<u8>, VaultError> {
    let mut opened = opened.0.lock().await;
    if !opened.contains_key(&key.id) {
        opened.insert(key.id.clone(), vault.open(&place(&key.id), &key.value).await?);
    }
    // Exposed because the filter computes the MACs: it is what the snapshot carries it for.
    Ok(opened.get(&key.id).map(|key| key.expose().to_vec()).unwrap_or_default())
}

fn place(id: &str) -> Place<'_> {
    Place { kind: RecordKind::Key, record: id, field: "value", generation: Generation(1) }
}
