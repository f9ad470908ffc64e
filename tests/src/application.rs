//! The example application, as the repository shows it: its users are external, and it confirms who they are.

use std::{path::Path, process::Command};

use serde_json::{Value, json};

use crate::{Browser, Child, Page, World, WorldBuilder, eventually, ports, setup, setup::root};

/// The application, once it runs.
pub struct Application {
    /// Its origin, which is the `iss` of its tokens.
    pub origin: String,
    _child: Child,
}

impl Application {
    /// A world whose gateway takes the application's tokens, and the application.
    pub async fn with_world() -> (World, Self) {
        Self::with(World::build()).await
    }

    /// The same, of a world in the making.
    pub async fn with(world: WorldBuilder) -> (World, Self) {
        let port = ports::free();
        let origin = format!("http://127.0.0.1:{port}");
        let issuer = origin.clone();
        let external = move |config: &mut Value| {
            let external = json!({"issuer": issuer, "login": false, "audiences": [config["public_url"]]});
            config["issuers"].as_array_mut().expect("a list").push(external);
        };
        let mut world = world.broker(external).start_unready().await;
        let child = Self::spawn(world.dir(), port, &world.public_url);
        world.broker.until_ready().await;
        (world, Self { origin, _child: child })
    }

    fn spawn(directory: &Path, port: u16, gate: &str) -> Child {
        let mut command = Command::new(&setup().node);
        command.arg(root().join("examples/application/server.mjs")).env("PORT", port.to_string()).env("GATE", gate);
        Child::start(command, &directory.join("application.log"))
    }

    /// The manifest by which its users are known, and confirmed.
    pub fn identity(&self, name: &str) -> Value {
        let verifier_url = format!("{}/confirm", self.origin);
        json!({"type": "external-identity", "name": name, "issuer": self.origin, "verifier_url": verifier_url})
    }

    /// Signs somebody in there; answers a token for their agent.
    ///
    /// # Panics
    /// When the application does not answer.
    pub async fn sign_in(&self, person: &Browser) -> String {
        let url = |path: &str| format!("{}{path}", self.origin).parse().expect("a URL");
        let up = format!("{}/jwks", self.origin);
        eventually("the application answers", async || reqwest::get(&up).await.ok()).await;
        person.post(&url("/sign-in"), &[("user", person.login.as_str())]).await;
        let token: Value = serde_json::from_str(&person.get(&url("/token")).await.text).expect("JSON");
        token["access_token"].as_str().expect("a token").to_owned()
    }
}

impl Browser {
    /// From the page behind a link to the application, which asks whether this was wanted.
    pub async fn to_application(&self, world: &World, link: &str) -> Page {
        let flow = link.rsplit('/').next().unwrap_or_default();
        let ways = format!("{}/signin?flow={flow}", world.public_url).parse().expect("a URL");
        let page = self.get(&ways).await;
        self.go_on(self.press(&page, "Sign in at 127.0.0.1").await).await
    }
}
