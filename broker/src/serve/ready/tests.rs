use std::time::Duration;

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
