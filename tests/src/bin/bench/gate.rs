//! The gate under measurement: real broker, real Envoy with the shipped bootstrap and the filter, one registered server.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{
    Auth, Envoy, Server, TokenBuilder, World, eventually, eventually_within, set_manager, set_module,
    set_plugin_configuration,
};
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::{
    cores,
    upstream::{ANSWER, CALL, Upstream},
};

/// Entries of each cache of the filter: far fewer than there are tokens, so that each is seen for the first time.
pub(crate) const CACHE_ENTRIES: usize = 1_000;
/// The caller that policy names.
const CALLER: &str = "alice";

/// The parts, and what is known about them.
pub(crate) struct Gate {
    /// The tool server.
    pub(crate) server: Server,
    /// Issuer, broker, proxy.
    pub(crate) world: World,
    log: SqliteConnection,
    recorded: i64,
}

impl Gate {
    /// Starts it with one server behind it, which wants `credential` and takes it from `alice` alone.
    ///
    /// # Errors
    /// When the audit log cannot be read.
    pub(crate) async fn start(credential: &str, upstream: &Upstream) -> Result<Self> {
        let world = World::build().envoy(configure).start().await;
        let server = world
            .server()
            .auth(Auth::Header { secret: credential.to_owned() })
            .subjects(&["user:alice@example.com"])
            .url(&format!("http://{}/mcp", upstream.address))
            .register()
            .await;
        let options = SqliteConnectOptions::new().filename(world.broker.data.join("sallyport.db")).read_only(true);
        let log = SqliteConnection::connect_with(&options).await.context("the broker's store does not open")?;
        Ok(Self { server, world, log, recorded: 0 })
    }

    /// One more proxy, with another build of the filter.
    ///
    /// # Errors
    /// When it cannot be bound to its core.
    pub(crate) async fn with_module(&self, module: PathBuf, core: usize) -> Result<Envoy> {
        let change = move |config: &mut Value| {
            configure(config);
            set_module(config, &module);
        };
        let envoy = self.world.second_envoy(change).await;
        eventually("the other build serves", async || {
            let token = self.token().mint();
            self.server.call_as(&token).at(envoy.gateway).body(CALL).send().await.body.eq(ANSWER).then_some(())
        })
        .await;
        cores::pin(envoy.child().pid(), core)?;
        Ok(envoy)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.world.envoy.gateway
    }

    /// A token of the caller; each one is another token.
    pub(crate) fn token(&self) -> TokenBuilder {
        self.world.issuer.token(CALLER, &self.server).expires_in(3_600)
    }

    /// Bytes of a call with this token, for whichever proxy.
    pub(crate) fn request(&self, token: &str) -> Vec<u8> {
        let (path, host) = (&self.server.path, self.server.host());
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: bench\r\naccept: application/json, text/event-stream\r\n\
             content-type: application/json\r\nmcp-protocol-version: 2025-11-25\r\nauthorization: Bearer {token}\r\n\
             content-length: {}\r\n\r\n",
            CALL.len()
        );
        [head.as_bytes(), CALL].concat()
    }

    /// Lets the caller in, with the credential swapped, and nobody else.
    ///
    /// # Errors
    /// When it does otherwise.
    pub(crate) async fn verify(&self, upstream: &Upstream) -> Result<()> {
        let Self { server, world, .. } = self;
        let call = |token: &str| server.call_as(token).body(CALL);
        let good = call(&self.token().mint()).send().await;
        ensure!(good.status == 200 && good.body == ANSWER, "the gate does not let its caller in: {good}");
        ensure!(upstream.seen().swapped == 1, "the gate does not swap the credential");

        let stranger = call(&world.issuer.token("bob", server).mint()).send().await;
        ensure!(stranger.rpc_error().code == -31002, "the gate lets a stranger in: {stranger}");
        let nobody = server.call().body(CALL).send().await;
        ensure!(nobody.status == 401, "the gate lets a request without a token in: {nobody}");
        let forged = call(&self.token().mint_with_signature(&[1; 256])).send().await;
        ensure!(forged.status == 401, "the gate lets a forged token in: {forged}");
        let unread = server.call_as(&self.token().mint()).body("[]").send().await;
        ensure!(unread.status == 400, "the gate does not read bodies: {unread}");
        ensure!(upstream.seen().calls == 0, "something of a refused request reached the upstream");
        Ok(())
    }

    /// Records so far, to count on from.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn mark(&mut self) -> Result<()> {
        self.recorded = records(&mut self.log).await?;
        Ok(())
    }

    /// Waits until the broker has recorded as many uses since [`Gate::mark`] (I7), so that no later round pays for them.
    ///
    /// # Panics
    /// When they are not recorded within a minute.
    pub(crate) async fn settle(&mut self, uses: usize) {
        let wanted = self.recorded + i64::try_from(uses).expect("few enough");
        let log = &mut self.log;
        eventually_within(Duration::from_secs(60), "every use is on record", async || {
            records(log).await.is_ok_and(|recorded| recorded >= wanted).then_some(())
        })
        .await;
    }
}

fn configure(config: &mut Value) {
    let filter = json!({"broker_cluster": "sallyport_broker", "cache": {"entries": CACHE_ENTRIES}});
    set_manager(config, "access_log", json!([]));
    set_plugin_configuration(config, &filter.to_string());
}

async fn records(log: &mut SqliteConnection) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT coalesce(max(sequence), 0) FROM audit").fetch_one(log).await?)
}
