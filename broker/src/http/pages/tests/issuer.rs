//! Sign-in at a login issuer, which here is a real one on loopback.

use std::sync::Mutex;

use axum::Json;
use axum::routing::get as on_get;
use jwt_simple::prelude::{Ed25519KeyPair, EdDSAKeyPairLike as _};
use sallyport_caller::{Algorithm, PublicKey};
use serde_json::{Value, json};

use super::*;
use crate::secret::Secret;
use crate::signin::{BEGUN_COOKIE, Oidc};

/// The issuer; what its token endpoint says is for the test to decide.
pub(super) struct Login {
    pub(super) site: Site,
    key: Ed25519KeyPair,
    issuer: String,
    rules: sallyport_caller::Issuer,
    /// What it publishes of itself.
    document: Arc<Mutex<Value>>,
    says: Arc<Mutex<(u16, Value)>>,
    asked: Arc<Mutex<Vec<String>>>,
}

fn oidc(issuer: &str) -> Oidc {
    Oidc {
        issuer: issuer.to_owned(),
        client_id: Secret::new("gate"),
        client_secret: Some(Secret::new("canary-sign-in-secret")),
        scopes: vec!["openid".to_owned(), "email".to_owned()],
        assume_pkce: false,
    }
}

/// A sign-in that was begun: what the issuer was asked, and the browser's cookie.
struct Away {
    url: Url,
    cookie: String,
}

impl Away {
    fn asked(&self, name: &str) -> String {
        self.url.query_pairs().find(|(key, _)| key == name).unwrap_or_else(|| panic!("no {name}")).1.into_owned()
    }

    fn back(&self, with: &str) -> String {
        format!("/signin/callback?state={}&{with}", self.asked("state"))
    }
}

impl Login {
    pub(super) async fn new() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let key = Ed25519KeyPair::generate().with_key_id("k1");
        let document = Arc::new(Mutex::new(json!({
            "issuer": issuer, "jwks_uri": format!("{issuer}/jwks"), "token_endpoint": format!("{issuer}/token"),
            "authorization_endpoint": format!("{issuer}/authorize"), "code_challenge_methods_supported": ["plain", "S256"],
        })));
        let published = Arc::clone(&document);
        let x = URL_SAFE_NO_PAD.encode(key.public_key().to_bytes());
        let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": x}]});
        let (says, asked) = (Arc::new(Mutex::new((200, json!({})))), Arc::new(Mutex::new(Vec::new())));
        let (answer, log) = (Arc::clone(&says), Arc::clone(&asked));
        let token = move |form: String| async move {
            log.lock().unwrap().push(form);
            let (status, body) = answer.lock().unwrap().clone();
            (StatusCode::from_u16(status).unwrap(), Json(body))
        };
        let router = axum::Router::new()
            .route("/.well-known/openid-configuration", on_get(async move || Json(published.lock().unwrap().clone())))
            .route("/jwks", on_get(async move || Json(keys)))
            .route("/token", post(token));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let mut site = Site::new().await;
        let rules = sallyport_caller::Issuer {
            issuer: issuer.clone(),
            keys: vec![],
            audiences: vec![],
            profile: sallyport_caller::TokenProfile::AccessToken,
            subject_claim: "sub".to_owned(),
            email_claim: Some("email".to_owned()),
            teams_claim: Some("groups".to_owned()),
            max_lifetime_ms: 3_600_000,
            required_scopes: vec![],
            self_issued: false,
            login: true,
        };
        site.pages.sign_ins = site.fixture.sign_ins(Some((oidc(&issuer), rules.clone())));
        Self { site, key, issuer, rules, document, says, asked }
    }

    async fn begin(&self, body: &str) -> Away {
        let reply = self.site.press("/signin/oidc", "", body).await;
        let url = reply.between("<a href=\"", "\"").replace("&amp;", "&").parse().unwrap();
        Away { url, cookie: format!("{BEGUN_COOKIE}={}", reply.cookie(BEGUN_COOKIE).unwrap()) }
    }

    /// The token endpoint gives an ID token for this sign-in from here on, with some claims changed.
    fn gives(&self, away: &Away, changes: &Value) {
        let now = START.0 / 1000;
        let mut claims = json!({
            "iss": self.issuer, "sub": "alice-id", "aud": "gate", "iat": now, "exp": now + 300,
            "nonce": away.asked("nonce"), "email": "alice@example.com", "email_verified": true,
        });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let id_token = self.signed(&claims);
        *self.says.lock().unwrap() = (200, json!({"access_token": "a", "token_type": "Bearer", "id_token": id_token}));
    }

    /// Nobody answers where the issuer was.
    pub(super) fn is_gone(&mut self) {
        let issuer = "http://127.0.0.1:1".to_owned();
        let rules = sallyport_caller::Issuer { issuer: issuer.clone(), ..self.rules.clone() };
        self.site.pages.sign_ins = self.site.fixture.sign_ins(Some((oidc(&issuer), rules)));
    }

    /// Its metadata lists these methods of PKCE from here on; none at all, if null.
    fn announces(&self, methods: Value) {
        self.document.lock().unwrap()["code_challenge_methods_supported"] = methods;
    }

    /// The operator says that it supports PKCE.
    fn is_assumed_to_support_pkce(&mut self) {
        let oidc = Oidc { assume_pkce: true, ..oidc(&self.issuer) };
        self.site.pages.sign_ins = self.site.fixture.sign_ins(Some((oidc, self.rules.clone())));
    }

    fn signed(&self, claims: &Value) -> String {
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", part(&json!({"alg": "EdDSA", "kid": "k1"})), part(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.key_pair().as_ref().sk.sign(&signed, None));
        format!("{signed}.{signature}")
    }

    /// Its access tokens are believed, too: they name nobody's address.
    async fn is_believed(&self) {
        let key = PublicKey::new("k1", Algorithm::EdDsa, &self.key.public_key().to_der()).unwrap();
        let profile = sallyport_caller::TokenProfile::PlainJwt;
        self.site
            .fixture
            .believe(sallyport_caller::Issuer { keys: vec![Arc::new(key)], profile, ..self.rules.clone() })
            .await;
    }

    fn access_token(&self, server: &str) -> String {
        let now = START.0 / 1000;
        let audience = format!("{URL}/mcp-server/demo/{server}/server");
        self.signed(&json!({"iss": self.issuer, "sub": "alice-id", "aud": audience, "iat": now, "exp": now + 3600}))
    }

    async fn come_back(&self, cookie: &str, path: &str) -> Reply {
        self.site.send(Method::GET, path, &[("cookie", cookie)], "").await
    }

    /// From the button to wherever that leads.
    pub(super) async fn signs_in(&self, changes: &Value) -> Reply {
        let away = self.begin("to=connections").await;
        self.gives(&away, changes);
        self.come_back(&away.cookie, &away.back("code=c1")).await
    }

    /// Of the browser that was signed in by this.
    fn cookie(&self, signed_in: &Reply) -> String {
        format!("{COOKIE}={}", signed_in.cookie(COOKIE).unwrap())
    }

    fn exchanges(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

#[tokio::test]
async fn a_person_signs_in_and_goes_on_where_they_came_from() {
    let login = Login::new().await;
    let alice = login.site.browser("alice").await;
    let consent = login.site.link(&alice, "notes").await;
    let page = login.site.send(Method::GET, &format!("/signin?flow={consent}"), &[], "").await;
    assert!(page.says("Sign in at 127.0.0.1"), "{}", page.body);
    let away = login.begin(&format!("flow={consent}")).await;
    assert_eq!(away.asked("redirect_uri"), format!("{URL}/signin/callback"));
    assert_eq!((away.asked("code_challenge_method").as_str(), away.asked("scope").as_str()), ("S256", "openid email"));
    login.gives(&away, &json!({}));
    let reply = login.come_back(&away.cookie, &away.back("code=c1")).await;
    assert_eq!(reply.location(), format!("/connect/{consent}"), "{}", reply.body);
    assert_eq!(reply.cookie(BEGUN_COOKIE).as_deref(), Some(""));
    let session = format!("{COOKIE}={}", reply.cookie(COOKIE).unwrap());
    assert!(
        login.come_back(&session, reply.location()).await.says("demo/notes"),
        "the same person by verified address"
    );
    let form = login.asked.lock().unwrap().concat();
    assert!(form.contains("code=c1") && form.contains("code_verifier="), "{form}");
    let rows = login.site.fixture.rows("signin.done").await.concat();
    assert!(rows.contains(&login.issuer) && rows.contains(&alice.principal.0), "{rows}");
}

#[tokio::test]
async fn o1_an_answer_that_this_browser_did_not_ask_for_signs_nobody_in() {
    let login = Login::new().await;
    let (away, other) = (login.begin("to=connections").await, login.begin("to=connections").await);
    login.gives(&away, &json!({}));
    let good = away.back("code=c1");
    let (id, random) =
        away.asked("state").split_once('.').map(|(id, random)| (id.to_owned(), random.to_owned())).unwrap();
    let stranger = format!("{BEGUN_COOKIE}={}", URL_SAFE_NO_PAD.encode([7; 32]));
    for (cookie, path) in [
        ("", good.clone()),
        (other.cookie.as_str(), good.clone()),
        (stranger.as_str(), good.clone()),
        (away.cookie.as_str(), "/signin/callback?code=c1".to_owned()),
        (&away.cookie, "/signin/callback?code=c1&state=".to_owned()),
        (&away.cookie, format!("/signin/callback?code=c1&state={id}")),
        (&away.cookie, format!("/signin/callback?code=c1&state={id}.")),
        (&away.cookie, format!("/signin/callback?code=c1&state={id}.{}", random.replace(|_| true, "0"))),
        (&away.cookie, format!("/signin/callback?code=c1&state={}.{random}", "0".repeat(32))),
        (&away.cookie, other.back("code=c1")),
        (&away.cookie, format!("{good}&state=x")),
        (&away.cookie, format!("{good}&iss=https%3A%2F%2Fevil.example")),
        (&away.cookie, format!("{good}&error=access_denied")),
        (&away.cookie, away.back("")),
    ] {
        let reply = login.come_back(cookie, &path).await;
        assert!(reply.status.is_client_error() && reply.cookie(COOKIE).is_none(), "{path}: {}", reply.body);
        assert!(!reply.says(&random) && !reply.says("evil"), "{path}");
    }
    assert_eq!(login.exchanges(), 0, "the issuer's token endpoint was never asked");
    assert_eq!(login.site.refusals().await.len(), 14);
    assert_eq!(login.come_back(&away.cookie, &good).await.status, StatusCode::SEE_OTHER, "nothing was used up");
    let again = login.come_back(&away.cookie, &good).await;
    assert_eq!((again.status, again.cookie(COOKIE), login.exchanges()), (StatusCode::BAD_REQUEST, None, 1), "a replay");
}

#[tokio::test]
async fn o1_an_answer_after_ten_minutes_signs_nobody_in() {
    let login = Login::new().await;
    let away = login.begin("to=connections").await;
    login.gives(&away, &json!({}));
    login.site.fixture.clock.advance(std::time::Duration::from_secs(600));
    let late = login.come_back(&away.cookie, &away.back("code=c1")).await;
    assert_eq!((late.status, late.cookie(COOKIE), login.exchanges()), (StatusCode::BAD_REQUEST, None, 0));
}

#[tokio::test]
async fn o1_an_id_token_that_is_not_the_answer_signs_nobody_in() {
    let login = Login::new().await;
    for (changes, reason) in [
        (json!({"nonce": "another"}), "nonce"),
        (json!({"aud": "other"}), "audience"),
        (json!({"aud": ["gate", "other"]}), "azp"),
        (json!({"iss": "https://evil.example"}), "issuer"),
        (json!({"exp": 1}), "expired"),
        (json!({"at_hash": "AAAA"}), "at_hash"),
        (json!({"sub": ""}), "subject"),
        (json!({"typ": "Bearer"}), "type"),
    ] {
        let away = login.begin("to=connections").await;
        login.gives(&away, &changes);
        let reply = login.come_back(&away.cookie, &away.back("code=c1")).await;
        assert_eq!((reply.status, reply.cookie(COOKIE)), (StatusCode::BAD_GATEWAY, None), "{changes}");
        let refusals = login.site.refusals().await;
        assert!(refusals.last().unwrap().contains(&format!("\"{reason}\"")), "{changes}: {refusals:?}");
    }
    assert!(login.site.fixture.rows("signin.done").await.is_empty());
}

#[tokio::test]
async fn an_issuer_that_does_not_play_its_part_signs_nobody_in() {
    let login = Login::new().await;
    for answer in [
        (400, json!({"error": "invalid_grant", "error_description": "<script>canary</script>"})),
        (500, json!({})),
        (200, json!({"access_token": "a"})),
        (200, json!({"access_token": "a", "id_token": "x.y.z"})),
        (200, json!("canary")),
    ] {
        let away = login.begin("to=connections").await;
        *login.says.lock().unwrap() = answer.clone();
        let reply = login.come_back(&away.cookie, &away.back("code=c1")).await;
        assert_eq!((reply.status, reply.cookie(COOKIE)), (StatusCode::BAD_GATEWAY, None), "{answer:?}");
        assert!(!reply.says("canary"), "{answer:?}");
    }
}

#[tokio::test]
async fn o7_an_issuers_refusal_is_told_in_our_words() {
    let login = Login::new().await;
    let away = login.begin("to=connections").await;
    let refusal = away.back("error=access_denied&error_description=%3Cscript%3Ecanary%3C%2Fscript%3E");
    let reply = login.come_back(&away.cookie, &refusal).await;
    assert!(reply.says("Access was not granted") && !reply.says("canary"), "{}", reply.body);
    assert_eq!((reply.cookie(COOKIE), login.exchanges()), (None, 0));
}

#[tokio::test]
async fn r10_an_address_that_is_not_verified_makes_nobody_that_user() {
    let login = Login::new().await;
    let alice = login.site.browser("alice").await;
    let consent = login.site.link(&alice, "notes").await;
    let away = login.begin(&format!("flow={consent}")).await;
    login.gives(&away, &json!({"email_verified": false}));
    let reply = login.come_back(&away.cookie, &away.back("code=c1")).await;
    let session = format!("{COOKIE}={}", reply.cookie(COOKIE).unwrap());
    assert_eq!(login.come_back(&session, reply.location()).await.status, StatusCode::FORBIDDEN, "somebody else");
}

#[tokio::test]
async fn r10_who_was_given_somebodys_address_is_not_signed_in_as_them() {
    let login = Login::new().await;
    let first = login.signs_in(&json!({})).await;
    assert!(first.cookie(COOKIE).is_some());
    let second = login.signs_in(&json!({"sub": "alice-2"})).await;
    assert_eq!((second.status, second.cookie(COOKIE)), (StatusCode::FORBIDDEN, None), "{}", second.body);
    assert!(second.says("operator of this gateway must say whether that is you"), "{}", second.body);
    let alice = login.site.browser("alice").await.principal;
    let row = login.site.refusals().await.pop().unwrap();
    assert!(
        row.contains("identity_contested") && row.contains(r#""subject":"alice-2""#) && row.contains(&alice.0),
        "{row}"
    );
    assert!(login.signs_in(&json!({})).await.cookie(COOKIE).is_some(), "who was there before");

    login.site.fixture.store.release_user("alice@example.com", START).await.unwrap();
    assert!(login.signs_in(&json!({"sub": "alice-2"})).await.cookie(COOKIE).is_some(), "somebody new");
    assert_ne!(login.site.browser("alice").await.principal, alice);
}

#[tokio::test]
async fn r10_who_called_before_their_address_was_known_is_that_user_once_they_sign_in() {
    let login = Login::new().await;
    login.is_believed().await;
    let (site, store) = (&login.site, &login.site.fixture.store);
    site.fixture.servers.send_modify(|servers| {
        let notes = Arc::make_mut(servers).by_name.get_mut(&ServerName("demo/notes".into())).unwrap();
        Arc::make_mut(notes).subjects.push("team:everyone".to_owned());
    });
    site.fixture.publisher.publish().await;
    // Her agent calls first.
    let authorization = format!("Bearer {}", login.access_token("notes"));
    let asks = async || {
        site.send(Method::GET, "/connections/status?server=demo/notes", &[("authorization", &authorization)], "").await
    };
    let consent = asks().await.between("/connect/", "\"").to_owned();
    let principal = PrincipalId(site.consent(&consent).await.key.holder);
    let alice = PrincipalKind::User { email: "alice@example.com".to_owned() };
    assert_eq!(store.principal_named(&alice).await.unwrap(), None);

    let away = login.begin(&format!("flow={consent}")).await;
    login.gives(&away, &json!({}));
    let back = login.come_back(&away.cookie, &away.back("code=c1")).await;
    let cookie = login.cookie(&back);
    let page = login.come_back(&cookie, back.location()).await;
    assert!(page.says("demo/notes") && page.says("alice@example.com"), "{}", page.body);
    assert_eq!(store.principal_named(&alice).await.unwrap().unwrap().id, principal);
    let csrf = page.between(r#"name="csrf" value=""#, "\"").to_owned();
    let browser = Browser { principal: principal.clone(), subjects: vec![], cookie, csrf };
    let underway = site.set_out(&browser, &consent, &[]).await;
    site.get(&browser, &underway.callback("c1")).await;
    assert!(asks().await.says(r#""status":"connected""#), "her agent's calls are hers");

    // She owns `runtime`, and an operator finds her by name.
    let account = PrincipalKind::VirtualAccount { name: "runtime".into() };
    let account = store.ensure_principal(&account, None, START).await.unwrap().id;
    let runtime =
        Browser { principal: account, subjects: vec!["virtualaccount:runtime".into()], ..site.browser("bob").await };
    let theirs = site.link(&runtime, "notes").await;
    assert!(site.get(&browser, &format!("/connect/{theirs}")).await.says("Everyone who uses it will act as you"));
    site.pages.sign_ins.link_for_user("alice@example.com", crate::audit::Actor::operator(0)).await.unwrap();
    assert_eq!(store.principal_named(&alice).await.unwrap().unwrap().id, principal, "one person");
}

#[tokio::test]
async fn teams_of_the_id_token_say_what_a_person_can_connect() {
    let login = Login::new().await;
    login.site.fixture.servers.send_modify(|servers| {
        let board = Arc::make_mut(servers).by_name.get_mut(&ServerName("demo/board".into())).unwrap();
        Arc::make_mut(board).subjects = vec!["team:platform".to_owned()];
    });
    let without = login.signs_in(&json!({"groups": ["sales", "Platform", "team:platform"]})).await;
    let page = login.come_back(&login.cookie(&without), "/connections").await;
    assert!(page.status == StatusCode::OK && !page.says("demo/board"), "{}", page.body);
    let with = login.signs_in(&json!({"groups": ["sales", "platform"]})).await;
    let cookie = login.cookie(&with);
    let page = login.come_back(&cookie, "/connections").await;
    assert!(page.says("demo/board"), "{}", page.body);

    let csrf = page.between(r#"name="csrf" value=""#, "\"").to_owned();
    let form = format!("csrf={csrf}&server=demo%2Fboard");
    let reply = login.site.press("/connections/connect", &cookie, &form).await;
    assert!(reply.location().starts_with("/connect/"), "{}", reply.body);
    let page = login.come_back(&cookie, reply.location()).await;
    assert!(page.says("on your behalf") && page.says("demo/board"), "{}", page.body);
}

#[tokio::test]
async fn an_id_token_whose_teams_cannot_be_read_signs_nobody_in() {
    let login = Login::new().await;
    for groups in [json!({"a": 1}), json!(["platform", 7]), json!([""]), json!(["a\nb"])] {
        let reply = login.signs_in(&json!({"groups": groups})).await;
        assert_eq!((reply.status, reply.cookie(COOKIE)), (StatusCode::BAD_GATEWAY, None), "{groups}");
    }
}

#[tokio::test]
async fn i4_what_a_sign_in_keeps_is_sealed() {
    let login = Login::new().await;
    let away = login.begin("to=connections").await;
    let (id, random) =
        away.asked("state").split_once('.').map(|(id, random)| (id.to_owned(), random.to_owned())).unwrap();
    let stored = login.site.fixture.store.sign_in(&id, START).await.unwrap().unwrap();
    let sealed = stored.secrets.unwrap().0;
    for secret in [random, away.asked("nonce")] {
        assert!(!sealed.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
    let cookie = URL_SAFE_NO_PAD.decode(away.cookie.split_once('=').unwrap().1).unwrap();
    assert_ne!(stored.browser.unwrap().as_slice(), cookie.as_slice());
}

#[tokio::test]
async fn o4_nobody_signs_in_where_the_issuer_does_not_announce_s256() {
    for methods in [json!(["plain"]), json!([]), Value::Null] {
        let login = Login::new().await;
        login.announces(methods);
        let before = login.site.refusals().await.len();
        let reply = login.site.press("/signin/oidc", "", "to=connections").await;
        assert_eq!(reply.status, StatusCode::BAD_GATEWAY, "{}", reply.body);
        let rows = login.site.refusals().await;
        assert!(rows.len() == before + 1 && rows[before].contains(r#""reason":"discovery""#), "{rows:?}");
    }
}

#[tokio::test]
async fn o4_only_where_nothing_is_announced_may_an_operator_assume_it() {
    for (methods, is_refused) in [(Value::Null, false), (json!(["plain"]), true)] {
        let mut login = Login::new().await;
        login.announces(methods);
        login.is_assumed_to_support_pkce();
        let reply = login.site.press("/signin/oidc", "", "to=connections").await;
        assert_eq!(reply.status == StatusCode::BAD_GATEWAY, is_refused, "{}", reply.body);
    }
}
