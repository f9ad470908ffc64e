//! The files of one demo site, all under one directory.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run;
use crate::setup::{self, Installed};
use crate::up::demo;
use crate::up::ports::Ports;
use crate::workspace::Workspace;

/// Where operators talk to the broker, in the site's directory.
pub(crate) const ADMIN_SOCKET: &str = "admin/admin.sock";
/// Where Envoy does.
const BROKER_SOCKET: &str = "run/broker.sock";

/// What was written where.
pub(crate) struct Site {
    /// `sallyport.yaml`.
    pub(crate) config: PathBuf,
    /// Envoy's bootstrap with the five values of this site.
    pub(crate) envoy: PathBuf,
    /// The manifests of the demo servers.
    pub(crate) manifests: PathBuf,
    /// Clients of the identity provider.
    pub(crate) clients: PathBuf,
    /// What demo/weather wants to see.
    pub(crate) weather_key: PathBuf,
    /// What demo/notes' client shows the identity provider.
    pub(crate) notes_secret: String,
    /// Group, key and value of each secret.
    pub(crate) secrets: Vec<(&'static str, &'static str, String)>,
}

impl Site {
    /// Writes them all; secrets are made once and kept.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub(crate) fn write(workspace: &Workspace, var: &Path, installed: &Installed, ports: &Ports) -> Result<Self> {
        let demo_directory = var.join("demo");
        fs::create_dir_all(&demo_directory)?;
        let site = |name: &str| var.join(name);

        let weather_key = demo_directory.join("weather.key");
        let weather = kept_secret(&weather_key)?;
        let analytics = kept_secret(&demo_directory.join("analytics.secret"))?;
        let notes = kept_secret(&demo_directory.join("notes.secret"))?;
        let sign_in = kept_secret(&demo_directory.join("sign-in.secret"))?;

        let clients = demo_directory.join("clients.json");
        setup::replace_private(&clients, &serde_json::to_vec(&demo::clients(ports, &analytics, &sign_in))?)?;
        let config = site("sallyport.yaml");
        setup::replace(&config, demo::configuration(ports, &own_uid()?).as_bytes())?;
        let manifests = demo_directory.join("manifests.yaml");
        setup::replace(&manifests, demo::manifests(ports).as_bytes())?;

        // From the root, where Envoy is started: a Unix socket's path has at most 107 bytes.
        let broker_socket = var.strip_prefix(&workspace.root).unwrap_or(var).join(BROKER_SOCKET);
        let bootstrap = workspace.root.join("envoy/envoy.yaml");
        let text = fs::read_to_string(&bootstrap).with_context(|| format!("cannot read {}", bootstrap.display()))?;
        let envoy = site("envoy.yaml");
        let values = [
            ("node", "id: sallyport-demo".to_owned()),
            (
                "admin",
                format!("address: {{ socket_address: {{ address: 127.0.0.1, port_value: {} }} }}", ports.envoy_admin),
            ),
            (
                "listener",
                format!("address: {{ socket_address: {{ address: 127.0.0.1, port_value: {} }} }}", ports.gateway),
            ),
            ("module", format!("code: {{ local: {{ filename: {} }} }}", quoted(&installed.wasm)?)),
            ("broker", format!("- endpoint: {{ address: {{ pipe: {{ path: {} }} }} }}", quoted(&broker_socket)?)),
        ];
        setup::replace(&envoy, fill(&text, &values)?.as_bytes())?;

        Ok(Self {
            config,
            envoy,
            manifests,
            clients,
            weather_key,
            notes_secret: notes.clone(),
            secrets: vec![
                (demo::SECRETS, demo::WEATHER_KEY, weather),
                (demo::SECRETS, demo::ANALYTICS_SECRET, analytics),
                (demo::SECRETS, demo::NOTES_SECRET, notes),
            ],
        })
    }
}

/// Replaces each line that ends in `# site: <name>`, keeping its indentation.
fn fill(text: &str, values: &[(&str, String)]) -> Result<String> {
    let mut filled = String::with_capacity(text.len());
    let mut left: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
    for line in text.lines() {
        match line.split_once("# site: ") {
            // The comment at the top speaks of the marks too.
            Some((before, name)) if !before.trim_start().starts_with('#') => {
                let name = name.trim();
                let Some((_, value)) = values.iter().find(|(known, _)| *known == name) else {
                    bail!("envoy/envoy.yaml has a mark `site: {name}` that nothing fills");
                };
                let indentation: String = line.chars().take_while(|c| *c == ' ').collect();
                filled.push_str(&indentation);
                filled.push_str(value);
                left.retain(|missing| *missing != name);
            }
            _ => filled.push_str(line),
        }
        filled.push('\n');
    }
    if !left.is_empty() {
        bail!("envoy/envoy.yaml lacks the marks: {}", left.join(", "));
    }
    Ok(filled)
}

/// A path as a YAML string.
fn quoted(path: &Path) -> Result<String> {
    let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(serde_json::to_string(text)?)
}

/// The secret in a file, made at first use.
fn kept_secret(path: &Path) -> Result<String> {
    if let Ok(found) = fs::read_to_string(path) {
        return Ok(found);
    }
    let mut random = [0_u8; 24];
    fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let secret: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    setup::replace_private(path, secret.as_bytes())?;
    Ok(secret)
}

fn own_uid() -> Result<String> {
    run::output(Command::new("id").arg("-u")).context("`id -u` does not say who we are")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOTSTRAP: &str = "# marked `site:` below\nnode:\n  id: x   # site: node\n  cluster: y\n";

    #[test]
    fn fills_marked_lines_only() {
        let filled = fill(BOOTSTRAP, &[("node", "id: demo".to_owned())]).unwrap();
        assert_eq!(filled, "# marked `site:` below\nnode:\n  id: demo\n  cluster: y\n");
    }

    #[test]
    fn a_mark_too_many_or_too_few_is_an_error() {
        assert!(fill(BOOTSTRAP, &[]).unwrap_err().to_string().contains("`site: node`"));
        let values = [("node", String::new()), ("admin", String::new())];
        assert!(fill(BOOTSTRAP, &values).unwrap_err().to_string().contains("lacks the marks: admin"));
    }

    #[test]
    fn the_bootstrap_in_the_repository_has_the_five_marks() {
        let text = include_str!("../../../envoy/envoy.yaml");
        let values = ["node", "admin", "listener", "module", "broker"].map(|name| (name, format!("<{name}>")));
        let filled = fill(text, &values).unwrap();
        assert!(values.iter().all(|(_, value)| filled.matches(value.as_str()).count() == 1));
    }
}
