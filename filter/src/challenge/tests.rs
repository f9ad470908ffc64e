use super::*;
use crate::world;

fn challenge(values: &[&str]) -> Challenge {
    let pairs: Vec<_> = values.iter().map(|value| ("www-authenticate", *value)).collect();
    Challenge::of(&world::head(&pairs))
}

fn error(value: &str) -> Option<ChallengeError> {
    challenge(&[value]).error
}

#[test]
fn the_error_of_a_bearer_challenge_is_read_wherever_it_stands() {
    for value in [
        r#"Bearer error="invalid_token""#,
        "Bearer error=invalid_token",
        "bearer Error = invalid_token",
        r#"Bearer realm="x",error="invalid_token""#,
        r#"Bearer realm="x", error="invalid_token", error_description="expired""#,
        r#"Bearer realm="say \"error=insufficient_scope\"", error="invalid_token""#,
        r#"Basic realm="y", Bearer error="invalid_token""#,
        r#"Negotiate Y/Jj+==, Bearer error="invalid_token""#,
        r#"Bearer, Bearer error="invalid_token""#,
        r#"Bearer error="nonsense", Bearer error="invalid_token""#,
    ] {
        assert_eq!(error(value), Some(ChallengeError::InvalidToken), "{value}");
    }
    assert_eq!(challenge(&["Basic", "Bearer error=invalid_request"]).error, Some(ChallengeError::InvalidRequest));
    assert_eq!(challenge(&["Bearer", "Bearer error=insufficient_scope"]).error.unwrap().code(), "insufficient_scope");
}

#[test]
fn what_is_no_code_of_rfc_6750_or_of_no_bearer_challenge_is_nothing() {
    for value in [
        "",
        "Bearer",
        "error=",
        r#"error="invalid_token""#,
        r#"Bearer error="""#,
        r#"Bearer error="invalid_tokens""#,
        r#"Bearer error="INVALID_TOKEN""#,
        r#"Bearer error="invalid_token"#,
        r#"Bearer my_error="invalid_token""#,
        r#"Bearer error_description="invalid_token""#,
        r#"Bearer realm="x error=invalid_token""#,
        r#"Bearer error="<script>""#,
        r#"Basic error="invalid_token""#,
        r#"Bearer realm="x", Basic error="invalid_token""#,
        "\u{e4} Bearer error=invalid_token",
    ] {
        assert_eq!(error(value), None, "{value}");
    }
    assert_eq!(challenge(&[]), Challenge::default());
}

#[test]
fn the_scope_beside_the_error_is_read_with_it() {
    for (value, scope) in [
        (r#"Bearer error="insufficient_scope", scope="repo read:org""#, "repo read:org"),
        (r#"Bearer scope="repo", error="insufficient_scope", resource_metadata="https://x/a,b""#, "repo"),
        ("Bearer error=insufficient_scope, scope=repo", "repo"),
        (r#"Bearer scope="other", Bearer error="insufficient_scope", scope="repo""#, "repo"),
        (r#"Bearer error="insufficient_scope", Basic scope="other""#, ""),
        (r#"Bearer error="insufficient_scope""#, ""),
        (
            r#"Bearer error="insufficient_scope", scope="https://www.googleapis.com/auth/drive""#,
            "https://www.googleapis.com/auth/drive",
        ),
    ] {
        let read = challenge(&[value]);
        assert_eq!((read.error, read.scope.as_str()), (Some(ChallengeError::InsufficientScope), scope), "{value}");
    }
}

#[test]
fn a_scope_that_is_no_list_of_scope_tokens_is_none() {
    let long = "a".repeat(LONGEST_SCOPE + 1);
    for scope in ["", " ", "a  b", " a", "a ", r"a\\b", r#"a\"b"#, "a\tb", "a\u{7f}", "\u{e4}", "a\u{0}", &long] {
        let value = format!(r#"Bearer error="insufficient_scope", scope="{scope}""#);
        let read = challenge(&[&value]);
        assert_eq!((read.error, read.scope.as_str()), (Some(ChallengeError::InsufficientScope), ""), "{scope:?}");
    }
    let longest = "a".repeat(LONGEST_SCOPE);
    assert_eq!(challenge(&[&format!("Bearer error=insufficient_scope, scope={longest}")]).scope, longest);
}

#[test]
fn i10_no_challenge_traps_the_reader() {
    let whole = br#"Basic realm="a\"b", Bearer error = "insufficient_scope" ,scope="a b"; , Negotiate YQ=="#;
    for cut in 0..=whole.len() {
        read(&whole[..cut]);
        read(&whole[cut..]);
        let mut changed = whole.to_vec();
        if let Some(byte) = changed.get_mut(cut) {
            *byte = 0xff;
        }
        read(&changed);
    }
}
