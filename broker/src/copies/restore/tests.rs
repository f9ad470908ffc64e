use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::audit::verify_chain;
use crate::clock::SystemClock;
use crate::copies::back_up;
use crate::copies::backup::tests::served;
use crate::master_keys::NotHeld;

/// A configuration whose broker serves from `dir`.
pub(in crate::copies) fn config(dir: &Path, data: &str, more: &str) -> Config {
    let text = format!(
        "mode: demonstration\ntenant: t\npublic_url: http://127.0.0.1:10000\ndata_dir: {data}\n\
         key_file: key/master.key\ngrpc: {{ socket: run/broker.sock }}\nadmin: {{ socket: admin/admin.sock }}\n\
         http: {{ listen: '127.0.0.1:0' }}\n{more}"
    );
    Config::from_text(&dir.join("sallyport.yaml"), &text).unwrap()
}

async fn restored(config: &Config, file: &Path) -> Result<Restored, RestoreError> {
    restore(config, file, Actor::operator(7), Arc::new(SystemClock)).await
}

/// A directory with a backup of three secrets, and a configuration for a place where there is no store.
async fn backed_up() -> (tempfile::TempDir, PathBuf, Config) {
    let dir = tempfile::tempdir().unwrap();
    let (store, _secrets) = served(dir.path(), 3).await;
    let file = dir.path().join("backup.db");
    back_up(&dir.path().join("data"), &file).await.unwrap();
    store.close().await;
    let config = config(dir.path(), "restored", "");
    (dir, file, config)
}

#[tokio::test]
async fn what_was_backed_up_is_served_again_and_its_audit_goes_on() {
    let (dir, file, config) = backed_up().await;
    let done = restored(&config, &file).await.unwrap();
    assert_eq!((done.found.head.sequence, done.found.keys.len()), (3, 1));
    let files: Vec<_> =
        fs::read_dir(dir.path().join("restored")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!files.iter().any(|name| name == "restoring" || name.to_string_lossy().ends_with("-wal")), "{files:?}");
    assert_eq!(fs::metadata(&done.path).unwrap().permissions().mode() & 0o777, 0o600);
    let store = SqliteStore::open(&dir.path().join("restored")).await.unwrap();
    assert_eq!(store.secrets().await.unwrap().records.len(), 3);
    assert_eq!(verify_chain(&store).await.unwrap().sequence, 4, "whole, with the restore in it");
    let recorded = store.audit(3, "unix#7", "", "store.restored", 10).await.unwrap();
    assert_eq!(recorded.len(), 1);
}

#[tokio::test]
async fn refuses_while_a_broker_serves_and_where_a_store_is() {
    let (dir, file, config) = backed_up().await;
    let serving = serve::lock(&config.data_dir).unwrap();
    let refused = restored(&config, &file).await.unwrap_err();
    assert!(matches!(refused, RestoreError::Serve(ServeError::Taken(_))), "{refused}");
    drop(serving);
    for name in ["sallyport.db", "sallyport.db-wal", "sallyport.db-shm"] {
        let path = dir.path().join("restored").join(name);
        fs::write(&path, "of before").unwrap();
        assert!(matches!(restored(&config, &file).await, Err(RestoreError::Exists(there)) if there == path));
        assert_eq!(fs::read(&path).unwrap(), b"of before");
        fs::remove_file(&path).unwrap();
    }
    restored(&config, &file).await.unwrap();
    assert!(matches!(restored(&config, &file).await, Err(RestoreError::Exists(_))));
}

#[tokio::test]
async fn refuses_without_the_master_key_and_names_it_and_leaves_nothing_behind() {
    let (dir, file, config) = backed_up().await;
    let kept = dir.path().join("kept.key");
    fs::rename(dir.path().join("key/master.key"), &kept).unwrap();
    assert!(matches!(restored(&config, &file).await, Err(RestoreError::Serve(_))), "no key at all");
    crate::vault::Vault::open_or_create(dir.path().join("key/master.key"), &config.tenant).unwrap();
    let refused = restored(&config, &file).await.unwrap_err();
    let RestoreError::Check(CheckError::NotHeld(NotHeld::Needed { needed, fields: 3, .. })) = refused else {
        panic!("{refused}")
    };
    assert!(!dir.path().join("restored/sallyport.db").exists() && !dir.path().join("restored/restoring").exists());
    fs::rename(&kept, dir.path().join("key/master.key")).unwrap();
    assert_eq!(restored(&config, &file).await.unwrap().found.keys, [needed]);
}

#[tokio::test]
async fn refuses_what_is_cut_off_changed_or_none_and_leaves_nothing_behind() {
    let (dir, file, config) = backed_up().await;
    let whole = fs::read(&file).unwrap();
    let changed = {
        let at = whole.windows(6).position(|window| window == b"unix#1").unwrap();
        let mut changed = whole.clone();
        changed[at + 5] = b'2';
        changed
    };
    let bad = dir.path().join("bad.db");
    for (what, bytes) in
        [("cut off", &whole[..whole.len() / 2]), ("changed", &changed[..]), ("none", b"no database"), ("empty", b"")]
    {
        fs::write(&bad, bytes).unwrap();
        let done = restored(&config, &bad).await;
        // An empty file is a store without anything: there is nothing wrong with it but what it lacks.
        if what != "empty" {
            assert!(done.is_err(), "{what}");
            assert!(!dir.path().join("restored/sallyport.db").exists(), "{what}");
        }
        assert!(!dir.path().join("restored/restoring").exists(), "{what}");
    }
    assert!(restored(&config, &dir.path().join("missing.db")).await.is_err());
}

#[tokio::test]
async fn one_that_was_cut_off_is_in_nobodys_way() {
    let (dir, file, config) = backed_up().await;
    fs::create_dir_all(dir.path().join("restored/restoring")).unwrap();
    fs::write(dir.path().join("restored/restoring/sallyport.db"), "half").unwrap();
    restored(&config, &file).await.unwrap();
}
