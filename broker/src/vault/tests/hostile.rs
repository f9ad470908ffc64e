//! What somebody has done to sealed fields who can write the store (threats V2, V3).

use super::*;

/// Fields of many records, and what each of them holds.
async fn sealed_records(vault: &Vault, count: usize) -> Vec<(String, Sealed)> {
    let mut records = Vec::new();
    for n in 0..count {
        let id = format!("grant-{n:03}");
        // Secrets of many lengths, the shortest first.
        let secret = Secret::new(format!("{CANARY}-{}", "x".repeat(n % 40)));
        let sealed = vault.data_key(&place(&id)).await.unwrap().seal(&place(&id), &secret);
        records.push((id, sealed));
    }
    records
}

/// Never opens, and is told by its id without a byte of what it holds.
async fn refused(vault: &Vault, id: &str, bytes: Vec<u8>) {
    let error = vault.open(&place(id), &Sealed(bytes)).await.unwrap_err();
    let told = format!("{error} {error:?}");
    assert!(told.contains(id) && !told.contains(CANARY), "{told}");
}

#[tokio::test]
async fn v3_every_byte_of_a_hundred_sealed_records_is_missed_when_it_is_another_one() {
    let vault = vault();
    let mut flipped = 0;
    for (id, sealed) in sealed_records(&vault, 100).await {
        for position in 0..sealed.0.len() {
            let mut bytes = sealed.0.clone();
            let [other]: [u8; 1] = random();
            // Never the byte that was there.
            bytes[position] ^= other.max(1);
            refused(&vault, &id, bytes).await;
            flipped += 1;
        }
        assert!(vault.open(&place(&id), &sealed).await.is_ok(), "the record itself");
    }
    assert!(flipped > 10_000, "{flipped}");
}

#[tokio::test]
async fn v3_what_is_cut_off_grown_or_has_a_wrong_length_or_version_is_refused() {
    let vault = vault();
    for (id, sealed) in sealed_records(&vault, 10).await {
        let with = |at: usize, bytes: &[u8]| {
            let mut changed = sealed.0.clone();
            changed[at..at + bytes.len()].copy_from_slice(bytes);
            changed
        };
        for length in 0..sealed.0.len() {
            refused(&vault, &id, sealed.0[..length].to_vec()).await;
            refused(&vault, &id, sealed.0[length + 1..].to_vec()).await;
        }
        refused(&vault, &id, [&sealed.0[..], &[0; 64]].concat()).await;
        refused(&vault, &id, [&sealed.0[..], &vec![7; 1 << 20]].concat()).await;
        for length in [0_u16, 1, 11, 1024, 1025, u16::MAX] {
            refused(&vault, &id, with(HEADER, &length.to_be_bytes())).await;
        }
        for version in (0..=u8::MAX).filter(|version| *version != 1) {
            let error = vault.open(&place(&id), &Sealed(with(3, &[version]))).await.unwrap_err();
            let VaultError::Unreadable { source, .. } = error else { panic!("{error}") };
            assert_eq!(source, EnvelopeError::UnknownVersion { version });
        }
    }
}

#[tokio::test]
async fn v2_of_many_places_each_opens_its_own_field_and_no_other() {
    let vault = vault();
    let key = |client: &str, holder: &str| crate::model::GrantKey {
        provider_client: client.to_owned(),
        holder: holder.to_owned(),
    };
    let tenant = Tenant("acme".to_owned());
    // Ids as the broker makes them: whose grant it is, and at which provider, is in them.
    let ids: Vec<String> = [("mail", "alice"), ("mail", "bob"), ("docs", "alice"), ("docs", "bob")]
        .iter()
        .map(|(client, holder)| crate::keys::grant_id(&tenant, &key(client, holder)))
        .collect();
    let mut places = Vec::new();
    for id in &ids {
        for generation in [Generation(1), Generation(2), Generation(1 << 40)] {
            places.push(Place::access_token(id, generation));
            places.push(Place::refresh_token(id, generation));
        }
        for kind in [RecordKind::Consent, RecordKind::Key, RecordKind::Secret, RecordKind::SignIn] {
            places.push(Place { kind, record: id, field: "access_token", generation: Generation(1) });
        }
    }
    let mut sealed = Vec::new();
    for place in &places {
        sealed.push(seal(&vault, place).await);
    }
    for (own, sealed) in sealed.iter().enumerate() {
        for (other, place) in places.iter().enumerate() {
            let opened = vault.open(place, sealed).await;
            match opened {
                Ok(opened) => assert!(own == other && opened == Secret::new(CANARY), "{own} opens as {place:?}"),
                Err(error) => assert!(own != other && matches!(error, VaultError::NotAuthentic { .. }), "{error}"),
            }
        }
    }
}
