//! Envoy's own filters under measurement: `envoy/bench/native.yaml`, in a process of its own.

use std::{fs, net::SocketAddr, process::Command};

use anyhow::{Context, Result, bail, ensure};
use e2e::{Algorithm, Call, Child, eventually, free_ports, setup};
use serde_json::{Value, json};

use crate::{
    gate::Gate,
    upstream::{ANSWER, CALL, Upstream},
};

const CONFIGURATION: &str = include_str!("../../../../envoy/bench/native.yaml");
const GATEWAY: &str = include_str!("../../../../envoy/envoy.yaml");
/// What of the gateway's connection manager is the gateway's alone; access logs are written by neither side.
const OWN: [&str; 5] = ["stat_prefix", "rds", "route_config", "http_filters", "access_log"];
const MANAGER: &str = "/filter_chains/0/filters/0/typed_config";

/// The process and its listeners.
pub(crate) struct Native {
    /// The process.
    pub(crate) child: Child,
    /// Each token's signature is checked once.
    pub(crate) cached: SocketAddr,
    /// Each time.
    pub(crate) uncached: SocketAddr,
    /// Nothing is checked.
    pub(crate) bare: SocketAddr,
}

impl Native {
    /// Starts it for the same caller, server and upstream.
    ///
    /// # Errors
    /// When the configuration has another shape than expected.
    pub(crate) async fn start(gate: &Gate, credential: &str, upstream: &Upstream) -> Result<Self> {
        let [admin, cached, uncached, bare] = std::array::from_fn(|_| free_ports(1));
        let keys = json!({"keys": [gate.world.issuer.key(Algorithm::Rs256).jwk()]}).to_string();
        let values = [
            ("ADMIN_PORT", admin.to_string()),
            ("CACHED_PORT", cached.to_string()),
            ("UNCACHED_PORT", uncached.to_string()),
            ("BARE_PORT", bare.to_string()),
            ("UPSTREAM_PORT", upstream.address.port().to_string()),
            ("ISSUER", gate.world.issuer.url.clone()),
            ("AUDIENCE", gate.server.resource.clone()),
            ("SUBJECT", "alice".to_owned()),
            ("KEYS", keys),
            ("TOOL", "echo".to_owned()),
            ("CREDENTIAL", credential.to_owned()),
            ("PATH", gate.server.path.clone()),
            ("UPSTREAM_PATH", "/mcp".to_owned()),
        ];
        let mut configuration: Value = serde_saphyr::from_str(&fill(CONFIGURATION, &values)?)?;
        share_manager(&mut configuration, &serde_saphyr::from_str(GATEWAY)?)?;
        let directory = gate.world.dir();
        let file = directory.join("native.json");
        fs::write(&file, configuration.to_string())?;

        let mut command = Command::new(&setup().envoy);
        command.arg("-c").arg(&file).args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warn"]);
        let mut child = Child::start(command, &directory.join("native.log"));
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        eventually("Envoy's own filters serve", async || {
            assert!(child.ended().is_none(), "Envoy refuses envoy/bench/native.yaml");
            tokio::net::TcpStream::connect(at(bare)).await.ok().map(drop)
        })
        .await;
        Ok(Self { child, cached: at(cached), uncached: at(uncached), bare: at(bare) })
    }

    /// Each listener does what it is compared for.
    ///
    /// # Errors
    /// When one does not.
    pub(crate) async fn verify(&self, gate: &Gate, upstream: &Upstream) -> Result<()> {
        let token = gate.token().mint();
        let bob = gate.world.issuer.token("bob", &gate.server).mint();
        let forged = gate.token().mint_with_signature(&[1; 256]);
        for at in [self.cached, self.uncached] {
            let call = |token: &str| gate.server.call_as(token).at(at).body(CALL);
            let good = call(&token).send().await;
            ensure!(good.status == 200 && good.body == ANSWER, "{at} does not let its caller in: {good}");
            ensure!(upstream.seen().calls == 1, "{at} does not forward");
            let refused: [(&str, Call, u16); 4] = [
                ("a stranger", call(&bob), 403),
                ("another tool", call(&token).tool("other"), 403),
                ("a forged token", call(&forged), 401),
                ("no token", gate.server.call().at(at).body(CALL), 401),
            ];
            for (what, call, status) in refused {
                let answer = call.send().await;
                ensure!(answer.status == status, "{at} lets {what} in: {answer}");
            }
            ensure!(upstream.seen().calls == 0, "{at} forwards what it refuses");
        }
        let bare = gate.server.call().at(self.bare).body(CALL).send().await;
        ensure!(bare.status == 200 && upstream.seen().calls == 1, "the bare proxy does not forward: {bare}");
        Ok(())
    }
}

/// Replaces each `@NAME@`.
fn fill(text: &str, values: &[(&str, String)]) -> Result<String> {
    // The first lines explain the marks, and hold one.
    let mut filled: String = text.lines().filter(|line| !line.starts_with('#')).flat_map(|line| [line, "\n"]).collect();
    for (name, value) in values {
        let mark = format!("@{name}@");
        if !filled.contains(&mark) {
            bail!("envoy/bench/native.yaml has no {mark}");
        }
        filled = filled.replace(&mark, value);
    }
    Ok(filled)
}

/// Gives every listener the gateway's connection manager: normalisation, limits, time-outs and ids cost both sides the same.
fn share_manager(configuration: &mut Value, gateway: &Value) -> Result<()> {
    let listener = gateway.pointer("/static_resources/listeners/0").context("the gateway has no listener")?;
    let shared = listener.pointer(MANAGER).and_then(Value::as_object).context("the gateway has no manager")?;
    let listeners = configuration.pointer_mut("/static_resources/listeners").and_then(Value::as_array_mut);
    for listener in listeners.context("envoy/bench/native.yaml has no listeners")? {
        let manager =
            listener.pointer_mut(MANAGER).and_then(Value::as_object_mut).context("a listener has no manager")?;
        for (field, value) in shared.iter().filter(|(field, _)| !OWN.contains(&field.as_str())) {
            manager.insert(field.clone(), value.clone());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_that_is_not_there_is_an_error() {
        assert_eq!(fill("# @B@\na: @A@\n", &[("A", "1".to_owned())]).unwrap(), "a: 1\n");
        assert!(fill("a: 1\n", &[("A", "1".to_owned())]).is_err());
    }

    #[test]
    fn every_listener_gets_the_gateways_manager_and_keeps_its_own_filters() {
        let marks = ["ADMIN", "CACHED", "UNCACHED", "BARE", "UPSTREAM"].map(|name| format!("@{name}_PORT@"));
        let text = marks.iter().fold(CONFIGURATION.to_owned(), |text, mark| text.replace(mark, "1"));
        let mut configuration: Value = serde_saphyr::from_str(&text).unwrap();
        share_manager(&mut configuration, &serde_saphyr::from_str(GATEWAY).unwrap()).unwrap();
        for (index, filters) in [(0, 5), (1, 5), (2, 1)] {
            let manager = configuration.pointer(&format!("/static_resources/listeners/{index}{MANAGER}")).unwrap();
            assert_eq!(manager["http_filters"].as_array().unwrap().len(), filters);
            assert_eq!(manager["normalize_path"], true);
            assert!(manager.get("access_log").is_none() && manager.get("rds").is_none());
        }
    }
}
