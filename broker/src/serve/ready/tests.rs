use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;

use super::*;
use crate::clock::UnixTime;
use crate::model::{Generation, GrantKey, Tenant};
use crate::refresher::tests::people::agreed;

#[tokio::test]
async fn a_pair_that_waits_in_the_spool_is_told_with_where_it_is_until_it_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(&dir.path().join("spool")).unwrap();
    assert_eq!(waits_in(&spool), None);
    let vault = Vault::open_or_create(dir.path().join("key").join("master.key"), &Tenant("t".into())).unwrap();
    let key = GrantKey { provider_client: "client".to_owned(), holder: "alice".to_owned() };
    let pair = agreed(&vault, key, Generation(2), UnixTime(1), "canary-access", Some("canary-refresh")).await;
    spool.put(pair).await;
    let told = waits_in(&spool).unwrap();
    assert!(told.what == "spool" && told.why.starts_with("1 pairs"), "{told:?}");
    assert!(told.why.contains(&dir.path().display().to_string()) && !told.why.contains("canary"), "{told:?}");
    spool.shred(None).await;
    assert_eq!(waits_in(&spool), None);
}

#[test]
fn what_is_away_is_told_with_which_where_and_what_still_works() {
    let dir = tempfile::tempdir().unwrap();
    let vault = Vault::open_or_create(dir.path().join("key").join("master.key"), &Tenant("t".into())).unwrap();
    let key = AwayKey {
        id: vault.key_id(),
        kept: "transit key transit/sallyport at https://vault.example.com:8200/".to_owned(),
        since: Duration::from_secs(17),
        why: "the key service does not answer in time".to_owned(),
    };
    let (id, told) = (key.id.to_string(), key_is_away(key));
    for says in ["transit/sallyport at https://vault.example.com", &id, "since 17 s", "in time", "five minutes"] {
        assert!(told.what == "key" && told.why.contains(says), "{says}: {told:?}");
    }
    let told = store_is_away("postgres://db.example.com:5432/gate", &StoreError::Unavailable("refused".into()));
    for says in ["db.example.com:5432/gate", "refused", "cached", "spool"] {
        assert!(told.what == "store" && told.why.contains(says), "{says}: {told:?}");
    }
}

#[test]
fn files_in_the_spool_that_do_not_read_are_told_and_counted_as_long_as_they_are_there() {
    let (dir, recorder) = (tempfile::tempdir().unwrap(), PrometheusBuilder::new().build_recorder());
    let unreadable = || {
        let text = recorder.handle().render();
        text.lines().find_map(|line| line.strip_prefix("sallyport_spool_unreadable ")).map(str::to_owned)
    };
    // As a newer version may write it, and what is none at all.
    for (name, text) in [("newer.json", r#"{"id": "g", "of_a_newer_version": "canary"}"#), ("half.json", "")] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    metrics::with_local_recorder(&recorder, || {
        let spool = Spool::open(dir.path()).unwrap();
        assert_eq!(unreadable().as_deref(), Some("2"));
        assert_eq!(waits_in(&spool), None);
        let told = unreadable_in(&spool).unwrap();
        assert!(told.what == "spool" && told.why.starts_with("2 files") && !told.why.contains("canary"), "{told:?}");
        for says in ["newer.json", "half.json", &dir.path().display().to_string()] {
            assert!(told.why.contains(says), "{says}: {told:?}");
        }
        for name in ["newer.json", "half.json"] {
            std::fs::remove_file(dir.path().join(name)).unwrap();
        }
        assert_eq!((unreadable_in(&spool), unreadable().as_deref()), (None, Some("0")));
    });
}

#[test]
fn l10_clocks_that_are_apart_are_told_and_which_is_ahead() {
    let at = |seconds: u64| UnixTime(1_800_000_000_000 + seconds * 1000);
    assert_eq!(clocks(at(0), at(30)), None);
    for (machine, database, says) in [(at(0), at(120), "120 s ahead of"), (at(3600), at(0), "3600 s behind")] {
        let told = clocks(machine, database).unwrap();
        assert!(told.what == "clock" && told.why.contains(says), "{told:?}");
    }
}
