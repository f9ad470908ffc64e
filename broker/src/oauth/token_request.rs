//! One request to a token endpoint, for every grant (RFC 6749 §4.1.3, §4.4.2 and §6; RFC 7636 §4.5; RFC 8707 §2.2).

use std::time::Duration;

use url::Url;

use super::endpoint::{Client, Form, MAX_ANSWER, NoAnswer, TokenEndpoint};
use super::pkce::Verifier;
use super::profile::Profile;
use super::token_response::{self, Given, Malformed, TokenEndpointError};
use crate::secret::Secret;

/// Parameters that a request sets itself: never taken from `additional_token_params`, where they would replace the
/// client, the grant or what the token is for.
pub const RESERVED_PARAMS: [&str; 13] = [
    "assertion",
    "client_assertion",
    "client_assertion_type",
    "client_id",
    "client_secret",
    "code",
    "code_verifier",
    "grant_type",
    "password",
    "redirect_uri",
    "refresh_token",
    "resource",
    "scope",
];

/// What a token is asked for with.
#[derive(Clone, Copy, Debug)]
pub enum Grant<'a> {
    /// The client's own authority.
    ClientCredentials {
        /// Asked for; none asks for the client's default.
        scopes: &'a [String],
    },
    /// What a person has agreed to in their browser.
    AuthorizationCode {
        /// From the callback.
        code: &'a Secret,
        /// Of the challenge in the authorization request.
        verifier: &'a Verifier,
        /// As in the authorization request.
        redirect_uri: &'a Url,
    },
    /// A grant that there is.
    RefreshToken {
        /// Its latest.
        refresh_token: &'a Secret,
        /// None for all that was granted, which is what most providers want to hear.
        scopes: &'a [String],
    },
}

/// One request for a token, with its secrets opened.
pub struct TokenRequest<'a> {
    /// Token endpoint.
    pub token_url: &'a Url,
    /// Who asks.
    pub client: Client<'a>,
    /// With what.
    pub grant: Grant<'a>,
    /// RFC 8707.
    pub resource: Option<&'a str>,
    /// Further parameters, other than [`RESERVED_PARAMS`].
    pub additional_params: &'a [(String, String)],
    /// How the provider answers.
    pub profile: &'static Profile,
}

/// Asks once. Errors hold nothing of the answer.
pub async fn request_token(
    endpoint: &dyn TokenEndpoint,
    request: &TokenRequest<'_>,
    deadline: Duration,
) -> Result<Given, TokenEndpointError> {
    let (headers, form) = request.signed();
    match endpoint.post_form(request.token_url, headers, form, MAX_ANSWER, deadline).await {
        Ok(answer) => token_response::read(request.profile, &answer),
        Err(NoAnswer::TooLarge) => Err(TokenEndpointError::Malformed(Malformed::TooLarge)),
        Err(NoAnswer::NotSent(error)) => {
            tracing::warn!(host = request.token_url.host_str(), %error, "the token endpoint cannot be reached");
            Err(TokenEndpointError::NoConnection)
        }
        Err(NoAnswer::Failed(error)) => {
            tracing::warn!(host = request.token_url.host_str(), %error, "the token endpoint gives no answer");
            Err(TokenEndpointError::NoAnswer)
        }
    }
}

impl TokenRequest<'_> {
    fn signed(&self) -> (Vec<(&'static str, Secret)>, Secret) {
        let mut headers = vec![("accept", Secret::new("application/json"))];
        let mut form = Form::with_room_for(&self.secrets());
        match self.grant {
            Grant::ClientCredentials { scopes } => {
                form.append("grant_type", "client_credentials");
                self.append_scopes(&mut form, scopes);
            }
            Grant::AuthorizationCode { code, verifier, redirect_uri } => {
                form.append("grant_type", "authorization_code");
                form.append_secret("code", code);
                form.append_secret("code_verifier", verifier.as_secret());
                form.append("redirect_uri", redirect_uri.as_str());
            }
            Grant::RefreshToken { refresh_token, scopes } => {
                form.append("grant_type", "refresh_token");
                form.append_secret("refresh_token", refresh_token);
                self.append_scopes(&mut form, scopes);
            }
        }
        if let Some(resource) = self.resource {
            form.append("resource", resource);
        }
        self.client.sign(&mut headers, &mut form);
        for (name, value) in self.additional_params {
            if !RESERVED_PARAMS.contains(&name.as_str()) {
                form.append(name, value);
            }
        }
        (headers, form.finish())
    }

    fn append_scopes(&self, form: &mut Form, scopes: &[String]) {
        if !scopes.is_empty() {
            form.append("scope", &scopes.join(" "));
        }
    }

    fn secrets(&self) -> Vec<&Secret> {
        let mut secrets = vec![self.client.id];
        secrets.extend(self.client.secret);
        match self.grant {
            Grant::ClientCredentials { .. } => {}
            Grant::AuthorizationCode { code, verifier, .. } => secrets.extend([code, verifier.as_secret()]),
            Grant::RefreshToken { refresh_token, .. } => secrets.push(refresh_token),
        }
        secrets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ClientAuthentication;
    use crate::oauth::profile::GENERIC;

    fn pairs(params: &[&str]) -> Vec<(String, String)> {
        params.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect()
    }

    /// The form, and the names of the headers.
    fn signed(
        authentication: ClientAuthentication,
        secret: Option<&str>,
        grant: Grant<'_>,
        params: &[&str],
    ) -> (String, Vec<&'static str>) {
        let secret = secret.map(Secret::new);
        let request = TokenRequest {
            token_url: &"https://login.example.com/token".parse().expect("a URL"),
            client: Client { id: &Secret::new("gate&1"), secret: secret.as_ref(), authentication },
            grant,
            resource: Some("https://mcp.example.com/a b"),
            additional_params: &pairs(params),
            profile: &GENERIC,
        };
        let (headers, form) = request.signed();
        (form.expose_str().expect("text").to_owned(), headers.iter().map(|(name, _)| *name).collect())
    }

    const SECRET: Option<&str> = Some("canary=+");

    fn service<'a>(scopes: &'a [String]) -> Grant<'a> {
        Grant::ClientCredentials { scopes }
    }

    #[test]
    fn basic_keeps_the_secret_out_of_the_body() {
        let scopes = ["read".to_owned(), "write".to_owned()];
        let (body, headers) = signed(ClientAuthentication::Basic, SECRET, service(&scopes), &[]);
        assert_eq!(body, "grant_type=client_credentials&scope=read+write&resource=https%3A%2F%2Fmcp.example.com%2Fa+b");
        assert_eq!(headers, ["accept", "authorization"]);
    }

    #[test]
    fn post_keeps_the_secret_out_of_the_headers() {
        let (body, headers) = signed(ClientAuthentication::Post, SECRET, service(&[]), &[]);
        assert!(body.ends_with("&client_id=gate%261&client_secret=canary%3D%2B"));
        assert_eq!(headers, ["accept"]);
    }

    #[test]
    fn a_public_client_says_who_it_is_and_no_more() {
        for (authentication, secret) in [(ClientAuthentication::None, SECRET), (ClientAuthentication::Basic, None)] {
            let (body, headers) = signed(authentication, secret, service(&[]), &[]);
            assert!(body.ends_with("&client_id=gate%261"), "{body}");
            assert_eq!(headers, ["accept"]);
        }
    }

    #[test]
    fn a_code_goes_with_its_verifier_and_redirect_uri() {
        let verifier = Verifier::random();
        let grant = Grant::AuthorizationCode {
            code: &Secret::new("c/1"),
            verifier: &verifier,
            redirect_uri: &"https://gate.example.com/oauth/callback/1".parse().expect("a URL"),
        };
        let (body, _) = signed(ClientAuthentication::Basic, SECRET, grant, &[]);
        let expected = format!(
            "grant_type=authorization_code&code=c%2F1&code_verifier={}&redirect_uri=https%3A%2F%2Fgate.example.com%2Foauth\
             %2Fcallback%2F1&resource=https%3A%2F%2Fmcp.example.com%2Fa+b",
            verifier.as_secret().expose_str().expect("text")
        );
        assert_eq!(body, expected);
    }

    #[test]
    fn a_refresh_names_the_resource_and_asks_for_no_scope_of_its_own() {
        let grant = Grant::RefreshToken { refresh_token: &Secret::new("r&1"), scopes: &[] };
        let (body, _) = signed(ClientAuthentication::Basic, SECRET, grant, &[]);
        assert_eq!(body, "grant_type=refresh_token&refresh_token=r%261&resource=https%3A%2F%2Fmcp.example.com%2Fa+b");
    }

    #[test]
    fn no_further_parameter_replaces_what_the_request_sets() {
        for reserved in RESERVED_PARAMS {
            let refresh_token = Secret::new("r");
            let grant = Grant::RefreshToken { refresh_token: &refresh_token, scopes: &["read".to_owned()] };
            let (body, _) = signed(ClientAuthentication::Post, SECRET, grant, &["audience", reserved]);
            assert!(body.ends_with("&audience=x"), "{reserved}");
            assert!(!body.contains(&format!("{reserved}=x")), "{reserved}");
        }
    }
}
