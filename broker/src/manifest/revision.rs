//! Revisions: hashes that change whenever what they stand for does.

use sha2::{Digest, Sha256};

use crate::model::{Auth, ClientAuthentication, ClientCredentials, Server, Template, TemplatePart};

/// Fields go in length-prefixed, so that no two different inputs look alike.
struct Revision(Sha256);

impl Revision {
    fn of(what: &str) -> Self {
        Self(Sha256::new()).with(what)
    }

    fn with(mut self, field: &str) -> Self {
        self.0.update((field.len() as u64).to_be_bytes());
        self.0.update(field);
        self
    }

    fn with_all<'a>(self, fields: impl ExactSizeIterator<Item = &'a str>) -> Self {
        let counted = self.with(&fields.len().to_string());
        fields.fold(counted, Self::with)
    }

    fn with_template(self, template: &Template) -> Self {
        let counted = self.with(&template.0.len().to_string());
        template.0.iter().fold(counted, |revision, part| match part {
            TemplatePart::Text(text) => revision.with("text").with(text),
            TemplatePart::Secret(secret) => revision.with("secret").with(&secret.group).with(&secret.key),
        })
    }

    fn end(self) -> String {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&self.0.finalize()[..18])
    }
}

/// Of a server without its `revision`.
pub(super) fn server(server: &Server) -> String {
    let revision = Revision::of("server")
        .with(&server.name.0)
        .with(server.url.as_str())
        .with(if server.allow_plaintext { "plaintext" } else { "verified" })
        .with_all(server.subjects.iter().map(String::as_str));
    match &server.auth {
        Auth::None => revision.with("none"),
        Auth::Header(headers) => headers
            .iter()
            .fold(revision.with("header"), |revision, (name, value)| revision.with(name).with_template(value)),
        Auth::AuthorizationCode(code) => revision
            .with("authorization_code")
            .with(&code.auth_revision)
            .with_all(code.scopes.iter().map(String::as_str))
            .with(code.client.profile.name),
        Auth::ClientCredentials(client) => revision.with("client_credentials").with(&client.auth_revision),
        Auth::Passthrough { audience } => revision.with("passthrough").with(audience),
    }
    .end()
}

/// Of what a grant is given for: the server's origin and the provider client, without its `auth_revision`.
pub(super) fn auth(url: &url::Url, client: &ClientCredentials) -> String {
    Revision::of("client_credentials")
        .with(&url.origin().ascii_serialization())
        .with(client.token_url.as_str())
        .with_template(&client.client_id)
        .with_template(&client.client_secret)
        .with(match client.client_authentication {
            ClientAuthentication::Basic => "basic",
            ClientAuthentication::Post => "post",
            ClientAuthentication::None => "none",
        })
        .with_all(client.scopes.iter().map(String::as_str))
        .with(client.resource.as_deref().unwrap_or_default())
        .with_all(
            client
                .additional_params
                .iter()
                .flat_map(|(name, value)| [name.as_str(), value.as_str()])
                .collect::<Vec<_>>()
                .into_iter(),
        )
        .end()
}

/// Of what a person agrees to: that the token of this provider client goes to this server's origin, and to `told`, the
/// provider's other endpoints. Scopes are compared as sets, since fewer than were agreed to are no reason to ask again.
pub(super) fn grant(url: &url::Url, provider_client: &str, told: [&str; 2], issuer: Option<&str>) -> String {
    Revision::of("authorization_code")
        .with(&url.origin().ascii_serialization())
        .with(provider_client)
        .with_all(told.into_iter())
        .with(issuer.unwrap_or_default())
        .end()
}
