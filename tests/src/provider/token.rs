//! `/token` and `/revoke`.

use std::time::{Duration, Instant, SystemTime};

use hyper::HeaderMap;
use serde_json::json;

use super::{
    Inner,
    client::{ClientAuthentication, authenticate},
    form::Form,
    ledger::Issued,
    refusal::Refusal,
};
use crate::{Answer, listener::Moment};

/// A request at the token endpoint.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// When it arrived.
    pub at: Instant,
    /// All of it.
    pub form: Form,
    /// How the client authenticated, once it was found to be who it says.
    pub authentication: Option<ClientAuthentication>,
    /// What came of it.
    pub outcome: Outcome,
    /// When the last byte of its answer was given to the kernel, unless it was made to fail.
    pub answered: Option<Answered>,
    /// The provider was made to cut the connection in place of an answer.
    pub withheld: bool,
}

/// The last byte of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// Just before that: no later than anybody could read it.
    pub at: SystemTime,
    /// How long that was after the request was read.
    pub after: Duration,
}

/// What came of a token request in the provider's books, whatever the client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing.
    NotProcessed,
    /// Tokens.
    Issued {
        /// The access token.
        access_token: String,
        /// The refresh token, if the answer has one.
        refresh_token: Option<String>,
    },
    /// An OAuth error.
    Refused(Refusal),
}

impl TokenRequest {
    pub(super) fn arrived(form: Form) -> Self {
        let (at, outcome) = (Instant::now(), Outcome::NotProcessed);
        Self { at, form, authentication: None, outcome, answered: None, withheld: false }
    }

    pub(super) fn is_answered(&mut self, at: Moment) {
        self.answered = Some(Answered { at: at.time, after: at.instant.duration_since(self.at) });
    }

    /// `grant_type`.
    pub fn grant_type(&self) -> &str {
        self.form.get("grant_type").unwrap_or_default()
    }
}

impl Inner {
    pub(super) fn token(&mut self, index: usize, headers: &HeaderMap) -> Answer {
        let form = self.token_requests[index].form.clone();
        let outcome = authenticate(&self.clients, headers, &form).and_then(|client| {
            self.token_requests[index].authentication = Some(client.by);
            self.grant(&client.id, &form)
        });
        let (outcome, answer) = match outcome {
            Ok(issued) => {
                let answer = good(&issued);
                let Issued { access_token, refresh_token, .. } = issued;
                (Outcome::Issued { access_token, refresh_token }, answer)
            }
            Err(refusal) => (Outcome::Refused(refusal), refusal.answer()),
        };
        self.token_requests[index].outcome = outcome;
        answer
    }

    fn grant(&mut self, client_id: &str, form: &Form) -> Result<Issued, Refusal> {
        if form.has_duplicates() {
            return Err(Refusal::InvalidRequest);
        }
        if !self.is_for_resource(form) {
            return Err(Refusal::InvalidTarget);
        }
        let now = self.now();
        match form.required("grant_type")?.as_str() {
            "authorization_code" => {
                let (code, redirect_uri) = (form.required("code")?, form.required("redirect_uri")?);
                let verifier = form.required("code_verifier")?;
                self.ledger.redeem(&code, client_id, &redirect_uri, &verifier, now)
            }
            "refresh_token" => self.ledger.refresh(&form.required("refresh_token")?, client_id, now),
            "client_credentials" => {
                let scope = form.get("scope").unwrap_or_default();
                Ok(self.ledger.client_credentials(client_id, scope, now))
            }
            _ => Err(Refusal::UnsupportedGrantType),
        }
    }

    pub(super) fn revoke(&mut self, headers: &HeaderMap, form: &Form) -> Answer {
        let revoked = authenticate(&self.clients, headers, form).and_then(|client| {
            let token = form.required("token")?;
            self.ledger.revoke(&token, &client.id);
            self.revocations.push(token);
            Ok(())
        });
        match revoked {
            Ok(()) => Answer::status(200),
            Err(refusal) => refusal.answer(),
        }
    }
}

fn good(issued: &Issued) -> Answer {
    let mut body = json!({
        "access_token": issued.access_token, "token_type": "Bearer", "expires_in": issued.expires_in, "scope": issued.scope,
    });
    if let Some(refresh_token) = &issued.refresh_token {
        body["refresh_token"] = json!(refresh_token);
    }
    Answer::json(&body).header("cache-control", "no-store")
}
