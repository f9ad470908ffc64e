//! The endpoints, and how a request goes through one that is about to fail.

use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::{
    Request,
    body::{Bytes, Incoming},
    http::request::Parts,
};
use serde_json::json;

use super::{Endpoint, Form, Inner, Iss, Moment, State, TokenRequest, github};
use crate::{Answer, HttpReply, listener::Sent};

pub(super) async fn serve(state: Arc<State>, request: Request<Incoming>) -> HttpReply {
    let (parts, body) = request.into_parts();
    // A client that breaks off while it sends is answered as well: it will not read it.
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    // A provider finishes what it was asked for, whether or not the client waits for it.
    crate::spawn(async move { route(state, &parts, &body).await }).await.expect("no panic")
}

async fn route(state: Arc<State>, parts: &Parts, body: &Bytes) -> HttpReply {
    let form = Form::parse(body);
    let issuer = format!("http://{}", header(parts, "host"));
    let answer = match (parts.method.as_str(), parts.uri.path()) {
        ("POST", "/token" | github::TOKEN) => {
            let index = state.lock().token_request_arrived(form);
            let own = |inner: &mut Inner| {
                let (told, sent) = (state.clone(), sent(parts).clone());
                sent.clone().then(move || {
                    let at = sent.last_write().expect("it was written");
                    told.lock().token_requests[index].is_answered(at);
                });
                inner.token(index, &parts.headers)
            };
            let reply = process(&state, parts, Endpoint::Token, own).await;
            state.lock().token_requests[index].withheld = reply.is_err();
            return reply;
        }
        ("POST", "/revoke") => {
            return process(&state, parts, Endpoint::Revoke, |inner| inner.revoke(&parts.headers, &form)).await;
        }
        ("GET" | "POST", "/authorize") => {
            let query = Form::parse(parts.uri.query().unwrap_or_default().as_bytes());
            state.lock().authorize(&issuer, &parts.headers, &query, form.get("decision"))
        }
        ("GET", github::USER) => {
            let token = header(parts, "authorization");
            return process(&state, parts, Endpoint::Account, |inner| inner.user(token)).await;
        }
        ("DELETE", path) => match github::application(path) {
            Some(client) => {
                let ends = |inner: &mut Inner| inner.delete_token(client, &parts.headers, body);
                return process(&state, parts, Endpoint::Revoke, ends).await;
            }
            None => Answer::status(404),
        },
        ("GET", "/.well-known/oauth-authorization-server") => state.lock().described(&issuer),
        ("GET", "/userinfo") => state.lock().userinfo(header(parts, "authorization")),
        _ => Answer::status(404),
    };
    answer.respond().await
}

/// One request at an endpoint that may be about to fail.
async fn process(
    state: &State,
    parts: &Parts,
    endpoint: Endpoint,
    own: impl FnOnce(&mut Inner) -> Answer,
) -> HttpReply {
    let fault = state.lock().faults(endpoint).take();
    let Some(fault) = fault else {
        let own = own(&mut state.lock());
        return own.respond().await;
    };
    fault.strike(Moment::BeforeProcess).await?;
    if let Some(answer) = fault.instead() {
        return answer.respond().await;
    }
    let own = own(&mut state.lock());
    fault.strike(Moment::AfterProcessBeforeReply).await?;
    fault.reply(own, sent(parts)).respond().await
}

fn sent(parts: &Parts) -> &Sent {
    parts.extensions.get::<Sent>().expect("every request has one")
}

impl Inner {
    fn token_request_arrived(&mut self, form: Form) -> usize {
        self.token_requests.push(TokenRequest::arrived(form));
        self.token_requests.len() - 1
    }

    fn userinfo(&self, authorization: &str) -> Answer {
        match self.ledger.holder_of(authorization.trim_start_matches("Bearer "), self.now()) {
            Some(holder) => Answer::json(&json!({"sub": holder})),
            None => Answer::status(401),
        }
    }

    fn described(&self, issuer: &str) -> Answer {
        let mut metadata = json!({
            "issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"), "revocation_endpoint": format!("{issuer}/revoke"),
            "response_types_supported": ["code"], "code_challenge_methods_supported": ["S256"],
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
            "authorization_response_iss_parameter_supported": self.iss != Iss::Absent,
        });
        for (name, value) in self.metadata.as_object().into_iter().flatten() {
            metadata[name] = value.clone();
        }
        if let Some(members) = metadata.as_object_mut() {
            members.retain(|_, value| !value.is_null());
        }
        Answer::json(&metadata)
    }
}

fn header<'p>(parts: &'p Parts, name: &str) -> &'p str {
    parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
