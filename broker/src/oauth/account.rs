//! Whose tokens these are, where the answer that gave them does not say: asked of the provider's own API, with the token
//! itself. Best effort: without an answer the account is not known, and nothing else comes of it.
//!
//! An account is kept as its id and, behind a space, the name that people know it by. No id has a space.

use std::time::Duration;

use reqwest::Method;
use url::Url;

use super::endpoint::{MAX_ANSWER, Request, TokenEndpoint, bearer};
use super::profile::{AccountRequest, Profile};
use super::token_response;
use crate::secret::Secret;

#[cfg(test)]
mod tests;

/// A question that has not been asked.
pub struct Question {
    request: &'static AccountRequest,
    url: Url,
}

impl Question {
    /// How a provider is asked whose its tokens are; none if it cannot be, or not with tokens for these scopes. Only an API
    /// of whoever gave the token is asked.
    pub fn of(profile: &'static Profile, token_url: &Url, scopes: &[String]) -> Option<Self> {
        let request = profile.account_request.as_ref()?;
        let is_granted = |scope: &&str| scopes.iter().any(|granted| granted == scope);
        let may_ask = request.scopes.is_empty() || request.scopes.iter().any(is_granted);
        if !may_ask {
            return None;
        }
        Some(Self { request, url: profile.api_url(token_url, request.path)? })
    }

    /// Asks once.
    pub async fn ask(&self, endpoint: &dyn TokenEndpoint, access_token: &Secret, deadline: Duration) -> Option<String> {
        let headers = vec![("accept", Secret::new("application/json")), bearer(access_token)];
        let request = Request { method: Method::GET, url: &self.url, headers, body: None };
        let answer = match endpoint.ask(request, MAX_ANSWER, deadline).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(host = self.url.host_str(), %error, "the provider does not answer whose account it is");
                return None;
            }
        };
        let account = token_response::account_told(self.request, &answer);
        if account.is_none() {
            tracing::warn!(host = self.url.host_str(), status = answer.status, "the provider names no account");
        }
        account
    }
}

/// Whether two are the same, by whatever name.
pub fn is_same(one: &str, other: &str) -> bool {
    parts(one).0 == parts(other).0
}

/// For people: the name first.
pub fn shown(account: &str) -> String {
    match parts(account) {
        (id, Some(name)) => format!("{name} ({id})"),
        (id, None) => id.to_owned(),
    }
}

fn parts(account: &str) -> (&str, Option<&str>) {
    match account.split_once(' ') {
        Some((id, name)) => (id, Some(name)),
        None => (account, None),
    }
}
