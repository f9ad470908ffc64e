//! The store in other hands: read, cut, swapped, or under another key.

use e2e::{Auth, Server, World, eventually, run};
use sqlx::{Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};
use std::path::{Path, PathBuf};

fn databases(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("a directory").flatten().map(|entry| entry.path());
    entries.filter(|path| std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"SQLite format 3\0"))).collect()
}

pub(crate) async fn open(directory: &Path) -> SqliteConnection {
    let path = databases(directory).into_iter().next().expect("one database");
    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path)).await.expect("it opens")
}

/// Every (table, column) of sealed bytes that holds at least one value.
async fn sealed_columns(database: &mut SqliteConnection) -> Vec<(String, String)> {
    let tables = sqlx::query(
        "SELECT m.name AS t, p.name AS c FROM sqlite_master m, pragma_table_info(m.name) p \
         WHERE m.type = 'table' AND p.type = 'BLOB'",
    );
    let rows = tables.fetch_all(database).await.expect("the schema is readable");
    rows.iter().map(|row| (row.get("t"), row.get("c"))).collect()
}

async fn answered(server: &Server, token: &str) -> bool {
    let reply = server.call_as(token).send().await;
    reply.status == 200 && reply.json().get("result").is_some()
}

#[test]
fn v2_a_secret_moved_to_another_record_opens_nothing() {
    run(async {
        let mut world = World::start().await;
        let mine = world.server().auth(Auth::header()).register().await;
        let theirs = world.server().auth(Auth::header()).register().await;
        let token = world.issuer.token("mallory", &mine).mint();
        world.broker.stop().await;
        let mut database = open(&world.broker.data).await;
        let group = mine.name.split('/').next().expect("a group");
        let swap = "UPDATE secrets SET value = (SELECT s.value FROM secrets s WHERE s.secret_group <> ?1 LIMIT 1) \
                    WHERE secret_group = ?1";
        let swapped = sqlx::query(swap).bind(group).execute(&mut database).await.expect("the columns are there");
        assert_eq!(swapped.rows_affected(), 1);
        database.close().await.expect("it closes");
        world.broker.start().await;
        assert!(!answered(&mine, &token).await, "a secret of another record was used");
        mine.upstream.assert_untouched("a swapped secret");
        theirs.upstream.assert_untouched("a swapped secret");
    });
}

#[test]
fn v3_a_flipped_byte_in_any_sealed_column_opens_nothing_and_stops_nobody_else() {
    run(async {
        let mut world = World::start().await;
        let server = world.server().auth(Auth::header()).register().await;
        let open_one = world.open_server().await;
        let token = world.issuer.token("mallory", &server).mint();
        let other = world.issuer.token("alice", &open_one).mint();
        world.broker.stop().await;
        let mut database = open(&world.broker.data).await;
        let columns = sealed_columns(&mut database).await;
        assert!(columns.iter().any(|(table, _)| table == "secrets"), "{columns:?}");
        for (_, column) in columns.iter().filter(|(table, _)| table == "secrets") {
            let flip = format!(
                "UPDATE secrets SET {column} = CAST(substr({column}, 1, length({column}) - 1) || x'5a' AS BLOB) \
                 WHERE length({column}) > 16"
            );
            sqlx::query(sqlx::AssertSqlSafe(flip)).execute(&mut database).await.expect("the column is there");
        }
        database.close().await.expect("it closes");
        world.broker.start().await;
        assert!(!answered(&server, &token).await);
        server.upstream.assert_untouched("a bent secret");
        assert!(answered(&open_one, &other).await, "a server that needs no secret");
    });
}

#[test]
fn v1_without_its_key_file_the_store_is_of_no_use() {
    run(async {
        let mut world = World::start().await;
        let server = world.server().auth(Auth::header()).register().await;
        world.broker.stop().await;
        std::fs::remove_file(world.dir().join("key/master.key")).expect("it is there");
        world.broker.spawn();
        let token = world.issuer.token("mallory", &server).mint();
        eventually("the broker ends or opens nothing", async || {
            if world.broker.ended() {
                return Some(());
            }
            let reply = server.call_as(&token).send().await;
            assert!(reply.json().get("result").is_none(), "{reply}");
            world.broker.is_ready().await.then_some(())
        })
        .await;
        server.upstream.assert_untouched("a store without key");
    });
}

#[test]
fn v5_no_two_records_share_nonce_or_data_key() {
    run(async {
        let world = World::start().await;
        for _ in 0..20 {
            // The same plain text each time.
            world.broker.set_secret("same", "key", "the-same-value", "same").await;
            world.broker.set_secret(&e2e::unique("group"), "key", "the-same-value", "same").await;
        }
        let mut database = open(&world.broker.data).await;
        for (table, column) in sealed_columns(&mut database).await.into_iter().filter(|(table, _)| table == "secrets") {
            let query = format!("SELECT count(*) AS n, count(DISTINCT {column}) AS d FROM {table}");
            let row = sqlx::query(sqlx::AssertSqlSafe(query)).fetch_one(&mut database).await.expect("it counts");
            let (all, distinct): (i64, i64) = (row.get("n"), row.get("d"));
            assert!(all >= 21, "{table}.{column}: {all} rows");
            assert_eq!(all, distinct, "{table}.{column} repeats");
        }
    });
}

#[test]
fn files_are_for_the_broker_alone() {
    use std::os::unix::fs::PermissionsExt;
    run(async {
        let world = World::start().await;
        let key = world.dir().join("key/master.key");
        let files = databases(&world.broker.data);
        for path in files.iter().chain([&key]) {
            let mode = std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", path.display());
        }
    });
}
