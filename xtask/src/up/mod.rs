//! The gateway with everything around it, on loopback, until Ctrl-C.

mod children;
mod demo;
mod http;
mod operator;
mod ports;
mod signal;
mod site;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::build;
use crate::run::step;
use crate::setup::{self, Installed};
use crate::workspace::Workspace;
use children::Children;
use operator::Operator;
use ports::Ports;

const READY: Duration = Duration::from_secs(30);

/// What `up` can be told.
#[derive(Args)]
pub(crate) struct Options {
    /// First of eight ports in a row to use in place of the usual ones: gateway, broker, Envoy's admin, identity provider, servers.
    #[arg(long)]
    port_base: Option<u16>,
    /// Port of the gateway [default: 10000]
    #[arg(long)]
    port: Option<u16>,
    /// Directory of the demo's own files, from the root of the checkout; two demos need two, and ports of their own.
    #[arg(long, value_name = "DIR", default_value = "var")]
    var: PathBuf,
    #[command(flatten)]
    setup: setup::Options,
}

/// `var/up.json`: where everything is, for people and programs.
#[derive(Serialize, Deserialize)]
struct Up {
    gateway_url: String,
    broker_url: String,
    admin_socket: String,
    envoy_admin_url: String,
    tokens: BTreeMap<String, String>,
    servers: BTreeMap<String, Server>,
    idp: Value,
    pids: BTreeMap<String, u32>,
}

#[derive(Serialize, Deserialize)]
struct Server {
    url: String,
    auth: String,
}

/// Sets up, builds, starts, waits.
///
/// # Errors
/// What could not be started, with the end of its log.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let var = workspace.root.join(&options.var);
    fs::create_dir_all(var.join("log"))?;
    let up_json = var.join("up.json");
    let lock = File::create(var.join("up.lock"))?;
    if lock.try_lock().is_err() {
        return already_running(&up_json);
    }
    remove(&up_json)?;
    let ports = Ports::new(options.port_base, options.port);
    ports.check()?;
    let installed = build::run(workspace, &options.setup)?;

    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    println!("up");
    let mut children = Children::new(var.join("log"), Arc::clone(&stop));
    let outcome = start(workspace, &var, &installed, &ports, &mut children).and_then(|up| {
        setup::replace_private(&up_json, &serde_json::to_vec_pretty(&up)?)?;
        print(workspace, &options.var, &installed, &up)?;
        wait(&mut children, &stop)
    });
    let removed = remove(&up_json);
    println!("\nstopping ...");
    children.stop();
    if stop.load(Ordering::Relaxed) {
        println!("stopped");
        return removed.map(|()| ExitCode::SUCCESS);
    }
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Says where the other one is; success when it serves.
fn already_running(up_json: &Path) -> Result<ExitCode> {
    let Ok(text) = fs::read(up_json) else {
        bail!("another `cargo xtask up` is starting in this checkout; wait until it serves, or stop it with Ctrl-C");
    };
    let up: Up = serde_json::from_slice(&text).with_context(|| format!("cannot read {}", up_json.display()))?;
    let pid = up.pids.get("up").map_or_else(String::new, |pid| format!(" (process {pid})"));
    println!(
        "already running{pid}: {}\nEverything about it is in {}. Stop it with Ctrl-C in its terminal.",
        up.gateway_url,
        up_json.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// Starts the children in the order in which they need each other.
fn start(
    workspace: &Workspace,
    var: &Path,
    installed: &Installed,
    ports: &Ports,
    children: &mut Children,
) -> Result<Up> {
    let site = site::Site::write(workspace, var, installed, ports)?;

    // The slowest to start go first, and are waited for last.
    let python = installed.python.get(demo::PYTHON).with_context(|| format!("{} is not installed", demo::PYTHON))?;
    let arguments: Vec<_> = demo::servers(ports, &site).into_iter().map(|server| server.arguments).collect();
    let mut command = Command::new(python);
    command.arg(workspace.counterparts().join("mcp_server.py")).args(arguments.join(&"--and".to_owned()));
    children.start(demo::GROUP, &mut command)?;

    let idp = step("identity provider", || {
        let mut command = Command::new(&installed.node);
        command
            .arg(workspace.counterparts().join("idp.mjs"))
            .args(["--port", &ports.idp.to_string(), "--client-credentials-ttl", "300", "--clients"])
            .arg(&site.clients)
            .env("SALLYPORT_NODE_MODULES", &installed.node_modules);
        children.start("idp", &mut command)?;
        children.first_line("idp", READY)
    })?;

    let broker_url = format!("http://127.0.0.1:{}", ports.broker);
    step("broker", || {
        let mut command = Command::new(workspace.broker());
        command.args(["serve", "-c"]).arg(&site.config).current_dir(&workspace.root);
        children.start("broker", &mut command)?;
        children
            .until("broker", "answers at /readyz", READY, || http::status(&format!("{broker_url}/readyz")) == Some(200))
    })?;

    let operator = Operator::new(workspace, &site.config);
    let tokens = step("secrets, manifests, tokens", || {
        for (group, key, value) in &site.secrets {
            operator.set_secret(group, key, value, demo::GROUP)?;
        }
        operator.apply(&site.manifests)?;
        let client = demo::notes_client(&site.notes_secret, &operator.redirect_uri(demo::PERSONAL)?);
        http::control(&format!("http://127.0.0.1:{}/control/clients", ports.idp), &client)?;
        demo::CALLERS
            .iter()
            .map(|(name, whom, subject)| {
                Ok(((*name).to_owned(), operator.issue_token(whom, subject, demo::TOKEN_LIFE)?))
            })
            .collect::<Result<BTreeMap<_, _>>>()
    })?;

    let gateway_url = format!("http://127.0.0.1:{}", ports.gateway);
    let envoy_admin_url = format!("http://127.0.0.1:{}", ports.envoy_admin);
    step("Envoy", || {
        let mut command = Command::new(&installed.envoy);
        command
            .arg("-c")
            .arg(&site.envoy)
            .args(["--concurrency", "1", "--log-level", "warning", "--use-dynamic-base-id"])
            // These print requests: whoever raises the level for a look at the demo does not raise theirs.
            .args(["--component-log-level", include_str!("../../../envoy/component-log-level").trim()])
            .args(["--drain-time-s", "1", "--parent-shutdown-time-s", "2"])
            .current_dir(&workspace.root);
        children.start("envoy", &mut command)?;
        children.until("envoy", "has a snapshot", READY, || {
            http::status(&format!("{gateway_url}/sallyport/ready")) == Some(200)
        })
    })?;

    step("demo servers", || children.first_line(demo::GROUP, READY))?;

    let servers: BTreeMap<String, Server> = demo::servers(ports, &site)
        .into_iter()
        .map(|server| {
            let url = format!("{gateway_url}/mcp-server/{}/server", server.name);
            (server.name, Server { url, auth: server.auth.to_owned() })
        })
        .collect();
    let alice = tokens.get("alice").context("no token for alice")?;
    step("self-test", || {
        for (name, server) in &servers {
            let told = if name == demo::PERSONAL {
                children.eventually("envoy", READY, || demo::personal(&server.url, alice))?
            } else {
                let answer = children.eventually("envoy", READY, || demo::whoami(&server.url, alice))?;
                format!("called as {}", demo::describe(&answer, alice)?)
            };
            println!("    {name}: {told}");
        }
        Ok(())
    })?;

    let mut pids = children.pids();
    pids.insert("up".to_owned(), std::process::id());
    let idp: Value = serde_json::from_str(&idp).context("the identity provider's first line is not JSON")?;
    Ok(Up {
        gateway_url,
        broker_url,
        admin_socket: var.join(site::ADMIN_SOCKET).display().to_string(),
        envoy_admin_url,
        tokens,
        servers,
        idp: serde_json::json!({ "issuer": idp["issuer"], "users": idp["users"] }),
        pids,
    })
}

/// What a newcomer does next.
fn print(workspace: &Workspace, var: &Path, installed: &Installed, up: &Up) -> Result<()> {
    let var = var.display();
    let server = up.servers.get(demo::SHOWN).context("no demo server")?;
    let alice = up.tokens.get("alice").context("no token for alice")?;
    let relative = |path: &Path| path.strip_prefix(&workspace.root).unwrap_or(path).display().to_string();
    let python = installed.python.get(demo::PYTHON).map_or_else(String::new, |path| relative(path));
    let take = |key: &str| {
        format!("$(python3 -c 'import json; print(json.load(open(\"{var}/up.json\"))[\"tokens\"][\"{key}\"])')")
    };
    println!("\nThe gate serves at {}\n\nalice's token:\n{alice}\n", up.gateway_url);
    println!("Call a tool in another terminal; the server answers who it was called as:\n");
    println!("  TOKEN={}", take("alice"));
    println!("  curl -sS {} \\\n    -H \"Authorization: Bearer $TOKEN\" \\", server.url);
    println!("    -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \\");
    println!("    -d '{}'\n", demo::WHOAMI);
    println!("The same with an agent's SDK, and as bob, who may not use that server:\n");
    println!("  {python} tests/counterparts/client_call.py {} \"$TOKEN\" whoami", server.url);
    println!("  {python} tests/counterparts/client_call.py {} \"{}\" whoami\n", server.url, take("bob"));
    println!("For a server that wants your own account, call {} and follow the link in the answer.", demo::PERSONAL);
    println!("Everything else is in {var}/up.json, logs are in {var}/log/. Ctrl-C stops it.");
    Ok(())
}

/// Until told to stop, or a child ends.
fn wait(children: &mut Children, stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        children.check()?;
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", file.display()))
        }
        _ => Ok(()),
    }
}

/// Polls until `ready`, for at most `limit`.
fn poll(limit: Duration, mut ready: impl FnMut() -> Result<bool>) -> Result<bool> {
    let until = Instant::now() + limit;
    loop {
        if ready()? {
            return Ok(true);
        }
        if Instant::now() > until {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(25));
    }
}
