//! `auth_data` of type `oauth2`: the gate's own token, or each caller's own.

mod rotation;

use std::sync::Arc;

use url::Url;

use super::revision;
use super::template::Context;
use crate::config::{one_of, safe_url};
use crate::keys;
use crate::model::{Auth, AuthorizationCode, ClientAuthentication, ClientCredentials, ProviderClient, Template};
use crate::oauth::RESERVED_PARAMS;
use crate::oauth::profile::{self, Profile};
use crate::yaml::{Field, Fields, Flaw};

/// Fields that only an authorization with a browser has.
const BROWSER: [&str; 8] = [
    "authorization_url",
    "code_challenge_methods_supported",
    "issuer",
    "pkce",
    "refresh_token_grace",
    "refresh_token_rotation",
    "revocation_url",
    "introspection_url",
];

/// Fields that other grant types, providers or ways of authentication have.
const NOT_YET: [&str; 10] = [
    "audience",
    "certificate",
    "certificate_thumbprint",
    "default_organization",
    "dynamic_client_registration",
    "issuer_uri",
    "private_key",
    "redirect_uri",
    "registration_url",
    "use_organization",
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum GrantType {
    AuthorizationCode,
    ClientCredentials,
}

/// What both grant types have.
struct Client {
    token_url: Url,
    client_id: Template,
    client_secret: Option<Template>,
    /// As the manifest says, if it does.
    authentication: Option<ClientAuthentication>,
    scopes: Vec<String>,
    resource: Option<String>,
    additional_params: Vec<(String, String)>,
}

/// `resource` is the server's own resource URI.
pub(super) fn oauth2(fields: &Fields<'_>, url: Option<&Url>, resource: &str, context: &Context<'_>) -> Option<Auth> {
    let hint =
        "write `grant_type: authorization_code` (each caller's own account) or `client_credentials` (the gate's)";
    let grant_type = fields.required("grant_type", hint).and_then(|field| field.parse(grant_type));
    if let Some(source) = fields.optional("jwt_source") {
        source.parse(jwt_source);
    }
    let profile = fields.optional("provider").map(|field| field.parse(provider));
    let Some(grant_type) = grant_type else {
        // The grant type is the problem then; its own fields are none.
        for name in NOT_YET.into_iter().chain(BROWSER) {
            fields.optional(name);
        }
        client(fields, None, resource, context);
        return None;
    };
    fields.refuse(&NOT_YET, not_yet);
    match grant_type {
        GrantType::AuthorizationCode => {
            let client = client(fields, Some(grant_type), resource, context);
            authorization_code(fields, url, client, profile).map(|code| Auth::AuthorizationCode(code.into()))
        }
        GrantType::ClientCredentials => {
            for name in BROWSER {
                if let Some(field) = fields.optional(name) {
                    field.warn(Flaw::new(format!("`{name}` has no meaning with `client_credentials`"), "remove it"));
                }
            }
            let client = client(fields, Some(grant_type), resource, context)?;
            let mut client = ClientCredentials {
                token_url: client.token_url,
                client_id: client.client_id,
                client_secret: client.client_secret?,
                client_authentication: client.authentication.unwrap_or(ClientAuthentication::Basic),
                scopes: client.scopes,
                resource: client.resource,
                additional_params: client.additional_params,
                auth_revision: String::new(),
            };
            client.auth_revision = revision::auth(url?, &client);
            Some(Auth::ClientCredentials(client.into()))
        }
    }
}

fn authorization_code(
    fields: &Fields<'_>,
    url: Option<&Url>,
    client: Option<Client>,
    profile: Option<Option<&'static Profile>>,
) -> Option<AuthorizationCode> {
    let authorization_url = fields
        .required("authorization_url", "write the provider's authorization endpoint")
        .and_then(|field| field.parse(safe_url));
    let revocation_url = fields.optional("revocation_url").map(|field| field.parse(safe_url));
    let introspection_url = fields.optional("introspection_url").map(|field| field.parse(safe_url));
    let issuer = fields.optional("issuer").map(|field| field.parse(safe_url).map(|_| field.text().unwrap_or_default()));
    challenge_methods(fields);
    let rotation = rotation::read(fields);
    let (client, authorization_url) = (client?, authorization_url?);
    let profile = match profile {
        Some(named) => named?,
        None => Profile::of_token_url(&client.token_url),
    };
    let id = keys::provider_client(
        authorization_url.as_str(),
        client.token_url.as_str(),
        &client.client_id,
        client.resource.as_deref(),
    );
    let revocation_url = revocation_url.map_or(Some(None), |url| url.map(Some))?;
    let introspection_url = introspection_url.map_or(Some(None), |url| url.map(Some))?;
    let issuer = issuer.map_or(Some(None), |issuer| issuer.map(|issuer| Some(issuer.to_owned())))?;
    let told = [revocation_url.as_ref(), introspection_url.as_ref()];
    let auth_revision = revision::grant(url?, &id, told.map(|url| url.map_or("", Url::as_str)), issuer.as_deref());
    Some(AuthorizationCode {
        client: Arc::new(ProviderClient {
            id,
            authorization_url,
            token_url: client.token_url,
            revocation_url,
            introspection_url,
            issuer,
            client_id: client.client_id,
            client_secret: client.client_secret,
            client_authentication: client.authentication.unwrap_or(profile.client_authentication),
            resource: client.resource,
            additional_params: client.additional_params,
            profile,
            rotation: rotation?.unwrap_or(profile.rotation),
        }),
        scopes: client.scopes,
        auth_revision,
    })
}

/// The code challenge is always S256 (RFC 7636 §4.2): a provider that cannot check it cannot be used.
fn challenge_methods(fields: &Fields<'_>) {
    if let Some(field) = fields.optional("code_challenge_methods_supported") {
        let methods = field.list_of(|text| Ok(text.to_owned()));
        if !methods.iter().any(|method| method == "S256") {
            field.report(Flaw::new(
                "does not name `S256`, without which a stolen code could be redeemed by somebody else",
                "write `[S256]`, if the provider supports it",
            ));
        }
    }
    if let Some(field) = fields.optional("pkce") {
        match field.bool() {
            Some(false) => {
                field.report(Flaw::new("turns PKCE off", "remove it: PKCE is always used"));
            }
            Some(true) => field.warn(Flaw::new("`pkce` is an older spelling", "remove it: PKCE is always used")),
            None => {}
        }
    }
}

/// Reads what both grant types have; what is missing is told only where the grant type is known.
fn client(fields: &Fields<'_>, grant_type: Option<GrantType>, resource: &str, context: &Context<'_>) -> Option<Client> {
    let token_url = fields.optional("token_url").and_then(|field| field.parse(safe_url));
    let client_id = fields.optional("client_id").and_then(|field| context.template(&field));
    let client_secret = fields.optional("client_secret").map(|field| context.secret(&field));
    let authentication = fields.optional("client_authentication");
    let asked = authentication.as_ref().map(|field| field.parse(client_authentication));
    let scopes = fields.optional("scopes").map_or_else(Vec::new, |field| field.list_of(scope));
    let include_resource = fields.optional("include_resource").and_then(|field| field.bool()).unwrap_or(false);
    let additional_params = fields.optional("additional_token_params").map_or_else(Vec::new, |field| params(&field));
    let grant_type = grant_type?;
    fields.required("token_url", "write the provider's token endpoint");
    fields.required("client_id", "write the client's id, or a reference to it");
    let is_public = asked == Some(Some(ClientAuthentication::None));
    match (grant_type, &client_secret) {
        (GrantType::AuthorizationCode, None) if is_public => {}
        (GrantType::AuthorizationCode, Some(_)) if is_public => {
            let flaw =
                Flaw::new("a client with a secret shows it", "remove `client_authentication` or `client_secret`");
            authentication.iter().for_each(|field| field.report(flaw.clone()));
        }
        (GrantType::AuthorizationCode, _) => {
            let hint = "keep it with `sallyport secret set` and write a reference to it, or write `client_authentication: none` for a client without one";
            fields.required("client_secret", hint);
        }
        (GrantType::ClientCredentials, _) => {
            fields.required("client_secret", "keep it with `sallyport secret set`, and write a reference to it");
            if is_public {
                let flaw = Flaw::new("client credentials need a secret", "remove `client_authentication`");
                authentication.iter().for_each(|field| field.report(flaw.clone()));
            }
        }
    }
    Some(Client {
        token_url: token_url?,
        client_id: client_id?,
        client_secret: client_secret.map_or(Some(None), |secret| secret.map(Some))?,
        authentication: asked.map_or(Some(None), |asked| asked.map(Some))?,
        scopes,
        resource: include_resource.then(|| resource.to_owned()),
        additional_params,
    })
}

fn grant_type(text: &str) -> Result<GrantType, Flaw> {
    let hint = "use `authorization_code` or `client_credentials`";
    match text {
        "authorization_code" => Ok(GrantType::AuthorizationCode),
        "client_credentials" => Ok(GrantType::ClientCredentials),
        "token_exchange" | "id_jag" | "jwt_bearer" => {
            Err(Flaw::new(format!("`{text}` is not supported by this version"), hint))
        }
        _ => Err(Flaw::new(format!("`{}` is no grant type", text.escape_debug()), hint)),
    }
}

fn jwt_source(text: &str) -> Result<(), Flaw> {
    let hint = "use `access_token`, which is the default";
    match text {
        "access_token" => Ok(()),
        "id_token" => Err(Flaw::new("`id_token` is not supported by this version", hint)),
        _ => Err(Flaw::new(format!("`{}` is not known here", text.escape_debug()), hint)),
    }
}

/// The profile of this name. `custom`, `auth0` and `okta` have nothing particular that would be relied on.
fn provider(text: &str) -> Result<&'static Profile, Flaw> {
    let name = match text {
        "custom" | "auth0" | "okta" => profile::GENERIC.name,
        "microsoft-entra" => "microsoft",
        other => other,
    };
    Profile::named(name).ok_or_else(|| {
        let known: Vec<_> = profile::ALL.iter().map(|profile| format!("`{}`", profile.name)).collect();
        Flaw::new(
            format!("`{}` is no provider that is known here", text.escape_debug()),
            format!("use `custom`, or one of {}", known.join(", ")),
        )
    })
}

fn not_yet(name: &str) -> Flaw {
    match name {
        "redirect_uri" => Flaw::new(
            "the redirect URI is the gate's own",
            "remove it, and register the one that `sallyport servers` shows at the provider",
        ),
        "audience" => Flaw::new(
            "`audience` is not supported by this version",
            "write it as `additional_token_params: { audience: … }`",
        ),
        _ => Flaw::new(format!("`{name}` is not supported by this version"), "remove it"),
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
        ("none", ClientAuthentication::None),
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
