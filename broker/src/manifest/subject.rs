//! Subjects: the names policy speaks of.

use crate::config::name;
use crate::yaml::{Field, Flaw};

/// The built-in team of every caller.
pub(super) const EVERYONE: &str = "everyone";

/// `user:<email>`, `team:<name>`, `virtualaccount:<name>` or `external-identity:<name>`, in the form policy compares.
pub(super) fn subject(field: &Field<'_>) -> Option<String> {
    if let Some(name) = field.text()?.strip_prefix("externalidentity:") {
        field.warn(Flaw::new(
            "`externalidentity:` is read as `external-identity:`",
            format!("write `external-identity:{name}`"),
        ));
    }
    field.parse(read)
}

fn read(text: &str) -> Result<String, Flaw> {
    let forms = "write `user:<email>`, `team:<name>`, `virtualaccount:<name>` or `external-identity:<name>`";
    let Some((kind, rest)) = text.split_once(':') else {
        return Err(Flaw::new(format!("`{}` is no subject", text.escape_debug()), forms));
    };
    match kind {
        "user" => email(rest).map(|email| format!("user:{email}")),
        "team" | "virtualaccount" | "external-identity" => name(rest).map(|name| format!("{kind}:{name}")),
        "externalidentity" => name(rest).map(|name| format!("external-identity:{name}")),
        _ => Err(Flaw::new(format!("`{}` is no kind of subject", kind.escape_debug()), forms)),
    }
}

/// An e-mail address in lower case, as claims are compared.
pub(crate) fn email(text: &str) -> Result<String, Flaw> {
    let flaw = || {
        Flaw::new(format!("`{}` is no e-mail address", text.escape_debug()), "write for example `alice@example.com`")
    };
    let (local, domain) = text.split_once('@').ok_or_else(flaw)?;
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '@' | ':' | ',' | ';' | '<' | '>' | '"' | '\\');
    if local.is_empty() || domain.is_empty() || text.len() > 254 || !local.chars().chain(domain.chars()).all(plain) {
        return Err(flaw());
    }
    Ok(text.to_ascii_lowercase())
}
