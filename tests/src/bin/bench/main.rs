//! `cargo xtask bench`: the gate beside Envoy's own filters, and the broker by itself, in one run on one machine.
//!
//! Nothing is asserted about time. What is asserted: that every part does its work while it is measured, and that what the
//! broker acknowledges is on disk; figures of a broker that only says so are none.

mod compare;
mod cores;
mod durability;
mod figures;
mod gate;
mod grants;
mod load;
mod misses;
mod native;
mod quantiles;
mod refreshes;
mod releases;
mod site;
mod stores;
mod upstream;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use cores::Cores;
use e2e::Program;
use postgres_counterpart::Server;
use serde_json::{Value, json};

/// How long and how often.
#[derive(Parser)]
#[command(
    name = "bench",
    about = "Measures the gate beside Envoy's own filters, and the broker by itself.",
    after_help = examples()
)]
struct Options {
    /// Rounds of each side.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Requests of a round.
    #[arg(long, default_value_t = 12_000, value_parser = clap::value_parser!(u32).range(100..=18_000))]
    requests: u32,
    /// People who come once, for each figure of what happens once.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u16).range(20..=5_000))]
    people: u16,
    /// Only the rows whose name holds this.
    #[arg(long, default_value = "")]
    only: String,
    /// Another build of the filter, measured in place of Envoy's own filters.
    #[arg(long)]
    against: Option<PathBuf>,
    /// The build of the broker whose own figures are taken, in place of the one that the tests run.
    #[arg(long)]
    broker: Option<PathBuf>,
    /// Where the figures are written to, as JSON; `target/bench` if not said.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Runs the broker over stores that answer before anything is on disk: to see that this is noticed.
    #[arg(long)]
    without_durability: bool,
}

fn examples() -> String {
    let rows = compare::ROWS.iter().chain(&stores::ROWS).chain(&grants::ROWS);
    let rows: Vec<String> = rows.map(|row| format!("  {row}\n")).collect();
    format!(
        "Rows:\n{}\nExamples:\n  cargo xtask bench\n  cargo xtask bench -- --only \"hit path\" --rounds 3\n  \
         cargo xtask bench -- --only SQLite --people 1000\n  cargo xtask bench -- --only grants\n  \
         cargo xtask bench -- --only \"miss, SQLite\" --without-durability    (fails, as it must)",
        rows.concat()
    )
}

impl Options {
    fn wants(&self, row: &str) -> bool {
        row.contains(&self.only)
    }

    fn wants_any(&self, rows: &[&str]) -> bool {
        rows.iter().any(|row| self.wants(row))
    }

    /// The broker whose own figures are taken.
    fn program(&self) -> Program {
        self.broker.as_deref().map_or_else(Program::default, Program::at)
    }

    fn write(&self, name: &str, machine: &Value, mut report: Value) -> Result<()> {
        report["machine"] = machine.clone();
        let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
        let directory = self.json.clone().unwrap_or_else(usual);
        fs::create_dir_all(&directory)?;
        let file = directory.join(name);
        fs::write(&file, format!("{report:#}\n"))?;
        println!("\nas JSON: {}", file.canonicalize()?.display());
        Ok(())
    }
}

fn main() -> ExitCode {
    match measured() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measured() -> Result<()> {
    let options = Options::parse();
    let cores = Cores::find()?;
    // Before any thread or child is started: both inherit it.
    cores::pin(std::process::id(), cores.rest)?;
    // Fails only where one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Server::keep_on_disk();
    e2e::run(bench(&options, cores))
}

async fn bench(options: &Options, cores: Cores) -> Result<()> {
    let [gate, stores, grants] = [&compare::ROWS[..], &stores::ROWS, &grants::ROWS].map(|rows| options.wants_any(rows));
    ensure!(gate || stores || grants, "no row is named like `{}`: see --help", options.only);
    ensure!(stores || !options.without_durability, "only rows of a store are checked for durability: see --help");
    let load = load_average()?;
    println!("{} cores; load of the machine before: {load}", cores.allowed);
    let machine = json!({"cores": cores.allowed, "load_before": load});
    if gate {
        options.write("gate.json", &machine, compare::measure(options, cores).await?)?;
    }
    let mut broker = json!({});
    if stores {
        broker["stores"] = stores::measure(options, cores).await?;
    }
    if grants {
        broker["grants"] = grants::measure(options, cores).await?;
    }
    if stores || grants {
        broker["broker"] = json!(options.program().file());
        options.write("broker.json", &machine, broker)?;
    }
    println!("\nload of the machine after: {}", load_average()?);
    Ok(())
}

/// Over one, five and fifteen minutes: who else was at work.
fn load_average() -> Result<String> {
    let text = fs::read_to_string("/proc/loadavg").context("cannot read /proc/loadavg")?;
    Ok(text.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_hold_together() {
        Options::command().debug_assert();
    }

    #[test]
    fn no_two_rows_have_one_name() {
        let mut rows: Vec<_> = compare::ROWS.iter().chain(&stores::ROWS).chain(&grants::ROWS).collect();
        let all = rows.len();
        rows.sort();
        rows.dedup();
        assert_eq!(rows.len(), all);
    }
}
