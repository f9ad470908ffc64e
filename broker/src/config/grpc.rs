//! Where proxies reach the broker, and who may: a Unix socket by user, TCP by certificate. Plain TCP does not exist.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::Mode;
use super::read::socket;
use super::value::{listen_address, name};
use crate::peer::{San, Scope};
use crate::yaml::{Field, Fields, Flaw};

/// Longest SAN that is read.
const MAX_SAN: usize = 2048;

/// The filter's API: at least one of the two.
#[derive(Clone, Debug)]
pub struct Grpc {
    /// For proxies on this machine.
    pub socket: Option<PeerSocket>,
    /// For proxies on others.
    pub tls: Option<PeerTls>,
}

/// A Unix socket; its directory gets 0750 and itself 0660.
#[derive(Clone, Debug)]
pub struct PeerSocket {
    /// Where.
    pub path: PathBuf,
    /// Unix users that proxies run under; anybody else is refused. In a demonstration the broker's own is among them.
    pub peers: Vec<(u32, Scope)>,
}

/// A TCP listener that takes mutual TLS only.
#[derive(Clone, Debug)]
pub struct PeerTls {
    /// Where.
    pub listen: SocketAddr,
    /// PEM: this broker's certificate, then those between it and its authority.
    pub certificate_file: PathBuf,
    /// PEM: its private key.
    pub key_file: PathBuf,
    /// PEM: the authorities that proxies' certificates are checked against; never the system's.
    pub client_ca_file: PathBuf,
    /// Names that proxies' certificates carry; anybody else is refused.
    pub peers: Vec<(San, Scope)>,
}

impl Grpc {
    /// What proxies may serve, each once.
    pub fn scopes(&self) -> Vec<Scope> {
        let socket = self.socket.iter().flat_map(|socket| socket.peers.iter().map(|(_, scope)| scope));
        let tls = self.tls.iter().flat_map(|tls| tls.peers.iter().map(|(_, scope)| scope));
        let all: HashSet<&Scope> = socket.chain(tls).collect();
        all.into_iter().cloned().collect()
    }
}

impl fmt::Display for Grpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.socket, &self.tls) {
            (Some(socket), Some(tls)) => write!(f, "{} and {} (TLS)", socket.path.display(), tls.listen),
            (Some(socket), None) => write!(f, "{}", socket.path.display()),
            (None, Some(tls)) => write!(f, "{} (TLS)", tls.listen),
            (None, None) => f.write_str("nowhere"),
        }
    }
}

enum PeerName {
    Uid(u32),
    San(San),
}

pub(super) fn grpc(field: &Field<'_>, base: &Path, mode: Mode) -> Option<Grpc> {
    let fields = field.fields()?;
    let (mut users, mut names) = (Vec::new(), Vec::new());
    let uids = fields.optional("allowed_peer_uids");
    users.extend(uids.iter().flat_map(Field::list).filter_map(|uid| Some((uid.number()?, Scope::Every))));
    for listed in fields.optional("allowed_peers").iter().flat_map(Field::list) {
        match peer(&listed) {
            Some((PeerName::Uid(uid), scope)) => users.push((uid, scope)),
            Some((PeerName::San(san), scope)) => names.push((san, scope)),
            None => {}
        }
    }
    if mode == Mode::Demonstration {
        users.push((crate::harden::effective_uid(), Scope::Every));
    }
    let listen = fields.optional("listen");
    let path = match &listen {
        Some(_) => fields.optional("socket").and_then(|_| socket(&fields, base, "var/run/broker.sock")),
        None => socket(&fields, base, "var/run/broker.sock"),
    };
    if path.is_some() && users.is_empty() {
        fields.report(Flaw::new(
            "`allowed_peer_uids` is missing, so no proxy could connect",
            "list the Unix user ids that Envoy runs under",
        ));
    }
    let tls = match (&listen, fields.optional("tls")) {
        (Some(listen), Some(tls)) => peer_tls(listen, &tls, base, names),
        (Some(listen), None) => {
            listen.report(Flaw::new(
                "plain TCP does not exist: anybody on the way could read every credential",
                "add `tls: { certificate_file: …, key_file: …, client_ca_file: … }`",
            ));
            None
        }
        (None, Some(tls)) => {
            tls.report(Flaw::new("is of no use without `listen`", "add `listen: \"0.0.0.0:10002\"`, or remove it"));
            None
        }
        (None, None) if !names.is_empty() => {
            fields.report(Flaw::new(
                "`allowed_peers` lists a `san`, which only a listener with TLS can prove",
                "add `listen` and `tls`, or remove it",
            ));
            None
        }
        (None, None) => None,
    };
    fields.finish();
    Some(Grpc { socket: path.map(|path| PeerSocket { path, peers: users }), tls })
}

fn peer_tls(listen: &Field<'_>, tls: &Field<'_>, base: &Path, peers: Vec<(San, Scope)>) -> Option<PeerTls> {
    let address = listen.parse(listen_address);
    let fields = tls.fields()?;
    let file = |name, hint| Some(base.join(fields.required(name, hint)?.text()?));
    let certificate_file =
        file("certificate_file", "name this broker's certificate, PEM, with those up to its authority");
    let key_file = file("key_file", "name the private key of `certificate_file`, PEM");
    let client_ca_file = file("client_ca_file", "name the authorities that issue the proxies' certificates, PEM");
    fields.finish();
    if peers.is_empty() {
        listen.report(Flaw::new(
            "no proxy could connect: `allowed_peers` lists no `san`",
            "add for example `allowed_peers: [{ san: spiffe://example.org/ns/gateway/sa/envoy }]`",
        ));
    }
    Some(PeerTls {
        listen: address?,
        certificate_file: certificate_file?,
        key_file: key_file?,
        client_ca_file: client_ca_file?,
        peers,
    })
}

fn peer(field: &Field<'_>) -> Option<(PeerName, Scope)> {
    let fields = field.fields()?;
    let uid = fields.optional("uid").map(|field| field.number().map(PeerName::Uid));
    let san = fields.optional("san").map(|field| field.parse(san).map(PeerName::San));
    let scope = scope(&fields);
    fields.finish();
    let name = match (uid, san) {
        (Some(name), None) | (None, Some(name)) => name?,
        (Some(_), Some(_)) | (None, None) => {
            field.report(Flaw::new(
                "must have either `uid` or `san`",
                "write `uid: 101` for the socket, `san: spiffe://…` or `san: proxy.example.com` for TLS",
            ));
            return None;
        }
    };
    Some((name, scope?))
}

fn scope(fields: &Fields<'_>) -> Option<Scope> {
    let Some(groups) = fields.optional("groups") else { return Some(Scope::Every) };
    let listed: BTreeSet<String> = groups.list_of(name).into_iter().collect();
    if listed.is_empty() {
        groups
            .report(Flaw::new("holds no group, so this proxy could serve nothing", "name a group, or remove the peer"));
        return None;
    }
    Some(Scope::Groups(listed))
}

/// No patterns: who may issue one more name below a domain must not become a proxy.
fn san(text: &str) -> Result<San, Flaw> {
    let flaw = |what: &str| {
        Flaw::new(
            format!("`{}` {what}", text.escape_debug()),
            "write a host name such as `proxy.example.com`, or a URI such as `spiffe://example.org/proxy`",
        )
    };
    if text.is_empty() || text.len() > MAX_SAN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(flaw("is no name of a certificate"));
    }
    if text.contains('*') {
        return Err(flaw("is a pattern, and each proxy must be named"));
    }
    if text.contains("://") {
        return Ok(San::Uri(text.to_owned()));
    }
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    match text.chars().all(letter) && !text.starts_with('.') && !text.ends_with('.') {
        true => Ok(San::Dns(text.to_ascii_lowercase())),
        false => Err(flaw("is neither a host name nor a URI")),
    }
}
