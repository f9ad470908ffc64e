//! Threat rows about claims: J8, J11, and what a token may say of its subject.

use super::*;

#[test]
fn j8_refuses_dates_that_are_not_whole_seconds() {
    let world = World::new();
    let header = world.signer.header().to_string();
    let good = claims_with(json!({"exp": null, "iat": null})).to_string();
    for name in ["exp", "iat", "nbf"] {
        for value in [
            "null",
            "\"1800003600\"",
            "1800003600.5",
            "1800003600.0",
            "1e30",
            "1.8e9",
            "-1",
            "-1800003600",
            "9223372036854775808",
            "18446744073709551615",
            "18446744073709551616",
            "253402300800",
            "1800003600000",
            "true",
            "[1800003600]",
            "{}",
        ] {
            let exp = if name == "exp" { String::new() } else { format!(",\"exp\":{}", NOW + 60) };
            let claims = format!("{},\"{name}\":{value}{exp}}}", good.trim_end_matches('}'));
            assert_eq!(world.verify(world.signer.sign(&header, &claims)), Err(TokenError::Expiry), "{name}: {value}");
        }
    }
    assert_eq!(world.claims(json!({"exp": null})), Err(TokenError::Expiry));
    assert_eq!(world.claims(json!({"exp": 0, "iat": 0})), Err(TokenError::Expired));
}

#[test]
fn j8_leeway_is_sixty_seconds_and_no_more() {
    let world = World::new();
    let old = NOW - 600;
    assert!(world.claims(json!({"exp": NOW - 30, "iat": old})).is_ok());
    assert!(world.claims(json!({"exp": NOW - 59, "iat": old})).is_ok());
    assert_eq!(world.claims(json!({"exp": NOW - 60, "iat": old})), Err(TokenError::Expired));
    assert_eq!(world.claims(json!({"exp": NOW - 61, "iat": old})), Err(TokenError::Expired));
    assert!(world.claims(json!({"nbf": NOW + 60})).is_ok());
    assert_eq!(world.claims(json!({"nbf": NOW + 61})), Err(TokenError::NotYetValid));
    assert_eq!(world.claims(json!({"nbf": NOW + 840})), Err(TokenError::NotYetValid));
    assert!(world.claims(json!({"iat": NOW + 60})).is_ok());
    assert_eq!(world.claims(json!({"iat": NOW + 61})), Err(TokenError::IssuedInFuture));
    assert_eq!(world.claims(json!({"iat": NOW - 10, "exp": NOW - 20})), Err(TokenError::IssuedInFuture));
}

#[test]
fn j8_caps_the_lifetime() {
    let world = World::new();
    let day = 24 * 3600;
    assert!(world.claims(json!({"iat": NOW, "exp": NOW + day})).is_ok());
    assert_eq!(world.claims(json!({"iat": NOW, "exp": NOW + day + 1})), Err(TokenError::Lifetime));
    assert_eq!(world.claims(json!({"iat": NOW - day, "exp": NOW + 1})), Err(TokenError::Lifetime));
    assert_eq!(world.claims(json!({"iat": 0, "exp": NOW + 1})), Err(TokenError::Lifetime));
    assert_eq!(world.claims(json!({"exp": 253_402_300_799_u64})), Err(TokenError::Lifetime));
    // Without a date of issue, what is left of the life is capped.
    assert!(world.claims(json!({"iat": null, "exp": NOW + day})).is_ok());
    assert_eq!(world.claims(json!({"iat": null, "exp": NOW + day + 1})), Err(TokenError::Lifetime));
}

#[test]
fn j11_refuses_other_kinds_of_token_by_type() {
    let (strict, plain) = (World::new(), World::plain());
    for typ in [
        "logout+jwt",
        "dpop+jwt",
        "secevent+jwt",
        "entity-statement+jwt",
        "oauth-authz-req+jwt",
        "token-introspection+jwt",
        "application/logout+jwt",
        "id+jwt",
        "JWS",
        "JOSE",
        "",
        "at+jwt ",
        " at+jwt",
        "xat+jwt",
        "at jwt",
        "text/at+jwt",
    ] {
        assert_eq!(strict.header(json!({ "typ": typ })), Err(TokenError::Type), "{typ:?}");
        assert_eq!(plain.header(json!({ "typ": typ })), Err(TokenError::Type), "{typ:?}");
    }
    for world in [&strict, &plain] {
        assert_eq!(world.header(json!({"typ": 1})), Err(TokenError::Type));
        assert_eq!(world.header(json!({"typ": ["at+jwt"]})), Err(TokenError::Type));
        for typ in ["at+jwt", "AT+JWT", "application/at+jwt"] {
            assert!(world.header(json!({ "typ": typ })).is_ok(), "{typ}");
        }
    }
    for typ in ["JWT", "jwt"] {
        assert_eq!(strict.header(json!({ "typ": typ })), Err(TokenError::Type));
        assert!(plain.header(json!({ "typ": typ })).is_ok());
    }
    assert_eq!(strict.header(json!({"typ": null})), Err(TokenError::Type));
    assert!(plain.header(json!({"typ": null})).is_ok());
}

#[test]
fn j11_refuses_id_and_logout_tokens_where_types_are_not_told_apart() {
    let plain = World::plain();
    for other in [
        json!({"nonce": "n"}),
        json!({"nonce": ""}),
        json!({"at_hash": "h"}),
        json!({"c_hash": "h"}),
        json!({"s_hash": "h"}),
        json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}),
        json!({"token_use": "id"}),
        json!({"typ": "ID"}),
        json!({"typ": "Refresh"}),
        json!({"typ": "Logout"}),
        json!({"typ": 1}),
        json!({"token_use": ["access"]}),
    ] {
        assert_eq!(plain.claims(other.clone()), Err(TokenError::Type), "{other}");
    }
    assert!(plain.claims(json!({"typ": "Bearer", "token_use": "access"})).is_ok());
}

#[test]
fn refuses_a_subject_that_is_no_name() {
    let world = World::new();
    for sub in [
        json!(""),
        json!(1),
        json!(true),
        json!(["alice-id"]),
        json!({}),
        json!("a\nb"),
        json!("a\0b"),
        json!("x".repeat(257)),
    ] {
        assert_eq!(world.claims(json!({ "sub": sub })), Err(TokenError::Subject), "{sub}");
    }
    assert_eq!(world.claims(json!({"sub": null})), Err(TokenError::Subject));
    assert!(world.claims(json!({"sub": "x".repeat(256)})).is_ok());
    let by_oid = World::with(|issuer| issuer.subject_claim = "oid".into());
    assert_eq!(by_oid.claims(json!({})), Err(TokenError::Subject));
    assert_eq!(by_oid.claims(json!({"oid": "o-1"})).unwrap().subject(), "o-1");
}

#[test]
fn names_no_user_by_an_address_that_is_not_verified() {
    let world = World::new();
    let only_everyone = |caller: Caller| assert_eq!(caller.subjects(), ["team:everyone"]);
    for change in [
        json!({"email_verified": false}),
        json!({"email_verified": null}),
        json!({"email_verified": "true"}),
        json!({"email_verified": 1}),
        json!({"email": null}),
        json!({"email": ["alice@example.com"]}),
        json!({"email": "root@evil.example@example.com"}),
        json!({"email": "alic\u{212a}@example.com"}),
        json!({"email": ""}),
    ] {
        let mut change = change;
        change["groups"] = json!([]);
        only_everyone(world.claims(change).unwrap());
    }
    only_everyone(World::with(|issuer| issuer.login = false).claims(json!({"groups": []})).unwrap());
    only_everyone(World::with(|issuer| issuer.email_claim = None).claims(json!({"groups": []})).unwrap());
    // Only the broker's own tokens name virtual accounts.
    only_everyone(world.claims(json!({"groups": [], "email": null, "virtual_account": "deploy"})).unwrap());
}

#[test]
fn reads_teams_as_one_name_or_a_list() {
    let world = World::new();
    let teams =
        |groups: Value| world.claims(json!({"email": null, "groups": groups})).map(|caller| caller.subjects().to_vec());
    assert_eq!(teams(json!("dev")).unwrap(), ["team:dev", "team:everyone"]);
    assert_eq!(teams(json!(["dev", "dev", "everyone"])).unwrap(), ["team:dev", "team:everyone"]);
    assert_eq!(teams(Value::Null).unwrap(), ["team:everyone"]);
    for groups in
        [json!(1), json!(["dev", 1]), json!([["dev"]]), json!({"dev": true}), json!([""]), json!(""), json!(["a\nb"])]
    {
        assert_eq!(teams(groups.clone()), Err(TokenError::Teams), "{groups}");
    }
    let without = World::with(|issuer| issuer.teams_claim = None);
    assert_eq!(without.claims(json!({"email": null})).unwrap().subjects(), ["team:everyone"]);
}

#[test]
fn own_tokens_name_users_and_virtual_accounts_and_need_an_id() {
    let own = World::with(|issuer| {
        issuer.self_issued = true;
        issuer.login = false;
        issuer.email_claim = None;
        issuer.teams_claim = None;
    });
    let caller = own.claims(json!({})).unwrap();
    assert_eq!(caller.subjects(), ["user:alice@example.com", "team:everyone"]);
    assert!(caller.self_issued());
    let account = own.claims(json!({"virtual_account": "deploy"})).unwrap();
    assert_eq!(account.subjects(), ["virtualaccount:deploy", "team:everyone"]);
    assert_eq!(own.claims(json!({"jti": null})), Err(TokenError::ClaimShape));
    for name in [json!(""), json!(1), json!(["deploy"])] {
        assert_eq!(own.claims(json!({ "virtual_account": name })), Err(TokenError::ClaimShape));
    }
}

#[test]
fn refuses_claims_of_the_wrong_type() {
    let world = World::new();
    for change in [
        json!({"jti": 1}),
        json!({"jti": ""}),
        json!({"client_id": ["a"]}),
        json!({"scope": 1}),
        json!({"scope": ["a", 1]}),
        json!({"scope": {"a": 1}}),
    ] {
        assert_eq!(world.claims(change.clone()), Err(TokenError::ClaimShape), "{change}");
    }
    for aud in [json!(1), json!([RESOURCE, 1]), json!({RESOURCE: 1}), json!([[RESOURCE]]), json!(true)] {
        assert_eq!(world.claims(json!({ "aud": aud })), Err(TokenError::Audience), "{aud}");
    }
    assert_eq!(world.claims(json!({"scope": null, "scp": ["a b", "c"]})).unwrap().scopes(), ["a", "b", "c"]);
    assert_eq!(world.claims(json!({"client_id": null, "azp": "app"})).unwrap().client_id(), Some("app"));
}
