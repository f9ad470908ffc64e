//! `type: external-identity`: what the users of an issuer without login act as.

use std::collections::BTreeMap;

use sallyport_caller as caller;

use crate::config::safe_url;
use crate::model::ExternalIdentity;
use crate::yaml::{Field, Fields, Flaw};

/// The longest claim name or value, in bytes.
const MAX_BYTES: usize = 256;

/// Claims that say which token it is, and not whose.
const NOT_OF_A_PERSON: [&str; 5] = ["exp", "iat", "iss", "jti", "nbf"];

/// The identity, and the line of its issuer, of which only the configuration knows whether it may be named.
pub(super) fn external_identity(fields: &Fields<'_>, name: &str) -> Option<(ExternalIdentity, u32)> {
    fields.optional("description").and_then(|field| field.text());
    let issuer = fields.required("issuer", "write the exact `iss` of one of the issuers in the configuration");
    let claims = fields.optional("claims").map_or_else(BTreeMap::new, |field| claims(&field));
    let verifier_url = fields.optional("verifier_url").and_then(|field| field.parse(safe_url));
    let issuer = issuer?;
    let rule = caller::ExternalIdentity { name: name.to_owned(), issuer: issuer.text()?.to_owned(), claims };
    Some((ExternalIdentity { rule, verifier_url }, issuer.line()))
}

fn claims(field: &Field<'_>) -> BTreeMap<String, String> {
    let entries = field.entries();
    let read = |(claim, value): &(&str, Field<'_>)| {
        if let Err(flaw) = nameable(claim) {
            value.report(flaw);
        }
        if !value.is_text() {
            // In quotes it would be accepted, and match no token.
            value.report(Flaw::new(
                "is not text: a claim that is a number, `true`, `false` or a list is not compared",
                "name a claim that the issuer sends as text, and quote its value",
            ));
            return None;
        }
        Some(((*claim).to_owned(), value.parse(comparable)?))
    };
    entries.iter().filter_map(read).collect()
}

fn nameable(claim: &str) -> Result<(), Flaw> {
    if NOT_OF_A_PERSON.contains(&claim) {
        let message = format!("`{claim}` says which token it is, and not whose");
        return Err(Flaw::new(message, "name a claim about the user, for example `tenant`"));
    }
    if claim.is_empty() || claim.len() > MAX_BYTES || claim.chars().any(char::is_control) {
        return Err(Flaw::new("is no name of a claim", "write the claim's name as it stands in the token"));
    }
    Ok(())
}

fn comparable(text: &str) -> Result<String, Flaw> {
    if text.len() > MAX_BYTES || text.chars().any(char::is_control) {
        return Err(Flaw::new(
            format!("is longer than {MAX_BYTES} bytes, or holds a control character"),
            "write the value exactly as it stands in the token",
        ));
    }
    Ok(text.to_owned())
}
