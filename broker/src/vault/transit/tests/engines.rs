//! What engines of different ages answer where they cannot unwrap, and answers that no data key can be made of.

use super::*;
use crate::vault::VaultError::NotAuthentic;

/// Of something that was wrapped for another context. The first is today's, of both products; in their source it is what
/// their cipher says, which older ones passed on as a fault of their own, and the oldest put into words of theirs.
const NOT_OURS: [(u16, &str); 4] = [
    (400, "cipher: message authentication failed"),
    (400, "chacha20poly1305: message authentication failed"),
    (500, "1 error occurred:\n\t* cipher: message authentication failed\n\n"),
    (400, "invalid ciphertext: unable to decrypt"),
];

pub(super) fn not_ours(age: usize) -> (u16, String) {
    let (status, text) = NOT_OURS[age];
    (status, json!({ "errors": [text] }).to_string())
}

#[tokio::test]
async fn v4_a_derived_key_is_used_whatever_its_engine_says_of_other_contexts() {
    for (age, said) in NOT_OURS.iter().enumerate() {
        let (engine, url) = Engine::start().await;
        engine.age.store(age, Ordering::SeqCst);
        let vault = vault(url).await;
        let data_key = vault.data_key(&place("g1")).await.unwrap_or_else(|error| panic!("{said:?}: {error:?}"));
        let sealed = data_key.seal(&place("g1"), &Secret::new("canary"));
        assert!(vault.open(&place("g1"), &sealed).await.unwrap() == Secret::new("canary"));
        engine.forget();
        let other = vault.open(&place("g2"), &sealed).await.unwrap_err();
        assert!(matches!(other, NotAuthentic { .. }) && engine.count() == 1, "{said:?}: {other:?}");
    }
}

#[tokio::test]
async fn v4_a_server_that_lags_behind_or_has_lost_its_own_storage_says_nothing_of_what_is_stored_here() {
    let (engine, vault, sealed) = sealed().await;
    for (status, text) in [
        (400, "invalid ciphertext: version is too new"),
        (400, "no such key version"),
        (400, "refusing to use soft-deleted key"),
        (500, "1 error occurred:\n\t* read failed: decryption failed: cipher: message authentication failed\n\n"),
    ] {
        engine.says_first(&[(status, text); 40]);
        let error = error_of(vault.open(&place("g1"), &sealed).await.unwrap_err());
        assert!(matches!(error, KeyError::Disabled(_) | KeyError::Failed(_)), "{text}: {error:?}");
    }
}

#[tokio::test]
async fn i5_i10_a_data_key_that_cannot_be_sealed_with_is_found_out_before_a_provider_is_asked() {
    let (engine, vault, sealed) = sealed().await;
    let wrapped_of = |length: usize| format!("vault:v1:{}", "A".repeat(length - "vault:v1:".len()));
    for (key, wrapped) in [(0, 80), (16, 80), (31, 80), (33, 80), (64, 80), (32, 1025), (32, 60_000)] {
        let data = json!({ "plaintext": STANDARD.encode(vec![7; key]), "ciphertext": wrapped_of(wrapped) });
        *engine.first.lock().unwrap() = [(200, json!({ "data": data }).to_string())].into();
        let error = vault.data_key(&place("g1")).await.err().map(error_of);
        assert!(matches!(error, Some(KeyError::Failed(_))), "{key} {wrapped}: {error:?}");
    }
    let data = json!({ "plaintext": STANDARD.encode([7; 32]), "ciphertext": wrapped_of(1024) });
    *engine.first.lock().unwrap() = [(200, json!({ "data": data }).to_string())].into();
    let longest = vault.data_key(&place("g1")).await.unwrap().seal(&place("g1"), &Secret::new("canary"));
    assert!(!matches!(vault.open(&place("g1"), &longest).await.unwrap_err(), VaultError::Unreadable { .. }));
    engine.says_first(&[]);
    engine.wraps_longer.store(true, Ordering::SeqCst);
    let error = vault.rewrap((&place("g1")).into(), "access_token", &sealed).await.unwrap_err();
    assert!(matches!(error_of(error), KeyError::Failed(_)));
}
