//! The pages through their router: a browser that is signed in, a provider that answers, and what is stored then.

mod accounts;
mod accounts_asked;
mod answers;
mod applications;
mod bad_input;
mod carried;
mod choices;
mod given_back;
mod hostile_accounts;
mod issuer;
mod links;
mod nowhere;
mod people;
mod status;
mod strangers;
mod words;

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use tower::ServiceExt as _;
use url::Url;

use super::*;
use crate::clock::Clock;
use crate::model::{
    Auth, AuthorizationCode, ClientAuthentication, GrantKey, PrincipalId, PrincipalKind, ProviderClient, Server,
    ServerName, Template, TemplatePart, VirtualAccount,
};
use crate::oauth::profile::{GENERIC, NOTION, Profile};
use crate::service::tests::{Fixture, START, URL};
use crate::signin::{COOKIE, Sessions};
use crate::store::{Store as _, StoredConsent, StoredGrant, StoredSession};
use crate::vault::Place;

/// What the provider gives for a code.
const TOKENS: &str = r#"{"access_token":"canary-token-NUMBER","refresh_token":"canary-refresh-NUMBER","token_type":"bearer","expires_in":3600}"#;

/// Provider clients: one without an issuer, one with, one that names accounts.
const CLIENT: &str = "c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1";
const WITH_ISSUER: &str = "c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2";
const WITH_ACCOUNTS: &str = "c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3";

pub(super) struct Site {
    fixture: Fixture,
    pages: Pages,
}

/// One browser; its session's secret is in its cookie.
pub(super) struct Browser {
    principal: PrincipalId,
    subjects: Vec<String>,
    cookie: String,
    csrf: String,
}

pub(super) struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Reply {
    fn location(&self) -> &str {
        self.headers.get(header::LOCATION).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    fn says(&self, text: &str) -> bool {
        self.body.contains(text)
    }

    /// What stands between two pieces of the page.
    fn between(&self, before: &str, after: &str) -> &str {
        let rest = self.body.split_once(before).unwrap_or_else(|| panic!("no {before} in {}", self.body)).1;
        rest.split_once(after).unwrap().0
    }
}

/// A consent on its way: what the provider was asked.
pub(super) struct Underway {
    consent: String,
    client: String,
    state: String,
    url: Url,
}

impl Underway {
    fn callback(&self, code: &str) -> String {
        format!("/oauth/callback/{}?code={code}&state={}", self.client, self.state)
    }

    fn asked(&self, name: &str) -> Option<String> {
        let mut values = self.url.query_pairs().filter(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        let value = values.next();
        assert_eq!(values.next(), None, "{name} comes twice");
        value
    }
}

fn server(name: &str, client: &Arc<ProviderClient>, scopes: &[&str], subjects: &[&str]) -> (ServerName, Arc<Server>) {
    let name = ServerName(format!("demo/{name}"));
    let code = AuthorizationCode {
        client: Arc::clone(client),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        auth_revision: format!("revision of {name}"),
    };
    let server = Server {
        name: name.clone(),
        url: "https://mcp.example.com".parse().unwrap(),
        auth: Auth::AuthorizationCode(code.into()),
        subjects: subjects.iter().map(|subject| (*subject).to_owned()).collect(),
        allow_plaintext: false,
        revision: "r1".into(),
    };
    (name, Arc::new(server))
}

fn provider_client(id: &str, provider: &Url, issuer: Option<&str>, profile: &'static Profile) -> Arc<ProviderClient> {
    let text = |text: &str| Template(vec![TemplatePart::Text(text.to_owned())]);
    Arc::new(ProviderClient {
        id: id.to_owned(),
        authorization_url: "https://login.example.com/authorize".parse().unwrap(),
        token_url: provider.clone(),
        revocation_url: Some(provider.join("/revoke").unwrap()),
        introspection_url: None,
        issuer: issuer.map(str::to_owned),
        client_id: text("gate"),
        client_secret: Some(text("canary-client-secret")),
        client_authentication: ClientAuthentication::Post,
        resource: Some("https://mcp.example.com/".to_owned()),
        additional_params: vec![],
        profile,
        rotation: profile.rotation,
    })
}

impl Site {
    /// `demo/notes` and `demo/board` share a provider client; `demo/secret` has it too, but is not for alice.
    pub(super) async fn new() -> Self {
        let fixture = Fixture::new().await;
        fixture.provider.answers(200, TOKENS);
        let token_url = fixture.token_url();
        let plain = provider_client(CLIENT, &token_url, None, &GENERIC);
        let strict = provider_client(WITH_ISSUER, &token_url, Some("https://login.example.com"), &GENERIC);
        let named = provider_client(WITH_ACCOUNTS, &token_url, None, &NOTION);
        let (alice, bob) = ("user:alice@example.com", "user:bob@example.com");
        fixture.servers.send_modify(|servers| {
            let servers = Arc::make_mut(servers);
            servers.by_name.extend([
                server("notes", &plain, &["read", "write"], &[alice, bob, "virtualaccount:runtime"]),
                server("board", &plain, &["board"], &[alice]),
                server("secret", &plain, &["admin"], &["user:carol@example.com"]),
                server("strict", &strict, &[], &[alice]),
                server("wiki", &named, &[], &[alice]),
            ]);
            let account = VirtualAccount { owners: vec![alice.to_owned()] };
            servers.virtual_accounts.insert("runtime".to_owned(), account);
        });
        fixture.publisher.publish().await;
        let pages = Pages {
            budget: Budget::new(fixture.audit.clone(), Arc::clone(&fixture.clock) as Arc<dyn Clock>),
            consents: fixture.consents(),
            sign_ins: fixture.sign_ins(None),
            service: fixture.service.clone(),
            public_url: URL.to_owned(),
        };
        Self { fixture, pages }
    }

    /// A browser at which this person has signed in.
    pub(super) async fn browser(&self, person: &str) -> Browser {
        let email = format!("{person}@example.com");
        let kind = PrincipalKind::User { email: email.clone() };
        let principal = self.fixture.store.ensure_principal(&kind, None, START).await.unwrap().id;
        let secret: [u8; 32] = Sha256::digest(crate::secret::Secret::random::<32>().expose()).into();
        let session = StoredSession {
            hash: Sha256::digest(secret).into(),
            principal: principal.clone(),
            signed_in_at: "https://id.example.com".to_owned(),
            teams: vec![],
            external_identities: vec![],
            created_at: START,
            expires_at: START.after(std::time::Duration::from_secs(8 * 3600)),
        };
        self.fixture.store.add_session(&session).await.unwrap();
        let cookie = format!("{COOKIE}={}", URL_SAFE_NO_PAD.encode(secret));
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, cookie.parse().unwrap());
        let sessions =
            Sessions::new(Arc::clone(&self.fixture.store) as _, Arc::clone(&self.fixture.clock) as Arc<dyn Clock>);
        let csrf = sessions.of(&headers).await.unwrap().unwrap().csrf().to_owned();
        Browser { principal, subjects: vec![format!("user:{email}"), "team:everyone".to_owned()], cookie, csrf }
    }

    /// Changes what a server of alice's needs.
    pub(super) fn needs(&self, name: &str, scopes: &[&str]) {
        self.fixture.servers.send_modify(|servers| {
            let Auth::AuthorizationCode(code) = &servers.by_name[&ServerName(format!("demo/{name}"))].auth else {
                panic!("{name} needs no consent");
            };
            let changed = server(name, &code.client.clone(), scopes, &["user:alice@example.com"]);
            Arc::make_mut(servers).by_name.extend([changed]);
        });
    }

    /// Every server is at this provider, as one client of it.
    pub(super) fn are_at(&self, profile: &'static Profile) {
        self.fixture.servers.send_modify(|servers| {
            for server in Arc::make_mut(servers).by_name.values_mut() {
                let Auth::AuthorizationCode(code) = &server.auth else { continue };
                let client = Arc::new(ProviderClient { profile, ..ProviderClient::clone(&code.client) });
                let code = AuthorizationCode { client, ..AuthorizationCode::clone(code) };
                Arc::make_mut(server).auth = Auth::AuthorizationCode(code.into());
            }
        });
    }

    /// The consent that an agent of this person is sent to.
    pub(super) async fn link(&self, browser: &Browser, server: &str) -> String {
        let server = Arc::clone(&self.fixture.servers.borrow().by_name[&ServerName(format!("demo/{server}"))]);
        let link = self.fixture.consents().required(&browser.principal, &browser.subjects, &server, &[]).await.unwrap();
        assert_eq!(link.url, format!("{URL}/connect/{}", link.id));
        link.id
    }

    pub(super) async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response =
            router(self.pages.clone()).oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        Reply { status: head.status, headers: head.headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    pub(super) async fn get(&self, browser: &Browser, path: &str) -> Reply {
        self.send(Method::GET, path, &[("cookie", &browser.cookie)], "").await
    }

    pub(super) async fn post(&self, browser: &Browser, path: &str, fields: &[(&str, &str)]) -> Reply {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("csrf", &browser.csrf).extend_pairs(fields);
        let headers = [("cookie", browser.cookie.as_str()), ("sec-fetch-site", "same-origin"), ("origin", "null")];
        self.send(Method::POST, path, &headers, &form.finish()).await
    }

    /// Presses the button of a page of a consent.
    pub(super) async fn set_out(&self, browser: &Browser, consent: &str, fields: &[(&str, &str)]) -> Underway {
        let path = format!("/connect/{consent}");
        let page = self.get(browser, &path).await;
        let asked = page.between(r#"name="asked" value=""#, "\"").to_owned();
        let fields: Vec<(&str, &str)> = [("asked", asked.as_str())].into_iter().chain(fields.iter().copied()).collect();
        let onward = self.post(browser, &path, &fields).await;
        let url: Url = onward.between("<a href=\"", "\"").replace("&amp;", "&").parse().unwrap();
        let value = |name| url.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
        let (state, redirect_uri) = (value("state"), value("redirect_uri"));
        let client = redirect_uri.strip_prefix(&format!("{URL}/oauth/callback/")).unwrap().to_owned();
        let consent = state.split_once('.').unwrap().0.to_owned();
        Underway { consent, client, state, url }
    }

    /// The whole way, to a grant.
    pub(super) async fn connect(&self, browser: &Browser, server: &str) -> String {
        let consent = self.link(browser, server).await;
        let underway = self.set_out(browser, &consent, &[]).await;
        let reply = self.get(browser, &underway.callback("c1")).await;
        assert_eq!(reply.location(), format!("/connect/{consent}"), "{}", reply.body);
        consent
    }

    pub(super) async fn consent(&self, id: &str) -> StoredConsent {
        self.fixture.store.consent(id).await.unwrap().unwrap()
    }

    pub(super) async fn grant(&self, browser: &Browser, client: &str) -> Option<StoredGrant> {
        let key = GrantKey { provider_client: client.to_owned(), holder: browser.principal.0.clone() };
        self.fixture.store.grant(&key).await.unwrap()
    }

    /// The tokens of a grant, opened.
    pub(super) async fn tokens(&self, grant: &StoredGrant) -> (String, String) {
        let material = grant.material.as_ref().unwrap();
        let (access, refresh) =
            (Place::access_token(&grant.id, grant.generation), Place::refresh_token(&grant.id, grant.generation));
        let access = self.fixture.vault.open(&access, &material.access_token).await.unwrap();
        let refresh = self.fixture.vault.open(&refresh, material.refresh_token.as_ref().unwrap()).await.unwrap();
        (access.expose_str().unwrap().to_owned(), refresh.expose_str().unwrap().to_owned())
    }

    /// How often the provider was asked for tokens.
    pub(super) fn token_requests(&self) -> usize {
        self.fixture.provider.seen().iter().filter(|form| form.contains("grant_type=authorization_code")).count()
    }

    /// Which tokens the provider was asked to revoke.
    pub(super) fn revoked(&self) -> Vec<String> {
        let asked = self.fixture.provider.seen();
        let tokens = asked.iter().filter_map(|form| form.strip_prefix("token=")?.split_once('&'));
        tokens.map(|(token, _)| token.to_owned()).collect()
    }
}
