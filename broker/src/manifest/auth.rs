//! `auth_data` of an integration: how the gate authenticates to the server.

use url::Url;

use super::header::{header_name, header_value, is_secret};
use super::revision;
use super::template::Context;
use crate::config::{one_of, safe_url};
use crate::model::{Auth, ClientAuthentication, ClientCredentials, Template};
use crate::oauth::RESERVED_PARAMS;
use crate::yaml::{Field, Fields, Flaw};

/// Fields of `oauth2` that only an authorization with a browser has.
const BROWSER: [&str; 6] = [
    "authorization_url",
    "code_challenge_methods_supported",
    "dynamic_client_registration",
    "pkce",
    "redirect_uri",
    "registration_url",
];

/// Fields of `oauth2` that other grant types, providers or ways of authentication have.
const NOT_YET: [&str; 8] = [
    "certificate",
    "certificate_thumbprint",
    "default_organization",
    "introspection_url",
    "issuer_uri",
    "private_key",
    "use_organization",
    "audience",
];

/// `resource` is the server's own resource URI.
pub(super) fn auth(field: &Field<'_>, url: Option<&Url>, resource: &str, context: &Context<'_>) -> Option<Auth> {
    let fields = field.fields()?;
    let kind = fields.required("type", "write `header`, `oauth2` or `passthrough`, or leave `auth_data` out")?;
    let auth = match kind.text()? {
        "header" => headers(&fields, context).map(Auth::Header),
        "oauth2" => oauth2(&fields, url, resource, context).map(|client| Auth::ClientCredentials(client.into())),
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

fn oauth2(fields: &Fields<'_>, url: Option<&Url>, resource: &str, context: &Context<'_>) -> Option<ClientCredentials> {
    let grant_type = fields.required("grant_type", "write `grant_type: client_credentials`");
    let ours = grant_type.as_ref().and_then(|field| field.parse(grant)).is_some();
    if let Some(source) = fields.optional("jwt_source") {
        source.parse(|text| match text {
            "access_token" => Ok(()),
            "id_token" => Err(Flaw::new(
                "`id_token` is not supported by this version",
                "use `access_token`, which is the default",
            )),
            _ => Err(Flaw::new(
                format!("`{}` is not known here", text.escape_debug()),
                "use `access_token`, which is the default",
            )),
        });
    }
    let providers = ["custom", "auth0", "okta", "microsoft-entra"].map(|name| (name, ()));
    if let Some(provider) = fields.optional("provider") {
        provider.parse(|text| one_of(text, &providers));
    }
    let not_yet = |name: &str| {
        let hint =
            if name == "audience" { "write it as `additional_token_params: { audience: … }`" } else { "remove it" };
        Flaw::new(format!("`{name}` is not supported by this version"), hint)
    };
    if ours {
        fields.refuse(&NOT_YET, not_yet);
        for name in BROWSER {
            if let Some(field) = fields.optional(name) {
                field.warn(Flaw::new(format!("`{name}` has no meaning with `client_credentials`"), "remove it"));
            }
        }
    } else {
        // The grant type is the problem then; its own fields are none.
        for name in NOT_YET.into_iter().chain(BROWSER) {
            fields.optional(name);
        }
    }
    let token_url = fields.optional("token_url").and_then(|field| field.parse(safe_url));
    let client_id = fields.optional("client_id").and_then(|field| context.template(&field));
    let client_secret = fields.optional("client_secret").and_then(|field| context.secret(&field));
    let authentication = fields.optional("client_authentication").map(|field| field.parse(client_authentication));
    let scopes = fields.optional("scopes").map_or_else(Vec::new, |field| field.list_of(scope));
    let include_resource = fields.optional("include_resource").and_then(|field| field.bool()).unwrap_or(false);
    let additional_params = fields.optional("additional_token_params").map_or_else(Vec::new, |field| params(&field));
    if ours {
        for (name, hint) in [
            ("token_url", "write the provider's token endpoint"),
            ("client_id", "write the client's id, or a reference to it"),
            ("client_secret", "keep it with `sallyport secret set`, and write a reference to it"),
        ] {
            fields.required(name, hint);
        }
    }
    let mut client = ClientCredentials {
        token_url: token_url?,
        client_id: client_id?,
        client_secret: client_secret?,
        client_authentication: authentication.unwrap_or(Some(ClientAuthentication::Basic))?,
        scopes,
        resource: include_resource.then(|| resource.to_owned()),
        additional_params,
        auth_revision: String::new(),
    };
    client.auth_revision = revision::auth(url?, &client);
    ours.then_some(client)
}

fn grant(text: &str) -> Result<(), Flaw> {
    match text {
        "client_credentials" => Ok(()),
        "authorization_code" => Err(Flaw::new(
            "`authorization_code` (consent of each user in a browser) is not supported by this version",
            "leave this integration out of the manifest for now, or use `client_credentials` where the provider offers it",
        )),
        "token_exchange" | "id_jag" | "jwt_bearer" => {
            Err(Flaw::new(format!("`{text}` is not supported by this version"), "use `client_credentials`"))
        }
        _ => Err(Flaw::new(format!("`{}` is no grant type", text.escape_debug()), "use `client_credentials`")),
    }
}

fn client_authentication(text: &str) -> Result<ClientAuthentication, Flaw> {
    if text == "certificate" {
        return Err(Flaw::new("`certificate` is not supported by this version", "use `client_secret`"));
    }
    let words = [
        ("client_secret", ClientAuthentication::Basic),
        ("client_secret_basic", ClientAuthentication::Basic),
        ("client_secret_post", ClientAuthentication::Post),
    ];
    one_of(text, &words)
}

/// RFC 6749 §3.3
fn scope(text: &str) -> Result<String, Flaw> {
    if text.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\')) {
        Ok(text.to_owned())
    } else {
        Err(Flaw::new(
            format!("`{}` is no scope", text.escape_debug()),
            "write one scope an item, without spaces or quotes",
        ))
    }
}

fn params(field: &Field<'_>) -> Vec<(String, String)> {
    let mut params: Vec<(String, String)> = Vec::new();
    for (name, field) in field.entries() {
        if RESERVED_PARAMS.contains(&name) {
            field.report(Flaw::new(
                format!("`{name}` is not an additional parameter"),
                "remove it; the broker sends its own",
            ));
        }
        let value = field.parse(|text| {
            // These are kept and sent as they stand.
            if text.to_ascii_lowercase().contains("tfy-secret") {
                return Err(Flaw::new(
                    "secret references are not supported here",
                    "use `client_id` and `client_secret`",
                ));
            }
            Ok(text.to_owned())
        });
        params.extend(value.map(|value| (name.to_owned(), value)));
    }
    params.sort();
    params
}
