use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use sqlx::Connection as _;

use super::*;
use crate::audit::{Actor, Audit, Event};
use crate::clock::{Clock, SystemClock};
use crate::model::{SecretRef, Tenant};
use crate::secret::Secret;
use crate::secrets::Secrets;
use crate::store::Store;
use crate::vault::Vault;

fn tenant() -> Tenant {
    Tenant("t".into())
}

/// A store that is served from, with so many secrets.
pub(in crate::copies) async fn served(dir: &Path, secrets: usize) -> (Arc<dyn Store>, Secrets) {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&dir.join("data")).await.unwrap());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let vault = Vault::open_or_create(dir.join("key/master.key"), &tenant()).unwrap();
    store.add_wraps(&vault.key_id().to_string(), 0, clock.now()).await.unwrap();
    let audit = Audit::start(Arc::clone(&store), Arc::clone(&clock), tenant());
    let kept = Secrets::new(Arc::clone(&store), vault, audit, clock, tenant());
    for n in 0..secrets {
        set(&kept, n).await;
    }
    (store, kept)
}

pub(in crate::copies) async fn set(secrets: &Secrets, n: usize) {
    let named = SecretRef { group: "g".into(), key: format!("k{n}") };
    secrets.set(&named, &Secret::new(format!("value {n}")), &["o".to_owned()], Actor::operator(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_one_moment_of_a_store_that_is_written_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let (store, secrets) = served(dir.path(), 20).await;
    let writing = async {
        for n in 20.. {
            set(&secrets, n).await;
        }
    };
    let backing_up = async {
        for round in 0..5 {
            let file = dir.path().join(format!("backup-{round}.db"));
            let done = back_up(&dir.path().join("data"), &file).await.unwrap();
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(done.bytes, fs::metadata(&file).unwrap().len());
            // In the store a secret comes before its record: at one moment there are as many, or one more.
            let copied = dir.path().join(format!("copy-{round}"));
            fs::create_dir(&copied).unwrap();
            fs::set_permissions(&copied, fs::Permissions::from_mode(0o700)).unwrap();
            fs::copy(&file, database(&copied)).unwrap();
            let copy = SqliteStore::open(&copied).await.unwrap();
            let (kept, recorded) = (copy.secrets().await.unwrap().records.len() as u64, done.head.sequence);
            assert!(kept == recorded || kept == recorded + 1, "{kept} {recorded}");
            assert_eq!(done.keys.len(), 1);
            copy.close().await;
        }
    };
    tokio::select! { () = writing => {}, () = backing_up => {} }
    store.close().await;
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("half")), "{left:?}");
}

#[tokio::test]
async fn refuses_to_overwrite_anything_and_to_copy_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (data, file) = (dir.path().join("data"), dir.path().join("backup.db"));
    assert!(matches!(back_up(&data, &file).await, Err(BackupError::NoStore(_))));
    let (_store, _) = served(dir.path(), 1).await;
    back_up(&data, &file).await.unwrap();
    let before = fs::read(&file).unwrap();
    assert!(matches!(back_up(&data, &file).await, Err(BackupError::Exists(_))));
    assert_eq!(fs::read(&file).unwrap(), before);
    let link = dir.path().join("link.db");
    std::os::unix::fs::symlink(dir.path().join("elsewhere"), &link).unwrap();
    assert!(matches!(back_up(&data, &link).await, Err(BackupError::Exists(_))));
    assert!(matches!(back_up(&data, &dir.path().join("no/such/file")).await, Err(BackupError::Io { .. })));
}

#[tokio::test]
async fn refuses_an_audit_that_was_changed_and_tells_of_what_waits_in_the_spool() {
    let dir = tempfile::tempdir().unwrap();
    let (data, file) = (dir.path().join("data"), dir.path().join("backup.db"));
    let (store, _secrets) = served(dir.path(), 3).await;
    fs::create_dir(data.join("spool")).unwrap();
    fs::write(data.join("spool/g.2.json"), "{}").unwrap();
    assert_eq!(back_up(&data, &file).await.unwrap().waiting, 1);
    let audit = Audit::start(Arc::clone(&store), Arc::new(SystemClock), tenant());
    audit.record(Event::key_rotated(Actor::operator(1), "k")).await.unwrap();
    let mut database = sqlx::SqliteConnection::connect_with(
        &sqlx::sqlite::SqliteConnectOptions::new().filename(data.join(sqlite::FILE)),
    )
    .await
    .unwrap();
    sqlx::query("UPDATE audit SET actor = 'unix#2' WHERE sequence = 2").execute(&mut database).await.unwrap();
    let again = dir.path().join("again.db");
    assert!(matches!(back_up(&data, &again).await, Err(BackupError::Audit(_))));
    assert!(!again.exists(), "nothing half");
}
