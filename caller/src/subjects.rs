//! The names that policy knows a caller by, from the claims that its issuer is trusted to make.

use crate::claims;
use crate::external::ExternalIdentities;
use crate::issuer::Issuer;
use crate::json::{Members, Value};
use crate::token::TokenError;

/// Everybody whose token is good.
pub(crate) const EVERYONE: &str = "team:everyone";

/// The longest e-mail address, in bytes (RFC 5321 §4.5.3.1.3, less the angle brackets).
const MAX_EMAIL_BYTES: usize = 254;

/// `user:`, `virtualaccount:`, `external-identity:` and `team:` names, each once, `team:everyone` always.
pub(crate) fn of(
    claims: &Members<'_>,
    issuer: &Issuer,
    identities: &ExternalIdentities,
) -> Result<Vec<String>, TokenError> {
    let mut subjects = Vec::with_capacity(2);
    if let Some(name) = person_or_account(claims, issuer)? {
        subjects.push(name);
    }
    if let Some(identity) = identities.of(claims, issuer) {
        subjects.push(format!("external-identity:{}", identity.name));
    }
    subjects.extend(teams(claims, issuer)?.into_iter().map(|team| format!("team:{team}")));
    if !subjects.iter().any(|subject| subject == EVERYONE) {
        subjects.push(EVERYONE.to_owned());
    }
    Ok(subjects)
}

/// Names of the teams that an issuer says its subject is in, each once.
pub(crate) fn teams(claims: &Members<'_>, issuer: &Issuer) -> Result<Vec<String>, TokenError> {
    let mut teams = Vec::new();
    let Some(claim) = &issuer.teams_claim else { return Ok(teams) };
    for team in claims::texts(claims, claim).ok_or(TokenError::Teams)? {
        if !claims::is_name(team) {
            return Err(TokenError::Teams);
        }
        let team = team.clone().into_owned();
        if !teams.contains(&team) {
            teams.push(team);
        }
    }
    Ok(teams)
}

fn person_or_account(claims: &Members<'_>, issuer: &Issuer) -> Result<Option<String>, TokenError> {
    if issuer.self_issued {
        if claims.has("virtual_account") {
            let name = claims::name(claims, "virtual_account").ok_or(TokenError::ClaimShape)?;
            return Ok(Some(format!("virtualaccount:{name}")));
        }
        return Ok(verified_email(claims, "email").map(user));
    }
    // Anybody can be called anything at an issuer that is not the company's own.
    match &issuer.email_claim {
        Some(claim) if issuer.login => Ok(verified_email(claims, claim).map(user)),
        Some(_) | None => Ok(None),
    }
}

fn user(address: String) -> String {
    format!("user:{address}")
}

/// The address, in lower case, if the issuer says that it has verified it, and it is one beyond doubt.
pub(crate) fn verified_email(claims: &Members<'_>, claim: &str) -> Option<String> {
    let (Some(Value::Text(address)), Some(Value::Bool(true))) = (claims.get(claim), claims.get("email_verified"))
    else {
        return None;
    };
    is_plain_email(address).then(|| address.to_ascii_lowercase())
}

/// One `@`, ASCII, no quoting: what is left can be lower-cased without meeting another address (the Kelvin sign becomes
/// a `k`), and no mail system reads a second address into it.
fn is_plain_email(address: &str) -> bool {
    let Some((local, domain)) = address.split_once('@') else { return false };
    let is_local = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    let is_domain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    address.len() <= MAX_EMAIL_BYTES
        && !local.is_empty()
        && !domain.is_empty()
        && local.chars().all(is_local)
        && domain.chars().all(is_domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_addresses_that_two_systems_read_differently() {
        for address in [
            "",
            "@",
            "alice",
            "alice@",
            "@example.com",
            "a@b@example.com",
            "\"a@b\"@example.com",
            "alice@example.com ",
            "al ice@example.com",
            "alice@exam ple.com",
            "alice@example.com\0",
            "alice@example.com,bob@example.com",
            "<alice@example.com>",
            "alice(comment)@example.com",
            "alic\u{212a}@example.com",
            "\u{430}lice@example.com",
            "alice@ex\u{e4}mple.com",
            "alice@[127.0.0.1]",
        ] {
            assert!(!is_plain_email(address), "{address:?}");
        }
        assert!(!is_plain_email(&format!("{}@example.com", "a".repeat(250))));
        assert!(is_plain_email("First.Last+tag@sub.Example.com"));
    }
}
