//! `cargo xtask chaos`: three brokers under chosen misfortunes, and whether their history is one that may be.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use e2e::chaos::{Options, run};

/// How long, and which.
#[derive(Parser)]
#[command(name = "chaos", about = "Kills, pauses and restarts the parts of a fleet, and checks its history.")]
struct Arguments {
    /// How long things go wrong.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// What they are drawn from; a random one, if not said.
    #[arg(long)]
    seed: Option<u64>,
    /// People at each of five kinds of providers.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=200))]
    people: u16,
    /// Also writes JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| {
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes).expect("the system has randomness");
        u64::from(u32::from_ne_bytes(bytes))
    });
    // First of all: a run that never ends can be had again too.
    println!("seed {seed}, {} s", arguments.seconds);
    let options = Options { seed, time: Duration::from_secs(arguments.seconds), people: usize::from(arguments.people) };
    let report = e2e::run(run(&options));
    println!("{report}");
    if let Some(file) = arguments.json
        && let Err(error) = std::fs::write(&file, format!("{:#}\n", report.json()))
    {
        eprintln!("error: {}: {error}", file.display());
        return ExitCode::FAILURE;
    }
    if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
