//! What is particular about providers: how they rotate, how long tokens live, what they ask for, and in what shape they
//! answer. A profile changes how things are said, never what is checked.

mod api;
mod providers;
#[cfg(test)]
mod tests;

use std::time::Duration;

use url::Url;

use super::token_response::RefusalCode;
use crate::model::ClientAuthentication;
use crate::secret::Secret;
pub use api::Api;
pub use providers::{ALL, ATLASSIAN, GENERIC, GITHUB, GOOGLE, MICROSOFT, NOTION, SALESFORCE, SLACK, SLACK_USER};

/// OpenID Connect Core §11: asks for a refresh token, and need not be listed among what was granted.
const OFFLINE_ACCESS: &str = "offline_access";

/// What becomes of a refresh token when it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// It stays, and no other is given: asking twice changes nothing.
    NonRotating,
    /// Another is given, and the old one stays valid.
    OldValid,
    /// Another is given, and the old one stays valid for this long.
    Grace(Duration),
    /// Another is given, and the old one is dead at once; using it again may end the whole grant.
    Strict,
}

/// What the `scope` of an answer is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantedScopes {
    /// It lists what was granted, in the words of the request; the first word of each pair, where it is listed, stands for
    /// the second too.
    Listed(&'static [(&'static str, &'static str)]),
    /// It renames or leaves out what was asked for and granted: to compare the two would ask for consent for ever.
    Renamed,
}

/// How a token is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationStyle {
    /// RFC 7009: the token in a form, with the client's own authentication.
    Rfc7009,
    /// A request that carries the access token itself, and revokes that one.
    Bearer,
    /// GitHub's REST API: `DELETE` with the access token in JSON, as the client with its secret. Revokes that one.
    AppToken,
}

/// A request to a provider's API that tells whose a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountRequest {
    /// Segments of the path.
    pub path: &'static [&'static str],
    /// The member of the answer that names the account for good.
    pub id: &'static str,
    /// The member that people know it by.
    pub name: &'static str,
    /// Scopes of which one must have been granted; none where any token will do.
    pub scopes: &'static [&'static str],
}

/// One kind of provider.
#[derive(Debug, PartialEq, Eq)]
pub struct Profile {
    /// As `provider` in manifests.
    pub name: &'static str,
    /// Where its token endpoint is, by which it is known where a manifest does not name it: a host, `*.` before the end
    /// of one, either with the start of a path.
    pub token_endpoints: &'static [&'static str],
    /// What becomes of a refresh token when it is used.
    pub rotation: Rotation,
    /// Life of an access token whose life the provider does not tell, and which can be refreshed.
    pub default_lifetime: Duration,
    /// A refresh ends the old access token at once: nobody may use it while a refresh is under way.
    pub refresh_kills_access_token: bool,
    /// Where client id and secret go if the manifest does not say.
    pub client_authentication: ClientAuthentication,
    /// Parameter of the authorization request that scopes go to.
    pub scope_parameter: &'static str,
    /// Between two scopes of a request.
    pub scope_separator: &'static str,
    /// Between two scopes of an answer.
    pub answer_separators: &'static [char],
    /// What the `scope` of an answer is worth.
    pub granted_scopes: GrantedScopes,
    /// Sent on every authorization request, unless the authorization URL brings its own.
    pub authorization_params: &'static [(&'static str, &'static str)],
    /// The member of an answer that holds the person's own token, where the outer one is an application's.
    pub nested: Option<&'static str>,
    /// Paths to what names the account at the provider; all that are there are taken together.
    pub account: &'static [&'static [&'static str]],
    /// How the account is asked for, where the answer that gave a token does not name it.
    pub account_request: Option<AccountRequest>,
    /// Its own words for refusals.
    pub refusals: &'static [(&'static str, RefusalCode)],
    /// Where its API is.
    pub api: Api,
    /// How a token is revoked.
    pub revocation: RevocationStyle,
    /// Where, if the manifest does not say, and it is not the API that does it; a path is one at the token endpoint's host.
    pub revocation_url: Option<&'static str>,
    /// Where a person sees and ends what they have allowed, for what cannot be revoked from here.
    pub manage_url: Option<&'static str>,
}

impl Profile {
    /// The profile of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.into_iter().find(|profile| profile.name == name)
    }

    /// The profile of the provider with this token endpoint; [`GENERIC`] for one that is not known.
    pub fn of_token_url(token_url: &Url) -> &'static Self {
        ALL.into_iter().find(|profile| profile.is_at(token_url)).unwrap_or(&GENERIC)
    }

    /// Whether an answer that lists these has granted this scope, which was asked for.
    pub fn has_granted(&self, listed: &[String], asked: &str) -> bool {
        let is_listed = |name: &str| listed.iter().any(|scope| scope == name);
        let stands_for = match self.granted_scopes {
            GrantedScopes::Listed(pairs) => pairs,
            GrantedScopes::Renamed => return true,
        };
        asked == OFFLINE_ACCESS
            || is_listed(asked)
            || stands_for.iter().any(|(whole, part)| *part == asked && is_listed(whole))
    }

    /// Whether this token endpoint is the provider's own, and not one that only behaves alike.
    fn is_at(&self, token_url: &Url) -> bool {
        let Some(host) = token_url.host_str() else { return false };
        self.token_endpoints.iter().any(|place| {
            let (name, path) = match place.find('/') {
                Some(at) => place.split_at(at),
                None => (*place, ""),
            };
            let is_host = match name.strip_prefix('*') {
                Some(end) => host.len() > end.len() && host.ends_with(end),
                None => host == name,
            };
            is_host && token_url.path().starts_with(path)
        })
    }

    /// Where tokens of this token endpoint are revoked. The profile's own place gets only the provider's own tokens: a
    /// manifest that borrows a profile for another provider must not send its tokens to the first.
    pub fn revocation_url(&self, configured: Option<&Url>, token_url: &Url, client_id: &Secret) -> Option<Url> {
        match (configured, self.revocation) {
            (Some(url), _) => Some(url.clone()),
            // An id is no secret, and stands in a path here.
            (None, RevocationStyle::AppToken) => {
                self.api_url(token_url, &["applications", client_id.expose_str()?, "token"])
            }
            (None, RevocationStyle::Rfc7009 | RevocationStyle::Bearer) if self.is_at(token_url) => {
                token_url.join(self.revocation_url?).ok()
            }
            (None, RevocationStyle::Rfc7009 | RevocationStyle::Bearer) => None,
        }
    }

    /// A place of the API that knows the tokens of this token endpoint. Each segment stays one, whatever is in it.
    pub fn api_url(&self, token_url: &Url, segments: &[&str]) -> Option<Url> {
        let mut url = match self.api {
            Api::Unknown => return None,
            Api::At(root) if self.is_at(token_url) => root.parse().ok()?,
            Api::At(_) => return None,
            Api::GitHub => api::github(token_url)?,
        };
        url.path_segments_mut().ok()?.pop_if_empty().extend(segments);
        Some(url)
    }
}
