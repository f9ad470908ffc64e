use std::path::Path;
use std::time::Duration;

use postgres_counterpart::{Database, Server};
use sqlx::Row as _;
use sqlx::migrate::Migration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};

use super::*;
use crate::clock::{Clock as _, SystemClock, UnixTime};
use crate::model::{Generation, GrantKey};
use crate::secret::Secret;
use crate::store::conformance::Tamper;
use crate::store::{AuditEntry, GrantCommit, Material, Sealed, Store, StoredSecret};

const NOW: UnixTime = UnixTime(1_800_000_000_000);

/// Opens a handle on the database that stands for this directory: two handles on one directory see one database.
pub(crate) async fn open_in(dir: &Path) -> PostgresStore {
    open(&url_in(dir, |database| database.url).await).await.unwrap()
}

/// The same, through PgBouncer in transaction mode.
pub(crate) async fn open_behind_pgbouncer(dir: &Path) -> PostgresStore {
    open(&url_in(dir, |database| database.bouncer_url).await).await.unwrap()
}

async fn url_in(dir: &Path, url: impl FnOnce(Database) -> String) -> String {
    let file = dir.join("database-url");
    if !file.exists() {
        std::fs::write(&file, url(Server::shared().database().await)).unwrap();
    }
    std::fs::read_to_string(file).unwrap()
}

pub(in crate::store) async fn open(url: &str) -> Result<PostgresStore, OpenError> {
    PostgresStore::open(&address(url), 8).await
}

fn address(url: &str) -> Address {
    Address::new(&Secret::new(url), None).unwrap()
}

/// What a column may hold is its table's to say no more.
const WITHOUT_CHECKS: &str = "DO $$ DECLARE checked record; BEGIN
    FOR checked IN SELECT conrelid::regclass AS relation, conname FROM pg_constraint
        WHERE contype = 'c' AND connamespace = 'public'::regnamespace
    LOOP EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', checked.relation, checked.conname); END LOOP; END $$";

#[async_trait::async_trait]
impl Tamper for PostgresStore {
    async fn tamper_with(&self, sql: String) {
        let mut connection = self.pool.acquire().await.unwrap();
        sqlx::raw_sql(WITHOUT_CHECKS).execute(&mut *connection).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut *connection).await.unwrap();
    }

    /// It checks what it is given.
    fn no_text(&self) -> Option<&'static str> {
        None
    }
}

/// An empty database whose tables are those of an older version now.
pub(in crate::store) async fn older(database: &Database, migrations: &[Migration]) -> PgPool {
    let pool = PgPool::connect(&database.url).await.unwrap();
    migrate::run(&pool, migrations).await.unwrap();
    pool
}

async fn administered(database: &Database, sql: &'static str) {
    let mut admin = Server::shared().administrator(&database.name).await;
    sqlx::raw_sql(sql).execute(&mut admin).await.unwrap();
}

fn secret(key: &str) -> StoredSecret {
    let (group, key) = ("g".to_owned(), key.to_owned());
    StoredSecret { group, key, generation: Generation(1), value: Sealed(b"sealed".to_vec()) }
}

fn grant(generation: u64, token: &str) -> GrantCommit {
    GrantCommit {
        id: "g".to_owned(),
        key: GrantKey { provider_client: "c".to_owned(), holder: "alice".to_owned() },
        generation: Generation(generation),
        material: Material {
            access_token: Sealed(token.into()),
            refresh_token: None,
            issued_at: NOW,
            expires_at: NOW,
            refresh_after: NOW,
        },
        scopes: Vec::new(),
        auth_revisions: Vec::new(),
        account: None,
        consented_at: None,
        consented_by: None,
        invalidates: None,
    }
}

fn entry(event: &str) -> AuditEntry {
    let text = || String::new();
    AuditEntry { event: event.to_owned(), actor: text(), server: text(), at: NOW, json: "{}".to_owned() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_start_at_once_make_the_tables_once_also_through_a_pooler() {
    for through in [|database: &Database| database.url.clone(), |database: &Database| database.bouncer_url.clone()] {
        let database = Server::shared().database().await;
        let url = through(&database);
        let stores = tokio::try_join!(open(&url), open(&url), open(&url), open(&url)).unwrap();
        for (store, sequence) in [stores.0, stores.1, stores.2, stores.3].into_iter().zip(1..) {
            assert_eq!(store.append_audit(&[entry("e")]).await.unwrap(), sequence);
        }
        let mut admin = Server::shared().administrator(&database.name).await;
        let row = sqlx::query("SELECT count(*) FROM _sqlx_migrations").fetch_one(&mut admin).await.unwrap();
        assert_eq!(row.get::<i64, _>(0), i64::try_from(crate::store::MIGRATIONS.iter().count()).unwrap());
    }
}

#[tokio::test]
async fn refuses_tables_of_a_newer_version_and_says_what_to_start() {
    let database = Server::shared().database().await;
    open(&database.url).await.unwrap().close().await;
    administered(&database, "INSERT INTO _sqlx_migrations VALUES (9999, 'later', now(), true, '', 0)").await;
    let error = open(&database.url).await.err().unwrap();
    assert!(matches!(error, OpenError::Newer { version: 9999, .. }), "{error}");
    assert!(error.to_string().contains("start that version again"), "{error}");
}

#[tokio::test]
async fn refuses_a_database_of_another_encoding() {
    let mut database = Server::shared().database().await;
    let latin = "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0";
    administered(&database, latin).await;
    database.url = database.url.replace(&database.name, "latin");
    assert!(matches!(open(&database.url).await, Err(OpenError::Encoding { encoding, .. }) if encoding == "LATIN1"));
}

#[tokio::test]
async fn refuses_a_standby_and_says_whom_to_name() {
    let server = Server::start();
    let database = server.database().await;
    open(&database.url).await.unwrap().close().await;
    server.demote();
    // It takes connections again before it is asked.
    drop(server.administrator(&database.name).await);
    for error in [open(&database.url).await.err(), PostgresStore::examine(&address(&database.url)).await.err()] {
        let error = error.unwrap();
        assert!(matches!(error, OpenError::Standby { .. }), "{error}");
        let told = error.to_string();
        assert!(told.contains(&database.name) && told.contains("name the primary"), "{told}");
    }
}

#[tokio::test]
async fn nobody_at_the_address_is_told_with_the_address_and_without_the_password() {
    let database = Server::shared().database().await;
    let gone = format!("postgres://u:canary@127.0.0.1:1/{}", database.name);
    let error = open(&gone).await.err().unwrap();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&format!("{} at 127.0.0.1:1", database.name)), "{error}");
    assert!(!format!("{error:?}").contains("canary"));
}

#[tokio::test]
async fn comes_by_tls_with_a_password_and_only_if_the_name_is_the_certificates() {
    let database = Server::shared().database().await;
    let address = |url: &str, ca| Address::new(&Secret::new(url), ca).unwrap();
    let ca = Some(database.ca_file.as_path());
    let store = PostgresStore::open(&address(&database.tls_url, ca), 2).await.unwrap();
    store.ready().await.unwrap();
    for (url, ca) in [
        (database.tls_url.replace("localhost", "127.0.0.1"), ca),
        (database.tls_url.replace("p%40ss", "other"), ca),
        // On loopback without an authority it is plain, which this server refuses.
        (database.tls_url.clone(), None),
    ] {
        let refused = PostgresStore::open(&address(&url, ca), 2).await.err().unwrap();
        assert!(matches!(refused, OpenError::Unreachable { .. }), "{url}: {refused}");
    }
}

#[tokio::test]
async fn every_transaction_is_durable_and_bounded_whatever_the_database_says() {
    let database = Server::shared().database().await;
    administered(&database, "ALTER ROLE sallyport SET synchronous_commit = off").await;
    let store = open(&database.bouncer_url).await.unwrap();
    let settings = |db| async {
        let sql = "SELECT current_setting('synchronous_commit') || ' ' || current_setting('lock_timeout') || ' ' ||
            current_setting('statement_timeout') || ' ' || current_setting('idle_in_transaction_session_timeout') || ' ' ||
            current_setting('transaction_isolation')";
        let mut db: Transaction<'_, Postgres> = db;
        query(sql).fetch_one(&mut *db).await.unwrap().get::<String, _>(0)
    };
    assert_eq!(settings(store.write().await.unwrap()).await, "on 2s 3s 5s read committed");
    assert_eq!(settings(store.read().await.unwrap()).await, "off 2s 3s 5s repeatable read");
}

#[tokio::test]
async fn leaves_nothing_in_a_session() {
    let database = Server::shared().database().await;
    let store = open(&database.url).await.unwrap();
    store.put_secret(&secret("k"), &[], NOW).await.unwrap();
    store.append_audit(&[entry("e")]).await.unwrap();
    store.manifests().await.unwrap();
    let mut connection = store.pool.acquire().await.unwrap();
    let sql = "SELECT (SELECT count(*) FROM pg_prepared_statements WHERE name <> '') + (SELECT count(*) FROM pg_locks
               WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";
    let left: i64 = query(sql).fetch_one(&mut *connection).await.unwrap().get(0);
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_row_that_another_broker_holds_makes_it_unavailable_not_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let (holder, store) = (open_in(dir.path()).await, open_in(dir.path()).await);
    store.commit_grant(&grant(1, "first")).await.unwrap();
    let mut held = holder.write().await.unwrap();
    query("UPDATE grants SET generation = 1").execute(&mut *held).await.unwrap();
    assert!(matches!(store.commit_grant(&grant(2, "late")).await, Err(StoreError::Unavailable(_))));
    assert_eq!(store.grant_by_id("g").await.unwrap().unwrap().generation, Generation(1), "reading goes on");
    drop(held);
    store.commit_grant(&grant(2, "again")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_wait_for_each_other_one_conflicts_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(dir.path()).await;
    for key in ["k1", "k2"] {
        store.put_secret(&secret(key), &[], NOW).await.unwrap();
    }
    let sql = "UPDATE secrets SET updated_at = 1 WHERE key = $1";
    let begun = async |first: &'static str| {
        let mut tx = store.write().await.unwrap();
        query(sql).bind(first).execute(&mut *tx).await.unwrap();
        tx
    };
    let (one, other) = (begun("k1").await, begun("k2").await);
    let crossed = async |mut tx: Transaction<'static, Postgres>, second: &'static str| -> Result<(), StoreError> {
        query(sql).bind(second).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    };
    let outcome = tokio::join!(crossed(one, "k2"), crossed(other, "k1"));
    assert!(
        matches!(outcome, (Ok(()), Err(StoreError::Conflict)) | (Err(StoreError::Conflict), Ok(()))),
        "{outcome:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_add_the_same_owners_in_another_order_do_not_conflict() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (open_in(dir.path()).await, open_in(dir.path()).await);
    let owners: Vec<String> = (0..50).map(|n| format!("o{n}")).collect();
    let reversed: Vec<String> = owners.iter().rev().cloned().collect();
    let (mine, yours) = (secret("mine"), secret("yours"));
    let (a, b) = tokio::join!(first.put_secret(&mine, &owners, NOW), second.put_secret(&yours, &reversed, NOW));
    a.and(b).unwrap();
    assert_eq!(first.secret_owners("g").await.unwrap().unwrap().len(), 50);
}

#[tokio::test]
async fn i5_a_commit_whose_answer_is_lost_is_unavailable_and_safe_to_repeat() {
    for (done, cut) in [(true, Cut::AfterCommit), (false, Cut::BeforeCommit)] {
        let database = Server::shared().database().await;
        let direct = open(&database.url).await.unwrap();
        let proxy = cutting(&database, cut).await;
        let url = format!("postgres://sallyport@127.0.0.1:{proxy}/{}", database.name);
        let address = Address::new(&Secret::new(url), None).unwrap();
        let options = address.options.clone();
        let pool = sqlx::postgres::PgPoolOptions::new().connect_lazy_with(options);
        let cut_off = PostgresStore { pool };
        let answer = cut_off.commit_grant(&grant(1, "ours")).await;
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
        assert_eq!(direct.grant_by_id("g").await.unwrap().is_some(), done);
        let again = direct.commit_grant(&grant(1, "ours")).await;
        assert_eq!(matches!(again, Err(StoreError::Conflict)), done, "{again:?}");
        let token = direct.grant_by_id("g").await.unwrap().unwrap().material.unwrap().access_token;
        assert_eq!(token, Sealed(b"ours".to_vec()));
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Cut {
    BeforeCommit,
    AfterCommit,
}

/// A way to the database that breaks at the first `COMMIT`: before the server has it, or once it has answered.
async fn cutting(database: &Database, cut: Cut) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let directory = database.url.split("host=").nth(1).unwrap();
    let socket = format!("{directory}/.s.PGSQL.{}", database.port);
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = UnixStream::connect(socket).await.unwrap();
        let (mut asked, mut answered) = ([0; 4096], [0; 4096]);
        loop {
            tokio::select! {
                length = client.read(&mut asked) => {
                    let asked = &asked[..length.unwrap()];
                    let commits = asked.windows(7).any(|window| window == b"COMMIT\0");
                    if commits && cut == Cut::BeforeCommit { return }
                    server.write_all(asked).await.unwrap();
                    if commits {
                        assert!(server.read(&mut answered).await.unwrap() > 0);
                        return;
                    }
                }
                length = server.read(&mut answered) => client.write_all(&answered[..length.unwrap()]).await.unwrap(),
            }
        }
    });
    port
}

#[tokio::test]
async fn a_server_that_falls_silent_is_unavailable_within_the_limit() {
    let database = Server::shared().database().await;
    open(&database.url).await.unwrap().close().await;
    // Accepts, and never says a word.
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("postgres://u@127.0.0.1:{}/d", listener.local_addr().unwrap().port());
    let address = Address::new(&Secret::new(url), None).unwrap();
    let pool = sqlx::postgres::PgPoolOptions::new()
        .acquire_timeout(Duration::from_millis(200))
        .connect_lazy_with(address.options.clone());
    let silent = PostgresStore { pool };
    assert!(matches!(silent.ready().await, Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn connections_that_the_server_closed_are_replaced() {
    let database = Server::shared().database().await;
    let store = open(&database.url).await.unwrap();
    store.ready().await.unwrap();
    administered(&database, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'sallyport' AND datname = current_database()").await;
    // Whoever finds a closed one is told so once; then it is gone.
    let until = tokio::time::Instant::now() + Duration::from_secs(10);
    while store.ready().await.is_err() {
        assert!(tokio::time::Instant::now() < until);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn l10_tells_its_own_time_to_whoever_shares_it() {
    let database = Server::shared().database().await;
    let store = open(&database.url).await.unwrap();
    let (before, told, after) = (SystemClock.now(), store.time().await.unwrap().unwrap(), SystemClock.now());
    // It runs on this machine.
    assert!(before <= told && told <= after, "{before:?} {told:?} {after:?}");
}
