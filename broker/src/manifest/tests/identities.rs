//! External identities and virtual accounts, and everything that may be wrong with them.

use super::*;

const SHOP: &str = r#"type: external-identity
name: shop-customers
description: Customers of the shop.
issuer: https://shop.example/
claims:
  tenant: acme
  "https://shop.example/plan": "42"
verifier_url: https://shop.example/confirm
"#;

const RUNTIME: &str = "type: virtual-account
name: runtime
description: Runs at night.
owners:
  - user:Bob@example.com
  - user:alice@example.com
";

#[test]
fn an_external_identity_is_read_as_written() {
    let manifest = good(SHOP).remove(0);
    let (identity, line) = manifest.external_identity.clone().unwrap();
    assert_eq!((line, identity.rule.name.as_str()), (4, "shop-customers"));
    assert_eq!(identity.rule.issuer, "https://shop.example/", "to the byte");
    let claims = [("https://shop.example/plan", "42"), ("tenant", "acme")];
    assert_eq!(identity.rule.claims, claims.map(|(claim, value)| (claim.to_owned(), value.to_owned())).into());
    assert_eq!(identity.verifier_url.unwrap().as_str(), "https://shop.example/confirm");
    let again = stored("shop-customers", &manifest.body, &tenant("demo"));
    assert_eq!(again.manifests[0].external_identity.clone().map(|(identity, _)| identity.rule), Some(identity.rule));
    good(&SHOP.replace("https://shop.example/confirm", "http://127.0.0.1:9/confirm"));
    let least = good("type: external-identity\nname: shop\nissuer: https://shop.example\n").remove(0);
    assert!(least.external_identity.is_some_and(|(one, _)| one.rule.claims.is_empty() && one.verifier_url.is_none()));
}

#[test]
fn a_virtual_account_has_owners() {
    let owners = |text: &str| good(text).remove(0).virtual_account.unwrap().owners;
    assert_eq!(owners(RUNTIME), ["user:alice@example.com", "user:bob@example.com"]);
    assert!(owners("type: virtual-account\nname: runtime\nowners: []\n").is_empty());
}

/// One row a flaw: what is replaced in a good manifest, by what, and what is told about which line and field.
#[test]
fn refuses_flaws_of_identities_and_accounts_with_line_field_and_reason() {
    let plan = "claims.https://shop.example/plan";
    let long = format!("tenant: {}", "a".repeat(257));
    let rows: &[(&str, &str, &str, u32, &str, &str)] = &[
        (SHOP, "name: shop-customers", "name: Shop", 2, "name", "is not a name"),
        (SHOP, "name: shop-customers", "#", 1, "name", "is missing"),
        (SHOP, "issuer: https://shop.example/", "#", 1, "issuer", "is missing"),
        (SHOP, "https://shop.example/\n", "''\n", 4, "issuer", "is empty"),
        (SHOP, "https://shop.example/\n", "[https://shop.example/]\n", 4, "issuer", "must be text"),
        (SHOP, "issuer:", "sso_fqn: x\nissuer:", 4, "sso_fqn", "unknown field"),
        (SHOP, "claims:\n", "claim:\n", 5, "claim", "unknown field"),
        (SHOP, "  tenant: acme\n  \"https", "  - tenant: acme\n  - \"https", 5, "claims", "must be a mapping"),
        (SHOP, "tenant: acme", "tenant: 42", 6, "claims.tenant", "is not text"),
        (SHOP, "tenant: acme", "tenant: true", 6, "claims.tenant", "is not text"),
        (SHOP, "tenant: acme", "tenant: [acme]", 6, "claims.tenant", "is not text"),
        (SHOP, "tenant: acme", "tenant: {a: b}", 6, "claims.tenant", "is not text"),
        (SHOP, "tenant: acme", "tenant:", 6, "claims.tenant", "is not text"),
        (SHOP, "tenant: acme", "tenant: ''", 6, "claims.tenant", "is empty"),
        (SHOP, "tenant: acme", "tenant: \"a\\nb\"", 6, "claims.tenant", "control character"),
        (SHOP, "tenant: acme", &long, 6, "claims.tenant", "longer than 256"),
        (SHOP, "tenant: acme", "'': acme", 6, "claims.", "no name of a claim"),
        (SHOP, "tenant: acme", "iss: acme", 6, "claims.iss", "says which token it is"),
        (SHOP, "tenant: acme", "jti: acme", 6, "claims.jti", "says which token it is"),
        (SHOP, "\"42\"", "42", 7, plan, "is not text"),
        (SHOP, "https://shop.example/confirm", "http://shop.example/confirm", 8, "verifier_url", "plain http"),
        (SHOP, "https://shop.example/confirm", "https://u:p@shop.example/", 8, "verifier_url", "holds a user"),
        (SHOP, "https://shop.example/confirm", "javascript:alert(1)", 8, "verifier_url", "not an http"),
        (SHOP, "https://shop.example/confirm", "https://shop.example/#x", 8, "verifier_url", "has a fragment"),
        (SHOP, "https://shop.example/confirm", "/confirm", 8, "verifier_url", "not a URL"),
        (RUNTIME, "name: runtime", "name: run/time", 2, "name", "is not a name"),
        (RUNTIME, "owners:\n", "owner:\n", 1, "owners", "is missing"),
        (RUNTIME, "owners:\n", "owner:\n", 4, "owner", "unknown field"),
        (RUNTIME, "user:Bob@example.com", "bob@example.com", 5, "owners[0]", "is no person"),
        (RUNTIME, "user:Bob@example.com", "team:platform", 5, "owners[0]", "is no person"),
        (RUNTIME, "user:Bob@example.com", "virtualaccount:ci", 5, "owners[0]", "is no person"),
        (RUNTIME, "user:Bob@example.com", "external-identity:shop", 5, "owners[0]", "is no person"),
        (RUNTIME, "user:Bob@example.com", "user:bob", 5, "owners[0]", "no e-mail"),
        (RUNTIME, "user:Bob@example.com", "user:ALICE@example.com", 6, "owners[1]", "listed twice"),
        (RUNTIME, "owners:\n", "secrets: [x]\nowners:\n", 4, "secrets", "unknown field"),
    ];
    for (manifest, good, bad, line, field, message) in rows {
        assert!(manifest.contains(good), "{good}");
        let reading = demo(&manifest.replacen(good, bad, 1));
        let told =
            |problem: &Problem| problem.line == *line && problem.field == *field && problem.message.contains(message);
        assert!(reading.problems.iter().any(told), "{bad}: {:#?}", reading.problems);
    }
}
