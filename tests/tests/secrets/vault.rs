//! The store in other hands: read, cut, swapped, or under another key.

use std::os::unix::fs::PermissionsExt;

use e2e::{Auth, Server, World, eventually, run};

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
        let group = mine.name.split('/').next().expect("a group");
        let swap = "UPDATE secrets SET value = (SELECT s.value FROM secrets s WHERE s.secret_group <> $1 LIMIT 1) \
                    WHERE secret_group = $1";
        assert_eq!(world.broker.database().await.execute(swap, &[group]).await, 1);
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
        let mut database = world.broker.database().await;
        for column in database.sealed_columns("secrets").await {
            database.bend("secrets", &column).await;
        }
        drop(database);
        world.broker.start().await;
        assert!(!answered(&server, &token).await);
        server.upstream.assert_untouched("a bent secret");
        assert!(answered(&open_one, &other).await, "a server that needs no secret");
    });
}

#[test]
fn v1_without_its_key_file_the_store_is_of_no_use() {
    run(async {
        let mut world = World::build().key_file().start().await;
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
        let mut database = world.broker.database().await;
        for column in database.sealed_columns("secrets").await {
            let all = database.number("SELECT count(*) FROM secrets", &[]).await;
            let distinct = database.number(&format!("SELECT count(DISTINCT {column}) FROM secrets"), &[]).await;
            assert!(all >= 21, "{column}: {all} rows");
            assert_eq!(all, distinct, "{column} repeats");
        }
    });
}

#[test]
fn embedded_files_are_for_the_broker_alone() {
    run(async {
        let world = World::start().await;
        let files = world.broker.dump().into_iter().map(|(path, _)| path);
        for path in files.chain([world.dir().join("key/master.key")]) {
            let mode = std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", path.display());
        }
    });
}
