//! Several brokers, each with key files of its own, on one store.

use super::*;
use crate::vault::KeySource;

/// The key files of one of them, the current one first.
struct Broker(Vec<PathBuf>);

impl Broker {
    async fn open(&self, store: &Arc<dyn Store>, dir: &std::path::Path) -> MasterKeys {
        let clock: Arc<dyn Clock> = Arc::new(FixedClock::at(UnixTime(1_800_000_000_000)));
        let sources = self.0.iter().map(|path| KeySource::File(path.into())).collect();
        let tenant = Tenant("t".into());
        MasterKeys::open(Parts {
            vault: Vault::with_keys(sources, &tenant, None).await.unwrap(),
            spool: Spool::open(&dir.join("spool")).unwrap(),
            audit: Audit::start(Arc::clone(store), Arc::clone(&clock), tenant.clone()),
            tenant,
            store: Arc::clone(store),
            clock,
        })
        .await
        .unwrap()
    }
}

fn secrets(keys: &MasterKeys) -> Secrets {
    let Parts { store, vault, audit, clock, tenant, .. } = &keys.0.parts;
    Secrets::new(Arc::clone(store), vault.clone(), audit.clone(), Arc::clone(clock), tenant.clone())
}

#[tokio::test]
async fn v6_a_broker_that_shares_its_store_refuses_to_make_a_key_that_the_others_lack() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(crate::store::postgres::tests::open_in(dir.path()).await);
    let path = dir.path().join("key/master.key");
    let before = Vault::open_or_create(&path, &Tenant("t".into())).unwrap().key_id();
    let keys = Broker(vec![path.clone()]).open(&store, dir.path()).await;
    let refused = keys.rotate(operator()).await.unwrap_err();
    assert!(matches!(refused, MasterKeyError::Shared), "{refused}");
    assert!(refused.to_string().contains("vault.keys"), "{refused}");
    assert_eq!(keys.0.parts.vault.key_id(), before);
    let files: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files, [path], "no file was made or moved");
}

#[tokio::test]
async fn v6_what_the_refusal_says_to_do_instead_keeps_every_record_readable_at_every_broker() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(crate::store::postgres::tests::open_in(dir.path()).await);
    // Of each broker its own copies of the old key and of the new one.
    let paths = |key: &str| ["a", "b"].map(|broker| dir.path().join(broker).join(key));
    let [old, new] = ["old.key", "new.key"].map(paths);
    for [first, second] in [&old, &new] {
        Vault::open_or_create(first, &Tenant("t".into())).unwrap();
        std::fs::create_dir_all(second.parent().unwrap()).unwrap();
        std::fs::copy(first, second).unwrap();
    }
    let with = |broker: usize, keys: &[&[PathBuf; 2]]| Broker(keys.iter().map(|key| key[broker].clone()).collect());
    let mut written = 0;
    for (a, b) in [
        (with(0, &[&old]), with(1, &[&old])),
        (with(0, &[&old, &new]), with(1, &[&old])),
        (with(0, &[&old, &new]), with(1, &[&old, &new])),
        (with(0, &[&new, &old]), with(1, &[&old, &new])),
        (with(0, &[&new, &old]), with(1, &[&new, &old])),
    ] {
        let brokers = [a.open(&store, dir.path()).await, b.open(&store, dir.path()).await];
        for keys in &brokers {
            let value = Secret::new(format!("value {written}"));
            secrets(keys).set(&named(written), &value, &["owner".to_owned()], operator()).await.unwrap();
            written += 1;
        }
        for keys in &brokers {
            for n in 0..written {
                assert_eq!(
                    secrets(keys).get(&named(n)).await.unwrap().expose_str(),
                    Some(format!("value {n}").as_str())
                );
            }
        }
    }
    let keys = with(0, &[&new, &old]).open(&store, dir.path()).await;
    keys.rewrap(operator(), |_| true).await.unwrap();
    for broker in [with(0, &[&new]), with(1, &[&new])] {
        let keys = broker.open(&store, dir.path()).await;
        for n in 0..written {
            assert!(secrets(&keys).get(&named(n)).await.is_ok());
        }
    }
}
