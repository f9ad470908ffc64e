//! A master key that cannot be used now, while records move to another.

use std::net::Ipv4Addr;

use super::*;
use crate::vault::{HEADER, KeyId, KeySource, TokenSource, TransitKey};

const VERSION: &[u8] = b"vault:v1:";

/// A key at a service to which nothing connects.
fn unreachable(name: &str) -> KeySource {
    KeySource::Transit(TransitKey {
        address: format!("http://{}:9", Ipv4Addr::LOCALHOST).parse().unwrap(),
        mount: "transit".into(),
        name: name.into(),
        namespace: String::new(),
        token: TokenSource::new(|| Ok(Secret::new("token"))),
        ca_file: None,
    })
}

impl Site {
    /// With these keys, the current one first.
    async fn with(&self, sources: Vec<KeySource>) -> MasterKeys {
        let tenant = Tenant("t".into());
        let (store, clock) = (Arc::clone(&self.store) as Arc<dyn Store>, Arc::clone(&self.clock) as Arc<dyn Clock>);
        MasterKeys::open(Parts {
            vault: Vault::with_keys(sources, &tenant, None).await.unwrap(),
            spool: Spool::open(&self.dir.path().join("spool")).unwrap(),
            audit: Audit::start(Arc::clone(&store), Arc::clone(&clock), tenant.clone()),
            tenant,
            store,
            clock,
        })
        .await
        .unwrap()
    }

    /// Has `count` secrets that this key has wrapped say that another did.
    async fn say_that_they_need(&self, key: KeyId, instead_of: KeyId, count: u32) {
        let fields = self.store.sealed_fields(SealedColumn::Secret, &instead_of.header(), "", count).await.unwrap();
        let swaps = fields.records.into_iter().map(|old| {
            let mut new = old.sealed.0.clone();
            new[..HEADER].copy_from_slice(&key.header());
            // As that service writes what it has wrapped; after the length, which stays.
            new[HEADER + 2..][..VERSION.len()].copy_from_slice(VERSION);
            let length = usize::from(u16::from_be_bytes([new[HEADER], new[HEADER + 1]]));
            new[HEADER + 2..][VERSION.len()..length].fill(b'A');
            Swap { old, new: Sealed(new) }
        });
        assert_eq!(self.store.swap_sealed(&swaps.collect::<Vec<_>>()).await.unwrap(), u64::from(count));
    }
}

#[tokio::test]
async fn v4_v6_a_key_that_is_away_keeps_only_its_own_from_moving_and_is_named() {
    let site = Site::with_secrets(100).await;
    let old = site.open().await.unwrap().list().await.unwrap()[0].id;
    let new = site.dir.path().join("key/new.key");
    Vault::open_or_create(&new, &Tenant("t".into())).unwrap();
    let files = || [KeySource::File((&new).into()), KeySource::File((&site.key_file).into())];
    // One whose records are looked at before those of the key that is there, and one after.
    let mut names = (0..).map(|n| format!("key-{n}"));
    let mut away = Vec::new();
    for is_before in [true, false] {
        for name in names.by_ref() {
            let keys = Vault::with_keys(vec![unreachable(&name)], &Tenant("t".into()), None).await.unwrap();
            if (keys.key_id().header() < old.header()) == is_before {
                away.push((name, keys.key_id()));
                break;
            }
        }
    }
    for (_, id) in &away {
        site.say_that_they_need(*id, old, 20).await;
    }
    let keys = site.with(files().into_iter().chain(away.iter().map(|(name, _)| unreachable(name))).collect()).await;
    let progress = keys.rewrap(operator(), |_| true).await.unwrap();
    assert_eq!((progress.done, progress.total, progress.left.len()), (60, 100, 0));
    let named: Vec<_> = progress.away.iter().map(|key| (key.key, key.fields)).collect();
    assert_eq!(named, away.iter().map(|(_, id)| (*id, 20)).collect::<Vec<_>>());
    assert!(progress.away.iter().all(|key| key.why.contains("cannot be used now")), "{progress:?}");
    assert_eq!(keys.list().await.unwrap().iter().find(|key| key.id == old).unwrap().fields, 0);
}

#[tokio::test]
async fn v4_nothing_moves_to_a_key_that_is_away() {
    let site = Site::with_secrets(3).await;
    let keys = site.with(vec![unreachable("k"), KeySource::File((&site.key_file).into())]).await;
    let refused = keys.rewrap(operator(), |_| true).await.unwrap_err();
    assert!(matches!(refused, MasterKeyError::Vault(VaultError::MasterKey { .. })), "{refused}");
    site.read(&keys, 3).await;
}
