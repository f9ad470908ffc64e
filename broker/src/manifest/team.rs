//! `type: team`: whom the name of a team stands for.

use super::subject::{EVERYONE, email};
use crate::yaml::{Fields, Flaw};

/// Members, lower case and sorted. A team without members is one that nobody is in.
pub(super) fn members(fields: &Fields<'_>, name: &str) -> Vec<String> {
    if name == EVERYONE {
        fields.report(Flaw::new("`team:everyone` is built in: every caller is in it", "choose another name"));
    }
    let field = fields.required("members", "list e-mail addresses, for example `members: [alice@example.com]`");
    let mut members: Vec<String> = Vec::new();
    for item in field.iter().flat_map(|field| field.list()) {
        match item.parse(email) {
            Some(email) if members.contains(&email) => {
                item.report(Flaw::new(format!("`{email}` is listed twice"), "remove one"))
            }
            Some(email) => members.push(email),
            None => {}
        }
    }
    members.sort();
    members
}
