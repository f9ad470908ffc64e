use std::collections::HashSet;

use super::*;
use crate::model::Generation;

mod hostile;

const CANARY: &str = "canary-7f3a-secret-value";

fn vault() -> Vault {
    vault_of(&Secret::random::<32>(), "acme")
}

fn vault_of(key: &Secret, tenant: &str) -> Vault {
    Vault::of_keyring(Keyring::of_secret(key), &Tenant(tenant.to_owned()))
}

fn place(record: &str) -> Place<'_> {
    Place { kind: RecordKind::Grant, record, field: "access_token", generation: Generation(3) }
}

async fn seal(vault: &Vault, place: &Place<'_>) -> Sealed {
    vault.data_key(place).await.unwrap().seal(place, &Secret::new(CANARY))
}

#[tokio::test]
async fn opens_what_it_sealed() {
    let vault = vault();
    for secret in ["", "x", CANARY, &"long ".repeat(50_000)] {
        let sealed = vault.data_key(&place("g1")).await.unwrap().seal(&place("g1"), &Secret::new(secret));
        assert!(vault.open(&place("g1"), &sealed).await.unwrap() == Secret::new(secret));
    }
}

#[tokio::test]
async fn opens_with_the_same_key_file_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (path, tenant) = (dir.path().join("k").join("master.key"), Tenant("acme".to_owned()));
    let sealed = seal(&Vault::open_or_create(&path, &tenant).unwrap(), &place("g1")).await;
    let again = Vault::open_existing(&path, &tenant).unwrap();
    assert!(again.open(&place("g1"), &sealed).await.unwrap() == Secret::new(CANARY));
}

#[tokio::test]
async fn i4_opens_nowhere_but_in_its_place() {
    let vault = vault();
    let sealed = seal(&vault, &place("g1")).await;
    let other = [
        ("record", Place { record: "g2", ..place("g1") }),
        ("field", Place { field: "refresh_token", ..place("g1") }),
        ("later generation", Place { generation: Generation(4), ..place("g1") }),
        ("earlier generation", Place { generation: Generation(2), ..place("g1") }),
        ("kind", Place { kind: RecordKind::Secret, ..place("g1") }),
        ("kind", Place { kind: RecordKind::Key, ..place("g1") }),
    ];
    for (what, place) in other {
        let error = vault.open(&place, &sealed).await.unwrap_err();
        assert!(matches!(error, VaultError::NotAuthentic { .. }), "another {what}");
    }
}

#[tokio::test]
async fn i4_opens_for_no_other_tenant_of_the_same_key() {
    let key = Secret::random::<32>();
    let [acme, other] = ["acme", "other"].map(|name| vault_of(&key, name));
    let sealed = seal(&acme, &place("g1")).await;
    assert!(matches!(other.open(&place("g1"), &sealed).await, Err(VaultError::NotAuthentic { .. })));
}

#[tokio::test]
async fn i4_a_data_key_of_another_record_opens_nothing() {
    let vault = vault();
    let (first, second) = (seal(&vault, &place("g1")).await, seal(&vault, &place("g2")).await);
    let (a, b) = (Envelope::parse(&first.0).unwrap(), Envelope::parse(&second.0).unwrap());
    for spliced in [
        Envelope { wrapped: b.wrapped, ..Envelope::parse(&first.0).unwrap() },
        Envelope { ciphertext: b.ciphertext, ..Envelope::parse(&first.0).unwrap() },
        Envelope { wrapped: b.wrapped, ciphertext: b.ciphertext, nonce: b.nonce, key_id: a.key_id },
    ] {
        let error = vault.open(&place("g1"), &Sealed(spliced.to_bytes())).await.unwrap_err();
        assert!(matches!(error, VaultError::NotAuthentic { .. }));
    }
}

#[tokio::test]
async fn i4_every_flipped_bit_and_every_truncation_is_an_error_without_plaintext() {
    let vault = vault();
    let sealed = seal(&vault, &place("g1")).await;
    let mut tampered: Vec<Vec<u8>> = (0..sealed.0.len()).map(|length| sealed.0[..length].to_vec()).collect();
    for position in 0..sealed.0.len() {
        for bit in 0..8 {
            let mut bytes = sealed.0.clone();
            bytes[position] ^= 1 << bit;
            tampered.push(bytes);
        }
    }
    tampered.push([&sealed.0[..], &[0]].concat());
    for bytes in tampered {
        let error = vault.open(&place("g1"), &Sealed(bytes)).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains(CANARY));
    }
}

#[tokio::test]
async fn i10_random_bytes_are_refused() {
    let vault = vault();
    let header = seal(&vault, &place("g1")).await.0[..20].to_vec();
    for _ in 0..20_000 {
        let noise: [u8; 140] = random();
        let length = usize::from(noise[0]) % 140;
        for bytes in [noise[..length].to_vec(), [&header[..], &noise[..length]].concat()] {
            assert!(vault.open(&place("g1"), &Sealed(bytes)).await.is_err());
        }
    }
}

#[tokio::test]
async fn a_wrong_master_key_names_the_one_it_needs() {
    let (right, wrong) = (vault(), vault());
    let sealed = seal(&right, &place("g1")).await;
    let error = wrong.open(&place("g1"), &sealed).await.unwrap_err();
    assert!(matches!(error, VaultError::OtherMasterKey { needed, ref held, .. }
        if needed == right.key_id() && held.0 == [wrong.key_id()]));
    assert!(error.to_string().contains(&right.key_id().to_string()));
}

/// A fork or a snapshot of the machine repeats nothing either: each byte is asked of the kernel when it is used, none is
/// drawn from a state that this process keeps, and the kernel mixes anew when the machine was cloned.
#[tokio::test]
async fn v5_i4_nonces_and_data_keys_never_repeat() {
    let writes = if std::env::var_os("SALLYPORT_FULL").is_some() { 1_000_000 } else { 100_000 };
    let vault = vault();
    let (mut nonces, mut wrap_nonces, mut keys) = (HashSet::new(), HashSet::new(), HashSet::new());
    for _ in 0..writes {
        let key = vault.data_key(&place("g1")).await.unwrap();
        assert!(keys.insert(key.key.expose().to_vec()));
        let sealed = key.seal(&place("g1"), &Secret::new("t"));
        let envelope = Envelope::parse(&sealed.0).unwrap();
        assert!(nonces.insert(*envelope.nonce));
        assert!(wrap_nonces.insert(envelope.wrapped[..NONCE].to_vec()));
    }
    assert_eq!(vault.keys()[0].wraps, Some(writes));
}

#[tokio::test]
async fn i4_equal_secrets_look_different() {
    let vault = vault();
    assert_ne!(seal(&vault, &place("g1")).await, seal(&vault, &place("g1")).await);
}

#[tokio::test]
async fn i9_sealed_bytes_hold_no_plaintext_and_no_data_key() {
    let vault = vault();
    let key = vault.data_key(&place("g1")).await.unwrap();
    let data_key = key.key.expose().to_vec();
    let sealed = key.seal(&place("g1"), &Secret::new(CANARY));
    let contains = |needle: &[u8]| sealed.0.windows(needle.len()).any(|window| window == needle);
    assert!(!contains(CANARY.as_bytes()) && !contains(&data_key) && !contains(b"canary"));
}

#[tokio::test]
async fn i9_opened_secrets_and_errors_print_nothing() {
    let vault = vault();
    let sealed = seal(&vault, &place("g1")).await;
    assert_eq!(format!("{:?}", vault.open(&place("g1"), &sealed).await.unwrap()), "[secret]");
}

#[tokio::test]
async fn v6_what_is_rewrapped_opens_under_the_new_key_alone_and_its_ciphertext_is_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let (path, tenant) = (dir.path().join("k/master.key"), Tenant("acme".to_owned()));
    let vault = Vault::open_or_create(&path, &tenant).unwrap();
    let sealed = seal(&vault, &place("g1")).await;
    let new = vault.replace_key_file().unwrap();
    assert_eq!(vault.key_id(), new.old_id(), "not used before it is adopted");
    vault.adopt(&new);
    assert!(vault.open(&place("g1"), &sealed).await.unwrap() == Secret::new(CANARY), "the old one still unwraps");
    let rewrapped = vault.rewrap((&place("g1")).into(), "access_token", &sealed).await.unwrap();
    let (before, after) = (Envelope::parse(&sealed.0).unwrap(), Envelope::parse(&rewrapped.0).unwrap());
    assert_eq!((after.key_id, after.nonce, after.ciphertext), (new.id(), before.nonce, before.ciphertext));
    std::fs::remove_file(&new.retired).unwrap();
    let without_old = Vault::open_existing(&path, &tenant).unwrap();
    assert!(without_old.open(&place("g1"), &rewrapped).await.unwrap() == Secret::new(CANARY));
    assert!(matches!(without_old.open(&place("g1"), &sealed).await, Err(VaultError::OtherMasterKey { needed, .. })
        if needed == new.old_id()));
}

#[tokio::test]
async fn v6_a_data_key_asked_for_before_a_rotation_seals_what_opens_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let vault = Vault::open_or_create(dir.path().join("k/master.key"), &Tenant("acme".to_owned())).unwrap();
    let key = vault.data_key(&place("g1")).await.unwrap();
    vault.adopt(&vault.replace_key_file().unwrap());
    let sealed = key.seal(&place("g1"), &Secret::new(CANARY));
    assert!(vault.open(&place("g1"), &sealed).await.unwrap() == Secret::new(CANARY));
}

#[tokio::test]
async fn i4_no_other_held_key_is_tried_than_the_one_that_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let vault = Vault::open_or_create(dir.path().join("k/master.key"), &Tenant("acme".to_owned())).unwrap();
    let sealed = seal(&vault, &place("g1")).await;
    let new = vault.replace_key_file().unwrap();
    vault.adopt(&new);
    let renamed = Envelope { key_id: new.id(), ..Envelope::parse(&sealed.0).unwrap() }.to_bytes();
    let error = vault.open(&place("g1"), &Sealed(renamed)).await.unwrap_err();
    assert!(matches!(error, VaultError::NotAuthentic { .. }));
}

#[tokio::test]
async fn v6_only_what_is_whole_is_rewrapped() {
    let vault = vault();
    let mut sealed = seal(&vault, &place("g1")).await;
    sealed.0[HEADER + 10] ^= 1;
    let error = vault.rewrap((&place("g1")).into(), "access_token", &sealed).await.unwrap_err();
    assert!(matches!(error, VaultError::NotAuthentic { .. }) && error.to_string().contains("g1"));
}

#[tokio::test]
#[should_panic(expected = "its own record")]
async fn i4_a_data_key_seals_no_other_record_than_it_was_asked_for() {
    vault().data_key(&place("g1")).await.unwrap().seal(&place("g2"), &Secret::new(CANARY));
}
