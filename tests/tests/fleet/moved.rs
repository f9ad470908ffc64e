//! What a company does once: it moves from one machine to a fleet, with its command, and nobody notices who has agreed.

use std::process::Command;

use e2e::{Child, Output, eventually, eventually_within, run, setup};
use postgres_counterpart::Server as Postgres;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, Row as _};

use super::*;

/// As many as take the command a while.
const RECORDS: i64 = 20_000;

/// How many of them are there, if they have a table.
async fn moved(database: &mut PgConnection) -> Option<i64> {
    let counted = sqlx::query("SELECT count(*) FROM tokens").fetch_one(database).await;
    counted.ok().map(|row| row.get(0))
}

/// Ends the command by `kill -9` when some of the records are there, and not all.
async fn is_cut_off(mut command: Child, postgres: &Postgres, name: &str) {
    // Whoever is connected to the database keeps the command from beginning: looked at from another one until it writes.
    let mut outside = postgres.administrator("postgres").await;
    let writes = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND application_name LIKE 'sallyport store migrate-to%' \
                  AND query LIKE 'INSERT INTO tokens%'";
    eventually_within(TAKEN_UP, "it writes", async || {
        let writing: i64 = sqlx::query(writes).bind(name).fetch_one(&mut outside).await.ok()?.get(0);
        assert!(command.ended().is_none(), "{}", command.log());
        (writing > 0).then_some(())
    })
    .await;
    let mut inside = postgres.administrator(name).await;
    let there = eventually_within(TAKEN_UP, "some are there, and not all", async || {
        command.freeze();
        let there = moved(&mut inside).await.unwrap_or_default();
        if 0 < there && there < RECORDS {
            return Some(there);
        }
        assert!(there < RECORDS && command.ended().is_none(), "{there} were there at once: {}", command.log());
        command.thaw();
        None
    })
    .await;
    command.kill();
    println!("cut off with {there} of {RECORDS}");
    inside.close().await.expect("a farewell");
}

#[test]
fn embedded_a_vault_moves_to_postgres_by_a_command_that_was_killed_and_run_again() {
    run(async {
        let mut world = World::build().embedded().start().await;
        let provider = Arc::new(Provider::start().await);
        let server = world.server().auth(Auth::authorization_code(&provider)).register().await;
        server.upstream.guarded_by(&provider);
        let page = world.consent(&Browser::of("alice"), &server).await;
        assert!(page.text.contains(" is connected."), "{page:?}");
        let agreed = [format!("Bearer {}", provider.issued()[0])];
        world.broker.stop().await;
        let many = format!(
            "INSERT INTO tokens (id, hash, principal, issued_at, expires_at) \
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {RECORDS}) \
             SELECT 'token-' || i, randomblob(32), (SELECT id FROM principals LIMIT 1), 1, 2 FROM n"
        );
        assert_eq!(world.broker.database().await.execute(&many, &[]).await, RECORDS as u64);

        let postgres = Postgres::shared();
        let database = postgres.database().await;
        let target = world.dir().join("fleet.yaml");
        let mut config: Value =
            serde_json::from_slice(&std::fs::read(&world.broker.config).expect("it was written")).expect("JSON");
        config["store"] = json!({"postgres": {"url": database.url}});
        std::fs::write(&target, config.to_string()).expect("the directory is writable");
        let target = target.display().to_string();
        let move_it = ["store", "migrate-to", &target, "--json"];

        let mut command = Command::new(&setup().broker);
        command.args(move_it).arg("-c").arg(&world.broker.config);
        is_cut_off(Child::start(command, &world.dir().join("cut-off.log")), postgres, &database.name).await;
        let refused = world.broker.serve_with(&config).await;
        assert!(
            !refused.success && refused.stderr.contains("migrate-to"),
            "no broker serves from half: {}",
            refused.stderr
        );

        let done = eventually("what was cut off is no connection any more", async || {
            let Output { success, stdout, stderr } = world.broker.command(&move_it).await;
            let is_in_use = stderr.contains("other connections");
            assert!(success || is_in_use, "{stderr}");
            success.then_some(stdout)
        })
        .await;
        let done: Value = serde_json::from_str(&done).expect("JSON");
        let (written, total) = (done["written"].as_i64().expect("a number"), done["total"].as_i64().expect("a number"));
        assert_eq!(done["records"]["tokens"], RECORDS);
        assert!(0 < written && written < total, "it went on where it was: {done}");

        world.broker.change(|now| *now = config);
        world.broker.start().await;
        let reply = eventually("she is served", async || {
            let reply = server.call_as(&world.issuer.token("alice", &server).mint()).send().await;
            (reply.status == 200 && reply.json().get("result").is_some()).then_some(reply)
        })
        .await;
        assert_eq!(reply.called_as(), agreed, "with the token that she has agreed to have");
        assert_eq!(provider.token_requests_by("refresh_token").len(), 0);
        let mut inside = postgres.administrator(&database.name).await;
        assert_eq!(moved(&mut inside).await, Some(RECORDS), "it serves from there");
        world.broker.command(&["audit", "verify"]).await.ok();
    });
}
