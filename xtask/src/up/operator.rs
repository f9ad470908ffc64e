//! What an operator types, typed for the demo: the broker's own commands.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// Runs `sallyport <command> -c <configuration>`.
pub(crate) struct Operator {
    program: PathBuf,
    directory: PathBuf,
    config: PathBuf,
}

impl Operator {
    /// For the broker of this configuration.
    pub(crate) fn new(workspace: &Workspace, config: &Path) -> Self {
        Self { program: workspace.broker(), directory: workspace.root.clone(), config: config.to_owned() }
    }

    /// Keeps a secret that manifests of `owner` may refer to. The value goes through standard input: arguments are public.
    ///
    /// # Errors
    /// What the command said.
    pub(crate) fn set_secret(&self, group: &str, key: &str, value: &str, owner: &str) -> Result<()> {
        self.run(&["secret", "set", &format!("{group}:{key}"), "--owner", owner], value).map(drop)
    }

    /// Applies a file of manifests.
    ///
    /// # Errors
    /// What the command said: file, line, field, remedy.
    pub(crate) fn apply(&self, manifests: &Path) -> Result<()> {
        let file = manifests.to_string_lossy();
        self.run(&["apply", "-f", &file], "").map(drop)
    }

    /// A token for `--user <email>` or `--virtual-account <name>`.
    ///
    /// # Errors
    /// What the command said.
    pub(crate) fn issue_token(&self, whom: &str, subject: &str, life: &str) -> Result<String> {
        let printed = self.run(&["token", "issue", whom, subject, "--ttl", life], "")?;
        let token = printed.split_whitespace().find(|word| word.starts_with("eyJ") && word.matches('.').count() == 2);
        token.map(str::to_owned).with_context(|| format!("`sallyport token issue` printed no token for {subject}"))
    }

    /// Where the provider of a server with per-user OAuth sends people back to.
    ///
    /// # Errors
    /// What the command said, or that it shows no such server.
    pub(crate) fn redirect_uri(&self, server: &str) -> Result<String> {
        let servers: serde_json::Value = serde_json::from_str(&self.run(&["servers", "--json"], "")?)?;
        let shown = servers.as_array().and_then(|all| all.iter().find(|each| each["name"] == server));
        let uri = shown.and_then(|server| server["redirect_uri"].as_str());
        uri.map(str::to_owned).with_context(|| format!("`sallyport servers` shows no redirect URI for {server}"))
    }

    fn run(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut child = Command::new(&self.program)
            .args(arguments)
            .arg("-c")
            .arg(&self.config)
            .current_dir(&self.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        if let Some(mut pipe) = child.stdin.take() {
            // A command that needs no input may have ended already.
            let _ = pipe.write_all(input.as_bytes());
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!(
                "`sallyport {}` failed ({})\n{}{}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
