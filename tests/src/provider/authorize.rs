//! `/authorize`: approves at once, or shows a page, or answers as a hostile provider would.

use hyper::HeaderMap;
use url::Url;

use super::{Inner, Refusal, form::Form, ledger::Approval, pkce};
use crate::Answer;

/// What a person, or the provider in their place, decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes, at once.
    Approve,
    /// Whatever button is pressed on the page: `approve` or `deny`.
    Ask,
    /// An error.
    Refuse {
        /// `error`.
        error: String,
        /// `error_description`.
        description: String,
    },
    /// Sends the browser to another authorization server, with the parameters of this flow wherever `url` has none of its own
    /// (cross-toolkit account takeover; mix-up).
    Bounce {
        /// The other server's authorization URL, with parameters.
        url: Url,
    },
}

impl Decision {
    /// The person says no.
    pub fn deny() -> Self {
        Self::Refuse { error: "access_denied".to_owned(), description: "the user said no".to_owned() }
    }
}

/// `iss` of the callback (RFC 9207).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Iss {
    /// None, and the metadata do not announce it.
    Absent,
    /// Its own, as the metadata announce.
    Own,
    /// Announced and not sent.
    Withheld,
    /// Announced, and this.
    Other(String),
}

/// `state` of the callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateSent {
    /// As it came.
    Same,
    /// None.
    Missing,
    /// This.
    Other(String),
}

impl Inner {
    /// `pressed` is the button of the page, if there was one.
    pub(super) fn authorize(
        &mut self,
        issuer: &str,
        headers: &HeaderMap,
        query: &Form,
        pressed: Option<&str>,
    ) -> Answer {
        if pressed.is_none() {
            self.authorizations.push(query.clone());
        }
        let Some((client_id, redirect_uri)) = self.redirection(query) else {
            // Never a redirect to where nobody has registered (RFC 6749 section 3.1.2.4).
            return Answer::status(400).body("unknown client or redirect URI");
        };
        let challenge = query.get("code_challenge").filter(|challenge| pkce::is_challenge(challenge));
        let challenge = challenge.filter(|_| query.get("code_challenge_method") == Some("S256"));
        let (Some(challenge), Some("code"), false) = (challenge, query.get("response_type"), query.has_duplicates())
        else {
            return self.callback(issuer, redirect_uri, query, &[("error", "invalid_request")]);
        };
        if !self.is_for_resource(query) {
            return self.callback(issuer, redirect_uri, query, &[("error", Refusal::InvalidTarget.code())]);
        }
        let decision = match (&self.decision, pressed) {
            (Decision::Ask, Some("approve")) => Decision::Approve,
            (Decision::Ask, Some(_)) => Decision::deny(),
            (decision, _) => decision.clone(),
        };
        match decision {
            Decision::Approve => {
                let approval = Approval {
                    client_id,
                    user: account_cookie(headers).unwrap_or_else(|| self.account.clone()),
                    redirect_uri: redirect_uri.to_string(),
                    scope: query.get("scope").unwrap_or_default().to_owned(),
                    challenge: challenge.to_owned(),
                };
                let code = self.ledger.code(approval, self.now());
                self.codes.push(code.clone());
                self.callback(issuer, redirect_uri, query, &[("code", &code)])
            }
            Decision::Ask => page(query),
            Decision::Refuse { error, description } => {
                let answer = [("error", error.as_str()), ("error_description", &description)];
                self.callback(issuer, redirect_uri, query, &answer)
            }
            Decision::Bounce { mut url } => {
                let own = Form::parse(url.query().unwrap_or_default().as_bytes());
                let flow = query.pairs().iter().filter(|(name, _)| own.get(name).is_none());
                url.query_pairs_mut().extend_pairs(flow);
                see_other(url.as_str())
            }
        }
    }

    fn redirection(&self, query: &Form) -> Option<(String, Url)> {
        let client = self.clients.iter().find(|client| Some(client.id.as_str()) == query.get("client_id"))?;
        let given = query.get("redirect_uri")?;
        let registered = client.redirect_uris.is_empty() || client.redirect_uris.iter().any(|uri| uri == given);
        let url = Url::parse(given).ok().filter(|url| url.as_str() == given)?;
        registered.then(|| (client.id.clone(), url))
    }

    fn callback(&self, issuer: &str, mut url: Url, query: &Form, answer: &[(&str, &str)]) -> Answer {
        let state = match &self.state_sent {
            StateSent::Same => query.get("state"),
            StateSent::Missing => None,
            StateSent::Other(state) => Some(state.as_str()),
        };
        let iss = match &self.iss {
            Iss::Absent | Iss::Withheld => None,
            Iss::Own => Some(issuer),
            Iss::Other(iss) => Some(iss.as_str()),
        };
        url.query_pairs_mut()
            .extend_pairs(answer)
            .extend_pairs(state.map(|state| ("state", state)))
            .extend_pairs(iss.map(|iss| ("iss", iss)));
        see_other(url.as_str())
    }
}

fn see_other(url: &str) -> Answer {
    Answer::status(303).header("location", url)
}

/// Who sits at this browser, where several consent at the same time.
fn account_cookie(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get("cookie")?.to_str().ok()?;
    cookies.split("; ").find_map(|cookie| cookie.strip_prefix("account=")).map(str::to_owned)
}

/// Posts to the URL it came from, query and all. What it shows is the client's, so it is escaped.
fn page(query: &Form) -> Answer {
    let shown = |name| escaped(query.get(name).unwrap_or_default());
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Authorize</title><h1>Authorize</h1>\
         <p>{} asks for {}</p><form method=\"post\"><button name=\"decision\" value=\"approve\">Approve</button>\
         <button name=\"decision\" value=\"deny\">Deny</button></form></html>",
        shown("client_id"),
        shown("scope"),
    );
    Answer::status(200).header("content-type", "text/html; charset=utf-8").body(html)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
