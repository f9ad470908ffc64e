//! Secret references in values: `tfy-secret://<tenant>:<group>:<key>`, alone or inside other text.

use std::cell::RefCell;

use crate::model::{SecretRef, Template, TemplatePart, Tenant};
use crate::yaml::{Field, Flaw};

const SCHEME: &str = "tfy-secret://";
const FORM: &str = "write `tfy-secret://<tenant>:<group>:<key>`";

/// A secret that a manifest refers to, and where it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Which secret.
    pub secret: SecretRef,
    /// Line of the reference.
    pub line: u32,
    /// Path of the field that holds it.
    pub field: String,
}

/// What reading values needs to know, and what it finds.
pub(super) struct Context<'a> {
    tenant: &'a Tenant,
    references: RefCell<Vec<Reference>>,
}

impl<'a> Context<'a> {
    pub(super) fn of(tenant: &'a Tenant) -> Self {
        Self { tenant, references: RefCell::default() }
    }

    pub(super) fn into_references(self) -> Vec<Reference> {
        self.references.into_inner()
    }

    /// Text with the references in it; each is remembered.
    pub(super) fn template(&self, field: &Field<'_>) -> Option<Template> {
        let template = field.parse(|text| template(text, self.tenant))?;
        let found = template.0.iter().filter_map(|part| match part {
            TemplatePart::Secret(secret) => Some(secret.clone()),
            TemplatePart::Text(_) => None,
        });
        let place = |secret| Reference { secret, line: field.line(), field: field.path().to_owned() };
        self.references.borrow_mut().extend(found.map(place));
        Some(template)
    }

    /// Like [`Context::template`], for what is a secret: it must be a reference, or text with one in it.
    pub(super) fn secret(&self, field: &Field<'_>) -> Option<Template> {
        self.template(field).filter(|template| self.not_in_clear(field, template))
    }

    /// Reports a secret that stands there in clear, since manifests are kept and shown as given (I4).
    pub(super) fn not_in_clear(&self, field: &Field<'_>, template: &Template) -> bool {
        let refers = template.0.iter().any(|part| matches!(part, TemplatePart::Secret(_)));
        if !refers {
            field.report(Flaw::new(
                "holds a secret in clear",
                format!(
                    "keep it with `sallyport secret set GROUP:KEY --owner NAME` and write `{SCHEME}{}:GROUP:KEY` here",
                    self.tenant.0
                ),
            ));
        }
        refers
    }
}

/// What may stand between the colons of a reference.
pub(crate) fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

fn template(text: &str, tenant: &Tenant) -> Result<Template, Flaw> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(SCHEME) {
        let (before, found) = rest.split_at(at);
        push_text(&mut parts, before)?;
        let found = &found[SCHEME.len()..];
        let end = found.find(|c: char| !is_word(c) && c != ':').unwrap_or(found.len());
        let (reference, after) = found.split_at(end);
        parts.push(TemplatePart::Secret(secret_ref(reference, tenant)?));
        rest = after;
    }
    push_text(&mut parts, rest)?;
    Ok(Template(parts))
}

fn push_text(parts: &mut Vec<TemplatePart>, text: &str) -> Result<(), Flaw> {
    // A near miss would go upstream as it stands and be refused there, without a word why.
    let lower = text.to_ascii_lowercase();
    if lower.contains("tfy-secret") || lower.contains("tfy_secret") {
        return Err(Flaw::new("holds a secret reference that is not written as one", FORM));
    }
    if !text.is_empty() {
        parts.push(TemplatePart::Text(text.to_owned()));
    }
    Ok(())
}

fn secret_ref(reference: &str, tenant: &Tenant) -> Result<SecretRef, Flaw> {
    let words: Vec<_> = reference.split(':').collect();
    let [of, group, key] = words.as_slice() else {
        return Err(Flaw::new(format!("the secret reference has {} part(s), not three", words.len()), FORM));
    };
    if of.is_empty() || group.is_empty() || key.is_empty() {
        return Err(Flaw::new("the secret reference has an empty part", FORM));
    }
    if *of != tenant.0 {
        return Err(Flaw::new(
            format!("the secret is of tenant `{of}`, and this broker's tenant is `{}`", tenant.0),
            format!("write `{SCHEME}{}:{group}:{key}`", tenant.0),
        ));
    }
    Ok(SecretRef { group: (*group).to_owned(), key: (*key).to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Template, Flaw> {
        template(text, &Tenant("t".to_owned()))
    }

    #[test]
    fn a_reference_may_stand_inside_other_text() {
        let secret = TemplatePart::Secret(SecretRef { group: "g".into(), key: "k.1".into() });
        let text = |text: &str| TemplatePart::Text(text.into());
        assert_eq!(read("tfy-secret://t:g:k.1").unwrap().0, std::slice::from_ref(&secret));
        assert_eq!(read("Bearer tfy-secret://t:g:k.1").unwrap().0, [text("Bearer "), secret.clone()]);
        assert_eq!(
            read("a=tfy-secret://t:g:k.1;tfy-secret://t:g:k.1").unwrap().0,
            [text("a="), secret.clone(), text(";"), secret]
        );
    }

    #[test]
    fn refuses_what_is_almost_a_reference() {
        for text in [
            "tfy-secret://g:k",
            "tfy-secret://t:g",
            "tfy-secret://t:g:k:l",
            "tfy-secret://t::k",
            "tfy-secret://t:g:",
            "tfy-secret://",
            "tfy-secret:/t:g:k",
            "tfy-secret:t:g:k",
            "TFY-SECRET://t:g:k",
            "tfy_secret://t:g:k",
            "tfy-secret://u:g:k",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
