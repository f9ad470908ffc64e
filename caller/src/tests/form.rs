//! Threat rows about bytes, header and key: J1 to J7, J10, J16.

use super::*;

#[test]
fn j1_refuses_alg_none_in_every_spelling_and_shape() {
    let world = World::new();
    for alg in ["none", "None", "NONE", "nOnE", "nonE", " none", "none ", "", "null", "NULL", "no\u{0}ne", "non\u{435}"]
    {
        let header = merged(world.signer.header(), json!({ "alg": alg })).to_string();
        let message = format!("{}.{}", encode(&header), encode(claims().to_string()));
        let signed = encode(world.signer.signature(message.as_bytes()));
        assert_eq!(world.verify(format!("{message}.")), Err(TokenError::NotCompact), "{alg:?}, empty signature");
        assert_eq!(world.verify(&message), Err(TokenError::NotCompact), "{alg:?}, no signature");
        assert_eq!(world.verify(format!("{message}.{signed}")), Err(TokenError::Algorithm), "{alg:?}, signed");
    }
    for alg in [json!(1), json!(true), json!(["ES256"]), json!({"ES256": 1})] {
        assert_eq!(world.header(json!({ "alg": alg })), Err(TokenError::Algorithm));
    }
    assert_eq!(world.header(json!({ "alg": null })), Err(TokenError::Algorithm));
}

#[test]
fn j2_refuses_hmac_keyed_with_the_public_key() {
    let signer = Signer::rsa(Algorithm::Rs256);
    let Signer::Rsa(pair, _) = &signer else { unreachable!() };
    let public = pair.public_key();
    let pem = public.to_pem().unwrap();
    let jwk = json!({"kty": "RSA", "n": encode(public.to_components().n), "e": "AQAB"}).to_string();
    let keys = [pem.clone().into_bytes(), pem.trim().as_bytes().to_vec(), signer.spki(), jwk.into_bytes()];
    let world = World::of(signer);
    for key in keys {
        for alg in ["HS256", "HS384", "HS512", "RS256"] {
            let header = json!({"alg": alg, "kid": "k1", "typ": "at+jwt"}).to_string();
            let message = format!("{}.{}", encode(header), encode(claims().to_string()));
            let tag = encode(hmac_sha256::HMAC::mac(message.as_bytes(), &key));
            let expected = if alg == "RS256" { TokenError::Signature } else { TokenError::Algorithm };
            assert_eq!(world.verify(format!("{message}.{tag}")), Err(expected), "{alg}");
        }
    }
}

#[test]
fn j2_refuses_another_algorithm_of_the_same_key() {
    let world = World::of(Signer::rsa(Algorithm::Rs256));
    for algorithm in [Algorithm::Rs384, Algorithm::Rs512, Algorithm::Ps256, Algorithm::Ps384, Algorithm::Ps512] {
        assert_eq!(world.verify(Signer::rsa(algorithm).token(&claims())), Err(TokenError::Algorithm), "{algorithm:?}");
    }
    assert_eq!(
        World::new().verify(Signer::Es384(ES384KeyPair::generate()).token(&claims())),
        Err(TokenError::Algorithm)
    );
}

#[test]
fn j3_refuses_a_header_that_brings_a_key() {
    let attacker = Signer::es256();
    let world = World::new();
    for name in ["jwk", "jku", "x5u", "x5c"] {
        for value in [json!({"kty": "EC"}), json!("https://evil.example/jwks"), json!(["MIIB"])] {
            let header = merged(attacker.header(), json!({ name: value })).to_string();
            let expected = Err(TokenError::HeaderParameter);
            assert_eq!(world.verify(attacker.sign(&header, &claims().to_string())), expected, "{name}, forged");
            assert_eq!(
                world.verify(world.signer.sign(&header, &claims().to_string())),
                expected,
                "{name}, well signed"
            );
        }
    }
    // A certificate digest is no key; it neither helps nor harms.
    let header = merged(attacker.header(), json!({"x5t": "AAAA", "x5t#S256": "BBBB"})).to_string();
    assert_eq!(world.verify(attacker.sign(&header, &claims().to_string())), Err(TokenError::Signature));
    assert!(world.verify(world.signer.sign(&header, &claims().to_string())).is_ok());
}

#[test]
fn j4_refuses_every_kid_but_the_exact_one() {
    let world = World::new();
    let unknown = [
        "K1",
        "k1 ",
        " k1",
        "k1\u{0}",
        "k",
        "k11",
        "../../dev/null",
        "/dev/null",
        "file:///etc/passwd",
        "k1' OR '1'='1",
        "'; DROP TABLE keys;--",
        "https://evil.example/key",
        "${jndi:ldap://x}",
        "%00",
        "\u{202e}1k",
        "\u{ff4b}1",
        "k1\n",
        "{}",
        "[]",
        "0",
        "null",
        "true",
        "k1,k1",
        "*",
        "../k1",
        "./k1",
    ];
    for kid in unknown {
        let expected = TokenError::UnknownKey { issuer: ISSUER.into(), kid: kid.into() };
        assert_eq!(world.header(json!({ "kid": kid })), Err(expected), "{kid:?}");
    }
    for kid in [
        json!(1),
        json!(true),
        json!(["k1"]),
        json!({"k1": 1}),
        json!(""),
        json!("k".repeat(257)),
        json!("k".repeat(6000)),
    ] {
        assert_eq!(world.header(json!({ "kid": kid })), Err(TokenError::KeyId), "{kid}");
    }
    assert_eq!(world.header(json!({ "kid": null })), Err(TokenError::KeyId));
    let header = r#"{"alg":"ES256","typ":"at+jwt","kid":null}"#;
    assert_eq!(world.verify(world.signer.sign(header, &claims().to_string())), Err(TokenError::KeyId));
}

#[test]
fn j4_drops_both_keys_of_a_kid_that_comes_twice() {
    let (one, two) = (Signer::es256(), Signer::es256());
    let issuers = Issuers::new([issuer(vec![one.public("k1"), two.public("k1"), two.public("k2")])]);
    for signer in [&one, &two] {
        let refused =
            verify(signer.token(&claims()).as_bytes(), &issuers, &ExternalIdentities::default(), NOW_MS, &NoHost);
        assert_eq!(refused, Err(TokenError::UnknownKey { issuer: ISSUER.into(), kid: "k1".into() }));
    }
    assert!(issuers.key(ISSUER, "k2").is_some());
}

#[test]
fn j6_refuses_what_changes_the_meaning_of_the_bytes() {
    let world = World::new();
    for extra in [
        json!({"crit": []}),
        json!({"crit": ["exp"], "exp": 1}),
        json!({"crit": ["b64"], "b64": true}),
        json!({"crit": ["b64"], "b64": false}),
        json!({"crit": ["urn:example:unknown"], "urn:example:unknown": 1}),
        json!({"crit": "b64"}),
        json!({"b64": false}),
        json!({"b64": true}),
        json!({"zip": "DEF"}),
        json!({"enc": "A256GCM"}),
        json!({"cty": "JWT"}),
        json!({"p2c": 1_000_000_000, "p2s": "AAAA"}),
    ] {
        assert_eq!(world.header(extra.clone()), Err(TokenError::HeaderParameter), "{extra}");
    }
    // The same, written with an escape.
    let header = r#"{"alg":"ES256","kid":"k1","typ":"at+jwt","\u0063rit":["b64"],"b64":false}"#;
    assert_eq!(world.verify(world.signer.sign(header, &claims().to_string())), Err(TokenError::HeaderParameter));
}

#[test]
fn j6_refuses_every_form_but_the_compact_one() {
    let world = World::new();
    let token = world.signer.token(&claims());
    let parts: Vec<&str> = token.split('.').collect();
    let (header, claims, signature) = (parts[0], parts[1], parts[2]);
    let flattened = json!({"protected": header, "payload": claims, "signature": signature}).to_string();
    let general = json!({"payload": claims, "signatures": [{"protected": header, "signature": signature}]}).to_string();
    for other in [
        flattened,
        general,
        format!("{header}.{claims}"),
        format!("{header}..{signature}"),
        format!(".{claims}.{signature}"),
        format!("{header}.{claims}.{signature}."),
        format!(".{header}.{claims}.{signature}"),
        format!("{header}.{claims}.{signature}.{signature}"),
        format!("{header}.{claims}.{header}.{claims}.{signature}"),
        format!("{header}.{claims}.{signature}="),
        format!("{header}=.{claims}.{signature}"),
        format!("{header}.{claims}.{signature} "),
        format!(" {header}.{claims}.{signature}"),
        format!("{header}.{claims}.{signature}\n"),
        format!("{header}.{claims}\n.{signature}"),
        format!("{token},{token}"),
        format!("{token} {token}"),
        format!("\"{token}\""),
        "...".to_owned(),
        String::new(),
    ] {
        assert_eq!(world.verify(&other), Err(TokenError::NotCompact), "{other:?}");
    }
    assert_eq!(world.verify(b"\xff\xfe.\0.\x80"), Err(TokenError::NotCompact));
}

#[test]
fn j6_refuses_a_second_encoding_of_the_same_bytes() {
    let world = World::new();
    let token = world.signer.token(&claims());
    assert!(world.verify(&token).is_ok());
    // 64 bytes leave four spare bits in the last digit.
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = token.bytes().last().unwrap();
    let value = DIGITS.iter().position(|digit| *digit == last).unwrap();
    for spare in 1..16 {
        let other = format!("{}{}", &token[..token.len() - 1], DIGITS[value | spare] as char);
        assert_eq!(world.verify(other), Err(TokenError::NotCompact), "{spare}");
    }
    let standard = token.replace('-', "+").replace('_', "/");
    if standard != token {
        assert_eq!(world.verify(standard), Err(TokenError::NotCompact));
    }
}

#[test]
fn j7_refuses_names_that_come_twice() {
    let world = World::new();
    let header = world.signer.header().to_string();
    for twice in [
        r#""alg":"none""#,
        r#""alg":"ES256""#,
        r#""\u0061lg":"ES256""#,
        r#""kid":"k1""#,
        r#""kid":"k2""#,
        r#""typ":"JWT""#,
        r#""a":{"b":1,"b":1}"#,
    ] {
        let header = format!("{},{twice}}}", header.trim_end_matches('}'));
        assert_eq!(world.verify(world.signer.sign(&header, &claims().to_string())), Err(TokenError::Header), "{twice}");
    }
    let good = claims().to_string();
    for twice in [
        r#""sub":"bob-id""#,
        r#""s\u0075b":"bob-id""#,
        r#""\u0073\u0075\u0062":"alice-id""#,
        r#""iss":"https://other.example.com""#,
        r#""aud":"https://elsewhere.example.com""#,
        r#""exp":9999999999"#,
        r#""groups":["admin"]"#,
        r#""gr\u006fups":["admin"]"#,
        r#""scope":"admin""#,
        r#""email":"bob@example.com""#,
        r#""email_verified":true"#,
        r#""custom":{"role":"user","role":"admin"}"#,
        r#""custom":[{"a":{"role":"user","r\u006fle":"admin"}}]"#,
        r#""x":1,"x":1"#,
    ] {
        let claims = format!("{},{twice}}}", good.trim_end_matches('}'));
        assert_eq!(world.verify(world.signer.sign(&header, &claims)), Err(TokenError::Claims), "{twice}");
    }
}

#[test]
fn j7_refuses_what_is_not_one_json_object() {
    let world = World::new();
    let (header, good) = (world.signer.header().to_string(), claims().to_string());
    for text in ["", " ", "null", "[]", "\"x\"", "{", "{}{}", "{},", "\u{feff}{}", "{\"a\":1,}", "{a:1}"] {
        if !text.is_empty() {
            assert_eq!(world.verify(world.signer.sign(text, &good)), Err(TokenError::Header), "{text:?}");
            assert_eq!(world.verify(world.signer.sign(&header, text)), Err(TokenError::Claims), "{text:?}");
        }
    }
    assert_eq!(world.verify(world.signer.sign(&header, &format!("{good} x"))), Err(TokenError::Claims));
    assert_eq!(world.verify(world.signer.sign(&format!("{header}\0"), &good)), Err(TokenError::Header));
}

#[test]
fn j10_binds_a_key_to_its_issuer() {
    let (ours, theirs) = (Signer::es256(), Signer::es256());
    let mut other = issuer(vec![theirs.public("k2")]);
    other.issuer = OTHER_ISSUER.into();
    let issuers = Issuers::new([issuer(vec![ours.public("k1")]), other]);
    let check = |signer: &Signer, kid: &str, iss: Value| {
        let header = json!({"alg": "ES256", "kid": kid, "typ": "at+jwt"}).to_string();
        verify(
            signer.sign(&header, &claims_with(json!({ "iss": iss })).to_string()).as_bytes(),
            &issuers,
            &ExternalIdentities::default(),
            NOW_MS,
            &NoHost,
        )
    };
    assert!(check(&ours, "k1", json!(ISSUER)).is_ok());
    assert!(check(&theirs, "k2", json!(OTHER_ISSUER)).is_ok());
    let unknown = |issuer: &str, kid: &str| Err(TokenError::UnknownKey { issuer: issuer.into(), kid: kid.into() });
    assert_eq!(check(&theirs, "k2", json!(ISSUER)), unknown(ISSUER, "k2"));
    assert_eq!(check(&ours, "k1", json!(OTHER_ISSUER)), unknown(OTHER_ISSUER, "k1"));
    assert_eq!(check(&theirs, "k1", json!(ISSUER)), Err(TokenError::Signature));
    for iss in [
        json!(format!("{ISSUER}/")),
        json!(ISSUER.to_uppercase()),
        json!(ISSUER.replace("https", "http")),
        json!(format!(" {ISSUER}")),
        json!(format!("{ISSUER}\0")),
        json!(format!("{ISSUER}.evil.example")),
        json!("https://idp.ex\u{430}mple.com"),
        json!("https://idp.example.com:443"),
        json!(""),
        json!(1),
        json!([ISSUER]),
        json!({"iss": ISSUER}),
        json!(true),
        Value::Null,
    ] {
        assert_eq!(check(&ours, "k1", iss.clone()), Err(TokenError::Issuer), "{iss}");
    }
}

#[test]
fn j16_refuses_size_before_it_decodes() {
    let world = World::new();
    for kib in [17, 64, 256, 1024] {
        let token = world.signer.token(&claims_with(json!({"pad": "x".repeat(kib * 1024)})));
        assert_eq!(world.verify(token), Err(TokenError::TooLarge), "{kib} KiB of claims");
    }
    assert_eq!(world.header(json!({"pad": "x".repeat(8 * 1024)})), Err(TokenError::TooLarge));
    assert!(world.header(json!({"pad": "x".repeat(7 * 1024)})).is_ok());
    assert!(world.claims(json!({"pad": "x".repeat(11 * 1024)})).is_ok());
    assert_eq!(world.verify(".".repeat(MAX_TOKEN_BYTES)), Err(TokenError::NotCompact));
    assert_eq!(world.verify(".".repeat(MAX_TOKEN_BYTES + 1)), Err(TokenError::TooLarge));
}

#[test]
fn j16_refuses_depth() {
    let world = World::new();
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let (header, good) = (world.signer.header().to_string(), claims().to_string());
    for levels in [32, 200, 3000] {
        let deep = format!("{},\"x\":{}}}", good.trim_end_matches('}'), nested(levels));
        assert_eq!(world.verify(world.signer.sign(&header, &deep)), Err(TokenError::Claims), "{levels}");
        let deep = format!("{},\"x\":{}}}", header.trim_end_matches('}'), nested(levels));
        assert_eq!(world.verify(world.signer.sign(&deep, &good)), Err(TokenError::Header), "{levels}");
    }
    let deep = format!("{},\"x\":{}}}", good.trim_end_matches('}'), nested(31));
    assert!(world.verify(world.signer.sign(&header, &deep)).is_ok());
}
