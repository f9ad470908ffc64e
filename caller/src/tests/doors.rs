//! After verification: J9 (audience), J18 (a caller that was kept too long), scopes, passthrough, policy, revocation.

use super::*;

const DOOR: Door<'_> = Door { resource: RESOURCE, passthrough_audience: None };

fn enter(world: &World, changes: Value, door: &Door<'_>) -> Result<(), TokenError> {
    world.claims(changes).unwrap().enter(door, world.issuer(), NOW_MS).map(|_| ())
}

#[test]
fn j9_only_the_exact_audience_enters() {
    let world = World::new();
    for aud in [json!(RESOURCE), json!([RESOURCE]), json!(["https://elsewhere.example.com", RESOURCE])] {
        assert_eq!(enter(&world, json!({ "aud": aud }), &DOOR), Ok(()), "{aud}");
    }
    for aud in [
        Value::Null,
        json!([]),
        json!(""),
        json!([""]),
        json!("https://gate.example.com"),
        json!(format!("{RESOURCE}/")),
        json!(RESOURCE.trim_end_matches("server")),
        json!(RESOURCE.to_uppercase()),
        json!(format!("{RESOURCE}2")),
        json!(RESOURCE.replace("https", "http")),
        json!(RESOURCE.replace("echo", "other")),
        json!(format!(" {RESOURCE}")),
        json!(format!("{RESOURCE},https://x.example")),
        json!(format!("{RESOURCE}?x=1")),
        json!(format!("{RESOURCE}#")),
        json!("*"),
        json!(RESOURCE.replace("gate.", "gate.evil.")),
    ] {
        assert_eq!(enter(&world, json!({ "aud": aud }), &DOOR), Err(TokenError::Audience), "{aud}");
    }
}

#[test]
fn j9_a_token_of_one_server_does_not_open_another() {
    let other = RESOURCE.replace("echo", "files");
    let door = Door { resource: &other, passthrough_audience: None };
    assert_eq!(enter(&World::new(), json!({}), &door), Err(TokenError::Audience));
}

#[test]
fn j9_an_issuers_audience_enters_every_door_of_that_issuer() {
    let world = World::with(|issuer| issuer.audiences = vec!["api://agents".into(), String::new()]);
    assert_eq!(enter(&world, json!({"aud": "api://agents"}), &DOOR), Ok(()));
    assert_eq!(enter(&world, json!({"aud": "api://agents/"}), &DOOR), Err(TokenError::Audience));
    assert_eq!(enter(&world, json!({"aud": ""}), &DOOR), Err(TokenError::Audience));
    let caller = World::new().claims(json!({"aud": "api://agents"})).unwrap();
    let mut stranger = world.issuer().clone();
    stranger.issuer = OTHER_ISSUER.into();
    assert_eq!(caller.enter(&DOOR, &stranger, NOW_MS).err(), Some(TokenError::Issuer));
}

#[test]
fn i1_passthrough_demands_the_upstreams_audience_and_refuses_own_tokens() {
    let door = Door { resource: RESOURCE, passthrough_audience: Some("https://upstream.example.com/mcp") };
    let world = World::with(|issuer| issuer.audiences = vec!["api://agents".into()]);
    assert_eq!(enter(&world, json!({"aud": "https://upstream.example.com/mcp"}), &door), Ok(()));
    for aud in [json!(RESOURCE), json!("api://agents"), json!("https://upstream.example.com/mcp/"), json!([])] {
        assert_eq!(enter(&world, json!({ "aud": aud }), &door), Err(TokenError::Audience), "{aud}");
    }
    let own = World::with(|issuer| issuer.self_issued = true);
    let refused = enter(&own, json!({"aud": "https://upstream.example.com/mcp"}), &door);
    assert_eq!(refused, Err(TokenError::PassthroughOfOwn));
}

#[test]
fn refuses_a_scope_that_is_too_small() {
    let world = World::with(|issuer| issuer.required_scopes = vec!["mcp".into(), "tools".into()]);
    assert_eq!(enter(&world, json!({}), &DOOR), Ok(()));
    for scope in [json!("mcp"), json!("mcptools"), json!("MCP tools"), json!(""), Value::Null, json!("mcp,tools")] {
        assert_eq!(enter(&world, json!({ "scope": scope }), &DOOR), Err(TokenError::Scope), "{scope}");
    }
}

#[test]
fn j18_a_caller_that_was_kept_does_not_enter_after_its_expiry() {
    let world = World::new();
    let caller = world.claims(json!({"exp": NOW + 10})).unwrap();
    let enters_at = |seconds: u64| caller.enter(&DOOR, world.issuer(), seconds * 1000).map(|_| ());
    assert_eq!(enters_at(NOW + 69), Ok(()));
    assert_eq!(enters_at(NOW + 70), Err(TokenError::Expired));
    assert_eq!(enters_at(NOW + 1_000_000), Err(TokenError::Expired));
    assert_eq!(caller.enter(&DOOR, world.issuer(), u64::MAX).err(), Some(TokenError::Expired));
}

#[test]
fn j18_another_signature_on_the_same_words_is_another_token() {
    let world = World::new();
    let token = world.signer.token(&claims());
    assert!(world.verify(&token).is_ok());
    let forged = Signer::es256().token(&claims());
    let same_words = format!("{}.{}", token.rsplit_once('.').unwrap().0, forged.rsplit_once('.').unwrap().1);
    assert_eq!(world.verify(same_words), Err(TokenError::Signature));
}

struct Nobody;

impl Teams for Nobody {
    fn teams_of(&self, _: &str) -> &[String] {
        &[]
    }
}

struct OnCall(Vec<String>);

impl Teams for OnCall {
    fn teams_of(&self, subject: &str) -> &[String] {
        if subject == "user:alice@example.com" { &self.0 } else { &[] }
    }
}

#[test]
fn i8_policy_that_does_not_name_the_caller_denies() {
    let world = World::new();
    let caller = world.claims(json!({})).unwrap();
    let decide = |subjects: &[&str], teams: &dyn Teams| {
        let entered = caller.enter(&DOOR, world.issuer(), NOW_MS).unwrap();
        entered.authorize(&Policy::new(subjects.iter().copied()), teams).map(|_| ())
    };
    for subjects in [
        &[] as &[&str],
        &[""],
        &["user:bob@example.com"],
        &["user:Alice@Example.com"],
        &["alice@example.com"],
        &["team:admins"],
        &["dev"],
        &["team:"],
        &["user:alice@example.com "],
        &["virtualaccount:alice@example.com"],
        &["everyone"],
        &["*"],
        &["user:*"],
        &["team:user:alice@example.com"],
    ] {
        assert_eq!(decide(subjects, &Nobody), Err(PolicyDenied), "{subjects:?}");
    }
    for subject in ["user:alice@example.com", "team:dev", "team:ops", "team:everyone"] {
        assert_eq!(decide(&["user:bob@example.com", subject], &Nobody), Ok(()), "{subject}");
    }
    let on_call = OnCall(vec!["on-call".into()]);
    assert_eq!(decide(&["team:on-call"], &on_call), Ok(()));
    assert_eq!(decide(&["on-call"], &on_call), Err(PolicyDenied));
    assert_eq!(decide(&["team:on-call"], &Nobody), Err(PolicyDenied));
}

#[test]
fn allowed_names_the_caller() {
    let world = World::new();
    let caller = world.claims(json!({})).unwrap();
    let entered = caller.enter(&DOOR, world.issuer(), NOW_MS).unwrap();
    let allowed = entered.authorize(&Policy::new(["team:everyone"]), &Nobody).unwrap();
    assert_eq!((allowed.issuer(), allowed.subject()), (ISSUER, "alice-id"));
}

#[test]
fn i11_revokes_one_token_or_all_before_a_moment() {
    let world = World::new();
    let caller = world.claims(json!({})).unwrap();
    let undated = world.claims(json!({"iat": null, "jti": null})).unwrap();
    let revoked = |edit: &dyn Fn(&mut Revocations), caller: &Caller| {
        let mut revocations = Revocations::default();
        edit(&mut revocations);
        revocations.revokes(caller)
    };
    let issued = NOW_MS - 10_000;
    assert!(revoked(&|all| all.revoke_token(ISSUER, "t-1"), &caller));
    assert!(revoked(&|all| all.revoke_subject(ISSUER, "alice-id", issued + 1), &caller));
    assert!(revoked(&|all| all.revoke_subject(ISSUER, "alice-id", 1), &undated));
    let later_then_earlier = |all: &mut Revocations| {
        all.revoke_subject(ISSUER, "alice-id", issued + 1);
        all.revoke_subject(ISSUER, "alice-id", 1);
    };
    assert!(revoked(&later_then_earlier, &caller));
    assert!(!revoked(&|_| (), &caller));
    assert!(!revoked(&|all| all.revoke_token(OTHER_ISSUER, "t-1"), &caller));
    assert!(!revoked(&|all| all.revoke_token(ISSUER, "t-2"), &caller));
    assert!(!revoked(&|all| all.revoke_subject(ISSUER, "alice-id", issued), &caller));
    assert!(!revoked(&|all| all.revoke_subject(ISSUER, "bob-id", u64::MAX), &caller));
    assert!(!revoked(&|all| all.revoke_subject(OTHER_ISSUER, "alice-id", u64::MAX), &caller));
}

#[test]
fn a_resolved_key_verifies_for_its_issuer_only() {
    let (known, found) = (Signer::es256(), Signer::es256());
    let issuers = Issuers::new([issuer(vec![known.public("k1")])]);
    let header = json!({"alg": "ES256", "kid": "k2", "typ": "at+jwt"}).to_string();
    let token = found.sign(&header, &claims().to_string());
    let attempt =
        |issuers: &Issuers| verify(token.as_bytes(), issuers, &ExternalIdentities::default(), NOW_MS, &NoHost);
    assert!(matches!(attempt(&issuers), Err(TokenError::UnknownKey { .. })));
    assert!(matches!(attempt(&issuers.with_key(OTHER_ISSUER, found.public("k2"))), Err(TokenError::UnknownKey { .. })));
    assert!(attempt(&issuers.with_key(ISSUER, found.public("k2"))).is_ok());
    assert_eq!(issuers.with_key(ISSUER, found.public("k2")).get(ISSUER).unwrap().keys.len(), 2);
}
