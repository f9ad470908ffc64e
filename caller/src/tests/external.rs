//! R10: which external identity a token stands for. Most tokens stand for none.

use super::*;
use crate::json::Members;
use crate::subjects;

fn identity(name: &str, issuer: &str, claims: &[(&str, &str)]) -> ExternalIdentity {
    let claims = claims.iter().map(|(claim, value)| ((*claim).to_owned(), (*value).to_owned())).collect();
    ExternalIdentity { name: name.into(), issuer: issuer.into(), claims }
}

/// A world whose issuer has no login, with these identities.
fn world(identities: impl IntoIterator<Item = ExternalIdentity>) -> World {
    let identities = ExternalIdentities::new(identities);
    World { identities, ..World::with(|issuer| issuer.login = false) }
}

fn subjects_of(world: &World, changes: Value) -> Vec<String> {
    world.claims(changes).unwrap().subjects().to_vec()
}

#[test]
fn a_token_of_an_external_issuer_acts_as_its_identity_and_never_as_a_user() {
    let world = world([identity("shop", ISSUER, &[])]);
    let expected = ["external-identity:shop", "team:dev", "team:ops", "team:everyone"];
    assert_eq!(subjects_of(&world, json!({})), expected);
}

#[test]
fn a_token_that_no_identity_matches_keeps_what_it_has() {
    let world = world([identity("acme", ISSUER, &[("tenant", "acme")]), identity("other", OTHER_ISSUER, &[])]);
    let expected = ["team:dev", "team:ops", "team:everyone"];
    assert_eq!(subjects_of(&world, json!({"tenant": "umbrella"})), expected);
}

#[test]
fn r10_a_claim_matches_its_exact_text_and_nothing_else() {
    let world = world([identity("acme", ISSUER, &[("tenant", "42")])]);
    for tenant in [
        json!(null),
        json!(42),
        json!(true),
        json!(["42"]),
        json!({"42": "42"}),
        json!(""),
        json!("4"),
        json!("42 "),
        json!(" 42"),
        json!("42\0"),
        json!("\u{ff14}2"),
    ] {
        assert!(!subjects_of(&world, json!({ "tenant": tenant })).contains(&"external-identity:acme".into()));
    }
    assert!(!subjects_of(&world, json!({"Tenant": "42"})).contains(&"external-identity:acme".into()));
    assert!(subjects_of(&world, json!({"tenant": "42"})).contains(&"external-identity:acme".into()));
}

#[test]
fn nobody_of_a_login_issuer_or_of_our_own_is_external() {
    let all = [identity("shop", ISSUER, &[])];
    let login = World { identities: ExternalIdentities::new(all.clone()), ..World::new() };
    let own = World::with(|issuer| (issuer.login, issuer.self_issued) = (false, true));
    let own = World { identities: ExternalIdentities::new(all), ..own };
    for world in [login, own] {
        assert!(!subjects_of(&world, json!({})).iter().any(|subject| subject.starts_with("external-identity:")));
    }
}

#[test]
fn a_claim_cannot_name_an_identity() {
    let world = world([]);
    let forged = json!({"groups": ["external-identity:shop"], "email": "external-identity:shop@example.com"});
    assert_eq!(subjects_of(&world, forged), ["team:external-identity:shop", "team:everyone"]);
    assert!(world.claims(json!({"external-identity": "shop"})).is_ok());
}

#[test]
fn changes_come_to_the_same_as_all_of_them_anew() {
    let [a, b, c] = ["a", "b", "c"].map(|name| identity(name, ISSUER, &[("tenant", name)]));
    let moved = identity("a", OTHER_ISSUER, &[]);
    let changed = ExternalIdentities::new([a, b]).with_changes(&["b".into()], [moved.clone(), c.clone()]);
    assert_eq!(changed, ExternalIdentities::new([c, moved]));
    assert_eq!(changed.with_changes(&["a".into(), "c".into()], []), ExternalIdentities::default());
}

/// The generator of Steele, Lea and Flood (SplitMix64): the same sequences in every run.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides as u64).unwrap()
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.throw(of.len())]
    }
}

const CLAIMS: [&str; 4] = ["tenant", "plan", "region", "Tenant"];
const TEXTS: [&str; 4] = ["a", "b", "A", "1"];

fn any_identity(dice: &mut Dice) -> ExternalIdentity {
    let name = *dice.one(&["zoo", "shop", "acme", "acme-2", "b"]);
    let issuer = *dice.one(&[ISSUER, ISSUER, OTHER_ISSUER, "https://idp.example.com/"]);
    let claims: Vec<_> = (0..dice.throw(4)).map(|_| (*dice.one(&CLAIMS), *dice.one(&TEXTS))).collect();
    identity(name, issuer, &claims)
}

/// The text of one claim's value; `1` and `"1"`, `"a"` and `"\u0061"` are there on purpose.
fn any_value(dice: &mut Dice) -> &'static str {
    dice.one::<&str>(&[
        r#""a""#,
        r#""\u0061""#,
        r#""b""#,
        r#""A""#,
        r#""1""#,
        "1",
        "null",
        "true",
        r#"["a"]"#,
        r#"{"a":"a"}"#,
    ])
}

/// Nobody who matches is better: by definition, with every pair looked at, and by another reader of JSON.
fn oracle(identities: &[ExternalIdentity], issuer: &Issuer, token: &str) -> Option<String> {
    let token: Value = serde_json::from_str(token).unwrap();
    let carries = |claim: &String, value: &String| token[claim.as_str()] == Value::String(value.clone());
    let matching: Vec<_> = identities
        .iter()
        .enumerate()
        .filter(|(at, one)| !identities[at + 1..].iter().any(|later| later.name == one.name))
        .map(|(_, one)| one)
        .filter(|one| one.issuer == issuer.issuer && one.claims.iter().all(|(claim, value)| carries(claim, value)))
        .collect();
    let loses = |one: &ExternalIdentity, to: &ExternalIdentity| {
        to.claims.len() > one.claims.len() || (to.claims.len() == one.claims.len() && to.name < one.name)
    };
    let best: Vec<_> = matching.iter().filter(|one| !matching.iter().any(|other| loses(one, other))).collect();
    assert!(best.len() <= 1, "exactly one, or none");
    best.first().filter(|_| !issuer.login && !issuer.self_issued).map(|one| format!("external-identity:{}", one.name))
}

#[test]
fn r10_a_simple_oracle_finds_the_same_identity_120_000_times() {
    let mut dice = Dice(7);
    let kinds = [(false, false), (false, false), (false, false), (true, false), (false, true)].map(|(login, own)| {
        let issuer = issuer(vec![]);
        Issuer { login, self_issued: own, email_claim: None, teams_claim: None, ..issuer }
    });
    let (mut chosen, mut none, mut disputed) = (0, 0, 0);
    for case in 0..120_000 {
        let identities: Vec<_> = (0..dice.throw(9)).map(|_| any_identity(&mut dice)).collect();
        let issuer = dice.one(&kinds);
        let members: Vec<_> = CLAIMS.iter().map(|claim| (dice.throw(4), claim, any_value(&mut dice))).collect();
        let members: Vec<_> = members.into_iter().filter(|(there, ..)| *there > 0).collect();
        let members: Vec<_> = members.iter().map(|(_, claim, value)| format!("\"{claim}\":{value}")).collect();
        let token = format!("{{{}}}", members.join(","));
        let expected = oracle(&identities, issuer, &token);
        let held = ExternalIdentities::new(identities.clone());
        let subjects = subjects::of(&Members::read(token.as_bytes()).unwrap(), issuer, &held).unwrap();
        let found: Vec<_> = subjects.into_iter().filter(|subject| subject != "team:everyone").collect();
        assert_eq!(found, Vec::from_iter(expected.clone()), "case {case}: {token} {issuer:?} {identities:?}");
        match expected {
            Some(name) => {
                chosen += 1;
                // Were the chosen one gone, another would do.
                let rest = identities.into_iter().filter(|one| format!("external-identity:{}", one.name) != name);
                disputed += usize::from(oracle(&rest.collect::<Vec<_>>(), issuer, &token).is_some());
            }
            None => none += 1,
        }
    }
    assert!(none > chosen && chosen > 15_000 && disputed > 3_000, "{none} none, {chosen} chosen, {disputed} disputed");
}
