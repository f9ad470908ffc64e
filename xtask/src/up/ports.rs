//! The ports of `up`, and who has them if we have not.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, bail};

/// All on loopback.
pub(crate) struct Ports {
    /// Envoy's listener.
    pub(crate) gateway: u16,
    /// Health, metrics and keys of the broker.
    pub(crate) broker: u16,
    /// Envoy's admin interface.
    pub(crate) envoy_admin: u16,
    /// The identity provider.
    pub(crate) idp: u16,
    /// The demo servers.
    pub(crate) servers: [u16; 4],
}

impl Ports {
    /// The usual ones, or eight in a row from `base`.
    pub(crate) fn new(base: Option<u16>, gateway: Option<u16>) -> Self {
        let mut ports = match base {
            None => {
                Self { gateway: 10000, broker: 10001, envoy_admin: 9901, idp: 4000, servers: [4001, 4002, 4003, 4004] }
            }
            Some(base) => {
                let port = |offset: u16| base.saturating_add(offset);
                Self {
                    gateway: base,
                    broker: port(1),
                    envoy_admin: port(2),
                    idp: port(3),
                    servers: [port(4), port(5), port(6), port(7)],
                }
            }
        };
        ports.gateway = gateway.unwrap_or(ports.gateway);
        ports
    }

    /// # Errors
    /// Each port that somebody has, by whom, and how to use others.
    pub(crate) fn check(&self) -> Result<()> {
        let all = self.all();
        if all.iter().map(|(port, _)| port).collect::<BTreeSet<_>>().len() < all.len() {
            bail!("two of the ports are the same; use --port-base with one of at most 65528, or another --port");
        }
        let busy: Vec<String> = all
            .iter()
            .filter(|(port, _)| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_err())
            .map(|(port, what)| {
                format!(
                    "  {port} ({what}): {}",
                    owner(*port).unwrap_or_else(|| "by a process of another user".to_owned())
                )
            })
            .collect();
        if busy.is_empty() {
            return Ok(());
        }
        bail!(
            "these ports are taken:\n{}\nstop what has them, or use others: `cargo xtask up --port-base 20000`, or `--port` for the gateway's alone",
            busy.join("\n")
        )
    }

    fn all(&self) -> [(u16, &'static str); 8] {
        let [echo, weather, analytics, notes] = self.servers;
        [
            (self.gateway, "gateway"),
            (self.broker, "broker"),
            (self.envoy_admin, "Envoy's admin interface"),
            (self.idp, "identity provider"),
            (echo, "demo/echo"),
            (weather, "demo/weather"),
            (analytics, "demo/analytics"),
            (notes, "demo/notes"),
        ]
    }
}

/// The process that listens on a port, as far as this user may see.
fn owner(port: u16) -> Option<String> {
    let tables: String =
        ["/proc/net/tcp", "/proc/net/tcp6"].iter().filter_map(|table| fs::read_to_string(table).ok()).collect();
    let inodes: Vec<String> =
        tables.lines().filter_map(|line| listening(line, port)).map(|inode| format!("socket:[{inode}]")).collect();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        // `self` and `thread-self` are the same processes once more.
        if process.file_name().to_string_lossy().parse::<u32>().is_err() {
            continue;
        }
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        let has = |file: fs::DirEntry| {
            fs::read_link(file.path()).is_ok_and(|link| inodes.iter().any(|inode| link.as_os_str() == inode.as_str()))
        };
        if files.flatten().any(has) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("by {} (process {})", name.trim(), process.file_name().to_string_lossy()));
        }
    }
    None
}

/// The socket's inode in a line of `/proc/net/tcp`, if it listens on `port`.
fn listening(line: &str, port: u16) -> Option<&str> {
    const LISTEN: &str = "0A";
    let mut columns = line.split_whitespace();
    let local = columns.nth(1)?;
    let state = columns.nth(1)?;
    let inode = columns.nth(5)?;
    (state == LISTEN && local.ends_with(&format!(":{port:04X}"))).then_some(inode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_who_has_a_port_and_the_way_out() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut ports = Ports::new(None, Some(port));
        ports.broker = port;
        assert!(ports.check().unwrap_err().to_string().contains("the same"));
        let error = Ports::new(None, Some(port)).check().unwrap_err().to_string();
        let this = format!("{port} (gateway): by ");
        assert!(
            error.contains(&this) && error.contains(&std::process::id().to_string()) && error.contains("--port-base"),
            "{error}"
        );
    }

    #[test]
    fn reads_only_listening_sockets_of_that_port() {
        let line = "   0: 0100007F:2710 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 100 0 0 10 0";
        assert_eq!(listening(line, 10000), Some("4711"));
        assert_eq!(listening(line, 10001), None);
        assert_eq!(listening(&line.replace(" 0A ", " 01 "), 10000), None);
        assert_eq!(listening("  sl  local_address rem_address   st tx_queue", 10000), None);
    }

    #[test]
    fn ports_beyond_the_last_are_refused() {
        assert!(Ports::new(Some(65529), None).check().is_err());
    }
}
