//! Master keys and people's grants together.

use std::collections::BTreeSet;

use futures::{StreamExt as _, stream};
use proto::shred_keys_request::Whose;
use tonic::Code;

use super::*;
use crate::admin::grants::tests::{ALICE, Office};
use crate::master_keys::MasterKeyError;
use crate::model::{Generation, GrantKey, Tenant};
use crate::oauth::profile::GENERIC;
use crate::store::Sealed;
use crate::vault::{Place, Vault};

const BOB: &str = "bob@example.com";

fn operator() -> Actor {
    Actor::operator(1000)
}

/// Every message of a shredding.
async fn shredded(office: &Office, whose: Whose, dry_run: bool) -> Result<Vec<proto::ShredProgress>, Status> {
    let admin = office.admin().await;
    let whose = super::whose(&*admin.store, Some(whose)).await?;
    let told = shred(admin.master_keys, admin.grants, whose, dry_run, operator());
    told.collect::<Vec<_>>().await.into_iter().collect()
}

/// A vault with the keys of this file and those it has replaced.
fn vault_of(file: &std::path::Path) -> Vault {
    Vault::open_existing(file, &Tenant("t".into())).unwrap()
}

#[tokio::test]
async fn v7_what_was_sealed_for_somebody_is_gone_here_at_every_proxy_and_for_nobody_else() {
    let office = Office::at(&GENERIC, true).await;
    let (alice, bob) = (office.agrees(ALICE).await, office.agrees(BOB).await);
    office.token(&alice.key.holder).await.unwrap();
    let told = shredded(&office, Whose::User(ALICE.into()), true).await.unwrap();
    assert_eq!((told.len(), told[0].done, told[0].total, told[0].is_over), (1, 0, 2, true));
    office.token(&alice.key.holder).await.unwrap();
    assert!(office.fixture.rows("key.shredding").await.is_empty(), "a dry run leaves nothing behind");

    let told = shredded(&office, Whose::User(ALICE.into()), false).await.unwrap();
    let last = told.last().unwrap();
    assert_eq!((last.principal.as_str(), last.done, last.total, last.is_over), (alice.key.holder.as_str(), 2, 2, true));
    assert!(office.token(&alice.key.holder).await.is_err(), "what was open in memory is gone too");
    assert!(office.is_held(&alice.id), "no proxy goes on with it");
    office.token(&bob.key.holder).await.unwrap();
    assert_eq!(office.fixture.provider.count(), 0, "no provider is told");
    for event in ["key.shredding", "key.shredded"] {
        let rows = office.fixture.rows(event).await;
        assert!(rows.len() == 1 && rows[0].contains(r#""issuer":"unix","subject":"1000""#), "{event}: {rows:?}");
        assert!(rows[0].contains(&alice.key.holder) && rows[0].contains("2 fields"), "{rows:?}");
    }
    let again = shredded(&office, Whose::User(ALICE.into()), false).await.unwrap();
    assert_eq!(again.last().map(|last| (last.done, last.total, last.is_over)), Some((0, 0, true)));
}

#[tokio::test]
async fn v7_an_old_dump_is_of_no_use_without_its_wrapped_data_keys_nor_once_the_master_key_is_replaced() {
    let office = Office::at(&GENERIC, true).await;
    let alice = office.agrees(ALICE).await;
    let (dump, keys) = (alice.material.clone().unwrap().access_token, office.admin().await.master_keys);
    let place = Place::access_token(&alice.id, Generation(1));
    let old = vault_of(&office.fixture.key_file());
    shredded(&office, Whose::Principal(alice.key.holder.clone()), false).await.unwrap();
    // A copy from before still has its wrapped data key, and opens by the master key of its time. That is what the second
    // half is for.
    assert!(old.open(&place, &dump).await.is_ok());
    let length = usize::from(u16::from_be_bytes(dump.0[20..22].try_into().unwrap()));
    for without in [
        [&dump.0[..22], &vec![0; length], &dump.0[22 + length..]].concat(),
        [&dump.0[..20], &[0, 0], &dump.0[22 + length..]].concat(),
        dump.0[22 + length..].to_vec(),
    ] {
        assert!(old.open(&place, &Sealed(without)).await.is_err(), "the master key alone opens nothing");
    }
    let rotated = keys.rotate(operator()).await.unwrap();
    keys.rewrap(operator(), |_| true).await.unwrap();
    std::fs::remove_file(rotated.retired).unwrap();
    assert!(vault_of(&office.fixture.key_file()).open(&place, &dump).await.is_err());
}

#[tokio::test]
async fn v7_refuses_who_is_not_known_and_another_tenant() {
    let office = Office::at(&GENERIC, true).await;
    office.agrees(ALICE).await;
    for (whose, code) in [
        (Whose::User(BOB.into()), Code::NotFound),
        (Whose::User("nobody".into()), Code::InvalidArgument),
        (Whose::VirtualAccount("nightly".into()), Code::NotFound),
        (Whose::Principal("no such id".into()), Code::NotFound),
        (Whose::Tenant("T".into()), Code::InvalidArgument),
    ] {
        for dry_run in [true, false] {
            let refused = shredded(&office, whose.clone(), dry_run).await.unwrap_err();
            assert_eq!(refused.code(), code, "{whose:?}: {refused}");
        }
    }
    let left = office.fixture.store.count_sealed_of(None).await.unwrap();
    let told = shredded(&office, Whose::Tenant("t".into()), false).await.unwrap();
    assert_eq!(told.last().map(|last| (last.principal.as_str(), last.done)), Some(("", left)));
    assert_eq!(office.fixture.store.count_sealed_of(None).await.unwrap(), 0);
}

/// Figures: 1,000 grants, each refreshed once while master keys are replaced and everything is re-wrapped all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v6_a_rewrap_over_a_thousand_grants_that_are_refreshed_meanwhile_loses_none_and_asks_once_for_each() {
    const GRANTS: usize = 1000;
    let office = Office::at(&GENERIC, true).await;
    let mut holders = Vec::new();
    for n in 0..GRANTS {
        let holder = format!("holder-{n:04}");
        office.holds(&holder).await;
        holders.push(holder);
    }
    let (provider, keys) = (&office.fixture.provider, office.admin().await.master_keys);
    provider.answers(200, crate::refresher::tests::provider::PAIR);
    // Every token is over: each caller waits for its refresh.
    office.fixture.clock.advance(std::time::Duration::from_secs(3601));
    let refreshing = async {
        let all = stream::iter(&holders).map(|holder| office.token(holder)).buffer_unordered(32);
        all.collect::<Vec<_>>().await.into_iter().collect::<Result<Vec<()>, _>>().unwrap();
    };
    let over = std::cell::Cell::new(false);
    let rewrapping = async {
        let mut rewraps = 0;
        while !over.get() {
            keys.rotate(operator()).await.unwrap();
            let progress = keys.rewrap(operator(), |_| true).await.unwrap();
            assert_eq!(progress.left, []);
            rewraps += 1;
        }
        rewraps
    };
    let ((), rewraps) = tokio::join!(
        async {
            refreshing.await;
            over.set(true)
        },
        rewrapping
    );
    assert!(rewraps > 0, "none came to its end");
    assert_eq!(provider.count(), GRANTS, "one request for each grant");
    keys.rotate(operator()).await.unwrap();
    keys.rewrap(operator(), |_| true).await.unwrap();
    let file = office.fixture.key_file();
    for retired in std::fs::read_dir(file.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path()) {
        if retired != file {
            std::fs::remove_file(retired).unwrap();
        }
    }
    let (vault, mut refresh_tokens) = (vault_of(&file), BTreeSet::new());
    for holder in &holders {
        let key = GrantKey { provider_client: "office".into(), holder: holder.clone() };
        let grant = office.fixture.store.grant(&key).await.unwrap().unwrap();
        assert_eq!((grant.generation, &grant.standing), (Generation(2), &crate::store::Standing::Live));
        let material = grant.material.unwrap();
        let place = Place::access_token(&grant.id, Generation(2));
        assert!(vault.open(&place, &material.access_token).await.is_ok());
        let place = Place::refresh_token(&grant.id, Generation(2));
        let refresh = vault.open(&place, &material.refresh_token.unwrap()).await.unwrap();
        refresh_tokens.insert(refresh.expose_str().unwrap().to_owned());
    }
    let given: BTreeSet<_> = (1..=GRANTS).map(|n| format!("canary-refresh-{n}")).collect();
    assert_eq!(refresh_tokens, given, "each token that the provider gave is kept, once");
}

#[tokio::test]
async fn a_rotation_that_nobody_waits_for_any_more_comes_to_its_end() {
    let office = Office::at(&GENERIC, true).await;
    let keys = office.admin().await.master_keys;
    for round in 0..14 {
        let mut asked = Box::pin(keys.rotate(operator()));
        for _ in 0..1 << round {
            if futures::poll!(&mut asked).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(asked);
        let rotated = loop {
            match keys.rotate(operator()).await {
                Err(MasterKeyError::UnderWay) => tokio::task::yield_now().await,
                other => break other,
            }
        };
        rotated.unwrap();
    }
}
