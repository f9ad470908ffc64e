//! ID tokens: the answer to one request, to one client, of a login issuer; and nothing else is one.

use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::*;

const ACCESS_TOKEN: &[u8] = b"ya29.access";
const ASKED: Asked<'_> = Asked { issuer: ISSUER, client_id: "gate", nonce: "n-1", access_token: ACCESS_TOKEN };

fn id_claims(changes: Value) -> Value {
    let claims = json!({
        "iss": ISSUER, "sub": "alice-id", "aud": "gate", "iat": NOW - 10, "exp": NOW + 300, "nonce": "n-1",
        "email": "Alice@Example.com", "email_verified": true,
    });
    merged(claims, changes)
}

fn signed(world: &World, header: Value, changes: Value) -> Result<Person, IdTokenError> {
    let header = merged(json!({"alg": world.signer.algorithm().name(), "kid": "k1", "typ": "JWT"}), header);
    let token = world.signer.sign(&header.to_string(), &id_claims(changes).to_string());
    verify_id_token(token.as_bytes(), &ASKED, &world.issuers, NOW_MS)
}

fn refused(changes: Value) -> Option<IdTokenError> {
    signed(&World::new(), json!({}), changes).err()
}

#[test]
fn accepts_a_good_one_of_each_algorithm_with_its_own_hash() {
    for signer in Signer::each() {
        let name = signer.algorithm().name();
        let hash = match name {
            "RS256" | "PS256" | "ES256" => Sha256::digest(ACCESS_TOKEN).to_vec(),
            "RS384" | "PS384" | "ES384" => Sha384::digest(ACCESS_TOKEN).to_vec(),
            _ => Sha512::digest(ACCESS_TOKEN).to_vec(),
        };
        let world = World::of(signer);
        let person = signed(&world, json!({}), json!({"at_hash": encode(&hash[..hash.len() / 2])})).unwrap();
        assert_eq!((person.issuer(), person.subject()), (ISSUER, "alice-id"), "{name}");
        assert_eq!(person.email(), Some("alice@example.com"));
        let another = json!({"at_hash": encode(&hash[1..=hash.len() / 2])});
        assert_eq!(signed(&world, json!({}), another), Err(IdTokenError::AccessTokenHash), "{name}");
    }
}

#[test]
fn refuses_another_clients() {
    for (changes, expected) in [
        (json!({"aud": null}), TokenError::Audience.into()),
        (json!({"aud": "gate2"}), TokenError::Audience.into()),
        (json!({"aud": []}), TokenError::Audience.into()),
        (json!({"aud": 7}), TokenError::Audience.into()),
        (json!({"aud": RESOURCE}), TokenError::Audience.into()),
        (json!({"aud": ["gate", "other"]}), IdTokenError::AuthorizedParty),
        (json!({"aud": ["gate", "other"], "azp": "other"}), IdTokenError::AuthorizedParty),
        (json!({"azp": "other"}), IdTokenError::AuthorizedParty),
        (json!({"azp": ["gate"]}), IdTokenError::AuthorizedParty),
    ] {
        assert_eq!(refused(changes.clone()), Some(expected), "{changes}");
    }
    assert_eq!(refused(json!({"aud": ["gate", "other"], "azp": "gate"})), None);
}

#[test]
fn refuses_another_requests() {
    for nonce in [Value::Null, json!(""), json!("n-2"), json!("N-1"), json!(["n-1"]), json!(1)] {
        assert_eq!(refused(json!({ "nonce": nonce })), Some(IdTokenError::Nonce), "{nonce}");
    }
    for hash in [json!(""), json!("AAAA"), json!(7), json!(["x"])] {
        assert_eq!(refused(json!({ "at_hash": hash })), Some(IdTokenError::AccessTokenHash), "{hash}");
    }
}

#[test]
fn refuses_other_kinds_of_tokens() {
    for typ in ["at+jwt", "application/at+jwt", "logout+jwt", "secevent+jwt", ""] {
        let refused = signed(&World::new(), json!({"typ": typ}), json!({}));
        assert_eq!(refused, Err(TokenError::Type.into()), "{typ}");
    }
    for changes in
        [json!({"token_use": "access"}), json!({"typ": "Bearer"}), json!({"typ": "Refresh"}), json!({"typ": 1})]
    {
        assert_eq!(refused(changes.clone()), Some(TokenError::Type.into()), "{changes}");
    }
    assert_eq!(refused(json!({"typ": "ID", "token_use": "id"})), None);
}

#[test]
fn refuses_dates_that_do_not_hold() {
    for (changes, expected) in [
        (json!({"exp": null}), TokenError::Expiry),
        (json!({"exp": NOW - 61}), TokenError::Expired),
        (json!({"iat": null}), TokenError::Expiry),
        (json!({"iat": NOW + 61}), TokenError::IssuedInFuture),
        (json!({"nbf": NOW + 61}), TokenError::NotYetValid),
        (json!({"exp": NOW + 86_401}), TokenError::Lifetime),
    ] {
        assert_eq!(refused(changes.clone()), Some(expected.into()), "{changes}");
    }
}

#[test]
fn refuses_other_issuers_and_issuers_without_login() {
    assert_eq!(refused(json!({"iss": OTHER_ISSUER})), Some(TokenError::Issuer.into()));
    assert_eq!(refused(json!({"iss": format!("{ISSUER}/")})), Some(TokenError::Issuer.into()));
    let external = World::with(|issuer| issuer.login = false);
    assert_eq!(signed(&external, json!({}), json!({})), Err(TokenError::Issuer.into()));
    let own = World::with(|issuer| issuer.self_issued = true);
    assert_eq!(signed(&own, json!({}), json!({})), Err(TokenError::Issuer.into()));
}

#[test]
fn refuses_what_its_issuer_has_not_signed() {
    let (world, other) = (World::new(), World::new());
    let token = other.signer.sign(&json!({"alg": "ES256", "kid": "k1"}).to_string(), &id_claims(json!({})).to_string());
    let verify = |token: &str| verify_id_token(token.as_bytes(), &ASKED, &world.issuers, NOW_MS);
    assert_eq!(verify(&token), Err(TokenError::Signature.into()));
    for alg in ["none", "HS256"] {
        let token = world.signer.sign(&json!({"alg": alg, "kid": "k1"}).to_string(), &id_claims(json!({})).to_string());
        assert_eq!(verify(&token), Err(TokenError::Algorithm.into()), "{alg}");
    }
    let unknown = signed(&world, json!({"kid": "k2"}), json!({}));
    assert_eq!(unknown, Err(TokenError::UnknownKey { issuer: ISSUER.into(), kid: "k2".into() }.into()));
    assert_eq!(signed(&world, json!({"crit": ["x"]}), json!({})), Err(TokenError::HeaderParameter.into()));
}

#[test]
fn an_address_that_is_not_verified_names_nobody() {
    for changes in [json!({"email_verified": false}), json!({"email_verified": "true"}), json!({"email": "a@b@c"})] {
        let person = signed(&World::new(), json!({}), changes.clone()).unwrap();
        assert_eq!(person.email(), None, "{changes}");
    }
}

#[test]
fn j9_an_id_token_is_no_callers_and_a_callers_token_no_id_token() {
    let world = World::plain();
    let id_token =
        world.signer.sign(&json!({"alg": "ES256", "kid": "k1"}).to_string(), &id_claims(json!({})).to_string());
    assert_eq!(world.verify(&id_token), Err(TokenError::Type));
    let access_token = world.signer.token(&claims_with(json!({"aud": "gate", "nonce": "n-1"})));
    let refused = verify_id_token(access_token.as_bytes(), &ASKED, &world.issuers, NOW_MS);
    assert_eq!(refused, Err(TokenError::Type.into()));
}
