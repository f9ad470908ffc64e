//! The keys that bind session ids to callers: the snapshot's only secret, made here, sealed, replaced daily.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sallyport_proto::broker::SessionKeys;
use tokio::sync::Mutex;

use crate::causes;
use crate::clock::UnixTime;
use crate::master_keys;
use crate::model::Generation;
use crate::secret::Secret;
use crate::store::{Named, Sealed, Store, StoreError, StoredKey};
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

/// What came of opening a key, by its id. A snapshot is made whenever something changes, and a revocation must not wait for
/// a key service (I11).
#[derive(Default)]
pub(super) struct Opened {
    by_id: Mutex<BTreeMap<String, Tried>>,
    named: Named,
}

enum Tried {
    Opens(Secret),
    /// As long as it is this.
    Damaged(Sealed),
}

/// What there is.
struct Found {
    /// Of those that open the two newest, with when each was made.
    newest: Vec<(UnixTime, Vec<u8>)>,
    /// Ids of all.
    taken: BTreeSet<String>,
}

/// The current and the previous key; makes a new one if the newest has served its day. One that does not open is left out
/// and named: sessions that are bound by it begin anew.
pub(super) async fn current(
    store: &dyn Store,
    vault: &Vault,
    opened: &Opened,
    now: UnixTime,
) -> Result<SessionKeys, SessionKeyError> {
    let mut found = find(store, vault, opened).await?;
    if found.newest.first().is_none_or(|(created_at, _)| created_at.after(ROTATION) <= now) {
        add(store, vault, &found.taken, now).await?;
        found = find(store, vault, opened).await?;
        store.drop_keys(PURPOSE, UnixTime(now.0.saturating_sub(UnixTime(0).after(KEPT).0))).await?;
    }
    let mut newest_first = found.newest.into_iter().map(|(_, key)| key);
    let current = newest_first.next().ok_or(SessionKeyError::Missing)?;
    Ok(SessionKeys { current, previous: newest_first.next().unwrap_or_default() })
}

async fn find(store: &dyn Store, vault: &Vault, opened: &Opened) -> Result<Found, SessionKeyError> {
    let keys = store.keys(PURPOSE).await?;
    opened.named.name(&keys, "sessions that are bound by this key begin anew");
    let unreadable = keys.corrupt.iter().filter_map(StoreError::record);
    let taken: BTreeSet<_> = keys.records.iter().map(|key| key.id.clone()).chain(unreadable).collect();
    let mut newest = Vec::new();
    for key in &keys.records {
        if newest.len() < 2
            && let Some(bytes) = open(store, vault, opened, key).await?
        {
            newest.push((key.created_at, bytes));
        }
    }
    opened.by_id.lock().await.retain(|id, _| taken.contains(id));
    Ok(Found { newest, taken })
}

async fn add(store: &dyn Store, vault: &Vault, taken: &BTreeSet<String>, now: UnixTime) -> Result<(), SessionKeyError> {
    // Named by the day, so that of two brokers that find it missing one only adds it; counted where one is damaged.
    let day = format!("session-{}", now.0 / UnixTime(0).after(ROTATION).0);
    let mut id = day.clone();
    for count in 2.. {
        if !taken.contains(&id) {
            break;
        }
        id = format!("{day}-{count}");
    }
    let value = vault.data_key(&place(&id)).await?.seal(&place(&id), &Secret::random::<32>());
    match store.add_key(&StoredKey { id, purpose: PURPOSE.to_owned(), created_at: now, value }).await {
        Ok(()) | Err(StoreError::Conflict) => Ok(()),
        Err(error @ (StoreError::Corrupt { .. } | StoreError::OtherSubject(_) | StoreError::Unavailable(_))) => {
            Err(error.into())
        }
    }
}

/// Nothing if it is damaged.
async fn open(
    store: &dyn Store,
    vault: &Vault,
    opened: &Opened,
    key: &StoredKey,
) -> Result<Option<Vec<u8>>, SessionKeyError> {
    let mut by_id = opened.by_id.lock().await;
    match by_id.get(&key.id) {
        // Exposed because the filter computes the MACs: it is what the snapshot carries it for.
        Some(Tried::Opens(secret)) => return Ok(Some(secret.expose().to_vec())),
        Some(Tried::Damaged(sealed)) if *sealed == key.value => return Ok(None),
        Some(Tried::Damaged(_)) | None => {}
    }
    match vault.open(&place(&key.id), &key.value).await {
        Ok(secret) => {
            let bytes = secret.expose().to_vec();
            by_id.insert(key.id.clone(), Tried::Opens(secret));
            Ok(Some(bytes))
        }
        Err(error) if master_keys::is_damaged(store, &error).await? => {
            tracing::error!(
                id = key.id,
                error = causes::told(&error),
                "a session key was changed in the store and is left out: sessions that are bound by it begin anew"
            );
            by_id.insert(key.id.clone(), Tried::Damaged(key.value.clone()));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn place(id: &str) -> Place<'_> {
    Place { kind: RecordKind::Key, record: id, field: "value", generation: Generation(1) }
}
