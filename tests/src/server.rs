//! A server of a test's own: an upstream, a manifest applied by the command line, a path at the gateway.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{Call, Idp, Provider, Reply, Upstream, World, eventually, world::Change};

/// How the gate authenticates to it.
#[derive(Clone, Default)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// A shared secret in `Authorization: Bearer <secret>`.
    Header {
        /// The secret.
        secret: String,
    },
    /// OAuth client credentials.
    ClientCredentials {
        /// Where the token comes from.
        provider: Arc<Provider>,
        /// What sets this grant apart from others at the provider.
        scope: String,
    },
    /// Each caller's own consent.
    AuthorizationCode {
        /// Where they consent.
        at: OAuth,
        /// What is asked for.
        scopes: Vec<String>,
    },
    /// The caller's own token, if it names the upstream's URL as audience.
    Passthrough,
}

impl Auth {
    /// A shared secret of its own.
    pub fn header() -> Self {
        Self::Header { secret: crate::unique("header-secret") }
    }

    /// Client credentials with a scope of their own.
    pub fn client_credentials(provider: &Arc<Provider>) -> Self {
        Self::ClientCredentials { provider: provider.clone(), scope: crate::unique("scope") }
    }

    /// Each caller's own consent at our own provider.
    pub fn authorization_code(provider: &Provider) -> Self {
        Self::AuthorizationCode { at: OAuth::at(provider), scopes: vec!["notes:read".to_owned()] }
    }
}

/// A client at a provider, which people consent to.
#[derive(Clone)]
pub struct OAuth {
    /// `iss` of the provider's answers.
    pub issuer: String,
    /// Where a browser is sent.
    pub authorization_url: String,
    /// Where tokens come from.
    pub token_url: String,
    /// Where they are given back.
    pub revocation_url: String,
    /// The client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
}

impl OAuth {
    /// The gate's client at our own provider.
    pub fn at(provider: &Provider) -> Self {
        Self {
            issuer: provider.issuer.clone(),
            authorization_url: provider.authorization_url(),
            token_url: provider.token_url(),
            revocation_url: provider.revocation_url(),
            client_id: provider.client_id.clone(),
            client_secret: provider.client_secret.clone(),
        }
    }

    /// The same, where our own provider is a GitHub: for a manifest that is [`github`].
    pub fn at_github(provider: &Provider) -> Self {
        Self { token_url: provider.github_token_url(), ..Self::at(provider) }
    }

    /// A client at the real provider, once [`World::admit`] has registered it.
    pub fn at_idp(idp: &Idp) -> Self {
        Self {
            issuer: idp.issuer.clone(),
            authorization_url: idp.authorization_url(),
            token_url: idp.token_endpoint.clone(),
            revocation_url: idp.revocation_url(),
            client_id: crate::unique("client"),
            client_secret: crate::unique("client-secret"),
        }
    }
}

/// Changes a manifest so that the provider is GitHub, with its own ways to end a token and to name an account.
pub fn github(server: &mut Value) {
    server["auth_data"]["provider"] = "github".into();
    server["auth_data"].as_object_mut().expect("it has OAuth").remove("revocation_url");
}

/// A registered server.
pub struct Server {
    /// `<group>/<name>`.
    pub name: String,
    /// Its path at the gateway.
    pub path: String,
    /// Its resource URI.
    pub resource: String,
    /// What is behind it.
    pub upstream: Upstream,
    gateway: std::net::SocketAddr,
    host: String,
}

impl Server {
    /// A `tools/call` to this server, without a token.
    pub fn call(&self) -> Call {
        Call::new(self.gateway, &self.host, &self.path)
    }

    /// The same, with a token.
    pub fn call_as(&self, token: &str) -> Call {
        self.call().bearer(token)
    }

    /// Sends a `tools/call` with this token and demands the outer door's refusal.
    ///
    /// # Panics
    /// When the answer is any other; `what` names the flaw of the token.
    pub async fn refuses_token(&self, what: &str, token: &str) {
        self.assert_challenged(what, &self.call_as(token).send().await);
    }

    /// Sends a `tools/call` with this token and demands the upstream's answer.
    ///
    /// # Panics
    /// When the answer is any other.
    pub async fn accepts_token(&self, what: &str, token: &str) {
        let reply = self.call_as(token).send().await;
        assert_eq!(reply.status, 200, "{what}: {reply}");
        assert!(reply.json().get("result").is_some(), "{what}: {reply}");
    }

    /// The answer is a 401 that leads to this server's own metadata and names nothing else.
    ///
    /// # Panics
    /// When it is not.
    pub fn assert_challenged(&self, what: &str, reply: &Reply) {
        assert_eq!(reply.status, 401, "{what}: {reply}");
        let challenge = reply.header("www-authenticate").unwrap_or_default();
        let metadata = format!("resource_metadata=\"{}\"", self.metadata_url());
        assert!(challenge.starts_with("Bearer ") && challenge.contains(&metadata), "{what}: {reply}");
        assert!(reply.rpc_error().id.is_null(), "{what}: {reply}");
    }

    /// Where the server's protected-resource metadata is (RFC 9728 section 3.1).
    pub fn metadata_url(&self) -> String {
        format!("http://{}{}", self.host, self.metadata_path())
    }

    /// Its path.
    pub fn metadata_path(&self) -> String {
        format!("/.well-known/oauth-protected-resource{}", self.path)
    }

    /// `Host` of the gateway.
    pub fn host(&self) -> &str {
        &self.host
    }
}

/// A server in the making.
pub struct ServerBuilder<'w> {
    world: &'w World,
    group: String,
    name: String,
    auth: Auth,
    subjects: Vec<String>,
    upstream: Option<Upstream>,
    url: Option<String>,
    change: Option<Change>,
}

impl<'w> ServerBuilder<'w> {
    pub(crate) fn new(world: &'w World) -> Self {
        let (group, name) = (crate::unique("group"), "tool".to_owned());
        let subjects = vec!["team:everyone".to_owned()];
        Self { world, group, name, auth: Auth::None, subjects, upstream: None, url: None, change: None }
    }

    /// The group that its manifest will have.
    pub fn group_name(&self) -> String {
        self.group.clone()
    }

    /// A name that is fit to be shown; nobody else in its world may have it.
    pub fn named(mut self, group: &str, name: &str) -> Self {
        (self.group, self.name) = (group.to_owned(), name.to_owned());
        self
    }

    /// How the gate authenticates to it; not at all, if not said.
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// Who may use it; everyone, if not said.
    pub fn subjects(mut self, subjects: &[&str]) -> Self {
        self.subjects = subjects.iter().map(ToString::to_string).collect();
        self
    }

    /// What is behind it; a plain recording upstream, if not said.
    pub fn upstream(mut self, upstream: Upstream) -> Self {
        self.upstream = Some(upstream);
        self
    }

    /// Registers another URL than the upstream's.
    pub fn url(mut self, url: &str) -> Self {
        self.url = Some(url.to_owned());
        self
    }

    /// Changes the integration's manifest before it is applied.
    pub fn manifest(mut self, change: impl FnOnce(&mut Value) + Send + 'static) -> Self {
        self.change = Some(Box::new(change));
        self
    }

    /// Applies the manifest and returns when the gateway has the route.
    pub async fn register(self) -> Server {
        let envoy = &self.world.envoy;
        let server = self.apply().await;
        server.until_served().await;
        // The filter may know it before Envoy has its route, and leads nobody to another (I12). Where a test has routes of its
        // own, there is none to wait for.
        let cluster = format!("\"mcp:{}\"", server.name);
        eventually("the new server has a route", async || {
            let routes = envoy.admin("/config_dump?resource=dynamic_route_configs").await;
            (routes.contains(&cluster) || !routes.contains("RouteConfiguration")).then_some(())
        })
        .await;
        server
    }

    /// Applies the manifest and returns at once.
    pub async fn apply(self) -> Server {
        let upstream = match self.upstream {
            Some(upstream) => upstream,
            None => Upstream::start().await,
        };
        let broker = &self.world.broker;
        let mut integration = json!({
            "type": "integration/mcp-server/remote", "name": self.name, "description": "of a test",
            "url": self.url.as_ref().unwrap_or(&upstream.url), "transport": "streamable-http",
            "authorized_subjects": self.subjects,
        });
        match &self.auth {
            Auth::None => {}
            Auth::Header { secret } => {
                let reference = broker.set_secret(&self.group, "header", secret, &self.group).await;
                let headers = json!({"Authorization": format!("Bearer {reference}")});
                integration["auth_data"] = json!({"type": "header", "headers": headers});
            }
            Auth::ClientCredentials { provider, scope } => {
                let reference = broker.set_secret(&self.group, "client", &provider.client_secret, &self.group).await;
                integration["auth_data"] = json!({
                    "type": "oauth2", "grant_type": "client_credentials", "token_url": provider.token_url(),
                    "client_id": provider.client_id, "client_secret": reference, "scopes": [scope],
                });
            }
            Auth::AuthorizationCode { at, scopes } => {
                let reference = broker.set_secret(&self.group, "client", &at.client_secret, &self.group).await;
                integration["auth_data"] = json!({
                    "type": "oauth2", "grant_type": "authorization_code", "authorization_url": at.authorization_url,
                    "token_url": at.token_url, "revocation_url": at.revocation_url, "issuer": at.issuer,
                    "client_authentication": "client_secret_post", "client_id": at.client_id,
                    "client_secret": reference, "scopes": scopes,
                });
            }
            Auth::Passthrough => integration["auth_data"] = json!({"type": "passthrough"}),
        }
        if let Some(change) = self.change {
            change(&mut integration);
        }
        broker.apply(&[group(&self.group, &[integration])]).await.ok();
        self.world.server_at(&format!("{}/{}", self.group, self.name), upstream)
    }
}

/// A `provider-account/mcp-server-group` manifest.
pub(crate) fn group(name: &str, integrations: &[Value]) -> Value {
    json!({"type": "provider-account/mcp-server-group", "name": name, "collaborators": [], "integrations": integrations})
}

impl Server {
    pub(crate) fn new(name: &str, upstream: Upstream, gateway: std::net::SocketAddr, public_url: &str) -> Self {
        let path = format!("/mcp-server/{name}/server");
        let host = public_url.trim_start_matches("http://").to_owned();
        Self { name: name.to_owned(), resource: format!("{public_url}{path}"), path, upstream, gateway, host }
    }

    /// Waits until the filter knows the server: only then does it challenge with the server's own metadata.
    pub async fn until_served(&self) {
        eventually("the new server is served", async || {
            let reply = self.call().try_send().await.ok()?;
            (reply.status == 401).then_some(())
        })
        .await;
    }
}
