//! `sallyport apply`

use std::path::{Path, PathBuf};

use sallyport_proto::admin::{Applied, ApplyRequest, ApplyResponse, Document, Problem};
use serde_json::json;

use super::client::{connect, print_json};
use super::{Failure, Global};
use crate::yaml;

/// Arguments of `apply`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sallyport apply -f backend-group.yaml
  sallyport apply -f manifests/ --dry-run --show-diff")]
pub(super) struct Arguments {
    /// A file of manifests, or a directory whose `.yaml` and `.yml` files are meant.
    #[arg(short, long = "file", required = true, num_args = 1.., value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
    /// Say what would happen, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Show what differs from what is applied now.
    #[arg(long, requires = "dry_run")]
    show_diff: bool,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let mut documents = Vec::new();
    for file in &arguments.files {
        read(file, &mut documents)?;
    }
    let mut client = connect(global).await?;
    let request = ApplyRequest { documents, dry_run: arguments.dry_run, show_diff: arguments.show_diff };
    let response = client.apply(request).await?.into_inner();
    if global.json {
        print_json(&as_json(&response));
    } else {
        for warning in response.warnings.iter().cloned().map(problem) {
            eprintln!("warning: {warning}");
            if !warning.hint.is_empty() {
                eprintln!("hint: {}", warning.hint);
            }
        }
        for applied in &response.applied {
            print(applied, &arguments);
        }
    }
    if response.problems.is_empty() {
        return Ok(());
    }
    let problems: Vec<_> = response.problems.into_iter().map(problem).collect();
    Err(Failure::of_problems(&problems))
}

/// A directory stands for its manifests, in order of name; it is an error if there is none.
fn read(path: &Path, documents: &mut Vec<Document>) -> Result<(), Failure> {
    let unreadable = |error: std::io::Error| Failure::new(format!("cannot read {}: {error}", path.display()), "");
    if !path.is_dir() {
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        documents.push(Document { file: path.display().to_string(), text });
        return Ok(());
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        let manifest = file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if manifest && file.is_file() {
            files.push(file);
        }
    }
    if files.is_empty() {
        let hint = "name a file, or a directory with `.yaml` files in it";
        return Err(Failure::new(format!("{} holds no manifest", path.display()), hint));
    }
    files.sort();
    files.iter().try_for_each(|file| read(file, documents))
}

fn print(applied: &Applied, arguments: &Arguments) {
    let prefix = if arguments.dry_run { "[Dry Run] " } else { "" };
    let suffix = if applied.changed { "" } else { " (No changes were applied)" };
    if !applied.diff.is_empty() {
        print!("{}", applied.diff);
    } else if arguments.show_diff && !applied.changed {
        println!("No changes detected for {} of type {}", applied.name, applied.r#type);
    }
    println!("{prefix}Successfully configured manifest {} of type {}.{suffix}", applied.name, applied.r#type);
    for effect in &applied.effects {
        println!("  {effect}");
    }
}

fn problem(problem: Problem) -> yaml::Problem {
    yaml::Problem {
        file: problem.file,
        line: problem.line,
        field: problem.field,
        message: problem.message,
        hint: problem.hint,
    }
}

fn as_json(response: &ApplyResponse) -> serde_json::Value {
    let flaw = |flaw: &Problem| json!({ "file": flaw.file, "line": flaw.line, "field": flaw.field, "message": flaw.message, "hint": flaw.hint });
    let applied = |applied: &Applied| {
        json!({
            "name": applied.name, "type": applied.r#type, "changed": applied.changed, "diff": applied.diff,
            "effects": applied.effects,
        })
    };
    json!({
        "applied": response.applied.iter().map(applied).collect::<Vec<_>>(),
        "problems": response.problems.iter().map(flaw).collect::<Vec<_>>(),
        "warnings": response.warnings.iter().map(flaw).collect::<Vec<_>>(),
    })
}
