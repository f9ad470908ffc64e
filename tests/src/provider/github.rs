//! What GitHub's Enterprise Server has besides OAuth, where it has it: the API by which tokens end and accounts are named.

use hyper::{HeaderMap, body::Bytes};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    Inner, Provider,
    client::{ClientAuthentication, authenticate},
    form::Form,
};
use crate::Answer;

/// Path of the token endpoint.
pub(super) const TOKEN: &str = "/login/oauth/access_token";

/// Path of the account that a token is for.
pub(super) const USER: &str = "/api/v3/user";

/// The client in the path of a token that is to be ended.
pub(super) fn application(path: &str) -> Option<&str> {
    path.strip_prefix("/api/v3/applications/")?.strip_suffix("/token")
}

impl Provider {
    /// Where tokens come from, as from a GitHub of one's own.
    pub fn github_token_url(&self) -> String {
        format!("{}{TOKEN}", self.issuer)
    }

    /// The number of an account, which stays when its login changes.
    pub fn github_id(&self, login: &str) -> u64 {
        id(login)
    }
}

impl Inner {
    /// `DELETE /applications/{client_id}/token`: ends an access token of the client that asks, and no other.
    pub(super) fn delete_token(&mut self, client_id: &str, headers: &HeaderMap, body: &Bytes) -> Answer {
        let client = authenticate(&self.clients, headers, &Form::default());
        if !client.is_ok_and(|client| client.by == ClientAuthentication::Basic && client.id == client_id) {
            return problem(404, "Not Found");
        }
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let Some(token) = body["access_token"].as_str() else { return problem(422, "Validation Failed") };
        if self.ledger.holder_of(token, self.now()).is_none() {
            return problem(404, "Not Found");
        }
        self.ledger.revoke(token, client_id);
        self.revocations.push(token.to_owned());
        Answer::status(204)
    }

    /// `GET /user`.
    pub(super) fn user(&mut self, authorization: &str) -> Answer {
        self.accounts_asked += 1;
        match self.ledger.holder_of(authorization.trim_start_matches("Bearer "), self.now()) {
            Some(login) => Answer::json(&json!({"login": login, "id": id(login), "type": "User", "name": null})),
            None => problem(401, "Bad credentials"),
        }
    }
}

fn id(login: &str) -> u64 {
    let hash = Sha256::digest(login);
    hash.iter().take(4).fold(0, |id, byte| id << 8 | u64::from(*byte))
}

fn problem(status: u16, message: &str) -> Answer {
    let body =
        json!({"message": message, "documentation_url": "https://docs.github.com/rest", "status": status.to_string()});
    Answer::status(status).header("content-type", "application/json").body(body.to_string())
}
