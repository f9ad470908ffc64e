//! The gate beside Envoy's own filters, on one machine, with one upstream.
//!
//! Sides take turns, so that whatever else the machine does meets them all; what counts is their ratio. What is asserted:
//! that each side does its work, before and while it is measured.

use std::{net::SocketAddr, process::Command};

use anyhow::{Context, Result, ensure};
use e2e::Envoy;
use serde_json::{Value, json};

use crate::{
    Options,
    cores::{self, Cores},
    figures::{Latency, Row, Sample, Spread},
    gate::{self, Gate},
    load::{CONNECTIONS, Connections, Script},
    native::Native,
    upstream::{ANSWER, Upstream},
};

const HIT: &str = "hit path: cached caller and credential, body read, policy, credential swapped";
const FIRST_SIGHT: &str = "first sight of an RS256 token: every request brings another one";
const HALF_LOAD: &str = "latency over the bare proxy at half load, hit path";
/// Every row.
pub(crate) const ROWS: [&str; 3] = [HIT, FIRST_SIGHT, HALF_LOAD];
const GATE: &str = "gate";
const NATIVE: &str = "jwt_authn (cached) + mcp + rbac + header_mutation";
const NATIVE_UNCACHED: &str = "jwt_authn (no cache) + mcp + rbac + header_mutation";
const OTHER: &str = "gate with another build of the filter";
const BARE: &str = "bare proxy";

/// One proxy to send to.
#[derive(Clone, Copy)]
struct Target {
    address: SocketAddr,
    process: u32,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gate,
    Native,
    Bare,
}

struct Compared<'o> {
    options: &'o Options,
    upstream: Upstream,
    gate: Gate,
    native: Native,
    /// A proxy with another build of the filter.
    other: Option<Envoy>,
}

/// Measures the rows that are wanted.
///
/// # Errors
/// When a side does not do its work.
pub(crate) async fn measure(options: &Options, cores: Cores) -> Result<Value> {
    let credential = e2e::unique("credential");
    let upstream = Upstream::start(&credential)?;
    let gate = Gate::start(&credential, &upstream).await?;
    let native = Native::start(&gate, &credential, &upstream).await?;
    gate.verify(&upstream).await?;
    native.verify(&gate, &upstream).await?;
    cores::pin(gate.world.envoy.child().pid(), cores.gateway)?;
    cores::pin(native.child.pid(), cores.gateway)?;

    let envoy = envoy_version()?;
    let Options { rounds, requests, .. } = *options;
    println!("\n{envoy}, one worker, on a core of its own; load, upstream and broker on another");
    println!("{CONNECTIONS} connections, {requests} requests a round, {rounds} rounds in turn");
    println!("one connection manager for all sides; no access log on any side; median (least–most)");

    let other = match options.against.clone() {
        Some(module) => Some(gate.with_module(module, cores.gateway).await?),
        None => None,
    };
    let mut compared = Compared { options, upstream, gate, native, other };
    let mut rows = Vec::new();
    if options.wants(HIT) {
        let script = compared.script(1);
        rows.push(compared.throughput(HIT, 1.0, NATIVE, compared.native.cached, &script).await?);
    }
    if options.wants(FIRST_SIGHT) {
        // The filter forgets a token long before its turn comes again.
        let script = compared.script(4 * gate::CACHE_ENTRIES);
        rows.push(compared.throughput(FIRST_SIGHT, 0.9, NATIVE_UNCACHED, compared.native.uncached, &script).await?);
    }
    let latency = if options.wants(HALF_LOAD) { Some(compared.half_load().await?) } else { None };
    Ok(json!({
        "envoy": envoy,
        "load": {"connections": CONNECTIONS, "requests_a_round": requests, "rounds": rounds},
        "access_log": false,
        "throughput": rows,
        "latency_ms": latency,
    }))
}

impl Compared<'_> {
    /// Calls with so many different tokens of one caller, in turn.
    fn script(&self, tokens: usize) -> Script {
        Script::new((0..tokens).map(|_| self.gate.request(&self.gate.token().mint())).collect(), ANSWER)
    }

    fn targets(&self, native: SocketAddr) -> [Target; 3] {
        let (gate, envoy) = (self.gate.world.envoy.child().pid(), self.native.child.pid());
        let compared = match &self.other {
            Some(other) => Target { address: other.gateway, process: other.child().pid(), kind: Kind::Gate },
            None => Target { address: native, process: envoy, kind: Kind::Native },
        };
        [
            Target { address: self.gate.address(), process: gate, kind: Kind::Gate },
            compared,
            Target { address: self.native.bare, process: envoy, kind: Kind::Bare },
        ]
    }

    async fn throughput(
        &mut self,
        name: &'static str,
        budget: f64,
        native_name: &'static str,
        native: SocketAddr,
        script: &Script,
    ) -> Result<Row> {
        let mut samples: [Vec<Sample>; 3] = Default::default();
        let targets = self.targets(native);
        for round in 0..self.options.rounds {
            // There and back: what drifts in one direction meets both alike.
            let order = if round % 2 == 0 { [0, 1, 2] } else { [2, 1, 0] };
            for side in order {
                samples[side].push(self.round(targets[side], script).await?);
            }
        }
        let [gate, native, bare] = &samples;
        let compared = if self.other.is_some() { OTHER } else { native_name };
        let row = Row::of(name, budget, [(GATE, gate), (compared, native), (BARE, bare)]);
        row.print();
        Ok(row)
    }

    async fn round(&mut self, target: Target, script: &Script) -> Result<Sample> {
        let requests = usize::try_from(self.options.requests)?;
        let mut connections = self.ready(target, script).await?;
        let before = cores::cpu_time(target.process)?;
        let taken = connections.saturate(script, requests)?.as_secs_f64();
        let cpu = (cores::cpu_time(target.process)? - before).as_secs_f64();
        self.finish(target, requests).await?;
        let count = requests as f64;
        Ok(Sample { per_second: count / taken, cpu_us: cpu / count * 1e6, busy: cpu / taken })
    }

    async fn half_load(&mut self) -> Result<Latency> {
        let script = self.script(1);
        let targets = self.targets(self.native.cached);
        let full = self.round(targets[0], &script).await?;
        let per_second = full.per_second / 2.0;
        let requests = usize::try_from(self.options.requests)? / 2;
        let mut over: [[Vec<f64>; 2]; 2] = Default::default();
        for round in 0..self.options.rounds {
            let order = if round % 2 == 0 { [0, 1, 2] } else { [2, 1, 0] };
            let mut quantiles = [[0.0; 2]; 3];
            for side in order {
                let target = targets[side];
                let mut connections = self.ready(target, &script).await?;
                let waits = connections.paced(&script, requests, per_second)?;
                self.finish(target, requests).await?;
                quantiles[side] = [2, 100].map(|part| waits[waits.len() - 1 - waits.len() / part].as_secs_f64() * 1e3);
            }
            for side in 0..2 {
                for quantile in 0..2 {
                    over[side][quantile].push(quantiles[side][quantile] - quantiles[2][quantile]);
                }
            }
        }
        let [gate, native] = over.map(|quantiles| quantiles.map(Spread::of));
        let sides = vec![(GATE, gate[0], gate[1]), (NATIVE, native[0], native[1])];
        let latency = Latency { name: HALF_LOAD, requests_per_second: per_second, budget: [0.1, 1.0], sides };
        latency.print();
        Ok(latency)
    }

    /// Connections to one side, each used once.
    async fn ready(&mut self, target: Target, script: &Script) -> Result<Connections> {
        self.gate.mark().await?;
        let connections = Connections::open(target.address, script)?;
        if target.kind == Kind::Gate {
            self.gate.settle(CONNECTIONS).await;
            self.gate.mark().await?;
        }
        self.upstream.seen();
        Ok(connections)
    }

    /// Every request was forwarded as it should be, and no work of this side is left over for the next.
    async fn finish(&mut self, target: Target, requests: usize) -> Result<()> {
        let seen = self.upstream.seen();
        ensure!(seen.calls == u64::try_from(requests)?, "{requests} were answered, but the upstream saw {seen:?}");
        match target.kind {
            Kind::Gate => {
                ensure!(
                    seen.swapped > 0 && seen.unswapped == 0,
                    "the gate did not always swap the credential: {seen:?}"
                );
                self.gate.settle(requests).await;
            }
            Kind::Native => {
                ensure!(seen.swapped > 0 && seen.unswapped == 0, "the credential was not always swapped: {seen:?}");
            }
            Kind::Bare => {}
        }
        Ok(())
    }
}

fn envoy_version() -> Result<String> {
    let output = Command::new(&e2e::setup().envoy).arg("--version").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_once("version:").and_then(|(_, rest)| rest.trim().split('/').nth(1));
    Ok(format!("Envoy {}", version.context("Envoy does not say its version")?))
}
