//! An OAuth authorization server that behaves as any provider does, on demand: rotations, habits, faults, lies.
//!
//! ```text
//! browser ──▶ /authorize ──▶ redirect URI          Decision, Iss, StateSent
//! broker  ──▶ /token, /revoke                      Fault at a Moment; Rotation
//! broker  ──▶ GitHub's names for these             github.rs
//! test    ──▶ what was asked, who is alive         questions.rs
//! ```
//!
//! It checks what a good provider checks: client authentication, redirect URIs, PKCE with S256, single use of codes.

mod authorize;
mod client;
mod fault;
mod form;
mod github;
mod http;
mod ledger;
mod pkce;
mod questions;
mod refusal;
mod rules;
mod token;

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

pub use authorize::{Decision, Iss, StateSent};
pub use client::{Client, ClientAuthentication};
pub use fault::{Fault, Moment};
pub use form::Form;
pub use ledger::{Family, Revoked};
pub use pkce::challenge;
pub use refusal::Refusal;
pub use rules::Rotation;
pub use token::{Answered, Outcome, TokenRequest};

use crate::Listening;
use fault::Faults;
use ledger::Ledger;

/// Where a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/token`.
    Token,
    /// `/revoke`.
    Revoke,
    /// The account that a token is for.
    Account,
}

/// The server.
pub struct Provider {
    /// Its issuer identifier.
    pub issuer: String,
    /// A client that may authenticate by header or body, and use any redirect URI.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    listening: Listening,
    state: Arc<State>,
}

#[derive(Default)]
struct State(Mutex<Inner>);

/// Everything, under one lock: what is processed is processed at once.
struct Inner {
    clients: Vec<Client>,
    ledger: Ledger,
    decision: Decision,
    account: String,
    iss: Iss,
    state_sent: StateSent,
    resource: Option<String>,
    token_faults: Faults,
    revoke_faults: Faults,
    account_faults: Faults,
    metadata: Value,
    authorizations: Vec<Form>,
    codes: Vec<String>,
    token_requests: Vec<TokenRequest>,
    revocations: Vec<String>,
    accounts_asked: usize,
    ahead: Duration,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            clients: Vec::new(),
            ledger: Ledger::default(),
            decision: Decision::Approve,
            account: "alice".to_owned(),
            iss: Iss::Own,
            state_sent: StateSent::Same,
            resource: None,
            token_faults: Faults::default(),
            revoke_faults: Faults::default(),
            account_faults: Faults::default(),
            metadata: json!({}),
            authorizations: Vec::new(),
            codes: Vec::new(),
            token_requests: Vec::new(),
            revocations: Vec::new(),
            accounts_asked: 0,
            ahead: Duration::ZERO,
        }
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no holder panics")
    }
}

impl Inner {
    fn now(&self) -> Instant {
        Instant::now() + self.ahead
    }

    /// Whether a request names the resource that is demanded.
    fn is_for_resource(&self, form: &Form) -> bool {
        self.resource.as_ref().is_none_or(|resource| form.all("resource") == [resource])
    }

    fn faults(&mut self, endpoint: Endpoint) -> &mut Faults {
        match endpoint {
            Endpoint::Token => &mut self.token_faults,
            Endpoint::Revoke => &mut self.revoke_faults,
            Endpoint::Account => &mut self.account_faults,
        }
    }
}

impl Provider {
    /// Starts one with strict rotation, whose access tokens live an hour, and where alice approves at once.
    pub async fn start() -> Self {
        let state = Arc::new(State::default());
        let shared = state.clone();
        let listening = Listening::start(None, move |request| http::serve(shared.clone(), request)).await;
        let issuer = format!("http://{}", listening.address);
        let (client_id, client_secret) = ("gate".to_owned(), crate::unique("client-secret"));
        let provider = Self { issuer, client_id, client_secret, listening, state };
        provider.register(Client {
            id: provider.client_id.clone(),
            secret: provider.client_secret.clone(),
            authentication: vec![ClientAuthentication::Basic, ClientAuthentication::Post],
            redirect_uris: Vec::new(),
        });
        provider
    }

    /// Registers a client, in place of one with the same id.
    pub fn register(&self, client: Client) {
        let mut inner = self.state.lock();
        inner.clients.retain(|known| known.id != client.id);
        inner.clients.push(client);
    }

    /// Has given this refresh token to the gate before, when this user approved of its reading notes.
    pub(crate) fn knows(&self, user: &str, refresh_token: &str) {
        self.state.lock().ledger.knows(user, &self.client_id, refresh_token);
    }

    /// Rotates refresh tokens like this from now on.
    pub fn rotation(&self, rotation: Rotation) {
        self.state.lock().ledger.rules.rotation = rotation;
    }

    /// From now on a refresh kills the access tokens before it, as GitHub's does, or does not.
    pub fn refresh_kills_access_token(&self, kills: bool) {
        self.state.lock().ledger.rules.refresh_kills_access_token = kills;
    }

    /// Access tokens live this long from now on.
    pub fn access_token_life(&self, life: Duration) {
        self.state.lock().ledger.rules.access_token_life = life;
    }

    /// Answers authorization requests like this from now on.
    pub fn decide(&self, decision: Decision) {
        self.state.lock().decision = decision;
    }

    /// This person approves from now on, unless the browser has a cookie `account=<user>`.
    pub fn approve_as(&self, user: &str) {
        self.state.lock().account = user.to_owned();
    }

    /// Sends this `iss` from now on.
    pub fn send_iss(&self, iss: Iss) {
        self.state.lock().iss = iss;
    }

    /// Sends this `state` from now on.
    pub fn send_state(&self, state: StateSent) {
        self.state.lock().state_sent = state;
    }

    /// From now on gives access to this resource only, to who names it and no other (RFC 8707); to whatever, if there is none.
    pub fn demand_resource(&self, resource: Option<&str>) {
        self.state.lock().resource = resource.map(str::to_owned);
    }

    /// Overrides members of the metadata; null removes one.
    pub fn metadata(&self, changes: Value) {
        self.state.lock().metadata = changes;
    }

    /// The next requests fail like this, after those that are to fail already.
    pub fn fail_next(&self, endpoint: Endpoint, count: usize, fault: &Fault) {
        self.state.lock().faults(endpoint).next(count, fault);
    }

    /// Every request fails like this until [`Provider::heal`].
    pub fn fail(&self, endpoint: Endpoint, fault: Fault) {
        self.state.lock().faults(endpoint).always(fault);
    }

    /// No request fails any more.
    pub fn heal(&self) {
        let mut inner = self.state.lock();
        inner.token_faults = Faults::default();
        inner.revoke_faults = Faults::default();
        inner.account_faults = Faults::default();
    }

    /// Sets the provider's clock forward: codes, access tokens and grace end sooner.
    pub fn advance(&self, time: Duration) {
        self.state.lock().ahead += time;
    }

    /// The person withdraws every grant, at the provider.
    pub fn withdraw(&self, user: &str) {
        let mut inner = self.state.lock();
        for family in inner.ledger.families_of(user) {
            inner.ledger.end_family(family, Revoked::Person);
        }
    }

    /// Every access token of this user is dead, before its time; refresh tokens live on.
    pub fn kill_access_tokens(&self, user: &str) {
        let mut inner = self.state.lock();
        for family in inner.ledger.families_of(user) {
            inner.ledger.kill_access_tokens(family);
        }
    }
}
