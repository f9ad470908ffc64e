//! `type: virtual-account`: who answers for it.

use super::subject::email;
use crate::model::VirtualAccount;
use crate::yaml::{Fields, Flaw};

/// An account without owners works at every server but those where a person must consent.
pub(super) fn virtual_account(fields: &Fields<'_>) -> VirtualAccount {
    fields.optional("description").and_then(|field| field.text());
    let field = fields.required("owners", "list people, for example `owners: [\"user:alice@example.com\"]`");
    let mut owners: Vec<String> = Vec::new();
    for item in field.iter().flat_map(|field| field.list()) {
        match item.parse(owner) {
            Some(owner) if owners.contains(&owner) => {
                item.report(Flaw::new(format!("`{owner}` is listed twice"), "remove one"));
            }
            Some(owner) => owners.push(owner),
            None => {}
        }
    }
    owners.sort();
    VirtualAccount { owners }
}

/// People only: whoever joins a team later has not agreed that the account acts as them.
fn owner(text: &str) -> Result<String, Flaw> {
    let Some(address) = text.strip_prefix("user:") else {
        let message = format!("`{}` is no person", text.escape_debug());
        return Err(Flaw::new(message, "write `user:<email>`; an account is owned by people, one by one"));
    };
    email(address).map(|email| format!("user:{email}"))
}
