use std::collections::HashSet;

use super::*;
use crate::model::Generation;

const CANARY: &str = "canary-7f3a-secret-value";

fn vault() -> Vault {
    Vault::with_master_key(&Secret::random::<32>(), &Tenant("acme".to_owned()))
}

fn place(record: &str) -> Place<'_> {
    Place { kind: RecordKind::Grant, record, field: "access_token", generation: Generation(3) }
}

async fn seal(vault: &Vault, place: &Place<'_>) -> Sealed {
    vault.data_key().await.unwrap().seal(place, &Secret::new(CANARY))
}

#[tokio::test]
async fn opens_what_it_sealed() {
    let vault = vault();
    for secret in ["", "x", CANARY, &"long ".repeat(50_000)] {
        let sealed = vault.data_key().await.unwrap().seal(&place("g1"), &Secret::new(secret));
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
    let [acme, other] = ["acme", "other"].map(|name| Vault::with_master_key(&key, &Tenant(name.to_owned())));
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
    assert!(matches!(error, VaultError::OtherMasterKey { needed, held, .. }
        if needed == right.key_id() && held == wrong.key_id()));
    assert!(error.to_string().contains(&right.key_id().to_string()));
}

#[tokio::test]
async fn i4_nonces_and_data_keys_never_repeat() {
    const WRITES: usize = 100_000;
    let vault = vault();
    let (mut nonces, mut wrap_nonces, mut keys) = (HashSet::new(), HashSet::new(), HashSet::new());
    for _ in 0..WRITES {
        let key = vault.data_key().await.unwrap();
        assert!(keys.insert(key.key.expose().to_vec()));
        let sealed = key.seal(&place("g1"), &Secret::new("t"));
        let envelope = Envelope::parse(&sealed.0).unwrap();
        assert!(nonces.insert(*envelope.nonce));
        assert!(wrap_nonces.insert(envelope.wrapped[..NONCE].to_vec()));
    }
    assert_eq!(vault.0.wraps.load(Ordering::Relaxed), WRITES as u64);
}

#[tokio::test]
async fn i4_equal_secrets_look_different() {
    let vault = vault();
    assert_ne!(seal(&vault, &place("g1")).await, seal(&vault, &place("g1")).await);
}

#[tokio::test]
async fn i9_sealed_bytes_hold_no_plaintext_and_no_data_key() {
    let vault = vault();
    let key = vault.data_key().await.unwrap();
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
