use std::path::Path;

use futures::FutureExt as _;
use postgres_counterpart::{Database, Server};

use super::*;
use crate::clock::{SystemClock, UnixTime};
use crate::copies::backup::tests::{served, set};
use crate::copies::restore::tests::config;
use crate::model::{Generation, GrantKey, PrincipalKind};
use crate::store::sqlite::SqliteStore;
use crate::store::{GrantCommit, Material, Sealed};

const NOW: UnixTime = UnixTime(1_800_000_000_000);

fn in_postgres(database: &Database) -> String {
    format!("store: {{ postgres: {{ url: '{}' }} }}\n", database.url)
}

async fn moved(source: &Config, target: &Config) -> Result<Migrated, MigrateError> {
    migrate(source, target, Actor::operator(7), Arc::new(SystemClock), |_| {}).await
}

/// A store with records of many kinds, more of some than are carried at once, with texts and bytes that are easy to spoil.
async fn filled(dir: &Path, records: usize) {
    let (store, secrets) = served(dir, 1).await;
    for n in 0..records {
        set(&secrets, n).await;
    }
    for name in ["ä@example.com", "Z@example.com", "'quoted'@example.com", "\u{1F511}@example.com"] {
        let kind = PrincipalKind::User { email: name.to_owned() };
        let holder = store.ensure_principal(&kind, None, NOW).await.unwrap().id;
        let token = Sealed((0..=255).collect());
        let commit = GrantCommit {
            id: format!("grant of {name}"),
            key: GrantKey { provider_client: "c".into(), holder: holder.0 },
            generation: Generation(1),
            material: Material {
                access_token: token.clone(),
                refresh_token: None,
                issued_at: NOW,
                expires_at: NOW,
                refresh_after: NOW,
            },
            scopes: vec!["a \"b\"".into()],
            auth_revisions: vec![],
            account: None,
            consented_at: None,
            consented_by: None,
            invalidates: None,
        };
        store.commit_grant(&commit).await.unwrap();
    }
    store.close().await;
}

async fn rows(config: &Config) -> Vec<(String, Vec<Record>)> {
    let store = serve::open_store_alone(config).await.unwrap();
    let mut all = Vec::new();
    for table in tables().await.unwrap() {
        all.push((table.name.clone(), store.records(&table, None, 100_000).await.unwrap()));
    }
    store.close().await;
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_goes_to_postgres_and_back_and_is_the_same_record_by_record() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 700).await;
    let database = Server::shared().database().await;
    let here = config(dir.path(), "data", "");
    let there = config(dir.path(), "data", &in_postgres(&database));
    let back = config(dir.path(), "back", "");
    let before = rows(&here).await;
    let done = moved(&here, &there).await.unwrap();
    assert_eq!(rows(&here).await, before, "the source is as it was");
    let count = |table: &str| done.records.iter().find(|(name, _)| name == table).unwrap().1;
    assert_eq!((count("secrets"), count("grants"), count("audit")), (700, 4, 701));
    assert_eq!(done.head.sequence, 701);
    let again = moved(&there, &back).await.unwrap();
    assert_eq!(again.head.sequence, 702, "with the record of the first");
    for ((table, was), (_, is)) in before.iter().zip(&rows(&back).await) {
        let added = if table == "audit" { 2 } else { 0 };
        assert_eq!(is.len(), was.len() + added, "{table}");
        assert!(was.iter().all(|record| is.contains(record)), "{table}");
    }
    let store = SqliteStore::open(&dir.path().join("back")).await.unwrap();
    assert_eq!(verify_chain(&store).await.unwrap().sequence, 703);
    assert_eq!(store.audit(0, "unix#7", "", "store.migrated", 10).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_was_cut_off_starts_no_broker_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 1200).await;
    let (here, there) = (config(dir.path(), "data", ""), config(dir.path(), "there", ""));
    let moving = migrate(&here, &there, Actor::operator(7), Arc::new(SystemClock), |now| {
        assert!(!(now.table == "secrets" && now.done >= 1000), "cut off here");
    });
    assert!(std::panic::AssertUnwindSafe(moving).catch_unwind().await.is_err());
    let half = serve::open_store_alone(&there).await.unwrap();
    assert!(half.copied_from().await.unwrap().is_some());
    half.close().await;
    let refused = serve::open_store(&there).await.err().unwrap();
    assert!(matches!(&refused, ServeError::Copying(source) if source.contains("data/sallyport.db")), "{refused}");
    // Another source would be mixed with it.
    let other = config(dir.path(), "other", "");
    filled_elsewhere(dir.path()).await;
    let mixed = moved(&other, &there).await.unwrap_err();
    assert!(matches!(mixed, MigrateError::OtherSource { .. }), "{mixed}");
    let done = moved(&here, &there).await.unwrap();
    let total: u64 = done.records.iter().map(|(_, count)| count).sum();
    assert!(done.written > 0 && done.written < total - 900, "{} of {total}", done.written);
    let whole = serve::open_store_alone(&there).await.unwrap();
    assert_eq!(whole.copied_from().await.unwrap(), None);
}

async fn filled_elsewhere(dir: &Path) {
    let aside = dir.join("aside");
    // Under the same master key: only that it is another store is wrong with it.
    std::fs::create_dir_all(aside.join("key")).unwrap();
    std::fs::copy(dir.join("key/master.key"), aside.join("key/master.key")).unwrap();
    filled(&aside, 1).await;
    std::fs::rename(aside.join("data"), dir.join("other")).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refuses_while_anybody_uses_either_and_keeps_others_from_writing_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 3).await;
    let database = Server::shared().database().await;
    let (here, there) = (config(dir.path(), "data", ""), config(dir.path(), "there", &in_postgres(&database)));
    for busy in [&here, &there] {
        let serving = serve::lock(&busy.data_dir).unwrap();
        let refused = moved(&here, &there).await.unwrap_err();
        assert!(matches!(refused, MigrateError::Serve(ServeError::Taken(_))), "{refused}");
        drop(serving);
    }
    // A broker on another machine: its directory is not here.
    let elsewhere = Server::shared().administrator(&database.name).await;
    let refused = moved(&here, &there).await.unwrap_err();
    assert!(matches!(refused, MigrateError::InUse { others: 1, .. }), "{refused}");
    drop(elsewhere);
    let until = Instant::now() + Duration::from_secs(10);
    while let Err(error) = moved(&here, &there).await {
        assert!(matches!(error, MigrateError::InUse { .. }) && Instant::now() < until, "{error}");
    }
    // While a source is held, who comes can read it and not write.
    let (held, late) = (serve::open_store_alone(&there).await.unwrap(), serve::open_store_alone(&there).await.unwrap());
    let hold = held.hold(&tables().await.unwrap()).await.unwrap();
    assert!(late.ready().await.is_err() && late.secrets().await.is_ok());
    drop(hold);
    let until = Instant::now() + Duration::from_secs(10);
    while late.ready().await.is_err() {
        assert!(Instant::now() < until);
    }
}

#[tokio::test]
async fn refuses_another_tenant_the_same_store_one_that_is_not_empty_and_one_whose_keys_are_not_there() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 3).await;
    let (here, there) = (config(dir.path(), "data", ""), config(dir.path(), "there", ""));
    let mut other = there.clone();
    other.tenant.0 = "another".into();
    assert!(matches!(moved(&here, &other).await, Err(MigrateError::OtherTenant { .. })));
    assert!(matches!(moved(&here, &here).await, Err(MigrateError::Same(_))));
    let nothing = config(dir.path(), "nothing", "");
    assert!(matches!(moved(&nothing, &there).await, Err(MigrateError::NoSource(_))));
    assert!(!dir.path().join("nothing/sallyport.db").exists());
    let keyless = Config { master_keys: vec![config::MasterKey::File(dir.path().join("other.key"))], ..there.clone() };
    crate::vault::Vault::open_or_create(dir.path().join("other.key"), &there.tenant).unwrap();
    assert!(matches!(moved(&here, &keyless).await, Err(MigrateError::Check(CheckError::NotHeld(_)))));
    std::fs::create_dir_all(dir.path().join("data/spool")).unwrap();
    moved(&here, &there).await.unwrap();
    let again = moved(&here, &there).await.unwrap_err();
    assert!(matches!(again, MigrateError::NotEmpty { .. }), "{again}");
}

#[tokio::test]
async fn a_record_that_differs_is_named_and_the_target_stays_closed() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 3).await;
    let (here, there) = (config(dir.path(), "data", ""), config(dir.path(), "there", ""));
    let to = serve::open_store_alone(&there).await.unwrap();
    let source = shown(&here).unwrap();
    to.begin_copy(&source, NOW).await.unwrap();
    let group = tables().await.unwrap().into_iter().find(|table| table.name == "secret_groups").unwrap();
    let extra = vec![crate::store::copy::Value::Text("zz of nobody".into())];
    to.put_records(&group, &[extra]).await.unwrap();
    to.close().await;
    let refused = moved(&here, &there).await.unwrap_err();
    let MigrateError::Differs { table, key } = &refused else { panic!("{refused}") };
    assert_eq!((table.as_str(), key.as_str()), ("secret_groups", "zz of nobody"));
    let to = serve::open_store_alone(&there).await.unwrap();
    assert_eq!(to.copied_from().await.unwrap(), Some(source));
}

#[tokio::test]
async fn a_move_whose_record_was_not_taken_is_finished_by_running_it_again() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 3).await;
    let (here, there) = (config(dir.path(), "data", ""), config(dir.path(), "there", ""));
    std::fs::create_dir_all(dir.path().join("data/spool")).unwrap();
    moved(&here, &there).await.unwrap();
    let store = SqliteStore::open(&dir.path().join("there")).await.unwrap();
    store.tamper("DELETE FROM audit WHERE sequence = (SELECT max(sequence) FROM audit)").await;
    store.close().await;
    let again = moved(&here, &there).await.unwrap();
    assert!(again.written == 0 && again.records.iter().any(|(table, count)| table == "grants" && *count == 4));
    let store = SqliteStore::open(&dir.path().join("there")).await.unwrap();
    assert_eq!(store.audit(0, "unix#7", "", "store.migrated", 10).await.unwrap().len(), 1);
    assert!(verify_chain(&store).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_of_an_older_version_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 3).await;
    let (here, there) = (config(dir.path(), "data", ""), config(dir.path(), "there", ""));
    let store = SqliteStore::open(&dir.path().join("data")).await.unwrap();
    store.tamper("UPDATE _sqlx_migrations SET version = version - 1000").await;
    store.close().await;
    let refused = moved(&here, &there).await.unwrap_err();
    assert!(matches!(refused, MigrateError::Older(_)), "{refused}");
    assert!(serve::is_of_older_version(&here).await.unwrap());
    // In Postgres too.
    let database = Server::shared().database().await;
    let in_postgres = config(dir.path(), "fleet", &in_postgres(&database));
    assert!(!serve::is_of_older_version(&in_postgres).await.unwrap(), "nothing is there yet");
    serve::open_store_alone(&in_postgres).await.unwrap().close().await;
    assert!(!serve::is_of_older_version(&in_postgres).await.unwrap());
    let mut administrator = Server::shared().administrator(&database.name).await;
    sqlx::raw_sql("UPDATE _sqlx_migrations SET version = version - 1000").execute(&mut administrator).await.unwrap();
    assert!(serve::is_of_older_version(&in_postgres).await.unwrap());
}
