//! Tables that an older version has filled come to this one with everything in them.

use postgres_counterpart::Server;
use sqlx::migrate::{Migration, Migrator};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use super::sqlite::SqliteStore;
use super::*;

/// From which on a grant is a person's.
const OLDEST: i64 = 3;

/// What an older version has written: one record of each kind. `~` and two digits are a byte.
const RECORDS: &str = "
    INSERT INTO principals (id, kind, name, created_at) VALUES ('p-1', 'user', 'alice@example.com', 1);
    INSERT INTO identities (issuer, subject, principal, created_at) VALUES ('https://login', 'u-1', 'p-1', 1);
    INSERT INTO manifests (kind, name, body, revision) VALUES ('mcp-server', 'demo/notes', '{}', 1);
    INSERT INTO secret_groups (name) VALUES ('g');
    INSERT INTO secrets (secret_group, key, generation, value, updated_at) VALUES ('g', 'k', 4, ~07, 1);
    INSERT INTO grants (id, provider_client, holder, generation, standing, reason, scopes, auth_revisions, account,
                        consented_at, access_token, refresh_token, issued_at, expires_at, refresh_after, spare,
                        spare_generation, intent_owner, intent_attempt, intent_started_at, intent_deadline)
        VALUES ('g-1', 'c', 'p-1', 3, 'live', '', '[\"read\"]', '[\"r1\"]', 'one', 1, ~01, ~02, 1, 9, 8, ~03, 4, 'b/1', 1, 8, 9);
    INSERT INTO consents (id, provider_client, holder, server, subjects, extra_scopes, created_at, expires_at, attempt,
                          code_taken)
        VALUES ('c-1', 'c', 'p-1', 'demo/notes', '[\"user:alice@example.com\"]', '[]', 1, 9, 0, 0);
    INSERT INTO audit (sequence, previous, hash, event, actor, server, at, json)
        VALUES (1, ~ZERO, ~ZERO, 'grant.revoke', 'a', 's', 1, '{}')";

fn older_versions() -> impl Iterator<Item = Vec<Migration>> {
    let all = &MIGRATIONS.migrations;
    let last = all.iter().map(|migration| migration.version).max().unwrap();
    (OLDEST..last).map(|version| all.iter().filter(|migration| migration.version <= version).cloned().collect())
}

fn records(byte: impl Fn(&str) -> String) -> AssertSqlSafe<String> {
    let records = RECORDS.replace("~ZERO", &byte(&"00".repeat(32)));
    let mut pieces = records.split('~');
    let mut text = pieces.next().unwrap().to_owned();
    for piece in pieces {
        text += &byte(&piece[..2]);
        text += &piece[2..];
    }
    AssertSqlSafe(text)
}

async fn has_lost_nothing(store: &dyn Store) {
    let alice = PrincipalId("p-1".into());
    let identity = Identity { issuer: "https://login".into(), subject: "u-1".into() };
    assert_eq!(store.principal(&identity).await.unwrap().unwrap().id, alice);
    let secret = store.secret("g", "k").await.unwrap().unwrap();
    assert_eq!((secret.generation, secret.value), (Generation(4), Sealed(vec![7])));
    let key = GrantKey { provider_client: "c".into(), holder: alice.0.clone() };
    let grant = store.grant(&key).await.unwrap().unwrap();
    let material = grant.material.unwrap();
    assert_eq!(
        (grant.generation, grant.standing, grant.account.as_deref()),
        (Generation(3), Standing::Live, Some("one"))
    );
    assert_eq!((material.access_token, material.refresh_token), (Sealed(vec![1]), Some(Sealed(vec![2]))));
    assert_eq!(
        (material.issued_at, material.expires_at, material.refresh_after),
        (UnixTime(1), UnixTime(9), UnixTime(8))
    );
    assert_eq!(grant.spare, Some(Spare { generation: Generation(4), refresh_token: Sealed(vec![3]) }));
    let intent = Intent { owner: "b/1".into(), attempt: 1, started_at: UnixTime(8), deadline: UnixTime(9) };
    assert_eq!((grant.intent, grant.pause), (Some(intent), None));
    assert_eq!((grant.scopes, grant.auth_revisions), (vec!["read".to_owned()], vec!["r1".to_owned()]));
    let consent = store.consent("c-1").await.unwrap().unwrap();
    assert_eq!((consent.key, consent.attempts, consent.outcome), (key, 0, None));
    assert_eq!(store.audit(0, "", "", "grant.revoke", 10).await.unwrap().len(), 1);
    // And it goes on.
    assert_eq!(store.dangling_intents(UnixTime(10), "b").await.unwrap().readable().len(), 1);
    assert!(store.append_audit(&[]).await.is_ok());
}

#[tokio::test]
async fn sqlite_comes_forward_from_every_older_version_with_everything_in_it() {
    for migrations in older_versions() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        SqliteStore::open(&data).await.unwrap().close().await;
        let file = data.join(sqlite::FILE);
        std::fs::write(&file, "").unwrap();
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file);
        let mut older = options.connect().await.unwrap();
        Migrator::with_migrations(migrations).run(&mut older).await.unwrap();
        sqlx::raw_sql(records(|hex| format!("X'{hex}'"))).execute(&mut older).await.unwrap();
        older.close().await.unwrap();
        has_lost_nothing(&SqliteStore::open(&data).await.unwrap()).await;
    }
}

#[tokio::test]
async fn postgres_comes_forward_from_every_older_version_with_everything_in_it() {
    for migrations in older_versions() {
        let database = Server::shared().database().await;
        let older = postgres::tests::older(&database, &migrations).await;
        sqlx::raw_sql(records(|hex| format!("decode('{hex}', 'hex')"))).execute(&older).await.unwrap();
        older.close().await;
        has_lost_nothing(&postgres::tests::open(&database.url).await.unwrap()).await;
    }
}
