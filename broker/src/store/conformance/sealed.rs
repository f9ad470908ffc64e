//! Sealed fields by how they were sealed, and the master keys.

use super::grants::{grant, key};
use super::{NOW, consents, sealed, sign_ins};
use crate::model::Generation;
use crate::store::{
    Sealed, SealedColumn, SealedField, SignInKind, Store, StoredKey, StoredMasterKey, StoredSecret, Swap,
};

const OLD: &str = "sealed under old key";
const NEW: &str = "sealed under new key";

/// A record of each kind, with every field it can have, each sealed under the old key.
async fn every_field(store: &dyn Store) {
    let old = |field: &str| sealed(&format!("{OLD}: {field}"));
    let mut commit = grant("g1", &key("client", "alice"), 1, "");
    commit.material.access_token = old("access");
    commit.material.refresh_token = Some(old("refresh"));
    store.commit_grant(&commit).await.unwrap();
    store.keep_spare("g1", Generation(1), Generation(2), &old("spare")).await.unwrap();
    let consent = consents::consent(store, "c1").await;
    store.ensure_consent(&consent).await.unwrap();
    let attempt = consents::attempt(1);
    let attempt = crate::store::ConsentAttempt { state: old("state"), verifier: old("verifier"), ..attempt };
    store.begin_consent("c1", &attempt).await.unwrap();
    store.take_code("c1", 1, NOW).await.unwrap();
    store.hold_tokens("c1", 1, &old("held")).await.unwrap();
    let sign_in = sign_ins::sign_in("s1", SignInKind::Oidc);
    store.add_sign_in(&crate::store::StoredSignIn { secrets: Some(old("secrets")), ..sign_in }).await.unwrap();
    let (group, name) = ("search".to_owned(), "api-key".to_owned());
    let secret = StoredSecret { group, key: name, generation: Generation(1), value: old("value") };
    store.put_secret(&secret, &[], NOW).await.unwrap();
    let key = StoredKey { id: "k1".into(), purpose: "token-signing".into(), created_at: NOW, value: old("private") };
    store.add_key(&key).await.unwrap();
}

async fn fields(store: &dyn Store, header: &str) -> Vec<SealedField> {
    let mut all = Vec::new();
    for column in SealedColumn::ALL {
        all.extend(store.sealed_fields(*column, header.as_bytes(), "", 100).await.unwrap().records);
    }
    all
}

fn resealed(field: &SealedField) -> Swap {
    let rest = &field.sealed.0[OLD.len()..];
    Swap { old: field.clone(), new: Sealed([NEW.as_bytes(), rest].concat()) }
}

pub(super) async fn v6_every_column_is_found_and_swapped(store: &dyn Store) {
    assert!(store.seal_headers().await.unwrap().is_empty());
    every_field(store).await;
    assert_eq!(store.seal_headers().await.unwrap(), [OLD.as_bytes()]);
    let found = fields(store, OLD).await;
    let columns: Vec<_> = found.iter().map(|field| field.column).collect();
    assert_eq!(columns, SealedColumn::ALL, "one field in each");
    assert_eq!(store.count_sealed(OLD.as_bytes()).await.unwrap(), found.len() as u64);
    let swaps: Vec<_> = found.iter().map(resealed).collect();
    assert_eq!(store.swap_sealed(&swaps).await.unwrap(), found.len() as u64);
    assert_eq!(store.seal_headers().await.unwrap(), [NEW.as_bytes()]);
    assert_eq!((store.count_sealed(OLD.as_bytes()).await.unwrap(), fields(store, NEW).await.len()), (0, found.len()));
    // And by whoever reads the record: nothing but the bytes has changed.
    let stored = store.grant_by_id("g1").await.unwrap().unwrap();
    assert_eq!(stored.generation, Generation(1));
    assert_eq!(stored.material.unwrap().access_token, sealed(&format!("{NEW}: access")));
    let secret = store.secret("search", "api-key").await.unwrap().unwrap();
    assert_eq!((secret.generation, secret.value), (Generation(1), sealed(&format!("{NEW}: value"))));
}

pub(super) async fn pages_by_record_and_limit(store: &dyn Store) {
    for n in 0..5 {
        let mut commit = grant(&format!("g{n}"), &key("client", &format!("holder{n}")), 1, "");
        commit.material.access_token = sealed(&format!("{} {n}", if n == 2 { NEW } else { OLD }));
        store.commit_grant(&commit).await.unwrap();
    }
    let page = async |after, limit| -> Vec<String> {
        let fields = store.sealed_fields(SealedColumn::AccessToken, OLD.as_bytes(), after, limit).await.unwrap();
        fields.records.into_iter().map(|field| field.record).collect()
    };
    assert_eq!(page("", 2).await, ["g0", "g1"]);
    assert_eq!(page("g1", 2).await, ["g3", "g4"]);
    assert!(page("g4", 2).await.is_empty());
}

pub(super) async fn a_field_shorter_than_a_header_is_told_as_it_is(store: &dyn Store) {
    let key = StoredKey { id: "k".into(), purpose: "p".into(), created_at: NOW, value: sealed("cut") };
    store.add_key(&key).await.unwrap();
    assert_eq!(store.seal_headers().await.unwrap(), [b"cut"]);
    assert_eq!(store.sealed_fields(SealedColumn::Key, b"cut", "", 9).await.unwrap().records[0].record, "k");
}

pub(super) async fn master_keys_add_up_and_are_remembered(store: &dyn Store) {
    assert!(store.master_keys().await.unwrap().records.is_empty());
    assert_eq!(store.add_wraps("b", 0, NOW).await.unwrap(), 0);
    assert_eq!(store.add_wraps("a", 100, NOW).await.unwrap(), 100);
    assert_eq!(store.add_wraps("a", 23, NOW).await.unwrap(), 123);
    let known = [("a", 123), ("b", 0)].map(|(id, wraps)| StoredMasterKey { id: id.to_owned(), wraps });
    assert_eq!(store.master_keys().await.unwrap().records, known);
}

pub(super) async fn i5_a_swap_loses_against_a_later_generation(first: &dyn Store, second: &dyn Store) {
    every_field(first).await;
    let swaps: Vec<_> = fields(first, OLD).await.iter().map(resealed).collect();
    let mut renewed = grant("g1", &key("client", "alice"), 2, "");
    renewed.material.access_token = sealed("the next generation's access token");
    renewed.material.refresh_token = None;
    second.commit_grant(&renewed).await.unwrap();
    // Two tokens and the spare of the grant are others by now, or gone.
    assert_eq!(first.swap_sealed(&swaps).await.unwrap(), swaps.len() as u64 - 3);
    let stored = second.grant_by_id("g1").await.unwrap().unwrap();
    assert_eq!(stored.material, Some(renewed.material));
    assert_eq!(stored.spare, None);
}

pub(super) async fn two_brokers_count_into_one_sum(first: &dyn Store, second: &dyn Store) {
    let add = async |store: &dyn Store| {
        for _ in 0..20 {
            store.add_wraps("a", 1, NOW).await.unwrap();
        }
    };
    tokio::join!(add(first), add(second));
    assert_eq!(first.add_wraps("a", 0, NOW).await.unwrap(), 40);
}
