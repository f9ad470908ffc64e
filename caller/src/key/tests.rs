use superboring::bn::BigNum;
use superboring::rsa::Rsa;

use super::*;
use crate::tests::Signer;

fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let key = Rsa::<Public>::from_public_components(
        BigNum::from_slice(modulus).unwrap(),
        BigNum::from_slice(exponent).unwrap(),
    );
    key.unwrap().public_key_to_der().unwrap()
}

fn modulus() -> Vec<u8> {
    let Signer::Rsa(key, _) = Signer::rsa(Algorithm::Rs256) else { unreachable!() };
    key.public_key().to_components().n
}

#[test]
fn takes_a_key_of_each_algorithm() {
    for signer in Signer::each() {
        let key = signer.public("k1");
        assert_eq!((key.kid(), key.algorithm(), key.spki()), ("k1", signer.algorithm(), &signer.spki()[..]));
        assert!(key.verify(b"words", &signer.signature(b"words")));
        assert!(!key.verify(b"other", &signer.signature(b"words")));
    }
}

#[test]
fn refuses_a_kid_that_is_empty_or_too_long() {
    let spki = Signer::es256().spki();
    assert_eq!(PublicKey::new("", Algorithm::Es256, &spki), Err(KeyError::KeyId));
    assert_eq!(PublicKey::new(&"k".repeat(257), Algorithm::Es256, &spki), Err(KeyError::KeyId));
    assert!(PublicKey::new(&"k".repeat(256), Algorithm::Es256, &spki).is_ok());
}

#[test]
fn j12_refuses_a_key_of_another_kind() {
    for signer in Signer::each() {
        for algorithm in Algorithm::ALL {
            let is_rsa = |algorithm: Algorithm| matches!(algorithm.name().as_bytes(), [b'R' | b'P', ..]);
            let fits = algorithm == signer.algorithm() || (is_rsa(algorithm) && is_rsa(signer.algorithm()));
            assert_eq!(PublicKey::new("k", algorithm, &signer.spki()).is_ok(), fits, "{algorithm:?}");
        }
    }
}

#[test]
fn j12_refuses_weak_rsa_keys() {
    let unfit = Err(KeyError::Unfit(Algorithm::Rs256));
    let modulus = modulus();
    let with = |modulus: &[u8], exponent: &[u8]| PublicKey::new("k", Algorithm::Rs256, &rsa_spki(modulus, exponent));
    assert!(with(&modulus, &[1, 0, 1]).is_ok());
    assert_eq!(with(&modulus, &[3]), unfit);
    assert_eq!(with(&modulus, &[17]), unfit);
    assert_eq!(with(&modulus, &[1, 0, 3]), unfit);
    for bits in [512, 1024, 1536, 2040] {
        let mut short = modulus[..bits / 8].to_vec();
        *short.last_mut().unwrap() |= 1;
        assert_eq!(with(&short, &[1, 0, 1]), unfit, "{bits}");
    }
    // The modulus ends just before the exponent's five bytes.
    let mut even = rsa_spki(&modulus, &[1, 0, 1]);
    let last = even.len() - 6;
    even[last] &= 0xfe;
    assert_eq!(PublicKey::new("k", Algorithm::Rs256, &even), unfit);
}

#[test]
fn j12_refuses_a_modulus_that_can_be_factored() {
    // 65537^128, and an odd power of more than 2048 bits: what the broken generator's moduli look like.
    let mut little = vec![1_u8];
    for _ in 0..129 {
        let mut product = vec![0_u8; little.len() + 2];
        product[2..].copy_from_slice(&little);
        let mut carry = 0_u16;
        for (at, digit) in product.iter_mut().enumerate() {
            let sum = u16::from(*digit) + little.get(at).copied().map_or(0, u16::from) + carry;
            *digit = sum as u8;
            carry = sum >> 8;
        }
        if carry > 0 {
            product.push(carry as u8);
        }
        little = product;
    }
    little.reverse();
    let key = PublicKey::new("k", Algorithm::Rs256, &rsa_spki(&little, &[1, 0, 1]));
    assert_eq!(key, Err(KeyError::Factorable));
}

#[test]
fn j12_refuses_points_off_the_curve_and_weak_edwards_points() {
    let good = Signer::es256().spki();
    for at in [27, 40, 60, 90] {
        let mut off = good.clone();
        off[at] ^= 1;
        assert_eq!(PublicKey::new("k", Algorithm::Es256, &off), Err(KeyError::Unfit(Algorithm::Es256)), "{at}");
    }
    let good = Signer::each().into_iter().find(|signer| signer.algorithm() == Algorithm::EdDsa).unwrap().spki();
    for (first, rest) in [(0, 0), (1, 0), (0xff, 0xff), (0xec, 0xff)] {
        let mut weak = good[..12].to_vec();
        weak.push(first);
        weak.extend([rest; 31]);
        assert_eq!(PublicKey::new("k", Algorithm::EdDsa, &weak), Err(KeyError::Unfit(Algorithm::EdDsa)));
    }
}

#[test]
fn refuses_a_key_that_is_not_in_canonical_form() {
    for signer in Signer::each() {
        let good = signer.spki();
        let unfit = Err(KeyError::Unfit(signer.algorithm()));
        for bytes in
            [vec![], vec![0x30], good[..good.len() - 1].to_vec(), good[1..].to_vec(), [&good[..], &[0]].concat()]
        {
            assert_eq!(PublicKey::new("k", signer.algorithm(), &bytes), unfit);
        }
    }
    let signer = Signer::es256();
    let point = &signer.spki()[26..];
    let sign = if point[64] & 1 == 0 { 2 } else { 3 };
    let head =
        [0x30, 0x39, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
    let compressed = [&head[..], &[3, 0x22, 0, sign], &point[1..33]].concat();
    assert_eq!(PublicKey::new("k", Algorithm::Es256, &compressed), Err(KeyError::Unfit(Algorithm::Es256)));
}
