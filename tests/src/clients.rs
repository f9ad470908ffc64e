//! Counterparts that others wrote: fastmcp as client and server, oidc-provider as identity provider.

use std::{path::Path, process::Command};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use url::Url;

use crate::{Browser, Child, World, eventually, setup, setup::root, unique, world::Change};

/// A released version of fastmcp, as agents have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(&'static str);

/// What a client program saw.
#[derive(Debug, Deserialize)]
pub struct ClientAnswer {
    /// It got an answer.
    pub ok: bool,
    /// The tool's answer, if it answered.
    #[serde(default)]
    pub result: Value,
    /// The error as the library shows it: code, message, data.
    #[serde(default)]
    pub error: Value,
    /// HTTP status, where the library tells it.
    #[serde(default)]
    pub status: Option<u16>,
    /// How many notes of progress came before it.
    #[serde(default)]
    pub progress: u64,
    /// Which library it was.
    pub version: String,
}

impl Client {
    /// Every version that is tested.
    pub const ALL: [Self; 3] = [Self("fastmcp-2.14"), Self("fastmcp-3.4"), Self("fastmcp-4.1")];

    /// Connects, calls one tool, disconnects.
    ///
    /// # Panics
    /// When the program says nothing.
    pub async fn call(self, url: &str, token: &str, tool: &str, arguments: &Value) -> ClientAnswer {
        self.say("client_call.py", &[url, token, tool, &arguments.to_string()]).await
    }

    /// Calls one tool of each server with the client code that is published for agents, and answers what that returned.
    ///
    /// # Panics
    /// When the program says nothing.
    pub async fn published(self, token: &str, tool: &str, urls: &[&str]) -> Vec<Value> {
        self.say("published_agent.py", &[&[token, tool, "{}"], urls].concat()).await
    }

    async fn say<T: DeserializeOwned>(self, program: &str, arguments: &[&str]) -> T {
        let mut command = tokio::process::Command::new(self.python());
        command.arg(counterpart(program)).args(arguments);
        let output = command.kill_on_drop(true).output().await.expect("the environment is there");
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().last().unwrap_or_default();
        serde_json::from_str(last)
            .unwrap_or_else(|error| panic!("{self:?}: {error}: {text}{}", String::from_utf8_lossy(&output.stderr)))
    }

    fn python(self) -> &'static Path {
        setup().python.get(self.0).unwrap_or_else(|| panic!("{} is not set up", self.0))
    }
}

/// A fastmcp server.
pub struct McpServer {
    /// Its endpoint.
    pub url: String,
    /// The process.
    pub child: Child,
}

impl McpServer {
    /// Starts a server of the newest version with these arguments; `--name` is given.
    pub async fn start(world: &World, arguments: &[&str]) -> Self {
        let name = unique("mcp");
        let mut command = Command::new(Client("fastmcp-4.1").python());
        command.arg(counterpart("mcp_server.py")).args(["--name", &name]).args(arguments);
        let child = Child::start(command, &world.dir().join(format!("{name}.log")));
        let told = first_line(&child).await;
        Self { url: told["url"].as_str().expect("its URL").to_owned(), child }
    }

    /// The requests it has seen, refused ones included: method, path, names of headers, tail of the credential.
    pub async fn seen(&self) -> Vec<Value> {
        let url = self.url.replace("/mcp", "/seen");
        let answer = reqwest::get(&url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        answer.json().await.unwrap_or_else(|error| panic!("{url}: {error}"))
    }
}

/// oidc-provider.
pub struct Idp {
    /// The exact `iss`.
    pub issuer: String,
    /// Its token endpoint.
    pub token_endpoint: String,
    login_grant: String,
    /// The process.
    pub child: Child,
}

impl Idp {
    /// Starts one in this directory.
    pub async fn start(directory: &Path) -> Self {
        let mut command = Command::new(&setup().node);
        command.arg(counterpart("idp.mjs")).env("SALLYPORT_NODE_MODULES", &setup().node_modules);
        let child = Child::start(command, &directory.join("idp.log"));
        let told = first_line(&child).await;
        let text = |name: &str| told[name].as_str().unwrap_or_else(|| panic!("{name} in {told}")).to_owned();
        Self { issuer: text("issuer"), token_endpoint: text("token_endpoint"), login_grant: text("login_grant"), child }
    }

    /// An access token of a user for this audience, signed with this algorithm.
    pub async fn login(&self, login: &str, audience: &str, algorithm: &str) -> String {
        let password = format!("{login}-password");
        let form = [
            ("grant_type", self.login_grant.as_str()),
            ("client_id", "agent"),
            ("login", login),
            ("password", &password),
            ("resource", audience),
            ("alg", algorithm),
        ];
        let answer = reqwest::Client::new().post(&self.token_endpoint).form(&form).send().await.expect("it listens");
        let answer: Value = answer.json().await.expect("JSON");
        answer["access_token"].as_str().unwrap_or_else(|| panic!("a token: {answer}")).to_owned()
    }

    /// Registers a client that may ask for tokens of its own.
    pub async fn register(&self, client_id: &str, client_secret: &str) {
        self.control("clients", &json!({"client_id": client_id, "client_secret": client_secret})).await;
    }

    /// Registers a client that may ask for people's tokens, with its secret in the body; refresh tokens work once.
    pub async fn register_for_people(&self, client_id: &str, client_secret: &str, redirect_uris: &[&str]) {
        let client = json!({
            "client_id": client_id, "client_secret": client_secret, "redirect_uris": redirect_uris,
            "token_endpoint_auth_method": "client_secret_post",
        });
        self.control("clients", &client).await;
    }

    /// Registers the gate as a client for sign-in; what that changes in `sallyport.yaml`.
    pub(crate) async fn signs_people_in(&self, public_url: &str) -> Change {
        let (client_id, client_secret) = ("sallyport", unique("sign-in-secret"));
        let client = json!({
            "client_id": client_id, "client_secret": client_secret,
            "redirect_uris": [format!("{public_url}/signin/callback")],
        });
        self.control("clients", &client).await;
        let issuer = self.issuer.clone();
        Box::new(move |config| {
            let algorithms = ["RS256", "ES256", "EdDSA"];
            let login = json!({"issuer": issuer, "login": true, "algorithms": algorithms});
            config["issuers"].as_array_mut().expect("a list").push(login);
            config["sign_in"] = json!({"issuer": issuer, "client_id": client_id, "client_secret": client_secret});
        })
    }

    /// Where a browser is sent for consent.
    pub fn authorization_url(&self) -> String {
        format!("{}/auth", self.issuer)
    }

    /// Where tokens are given back.
    pub fn revocation_url(&self) -> String {
        format!("{}/token/revocation", self.issuer)
    }

    /// Signs in where that is asked for, says yes to everything, and returns where the browser is sent at last.
    pub async fn consent(&self, browser: &Browser, url: &Url, login: &str) -> Url {
        let password = format!("{login}-password");
        let yes = [("decision", "yes"), ("login", login), ("password", &password)];
        let mut page = browser.follow(browser.get(url).await).await;
        while page.url.path().starts_with("/interaction/") && page.status == 200 {
            page = browser.follow(browser.post(&page.url, &yes).await).await;
        }
        page.location().unwrap_or_else(|| panic!("{login} was not sent back: {page:?}"))
    }

    /// Sets the life of tokens for client credentials, in seconds.
    pub async fn client_credentials_ttl(&self, seconds: u64) {
        self.control("ttl", &json!({"client_credentials": seconds})).await;
    }

    /// Sets the life of people's access tokens, in seconds.
    pub async fn access_token_ttl(&self, seconds: u64) {
        self.control("ttl", &json!({"access_token": seconds})).await;
    }

    /// Takes new keys in place of the old ones.
    pub async fn rotate(&self) {
        self.control("rotate", &json!({})).await;
    }

    /// How many token requests a client has made.
    pub async fn token_requests(&self, client_id: &str) -> u64 {
        self.counters().await["token_requests_by_client"][client_id].as_u64().unwrap_or(0)
    }

    /// How many grants are dead, by a second use of a refresh token or by revocation.
    pub async fn grants_revoked(&self) -> u64 {
        self.counters().await["grants_revoked"].as_u64().expect("it counts them")
    }

    /// Of each code that was redeemed: `code`, `code_verifier`, and the tokens it was answered with.
    pub async fn exchanges(&self) -> Vec<Value> {
        let url = format!("{}/control/exchanges", self.issuer);
        reqwest::get(&url).await.expect("it listens").json().await.expect("a list")
    }

    async fn counters(&self) -> Value {
        let url = format!("{}/control/counters", self.issuer);
        reqwest::get(&url).await.expect("it listens").json().await.expect("JSON")
    }

    async fn control(&self, action: &str, body: &Value) {
        let url = format!("{}/control/{action}", self.issuer);
        let answer = reqwest::Client::new().post(&url).json(body).send().await.expect("it listens");
        assert!(answer.status().is_success(), "{action}: {}", answer.status());
    }
}

pub(crate) fn counterpart(file: &str) -> std::path::PathBuf {
    root().join("tests/counterparts").join(file)
}

/// What a counterpart says when it serves.
pub(crate) async fn first_line(child: &Child) -> Value {
    eventually("a counterpart serves", async || {
        child.log().lines().find_map(|line| serde_json::from_str::<Value>(line).ok().filter(Value::is_object))
    })
    .await
}
