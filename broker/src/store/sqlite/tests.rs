use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::*;
use crate::clock::UnixTime;
use crate::model::Generation;
use crate::store::conformance::Tamper;
use crate::store::{AuditEntry, Sealed, SealedColumn, Store, StoredManifest, StoredSecret};

const NOW: UnixTime = UnixTime(1_800_000_000_000);

/// Opens a handle on the store in a directory.
pub(crate) async fn open_in(dir: &Path) -> SqliteStore {
    SqliteStore::open(&dir.join("data")).await.unwrap()
}

impl SqliteStore {
    /// Lets the file grow no further: as a full disk does.
    pub(crate) async fn fill(&self) {
        self.limit_pages("1").await;
    }

    /// Lets nobody write for as long as this is held, as a store does that does not answer; who reads goes on.
    pub(crate) async fn hang(&self) -> sqlx::pool::PoolConnection<sqlx::Sqlite> {
        self.writer.acquire().await.unwrap()
    }

    /// Makes a record of a grant one that nobody can read.
    pub(crate) async fn damage_grant(&self, id: &str) {
        let damaged = sqlx::query("UPDATE grants SET scopes = 'not json' WHERE id = $1").bind(id);
        assert_eq!(damaged.execute(&self.writer).await.unwrap().rows_affected(), 1);
    }

    /// Changes one byte of one of the broker's own keys, counted from the beginning of what is sealed, or from its end.
    pub(crate) async fn bend_key(&self, id: &str, at: isize) {
        for header in self.seal_headers().await.unwrap() {
            let found = self.sealed_fields(SealedColumn::Key, &header, "", 1000).await.unwrap().records;
            if let Some(old) = found.into_iter().find(|field| field.record == id) {
                let mut new = old.sealed.0.clone();
                let at = if at < 0 { new.len() - at.unsigned_abs() } else { at.unsigned_abs() };
                new[at] ^= 1;
                let swap = crate::store::Swap { old, new: Sealed(new) };
                assert_eq!(self.swap_sealed(&[swap]).await.unwrap(), 1);
                return;
            }
        }
        panic!("there is no key {id}");
    }

    /// Lets the file grow again.
    pub(crate) async fn make_room(&self) {
        self.limit_pages("1000000").await;
    }

    async fn limit_pages(&self, count: &'static str) {
        // The limit is the connection's: for the one there is, and for those that will replace it.
        let options = (*self.writer.connect_options()).clone().pragma("max_page_count", count);
        self.writer.set_connect_options(options);
        let statement = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {count}"));
        sqlx::query(statement).execute(&self.writer).await.unwrap();
    }

    /// How many sign-ins are in progress.
    pub(crate) async fn count_sign_ins(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM sign_ins").fetch_one(&self.readers).await.unwrap()
    }

    /// Runs one statement as somebody with the file in hand would.
    pub(crate) async fn tamper(&self, statement: &'static str) {
        self.tamper_with(statement.to_owned()).await;
    }
}

#[async_trait::async_trait]
impl Tamper for SqliteStore {
    async fn tamper_with(&self, sql: String) {
        let mut connection = self.writer.acquire().await.unwrap();
        sqlx::query("PRAGMA ignore_check_constraints = ON").execute(&mut *connection).await.unwrap();
        sqlx::query("PRAGMA foreign_keys = OFF").execute(&mut *connection).await.unwrap();
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *connection).await.unwrap();
        sqlx::query("PRAGMA foreign_keys = ON").execute(&mut *connection).await.unwrap();
    }

    fn no_text(&self) -> Option<&'static str> {
        Some("CAST(x'ff' AS TEXT)")
    }
}

fn secret(generation: u64, value: Vec<u8>) -> StoredSecret {
    let (group, key) = ("g".to_owned(), "k".to_owned());
    StoredSecret { group, key, generation: Generation(generation), value: Sealed(value) }
}

fn entry() -> AuditEntry {
    let json = "x".repeat(10_000);
    AuditEntry { event: "e".to_owned(), actor: String::new(), server: String::new(), at: NOW, json }
}

#[tokio::test]
async fn every_file_is_its_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(dir.path()).await;
    store.ready().await.unwrap();
    let data = dir.path().join("data");
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o7777, 0o700);
    let mut names = Vec::new();
    for file in fs::read_dir(&data).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600, "{:?}", file.file_name());
        names.push(file.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["sallyport.db", "sallyport.db-shm", "sallyport.db-wal"]);
}

#[tokio::test]
async fn refuses_a_directory_or_file_others_may_use() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    open_in(dir.path()).await.close().await;
    for (path, mode, remedy) in [(&data, 0o750, "chmod 700"), (&data.join("sallyport.db"), 0o644, "chmod 600")] {
        let before = fs::metadata(path).unwrap().permissions();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let error = SqliteStore::open(&data).await.err().unwrap();
        assert!(matches!(error, OpenError::Exposed { mode: m, .. } if m == mode));
        assert!(error.to_string().contains(remedy), "{error}");
        fs::set_permissions(path, before).unwrap();
    }
    open_in(dir.path()).await;
}

#[tokio::test]
async fn refuses_a_link_in_the_files_place() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, Permissions::from_mode(0o700)).unwrap();
    symlink(dir.path().join("elsewhere"), data.join("sallyport.db")).unwrap();
    assert!(matches!(SqliteStore::open(&data).await, Err(OpenError::NotAFile { .. })));
    assert!(!dir.path().join("elsewhere").exists());
}

#[tokio::test]
async fn four_first_starts_at_once_make_one_store() {
    let dir = tempfile::tempdir().unwrap();
    let open = || open_in(dir.path());
    let stores = tokio::join!(open(), open(), open(), open());
    for (store, sequence) in [stores.0, stores.1, stores.2, stores.3].into_iter().zip(1..) {
        assert_eq!(store.append_audit(&[entry()]).await.unwrap(), sequence);
    }
}

#[tokio::test]
async fn refuses_what_is_no_database() {
    let dir = tempfile::tempdir().unwrap();
    open_in(dir.path()).await.close().await;
    fs::write(dir.path().join("data/sallyport.db"), "not a database, but long enough to be looked at".repeat(100))
        .unwrap();
    assert!(SqliteStore::open(&dir.path().join("data")).await.is_err());
}

#[tokio::test]
async fn refuses_tables_of_a_newer_version() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(dir.path()).await;
    store
        .tamper(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (9999, 'later', 1, x'00', 0)",
        )
        .await;
    store.close().await;
    assert!(matches!(SqliteStore::open(&dir.path().join("data")).await, Err(OpenError::Schema { .. })));
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(dir.path()).await;
    store.put_secret(&secret(1, b"sealed".to_vec()), &[], NOW).await.unwrap();
    store.append_audit(&[entry()]).await.unwrap();
    // As a crash leaves it: nothing is closed, the write-ahead log is not folded in.
    let copy = dir.path().join("copy");
    fs::create_dir_all(copy.join("data")).unwrap();
    fs::set_permissions(copy.join("data"), Permissions::from_mode(0o700)).unwrap();
    for name in ["sallyport.db", "sallyport.db-wal"] {
        fs::copy(dir.path().join("data").join(name), copy.join("data").join(name)).unwrap();
    }
    let copy = open_in(&copy).await;
    assert_eq!(copy.secret("g", "k").await.unwrap().unwrap().value, Sealed(b"sealed".to_vec()));
    assert_eq!(copy.append_audit(&[entry()]).await.unwrap(), 2);
}

/// A store of these two files, in a directory of its own.
async fn opened_from(dir: &Path, database: &[u8], log: &[u8]) -> SqliteStore {
    let data = dir.join("data");
    fs::create_dir_all(&data).unwrap();
    fs::set_permissions(&data, Permissions::from_mode(0o700)).unwrap();
    for (name, bytes) in [("sallyport.db", database), ("sallyport.db-wal", log)] {
        fs::write(data.join(name), bytes).unwrap();
        fs::set_permissions(data.join(name), Permissions::from_mode(0o600)).unwrap();
    }
    open_in(dir).await
}

/// How many commits a store has, each a record of the audit: those before the last are there, too.
async fn commits(store: &SqliteStore) -> usize {
    let audit = store.audit(0, "", "", "", 1000).await.unwrap();
    let expected: Vec<u64> = (1..=audit.len() as u64).collect();
    assert_eq!(audit.iter().map(|record| record.sequence).collect::<Vec<_>>(), expected);
    audit.len()
}

#[tokio::test]
async fn a_log_that_was_torn_off_opens_at_its_last_whole_commit() {
    const COMMITS: usize = 8;
    let (dir, torn) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open_in(dir.path()).await;
    let [database, log] = ["sallyport.db", "sallyport.db-wal"].map(|name| dir.path().join("data").join(name));
    let mut ends = Vec::new();
    for _ in 0..COMMITS {
        store.append_audit(&[entry()]).await.unwrap();
        ends.push(fs::metadata(&log).unwrap().len() as usize);
    }
    let (database, log) = (fs::read(&database).unwrap(), fs::read(&log).unwrap());
    // Around each end of a commit, and amid each.
    let lengths = ends.iter().flat_map(|end| [end - 2000, end - 1, *end, end + 1]);
    for (n, length) in lengths.map(|length| length.min(log.len())).enumerate() {
        let whole = ends.iter().filter(|end| **end <= length).count();
        let copy = opened_from(&torn.path().join(n.to_string()), &database, &log[..length]).await;
        assert_eq!(commits(&copy).await, whole, "{length} of {} bytes", log.len());
        assert_eq!(copy.append_audit(&[entry()]).await.unwrap(), whole as u64 + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_made_while_it_writes_has_what_was_acknowledged_before() {
    let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = std::sync::Arc::new(open_in(dir.path()).await);
    store.append_audit(&[entry()]).await.unwrap();
    let [database, log] = ["sallyport.db", "sallyport.db-wal"].map(|name| dir.path().join("data").join(name));
    let database = fs::read(&database).unwrap();
    let acknowledged = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(1));
    let begun = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let writer = {
        let (store, acknowledged) = (std::sync::Arc::clone(&store), std::sync::Arc::clone(&acknowledged));
        let begun = std::sync::Arc::clone(&begun);
        // Fewer than fold the log into the file: a copy of both while that goes on would be none.
        tokio::spawn(async move {
            for written in 0..60 {
                // So many while one copy is made.
                while written >= 20 * begun.load(std::sync::atomic::Ordering::SeqCst) {
                    tokio::task::yield_now().await;
                }
                store.append_audit(&[entry()]).await.unwrap();
                acknowledged.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        })
    };
    let mut n = 0;
    while !writer.is_finished() {
        begun.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let least = acknowledged.load(std::sync::atomic::Ordering::SeqCst);
        let log = fs::read(&log).unwrap();
        let copy = opened_from(&copies.path().join(n.to_string()), &database, &log).await;
        let found = commits(&copy).await;
        assert!(
            least <= found && found <= acknowledged.load(std::sync::atomic::Ordering::SeqCst) + 1,
            "{least} {found}"
        );
        copy.close().await;
        n += 1;
    }
    writer.await.unwrap();
    assert!(n > 2, "{n} copies");
}

#[tokio::test]
async fn commits_are_flushed_and_what_is_deleted_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(dir.path()).await;
    for (pragma, value) in [("synchronous", 2), ("secure_delete", 1), ("foreign_keys", 1), ("busy_timeout", 2000)] {
        let statement = sqlx::AssertSqlSafe(format!("PRAGMA {pragma}"));
        let set: i64 = sqlx::query_scalar(statement).fetch_one(&store.writer).await.unwrap();
        assert_eq!(set, value, "{pragma}");
    }
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&store.writer).await.unwrap();
    assert_eq!(mode, "wal");
    let readers: i64 = sqlx::query_scalar("PRAGMA query_only").fetch_one(&store.readers).await.unwrap();
    assert_eq!(readers, 1);
}

#[tokio::test]
async fn a_full_disk_is_unavailable_changes_nothing_and_heals() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(dir.path()).await;
    store.put_secret(&secret(1, b"kept".to_vec()), &[], NOW).await.unwrap();
    store.fill().await;
    let big = secret(2, vec![0; 100_000]);
    assert!(matches!(store.put_secret(&big, &["o".to_owned()], NOW).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.append_audit(&vec![entry(); 50]).await, Err(StoreError::Unavailable(_))));
    assert_eq!(store.secret("g", "k").await.unwrap().unwrap().value, Sealed(b"kept".to_vec()));
    assert_eq!(store.secret_owners("g").await.unwrap(), Some(Vec::new()));
    assert!(store.audit(0, "", "", "", 9).await.unwrap().is_empty());
    store.make_room().await;
    store.put_secret(&big, &[], NOW).await.unwrap();
    assert_eq!(store.append_audit(&[entry()]).await.unwrap(), 1);
}

#[tokio::test]
async fn another_process_that_holds_the_lock_makes_it_unavailable_not_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let (holder, store) = (open_in(dir.path()).await, open_in(dir.path()).await);
    let held = holder.write().await.unwrap();
    assert!(matches!(store.ready().await, Err(StoreError::Unavailable(_))));
    assert!(store.secret("g", "k").await.unwrap().is_none(), "reading goes on");
    drop(held);
    store.ready().await.unwrap();
}

#[tokio::test]
async fn a_write_that_is_given_up_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(dir.path()).await;
    {
        let mut tx = store.write().await.unwrap();
        query("INSERT INTO secret_groups (name) VALUES ('g')").execute(&mut *tx).await.unwrap();
    }
    assert!(store.secret_owners("g").await.unwrap().is_none());
    store.put_secret(&secret(1, b"whole".to_vec()), &[], NOW).await.unwrap();
}

#[tokio::test]
async fn a_corrupt_record_names_itself_and_spoils_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(dir.path()).await;
    store.put_secret(&secret(1, b"x".to_vec()), &[], NOW).await.unwrap();
    store.put_secret(&StoredSecret { key: "good".to_owned(), ..secret(1, b"y".to_vec()) }, &[], NOW).await.unwrap();
    store.tamper("UPDATE secrets SET generation = -1 WHERE key = 'k'").await;
    let error = store.secret("g", "k").await.unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt { table: "secrets", id, .. } if id == "g:k"), "{error}");
    assert!(store.secret("g", "good").await.unwrap().is_some());
}

#[tokio::test]
async fn manifests_that_were_replaced_are_kept_as_history() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(dir.path()).await;
    let manifest =
        |body: &str| StoredManifest { name: "a".to_owned(), kind: "group".to_owned(), body: body.to_owned() };
    store.put_manifests(0, &[manifest("one")], "op", NOW).await.unwrap();
    store.put_manifests(1, &[manifest("two")], "op2", NOW).await.unwrap();
    let history: Vec<(i64, Option<String>, String)> =
        sqlx::query_as("SELECT revision, replaced, actor FROM manifest_history ORDER BY revision")
            .fetch_all(&store.readers)
            .await
            .unwrap();
    assert_eq!(history, [(1, None, "op".to_owned()), (2, Some("one".to_owned()), "op2".to_owned())]);
}

#[tokio::test]
async fn v6_every_column_of_bytes_is_a_hash_or_one_that_a_rewrap_knows() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(dir.path()).await;
    let columns: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT m.name, c.name, m.sql FROM sqlite_schema m JOIN pragma_table_info(m.name) c
         WHERE m.type = 'table' AND m.name NOT LIKE '\\_sqlx%' ESCAPE '\\' AND c.type = 'BLOB' ORDER BY m.name, c.name",
    )
    .fetch_all(&store.readers)
    .await
    .unwrap();
    // What is not sealed is a hash, and the table says so.
    let sealed =
        columns.into_iter().filter(|(_, column, sql)| !sql.contains(&format!("CHECK (length({column}) = 32)")));
    let mut known: Vec<_> =
        SealedColumn::ALL.iter().map(|column| (column.table().to_owned(), column.name().to_owned())).collect();
    known.sort();
    assert_eq!(sealed.map(|(table, column, _)| (table, column)).collect::<Vec<_>>(), known);
}

#[tokio::test]
async fn v6_fields_are_found_by_index() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(dir.path()).await;
    for column in SealedColumn::ALL {
        let statements = column.statements();
        let seal = format!("_by_{}_seal", column.name());
        for (sql, binds, index) in [
            (statements.next_header, 1, seal.as_str()),
            (statements.count, 1, &seal),
            (statements.page, 3, &seal),
            // One record, by whichever index finds it.
            (statements.swap, 4, "INDEX"),
        ] {
            let mut query = sqlx::query_as(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")));
            for _ in 0..binds {
                query = query.bind(Vec::<u8>::new());
            }
            let plan: Vec<(i64, i64, i64, String)> = query.fetch_all(&store.readers).await.unwrap();
            let steps: Vec<_> = plan.iter().map(|step| step.3.as_str()).collect();
            assert!(steps.iter().all(|step| step.starts_with("SEARCH") && step.contains(index)), "{sql}\n{steps:?}");
        }
    }
}

#[tokio::test]
async fn v7_what_was_destroyed_is_in_no_file_of_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(dir.path()).await;
    let marks = ["alice", "bob"].map(|holder| format!("wrapped-data-key-of-{holder}"));
    for (holder, mark) in ["alice", "bob"].into_iter().zip(&marks) {
        let mut commit = crate::store::conformance::grant(holder, holder);
        commit.material.access_token = Sealed(mark.as_bytes().to_vec());
        store.commit_grant(&commit).await.unwrap();
    }
    let found = |mark: &str| {
        let files = fs::read_dir(dir.path().join("data")).unwrap().map(|file| fs::read(file.unwrap().path()).unwrap());
        files.filter(|bytes| bytes.windows(mark.len()).any(|window| window == mark.as_bytes())).count()
    };
    assert!(marks.iter().all(|mark| found(mark) > 0));
    store.shred_grants(Some(&crate::model::PrincipalId("alice".into())), 10, NOW).await.unwrap();
    store.scrub().await.unwrap();
    assert_eq!((found(&marks[0]), found(&marks[1]) > 0), (0, true));
}

/// The steps in which SQLite finds what a statement asks for.
async fn plan(statement: &str, arguments: &[&str]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(dir.path()).await;
    let explain = format!("EXPLAIN QUERY PLAN {statement}");
    let mut plan = sqlx::query_as(sqlx::AssertSqlSafe(explain));
    for argument in arguments {
        plan = plan.bind(*argument);
    }
    let plan: Vec<(i64, i64, i64, String)> = plan.fetch_all(&store.readers).await.unwrap();
    plan.into_iter().map(|step| step.3).collect()
}

#[tokio::test]
async fn what_is_due_is_found_and_sorted_by_an_index_that_holds_nothing_else() {
    let by_index = "SEARCH grants USING COVERING INDEX grants_due (provider_client=? AND due_at<?)";
    let steps = plan(crate::store::grant::DUE, &["client", "1", "1"]).await;
    assert!(steps[0].starts_with("SEARCH grants USING INDEX") && steps[0].ends_with("(id=?)"), "{steps:?}");
    assert_eq!(steps[2], by_index, "{steps:?}");
    let oldest = plan(crate::store::grant::OLDEST_DUE, &["client", "1", "1"]).await;
    let by_index =
        "SEARCH grants USING COVERING INDEX grants_overdue (provider_client=? AND refresh_after>? AND refresh_after<?)";
    assert_eq!(oldest, [by_index]);
}

#[tokio::test]
async fn what_somebody_has_begun_is_found_by_an_index_that_holds_nothing_else() {
    let steps = plan(crate::store::grant::DANGLING, &["1", "a/"]).await;
    assert_eq!(steps, ["SCAN grants USING INDEX grants_with_intent"]);
    let steps = plan(crate::store::grant::UNDER_WAY, &["1"]).await;
    assert_eq!(steps[0], "SEARCH grants USING INDEX grants_with_intent (intent_deadline>?)", "{steps:?}");
}

#[tokio::test]
async fn has_no_time_to_share() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(open_in(dir.path()).await.time().await.unwrap(), None);
}
