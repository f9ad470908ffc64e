use std::collections::HashMap;
use std::path::PathBuf;

use super::*;
use crate::clock::{FixedClock, UnixTime};
use crate::model::{Generation, SecretRef};
use crate::refresher::tests::people::agreed;
use crate::secret::Secret;
use crate::secrets::Secrets;
use crate::store::sqlite::{SqliteStore, open_in};
use crate::store::{Sealed, SealedColumn, Swap};

mod alarm;
mod away;
mod shared;

/// A store with some secrets, sealed under the key of one file.
struct Site {
    store: Arc<SqliteStore>,
    clock: Arc<FixedClock>,
    key_file: PathBuf,
    dir: tempfile::TempDir,
}

fn operator() -> Actor {
    Actor::operator(1)
}

fn named(n: usize) -> SecretRef {
    SecretRef { group: "g".to_owned(), key: format!("k{n:03}") }
}

impl Site {
    async fn with_secrets(count: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(open_in(dir.path()).await);
        let key_file = dir.path().join("key/master.key");
        let clock = Arc::new(FixedClock::at(UnixTime(1_800_000_000_000)));
        let site = Self { store, clock, key_file, dir };
        Vault::open_or_create(&site.key_file, &Tenant("t".into())).unwrap();
        let secrets = site.secrets(&site.open().await.unwrap());
        for n in 0..count {
            let value = Secret::new(format!("value {n}"));
            secrets.set(&named(n), &value, &["owner".to_owned()], operator()).await.unwrap();
        }
        site
    }

    /// As a start of the broker opens them.
    async fn open(&self) -> Result<MasterKeys, NotHeld> {
        let (store, clock) = (Arc::clone(&self.store) as Arc<dyn Store>, Arc::clone(&self.clock) as Arc<dyn Clock>);
        let tenant = Tenant("t".into());
        MasterKeys::open(Parts {
            vault: Vault::open_existing(&self.key_file, &tenant).unwrap(),
            spool: Spool::open(&self.dir.path().join("spool")).unwrap(),
            audit: Audit::start(Arc::clone(&store), Arc::clone(&clock), tenant.clone()),
            tenant,
            store,
            clock,
        })
        .await
    }

    fn secrets(&self, keys: &MasterKeys) -> Secrets {
        let Parts { store, vault, audit, clock, tenant, .. } = &keys.0.parts;
        Secrets::new(Arc::clone(store), vault.clone(), audit.clone(), Arc::clone(clock), tenant.clone())
    }

    async fn read(&self, keys: &MasterKeys, count: usize) {
        let secrets = self.secrets(keys);
        for n in 0..count {
            assert_eq!(secrets.get(&named(n)).await.unwrap().expose_str(), Some(format!("value {n}").as_str()));
        }
    }

    /// Swaps the value of the first secret for what `change` makes of it.
    async fn tamper(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let header = &self.store.seal_headers().await.unwrap()[0];
        let old = self.store.sealed_fields(SealedColumn::Secret, header, "", 1).await.unwrap().records.remove(0);
        let mut new = old.sealed.0.clone();
        change(&mut new);
        assert_eq!(self.store.swap_sealed(&[Swap { old, new: Sealed(new) }]).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn v6_a_rotation_and_a_rewrap_leave_nothing_to_the_old_key() {
    let site = Site::with_secrets(150).await;
    let keys = site.open().await.unwrap();
    let rotated = keys.rotate(operator()).await.unwrap();
    let told: Vec<_> = keys.list().await.unwrap().into_iter().map(|key| (key.id, key.fields)).collect();
    assert_eq!(told, [(rotated.new, 0), (rotated.old, 150)]);
    site.read(&keys, 150).await;
    let progress = keys.rewrap(operator(), |_| true).await.unwrap();
    assert_eq!(progress, Progress { done: 150, total: 150, left: Vec::new(), away: Vec::new() });
    let told: Vec<_> = keys.list().await.unwrap().into_iter().map(|key| (key.id, key.fields)).collect();
    assert_eq!(told, [(rotated.new, 150), (rotated.old, 0)]);
    std::fs::remove_file(rotated.retired).unwrap();
    site.read(&site.open().await.unwrap(), 150).await;
    let recorded = site.store.audit(0, "", "", "", 1000).await.unwrap();
    let recorded: Vec<_> = recorded.iter().filter(|record| record.entry.event.starts_with("key.")).collect();
    let events: Vec<_> = recorded.iter().map(|record| record.entry.event.as_str()).collect();
    assert_eq!(events, ["key.rotated", "key.rewrapped"]);
    assert!(recorded.iter().all(|record| record.entry.json.contains(&rotated.new.to_string())));
}

#[tokio::test]
async fn v6_a_rewrap_that_was_cut_off_goes_on_where_it_was() {
    let site = Site::with_secrets(150).await;
    let old = site.open().await.unwrap().rotate(operator()).await.unwrap().old;
    let mut left = 150;
    for _ in 0..2 {
        // Another start each time: nothing is remembered but what is stored.
        let keys = site.open().await.unwrap();
        let progress = keys.rewrap(operator(), |_| false).await.unwrap();
        assert_eq!((progress.done, progress.total), (64, left));
        left -= 64;
        site.read(&keys, 150).await;
    }
    let keys = site.open().await.unwrap();
    assert_eq!(keys.rewrap(operator(), |_| true).await.unwrap().done, 22);
    assert_eq!(keys.list().await.unwrap().iter().find(|key| key.id == old).unwrap().fields, 0);
}

#[tokio::test]
async fn a_rewrap_with_nothing_to_do_changes_nothing() {
    let site = Site::with_secrets(3).await;
    let keys = site.open().await.unwrap();
    assert_eq!(keys.rewrap(operator(), |_| true).await.unwrap(), Progress::default());
    site.read(&keys, 3).await;
}

#[tokio::test]
async fn v6_what_was_changed_is_named_and_stays_and_spoils_no_other() {
    let site = Site::with_secrets(10).await;
    let keys = site.open().await.unwrap();
    keys.rotate(operator()).await.unwrap();
    site.tamper(|sealed| sealed[crate::vault::HEADER + 20] ^= 1).await;
    let progress = keys.rewrap(operator(), |_| true).await.unwrap();
    assert_eq!((progress.done, progress.left.len()), (9, 1));
    assert!(progress.left[0].what.contains("g:k000") && progress.left[0].why.contains("does not open"), "{progress:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_rotation_or_rewrap_at_a_time() {
    let site = Site::with_secrets(1).await;
    let keys = site.open().await.unwrap();
    keys.rotate(operator()).await.unwrap();
    let mut meanwhile = None;
    let during = keys.clone();
    keys.rewrap(operator(), |_| {
        meanwhile = Some(futures::executor::block_on(during.rotate(operator())));
        true
    })
    .await
    .unwrap();
    assert!(matches!(meanwhile, Some(Err(MasterKeyError::UnderWay))));
}

#[tokio::test]
async fn refuses_to_start_without_a_key_that_records_need_and_names_it() {
    let site = Site::with_secrets(7).await;
    let needed = site.open().await.unwrap().list().await.unwrap()[0].id;
    std::fs::remove_file(&site.key_file).unwrap();
    let other = Vault::open_or_create(&site.key_file, &Tenant("t".into())).unwrap().key_id();
    let refused = site.open().await.err().unwrap();
    assert!(matches!(&refused, NotHeld::Needed { needed: id, fields: 7, held } if *id == needed && held.0 == [other]));
    assert!(refused.to_string().contains(&needed.to_string()), "{refused}");
}

#[tokio::test]
async fn refuses_to_start_when_a_retired_key_was_taken_away_too_early() {
    let site = Site::with_secrets(70).await;
    let keys = site.open().await.unwrap();
    let rotated = keys.rotate(operator()).await.unwrap();
    keys.rewrap(operator(), |_| false).await.unwrap();
    let aside = site.dir.path().join("aside.key");
    std::fs::rename(&rotated.retired, &aside).unwrap();
    let refused = site.open().await.err().unwrap();
    assert!(matches!(refused, NotHeld::Needed { needed, fields: 6, .. } if needed == rotated.old), "{refused}");
    std::fs::rename(&aside, &rotated.retired).unwrap();
    site.read(&site.open().await.unwrap(), 70).await;
}

#[tokio::test]
async fn a_record_whose_key_id_was_changed_keeps_no_other_from_being_served() {
    let site = Site::with_secrets(3).await;
    site.tamper(|sealed| sealed[crate::vault::HEADER - 1] ^= 1).await;
    let keys = site.open().await.unwrap();
    let secrets = site.secrets(&keys);
    assert!(secrets.get(&named(0)).await.is_err());
    assert!(secrets.get(&named(1)).await.is_ok() && secrets.get(&named(2)).await.is_ok());
    let told: Vec<_> = keys.list().await.unwrap().into_iter().map(|key| (key.held.is_some(), key.fields)).collect();
    assert_eq!(told, [(true, 2), (false, 1)]);
}

#[tokio::test]
async fn v5_wraps_are_counted_ahead_and_over_restarts() {
    let site = Site::with_secrets(1).await;
    let mut least = 0;
    for _ in 0..3 {
        let keys = site.open().await.unwrap();
        let mut counted = HashMap::new();
        for _ in 0..2 {
            keys.count_ahead(&mut counted).await.unwrap();
            site.secrets(&keys).set(&named(0), &Secret::new("x"), &[], operator()).await.unwrap();
            least += 1;
        }
        let wraps = keys.list().await.unwrap()[0].wraps.unwrap();
        assert!(wraps >= least && wraps < 4 * 4096, "{wraps}");
    }
    assert_eq!(site.open().await.unwrap().list().await.unwrap()[0].wraps, Some(3 * 4096), "a stride for each start");
}

#[tokio::test]
async fn v6_tokens_in_the_spool_need_their_key_too() {
    let site = Site::with_secrets(0).await;
    let keys = site.open().await.unwrap();
    let key = crate::model::GrantKey { provider_client: "c".into(), holder: "h".into() };
    let vault = &keys.0.parts.vault;
    let clock = UnixTime(1_800_000_000_000);
    let commit = agreed(vault, key, Generation(2), clock, "access", None).await;
    keys.0.parts.spool.put(commit).await;
    let rotated = keys.rotate(operator()).await.unwrap();
    std::fs::remove_file(&rotated.retired).unwrap();
    let refused = site.open().await.err().unwrap();
    assert!(matches!(refused, NotHeld::Needed { needed, .. } if needed == rotated.old), "{refused}");
}

#[tokio::test]
async fn v3_what_is_damaged_beside_the_secrets_stops_no_start_and_no_rewrap() {
    let site = Site::with_secrets(3).await;
    let old = site.open().await.unwrap().rotate(operator()).await.unwrap().old;
    // The count of the key that is held, and the name of a secret.
    site.store.tamper("UPDATE master_keys SET wraps = -5").await;
    site.store.tamper("UPDATE secrets SET key = CAST(x'ff' AS TEXT) WHERE key = 'k002'").await;
    let keys = site.open().await.unwrap();
    site.read(&keys, 2).await;
    let progress = keys.rewrap(operator(), |_| true).await.unwrap();
    let left: Vec<_> = progress.left.iter().map(|left| left.what.as_str()).collect();
    assert_eq!((progress.done, left), (2, vec!["secrets g:\u{fffd}"]));
    assert_eq!(keys.list().await.unwrap().iter().find(|key| key.id == old).unwrap().fields, 1);
    assert_eq!(site.secrets(&keys).list().await.unwrap().len(), 2);
    // It is a key's id all the same: without the key there is no start.
    std::fs::rename(&site.key_file, site.dir.path().join("away")).unwrap();
    Vault::open_or_create(&site.key_file, &Tenant("t".into())).unwrap();
    let refused = site.open().await.err().unwrap();
    assert!(matches!(&refused, NotHeld::Needed { .. }), "{refused}");
}
