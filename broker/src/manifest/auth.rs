//! `auth_data` of an integration: how the gate authenticates to the server.

use url::Url;

use super::header::{header_name, header_value, is_secret};
use super::oauth2::oauth2;
use super::template::Context;
use crate::model::{Auth, Template};
use crate::yaml::{Field, Fields, Flaw};

/// `resource` is the server's own resource URI.
pub(super) fn auth(field: &Field<'_>, url: Option<&Url>, resource: &str, context: &Context<'_>) -> Option<Auth> {
    let fields = field.fields()?;
    let kind = fields.required("type", "write `header`, `oauth2` or `passthrough`, or leave `auth_data` out")?;
    let auth = match kind.text()? {
        "header" => headers(&fields, context).map(Auth::Header),
        "oauth2" => oauth2(&fields, url, resource, context),
        "passthrough" => Some(Auth::Passthrough { audience: resource.to_owned() }),
        "none" => {
            kind.report(Flaw::new("no authentication has no `auth_data`", "remove `auth_data`"));
            return None;
        }
        other @ ("aws-sigv4" | "env") => {
            kind.report(Flaw::new(
                format!("`{other}` is not supported by this version"),
                "use `header`, `oauth2` or `passthrough`",
            ));
            return None;
        }
        other => {
            let message = format!("`{}` is no type of authentication", other.escape_debug());
            kind.report(Flaw::new(message, "use `header`, `oauth2` or `passthrough`, or leave `auth_data` out"));
            return None;
        }
    };
    fields.finish();
    auth
}

fn headers(fields: &Fields<'_>, context: &Context<'_>) -> Option<Vec<(String, Template)>> {
    if let Some(level) = fields.optional("auth_level") {
        level.parse(|text| match text {
            "global" => Ok(()),
            "per_user" => {
                Err(Flaw::new("`per_user` is not supported by this version", "use `global`: one value for all callers"))
            }
            _ => Err(Flaw::new(format!("`{}` is not known here", text.escape_debug()), "use `global`")),
        });
    }
    let field = fields
        .required("headers", "write for example `headers: { X-Api-Key: tfy-secret://<tenant>:<group>:<key> }`")?;
    let entries = field.entries();
    if entries.is_empty() {
        field.report(Flaw::new("sets no header", "write one, or remove `auth_data`"));
    }
    let mut headers: Vec<(String, Template)> = Vec::new();
    for (name, field) in entries {
        let name = header_name(name).map_err(|flaw| field.report(flaw)).ok();
        let value = context.template(&field);
        let (Some(name), Some(value)) = (name, value) else { continue };
        if let Err(flaw) = header_value(&value) {
            field.report(flaw);
        }
        if is_secret(&name, &value) {
            context.not_in_clear(&field, &value);
        }
        if headers.iter().any(|(other, _)| *other == name) {
            field.report(Flaw::new(format!("`{name}` is set twice: case makes no difference"), "keep one"));
        }
        headers.push((name, value));
    }
    headers.sort_by(|a, b| a.0.cmp(&b.0));
    Some(headers)
}
