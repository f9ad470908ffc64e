use jwt_simple::algorithms::{
    ECDSAP256PublicKeyLike as _, ES256KeyPair, Ed25519KeyPair, EdDSAPublicKeyLike as _, RS256KeyPair,
};
use serde_json::json;
use std::sync::LazyLock;

use super::*;

static RSA: LazyLock<RS256KeyPair> = LazyLock::new(|| RS256KeyPair::generate(2048).unwrap());

fn ec(kid: &str) -> Value {
    let point = ES256KeyPair::generate().public_key().public_key().to_bytes_uncompressed();
    let (x, y) = point[1..].split_at(32);
    json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)})
}

fn rsa(kid: &str) -> Value {
    let n = RSA.public_key().to_components().n;
    json!({"kty": "RSA", "kid": kid, "n": URL_SAFE_NO_PAD.encode(n), "e": "AQAB"})
}

fn okp(kid: &str) -> Value {
    let x = Ed25519KeyPair::generate().public_key().public_key().to_bytes();
    json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": URL_SAFE_NO_PAD.encode(x)})
}

fn with(mut key: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        key[name] = value.clone();
    }
    key
}

fn read(keys: Vec<Value>) -> KeySet {
    KeySet::read(json!({ "keys": keys }).to_string().as_bytes(), &Algorithm::ALL).unwrap()
}

#[test]
fn reads_each_kind_of_key() {
    let set = read(vec![
        ec("a"),
        with(rsa("b"), json!({"use": "sig", "key_ops": ["verify"], "alg": "PS256", "x5t": "ignored"})),
        rsa("c"),
        with(okp("d"), json!({"alg": "EdDSA"})),
        with(okp("e"), json!({"alg": "Ed25519"})),
    ]);
    assert_eq!(set.left_out, []);
    let read: Vec<_> = set.keys.iter().map(|key| (key.kid(), key.algorithm())).collect();
    let expected = [
        ("a", Algorithm::Es256),
        ("b", Algorithm::Ps256),
        ("c", Algorithm::Rs256),
        ("d", Algorithm::EdDsa),
        ("e", Algorithm::EdDsa),
    ];
    assert_eq!(read, expected);
}

#[test]
fn j12_leaves_out_each_bad_key_and_keeps_the_good_one() {
    let short = URL_SAFE_NO_PAD.encode(vec![0xff; 128]);
    let unfit = |algorithm| LeftOut::Unfit(KeyError::Unfit(algorithm));
    let cases = [
        (json!({"kty": "oct", "kid": "x", "k": "c2VjcmV0"}), LeftOut::Type),
        (json!({"kid": "x"}), LeftOut::Type),
        (json!("x"), LeftOut::Type),
        (with(ec("x"), json!({"kty": "ec"})), LeftOut::Type),
        (with(ec("x"), json!({"d": "AAAA"})), LeftOut::Private),
        (with(rsa("x"), json!({"p": "AAAA"})), LeftOut::Private),
        (with(rsa("x"), json!({"k": "AAAA"})), LeftOut::Private),
        (with(ec("x"), json!({"use": "enc"})), LeftOut::Use),
        (with(ec("x"), json!({"use": 1})), LeftOut::Use),
        (with(ec("x"), json!({"key_ops": ["encrypt"]})), LeftOut::Use),
        (with(ec("x"), json!({"key_ops": ["verify", "sign"]})), LeftOut::Use),
        (with(ec("x"), json!({"key_ops": []})), LeftOut::Use),
        (with(ec("x"), json!({"key_ops": "verify"})), LeftOut::Use),
        (with(ec("x"), json!({"alg": "RS256"})), LeftOut::Algorithm),
        (with(ec("x"), json!({"alg": "ES384"})), LeftOut::Algorithm),
        (with(ec("x"), json!({"alg": "none"})), LeftOut::Algorithm),
        (with(rsa("x"), json!({"alg": "HS256"})), LeftOut::Algorithm),
        (with(rsa("x"), json!({"alg": "RSA-OAEP"})), LeftOut::Algorithm),
        (with(rsa("x"), json!({"alg": 1})), LeftOut::Algorithm),
        (with(rsa("x"), json!({"crv": "P-256"})), LeftOut::Algorithm),
        (with(ec("x"), json!({"crv": "P-384"})), LeftOut::Encoding),
        (with(ec("x"), json!({"crv": "secp256k1"})), LeftOut::Algorithm),
        (with(okp("x"), json!({"crv": "X25519"})), LeftOut::Algorithm),
        (with(ec("x"), json!({"x": "AAAA"})), LeftOut::Encoding),
        (with(ec("x"), json!({"y": 1})), LeftOut::Encoding),
        (with(ec("x"), json!({"x": "!"})), LeftOut::Encoding),
        (with(ec("x"), json!({"x": URL_SAFE_NO_PAD.encode([1; 32])})), unfit(Algorithm::Es256)),
        (with(okp("x"), json!({"x": URL_SAFE_NO_PAD.encode([0; 32])})), unfit(Algorithm::EdDsa)),
        (with(rsa("x"), json!({"n": short})), unfit(Algorithm::Rs256)),
        (with(rsa("x"), json!({"n": ""})), LeftOut::Encoding),
        (with(rsa("x"), json!({"e": "AQ"})), unfit(Algorithm::Rs256)),
        (with(rsa("x"), json!({"e": "Aw"})), unfit(Algorithm::Rs256)),
        (with(rsa("x"), json!({"e": "AQAB="})), LeftOut::Encoding),
        (with(ec(""), json!({})), LeftOut::KeyId),
        (with(ec(""), json!({"kid": 1})), LeftOut::KeyId),
        (ec(&"k".repeat(257)), LeftOut::Unfit(KeyError::KeyId)),
    ];
    for (bad, reason) in cases {
        let set = read(vec![bad.clone(), ec("good")]);
        assert_eq!(set.left_out.iter().map(|(_, reason)| *reason).collect::<Vec<_>>(), [reason], "{bad}");
        assert_eq!(set.keys.iter().map(|key| key.kid()).collect::<Vec<_>>(), ["good"], "{bad}");
    }
}

#[test]
fn j12_a_kid_that_comes_twice_is_nobodys() {
    let set = read(vec![ec("a"), ec("b"), rsa("a")]);
    assert_eq!(set.left_out, [("a".to_owned(), LeftOut::DuplicateKeyId), ("a".to_owned(), LeftOut::DuplicateKeyId)]);
    assert_eq!(set.keys.iter().map(|key| key.kid()).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn an_issuer_uses_only_its_algorithms() {
    let json = json!({"keys": [ec("a"), rsa("b")]}).to_string();
    let read = |algorithms: &[Algorithm]| {
        let set = KeySet::read(json.as_bytes(), algorithms).unwrap();
        set.keys.iter().map(|key| key.algorithm()).collect::<Vec<_>>()
    };
    assert_eq!(read(&[Algorithm::Es256]), [Algorithm::Es256]);
    assert_eq!(read(&[Algorithm::Ps256]), [Algorithm::Ps256]);
    assert_eq!(read(&[Algorithm::Rs256, Algorithm::Ps256]), [Algorithm::Rs256]);
    // Which of the two is meant is not said, so neither is.
    assert_eq!(read(&[Algorithm::Ps256, Algorithm::Ps512]), []);
    assert_eq!(read(&[]), []);
}

#[test]
fn refuses_what_is_no_key_set() {
    for json in ["", "<html>", "[]", "{}", "null", r#"{"keys":{}}"#, r#"{"keys":null}"#, r#"{"keys":[{"kty":"EC"}"#] {
        assert_eq!(KeySet::read(json.as_bytes(), &Algorithm::ALL).unwrap_err(), KeySetError::Shape, "{json}");
    }
    let many = json!({"keys": vec![json!({}); 257]}).to_string();
    assert_eq!(KeySet::read(many.as_bytes(), &Algorithm::ALL).unwrap_err(), KeySetError::TooManyKeys);
    assert!(KeySet::read(br#"{"keys":[]}"#, &Algorithm::ALL).unwrap().keys.is_empty());
}
