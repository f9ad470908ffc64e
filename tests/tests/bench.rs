//! The benchmark's own check that what it measures is durable: it must be able to fail.

use std::{
    process::Command,
    sync::{Mutex, PoisonError},
};

/// Each binds itself to the same two cores.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs it with few rounds; whether it went well, and what it said.
fn bench(arguments: &[&str]) -> (bool, String) {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.args(["--rounds", "1", "--requests", "100", "--people", "20", "--json"]).arg(env!("CARGO_TARGET_TMPDIR"));
    command.args(arguments);
    let output = command.output().expect("it is built");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// It takes the figures of a store that keeps what it says, and none of one that does not.
fn fails_without_durability(row: &str, log: &str) {
    let (well, said) = bench(&["--only", row]);
    assert!(well && said.contains("20 of 20 acknowledged releases were on disk"), "{said}");
    let (well, said) = bench(&["--only", row, "--without-durability"]);
    assert!(!well, "{said}");
    assert!(said.contains("the broker acknowledges what is not on disk") && said.contains(log), "{said}");
    assert!(!said.contains("p99"), "no figure: {said}");
}

#[test]
fn figures_of_sqlite_fail_where_it_does_not_sync() {
    fails_without_durability("miss, SQLite", "sallyport.db-wal");
}

#[test]
fn figures_of_postgres_fail_where_it_does_not_sync() {
    fails_without_durability("miss, Postgres", "pg_wal");
}

#[test]
fn a_row_that_is_none_is_said_to_be_none() {
    let (well, said) = bench(&["--only", "no such row"]);
    assert!(!well && said.contains("no row is named like `no such row`"), "{said}");
}
