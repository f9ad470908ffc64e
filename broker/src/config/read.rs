//! From the tree of a `sallyport.yaml` to [`Config`], with every problem on the way.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use super::coordination;
use super::grpc::{Grpc, grpc};
use super::issuer::{Issuer, issuer};
use super::refresh::refresh;
use super::sign_in::sign_in;
use super::store::store;
use super::value::{authority, duration, http_url, is_loopback, listen_address, name, one_of, origin};
use super::vault::master_keys;
use super::{Admin, Config, Coordination, Http, Level, Log, LogFormat, Mode, Network, Snapshot, Store, Upstream};
use crate::model::Tenant;
use crate::yaml::{self, Field, Fields, Flaw, Problem, Problems};

/// Longest path of a Unix socket on Linux, without its ending zero (unix(7)).
const MAX_SOCKET_PATH: usize = 107;
const MAX_STALENESS: Duration = Duration::from_secs(300);

pub(super) fn config(file: &Path, text: &str) -> Result<Config, Vec<Problem>> {
    let shown = file.display().to_string();
    let problems = Problems::of(&shown);
    let documents = yaml::parse(&shown, text).map_err(|problem| vec![problem])?;
    let root = match documents.as_slice() {
        [root] => root,
        [] => {
            problems.report(0, "", Flaw::new("is empty", "see the example in docs/production.md"));
            return Err(problems.into_parts().0);
        }
        [_, second, ..] => {
            problems.report(
                second.line,
                "",
                Flaw::new("a second document begins here", "keep one; manifests go to `sallyport apply -f`"),
            );
            return Err(problems.into_parts().0);
        }
    };
    let base = file.parent().unwrap_or(Path::new(""));
    let config = Field::root(root, &problems).fields().and_then(|fields| whole(file, base, fields));
    match (config, problems.into_parts().0) {
        (Some(config), problems) if problems.is_empty() => Ok(config),
        (_, problems) => Err(problems),
    }
}

/// Each part is read before any missing one ends the reading, so that all problems are told.
fn whole(file: &Path, base: &Path, fields: Fields<'_>) -> Option<Config> {
    let mode = fields.optional("mode").and_then(|field| field.parse(mode)).unwrap_or(Mode::Standard);
    let tenant = fields
        .required("tenant", "name this deployment, for example `tenant: acme`")
        .and_then(|field| field.parse(name));
    let public_url =
        fields.required("public_url", "write the origin that callers use, for example `https://gateway.example.com`");
    let public_url = public_url.and_then(|field| field.parse(|text| public_origin(text, mode)));
    let path = |name, hint| fields.required(name, hint).and_then(|field| field.text()).map(|text| base.join(text));
    let data_dir = path("data_dir", "name a directory that only the broker can read, for example `data_dir: var/data`");
    let store = fields.optional("store").map_or(Some(Store::Sqlite), |field| store(&field, base));
    let coordination = fields.optional("coordination");
    let coordination =
        coordination.map_or(Some(Coordination::InProcess), |field| coordination::coordination(&field, base));
    let master_keys = master_keys(&fields, base, data_dir.as_deref());
    let grpc = fields
        .required("grpc", "add `grpc: { socket: var/run/broker.sock }`")
        .and_then(|field| grpc(&field, base, mode));
    let admin =
        fields.required("admin", "add `admin: { socket: var/admin/admin.sock }`").and_then(|field| admin(&field, base));
    one_directory(&fields, grpc.as_ref(), admin.as_ref());
    let http = match fields.optional("http") {
        Some(field) => http(&field),
        None => Some(Http { listen: SocketAddr::from(([127, 0, 0, 1], 10001)) }),
    };
    let snapshot = section(&fields, "snapshot", snapshot);
    let network = section(&fields, "network", |fields| Network {
        allow: fields.map_or_else(Vec::new, |fields| list(fields, "allow", range)),
        ca_file: fields.and_then(|fields| optional_path(fields, "ca_file", base)),
    });
    let upstream = section(&fields, "upstream", |fields| Upstream {
        ca_file: fields.and_then(|fields| optional_path(fields, "ca_file", base)),
    });
    let log = section(&fields, "log", log);
    let refresh = section(&fields, "refresh", refresh);
    let issuers = fields.optional("issuers").map_or_else(Vec::new, |field| field.list());
    let issuers: Vec<_> = issuers.iter().map(|field| (field, issuer(field))).collect();
    for (index, (field, issuer)) in issuers.iter().enumerate() {
        let Some(issuer) = issuer else { continue };
        if issuers
            .iter()
            .take(index)
            .any(|(_, other)| other.as_ref().is_some_and(|other| other.issuer == issuer.issuer))
        {
            field.report(Flaw::new(format!("issuer `{}` is listed twice", issuer.issuer), "keep one of the two"));
        }
        if public_url.as_ref() == Some(&issuer.issuer) {
            field.report(Flaw::new(
                "is `public_url`, under which the broker issues its own tokens",
                "remove it: those are always accepted",
            ));
        }
    }
    let sign_in = fields.optional("sign_in").map(|field| {
        let known: Vec<&Issuer> = issuers.iter().filter_map(|(_, issuer)| issuer.as_ref()).collect();
        sign_in(&field, &known, base)
    });
    fields.finish();
    Some(Config {
        file: file.to_owned(),
        mode,
        tenant: Tenant(tenant?),
        public_url: public_url?,
        data_dir: data_dir?,
        store: store?,
        coordination: coordination?,
        master_keys: master_keys?,
        grpc: grpc?,
        admin: admin?,
        http: http?,
        snapshot,
        network,
        upstream,
        sign_in: match sign_in {
            Some(sign_in) => Some(sign_in?),
            None => None,
        },
        issuers: issuers.into_iter().filter_map(|(_, issuer)| issuer).collect(),
        refresh,
        log,
    })
}

/// Reads an optional section, and refuses what is unknown in it; `read` gets nothing where it is absent.
fn section<T>(fields: &Fields<'_>, name: &'static str, read: impl Fn(Option<&Fields<'_>>) -> T) -> T {
    match fields.optional(name).and_then(|field| field.fields()) {
        None => read(None),
        Some(inner) => {
            let value = read(Some(&inner));
            inner.finish();
            value
        }
    }
}

fn list<T>(fields: &Fields<'_>, name: &'static str, read: impl Fn(&str) -> Result<T, Flaw>) -> Vec<T> {
    fields.optional(name).map_or_else(Vec::new, |field| field.list_of(read))
}

fn optional_path(fields: &Fields<'_>, name: &'static str, base: &Path) -> Option<PathBuf> {
    fields.optional(name).and_then(|field| field.text()).map(|text| base.join(text))
}

fn mode(text: &str) -> Result<Mode, Flaw> {
    one_of(text, &[("standard", Mode::Standard), ("demonstration", Mode::Demonstration)])
}

fn public_origin(text: &str, mode: Mode) -> Result<String, Flaw> {
    let url = http_url(text)?;
    let origin = origin(text)?;
    // Callers' tokens travel to this origin.
    if url.scheme() == "http" && !is_loopback(&url) && mode != Mode::Demonstration {
        return Err(Flaw::new(
            "plain http beyond this machine",
            "use https, or `mode: demonstration` to try things out",
        ));
    }
    Ok(origin)
}

/// The two sockets need different permissions on their directories.
fn one_directory(fields: &Fields<'_>, grpc: Option<&Grpc>, admin: Option<&Admin>) {
    if let (Some(grpc), Some(admin), Some(field)) = (grpc, admin, fields.optional("admin"))
        && let Some(socket) = &grpc.socket
        && socket.path.parent() == admin.socket.parent()
    {
        field.report(Flaw::new(
            "`admin.socket` is in the directory of `grpc.socket`, which proxies may enter",
            "give it a directory of its own, for example `var/admin/admin.sock`",
        ));
    }
}

pub(super) fn socket(fields: &Fields<'_>, base: &Path, example: &str) -> Option<PathBuf> {
    let field = fields.required("socket", &format!("name a Unix socket, for example `{example}`"))?;
    let path = base.join(field.text()?);
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        field.report(Flaw::new(
            format!("the path of a socket may have {MAX_SOCKET_PATH} bytes, and `{}` has more", path.display()),
            "use a shorter directory",
        ));
        return None;
    }
    Some(path)
}

fn admin(field: &Field<'_>, base: &Path) -> Option<Admin> {
    let fields = field.fields()?;
    let socket = socket(&fields, base, "var/admin/admin.sock");
    fields.finish();
    Some(Admin { socket: socket? })
}

fn http(field: &Field<'_>) -> Option<Http> {
    let fields = field.fields()?;
    let listen = fields.required("listen", "write address and port, for example `\"127.0.0.1:10001\"`");
    let listen = listen.and_then(|field| field.parse(listen_address));
    fields.finish();
    Some(Http { listen: listen? })
}

fn snapshot(fields: Option<&Fields<'_>>) -> Snapshot {
    Snapshot {
        max_staleness: fields
            .and_then(|fields| fields.optional("max_staleness"))
            .and_then(|field| field.parse(staleness))
            .unwrap_or(Duration::from_secs(60)),
        allowed_origins: fields.map_or_else(Vec::new, |fields| list(fields, "allowed_origins", origin)),
        allowed_hosts: fields.map_or_else(Vec::new, |fields| list(fields, "allowed_hosts", authority)),
    }
}

fn staleness(text: &str) -> Result<Duration, Flaw> {
    let staleness = duration(text)?;
    if staleness > MAX_STALENESS {
        return Err(Flaw::new(
            "is more than five minutes, for which a revoked caller could go on",
            "write `0s` to `5m`",
        ));
    }
    Ok(staleness)
}

fn range(text: &str) -> Result<IpNet, Flaw> {
    text.parse().map_err(|_| {
        Flaw::new(format!("`{text}` is no range of addresses"), "write for example `10.0.0.0/8` or `::1/128`")
    })
}

fn log(fields: Option<&Fields<'_>>) -> Log {
    let levels =
        [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace].map(|level| (level.name(), level));
    let formats = [("json", LogFormat::Json), ("text", LogFormat::Text)];
    let field = |name| fields.and_then(|fields| fields.optional(name));
    Log {
        level: field("level").and_then(|field| field.parse(|text| one_of(text, &levels))).unwrap_or(Level::Info),
        format: field("format").and_then(|field| field.parse(|text| one_of(text, &formats))).unwrap_or(LogFormat::Json),
    }
}
