//! Where Redis is: one server, the Sentinels of a pair, or nodes of a cluster; by TLS with the server's name verified, except
//! on this machine.

use std::net::IpAddr;

use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo, TlsCertificates};
use url::Url;

use crate::secret::Secret;

const FORM: &str = "write `rediss://host:6379`, or several: `rediss://host-1:26379,host-2:26379`";

/// What is at the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nodes<'a> {
    /// The one server.
    Alone,
    /// Some nodes of a cluster, which know the others.
    Cluster,
    /// Sentinels, who know the server that is the master now by this name.
    Sentinels(&'a str),
}

/// Who we are to a server.
#[derive(Clone, Copy, Default)]
pub struct Login<'a> {
    /// Name of an ACL user; without one, `default`.
    pub username: Option<&'a str>,
    /// Its password.
    pub password: Option<&'a Secret>,
}

/// Where Redis is. Never printed whole: it holds the password.
pub struct Address {
    pub(super) kind: Kind,
    /// The servers named in the URL.
    pub(super) nodes: Vec<ConnectionInfo>,
    /// Authorities, where TLS is spoken.
    pub(super) tls: Option<TlsCertificates>,
    /// Hosts and ports, for people.
    pub(super) shown: String,
}

pub(super) enum Kind {
    Alone,
    Cluster,
    Sentinels {
        master: String,
        /// Who we are to the master; to the Sentinels it is in `nodes`.
        login: RedisConnectionInfo,
    },
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Why a URL is not taken. It is not repeated: it may hold a password.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UrlFlaw {
    /// No `redis` URL.
    #[error("is not a URL of Redis; {FORM}")]
    NotRedis,
    /// A parameter or a fragment, one of which would turn verification off.
    #[error("has a `?` or `#`; {FORM}")]
    Parameter,
    /// The password would travel in the clear, and anybody on the way could write.
    #[error("is plain beyond this machine; write `rediss://`")]
    Plain,
    /// There is no TLS to check by it.
    #[error("has no TLS: write `rediss://`, or remove `ca_file`")]
    PlainWithAuthority,
    /// One of two user names or passwords would be ignored.
    #[error("holds a user or password, and so does `username` or `password`; keep one")]
    TwoLogins,
    /// One of two would be ignored.
    #[error("names several servers, and says neither `cluster: true` nor `sentinel`")]
    Several,
    /// A cluster has only one.
    #[error("names a database, and a cluster has none")]
    DatabaseOfCluster,
    /// It cannot be read.
    #[error("goes with a `ca_file` that holds no certificate")]
    Authority,
}

impl Address {
    /// Reads a URL: `rediss://[user:password@]host[:port][,host[:port]…][/database]`.
    ///
    /// # Errors
    /// [`UrlFlaw`].
    pub fn new(
        url: &Secret,
        nodes: Nodes<'_>,
        login: Login<'_>,
        sentinel_login: Login<'_>,
        ca_pem: Option<&[u8]>,
    ) -> Result<Self, UrlFlaw> {
        // Exposed to be read: the password goes to the driver.
        let text = url.expose_str().ok_or(UrlFlaw::NotRedis)?.trim();
        let urls = each(text)?;
        let is_tls = urls.first().is_some_and(|url| url.scheme() == "rediss");
        if !is_tls && ca_pem.is_some() {
            return Err(UrlFlaw::PlainWithAuthority);
        }
        if !is_tls && !urls.iter().all(|url| is_loopback(url.host_str().unwrap_or_default())) {
            return Err(UrlFlaw::Plain);
        }
        let tls = is_tls.then(|| TlsCertificates { client_tls: None, root_cert: ca_pem.map(<[u8]>::to_vec) });
        let read = urls.iter().map(|url| {
            let info = url.clone().into_connection_info().map_err(|_| UrlFlaw::NotRedis)?;
            let login = logged_in(info.redis_settings().clone(), login)?;
            verified(info.set_redis_settings(login), tls.as_ref())
        });
        let mut infos = read.collect::<Result<Vec<_>, _>>()?;
        let first = infos.first().ok_or(UrlFlaw::NotRedis)?.redis_settings().clone();
        let kind = match nodes {
            Nodes::Alone if infos.len() > 1 => return Err(UrlFlaw::Several),
            Nodes::Alone => Kind::Alone,
            Nodes::Cluster if first.db() != 0 => return Err(UrlFlaw::DatabaseOfCluster),
            Nodes::Cluster => Kind::Cluster,
            Nodes::Sentinels(master) => {
                let own = logged_in(RedisConnectionInfo::default(), sentinel_login)?;
                infos = infos.into_iter().map(|info| info.set_redis_settings(own.clone())).collect();
                Kind::Sentinels { master: master.to_owned(), login: first }
            }
        };
        let hosts: Vec<_> = infos.iter().map(|info| info.addr().to_string()).collect();
        let shown = match &kind {
            Kind::Alone => format!("Redis at {}", hosts.join(", ")),
            Kind::Cluster => format!("the Redis cluster at {}", hosts.join(", ")),
            Kind::Sentinels { master, .. } => format!("Redis `{master}` of the Sentinels at {}", hosts.join(", ")),
        };
        Ok(Self { kind, nodes: infos, tls, shown })
    }

    /// The master that the Sentinels name: reached as they are, and by TLS unless it is on this machine.
    pub(super) fn master(&self, host: &str, port: u16, login: &RedisConnectionInfo) -> Result<ConnectionInfo, UrlFlaw> {
        let addr = match &self.tls {
            None if !is_loopback(host) => return Err(UrlFlaw::Plain),
            None => ConnectionAddr::Tcp(host.to_owned(), port),
            Some(_) => ConnectionAddr::TcpTls { host: host.to_owned(), port, insecure: false, tls_params: None },
        };
        let info = addr.into_connection_info().map_err(|_| UrlFlaw::NotRedis)?;
        verified(info.set_redis_settings(login.clone()), self.tls.as_ref())
    }
}

/// One URL for each host.
fn each(text: &str) -> Result<Vec<Url>, UrlFlaw> {
    let (scheme, rest) = text.split_once("://").ok_or(UrlFlaw::NotRedis)?;
    if !matches!(scheme, "redis" | "rediss") {
        return Err(UrlFlaw::NotRedis);
    }
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => (format!("{user}@"), rest),
        None => (String::new(), rest),
    };
    if rest.contains(['?', '#']) {
        return Err(UrlFlaw::Parameter);
    }
    let (hosts, database) = rest.split_once('/').unwrap_or((rest, ""));
    let url = |host: &str| {
        let url = Url::parse(&format!("{scheme}://{user}{host}/{database}")).map_err(|_| UrlFlaw::NotRedis)?;
        let is_whole = url.host_str().is_some_and(|host| !host.is_empty());
        let is_database = database.is_empty() || database.parse::<u16>().is_ok();
        if is_whole && is_database && url.query().is_none() && url.fragment().is_none() {
            Ok(url)
        } else {
            Err(UrlFlaw::NotRedis)
        }
    };
    hosts.split(',').map(url).collect()
}

fn logged_in(of_url: RedisConnectionInfo, login: Login<'_>) -> Result<RedisConnectionInfo, UrlFlaw> {
    let Login { username, password } = login;
    if (username.is_some() || password.is_some()) && (of_url.username().is_some() || of_url.password().is_some()) {
        return Err(UrlFlaw::TwoLogins);
    }
    // Not told to the server: an ACL would have to allow it.
    let mut info = of_url.set_skip_set_lib_name();
    if let Some(username) = username {
        info = info.set_username(username);
    }
    if let Some(password) = password {
        // Exposed to be sent to the server that it is of.
        info = info.set_password(password.expose_str().ok_or(UrlFlaw::NotRedis)?);
    }
    Ok(info)
}

/// With the authorities that its certificate is checked by.
fn verified(info: ConnectionInfo, tls: Option<&TlsCertificates>) -> Result<ConnectionInfo, UrlFlaw> {
    let Some(certificates) = tls else { return Ok(info) };
    let client = Client::build_with_tls(info, certificates.clone()).map_err(|_| UrlFlaw::Authority)?;
    Ok(client.get_connection_info().clone())
}

/// An address of this machine, or the name that is always one (RFC 6761 §6.3).
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str, nodes: Nodes<'_>, ca_pem: Option<&[u8]>) -> Result<Address, UrlFlaw> {
        Address::new(&Secret::new(url), nodes, Login::default(), Login::default(), ca_pem)
    }

    #[test]
    fn it_is_plain_on_this_machine_only() {
        for (url, nodes, shown) in [
            ("redis://127.0.0.1", Nodes::Alone, "Redis at 127.0.0.1:6379"),
            ("redis://u:canary@localhost:6380/3", Nodes::Alone, "Redis at localhost:6380"),
            ("rediss://u:canary@redis.example.com", Nodes::Alone, "Redis at redis.example.com:6379"),
            ("rediss://a:1,b:2", Nodes::Cluster, "the Redis cluster at a:1, b:2"),
            ("rediss://u:c%40nary@a:1,b:2/5", Nodes::Sentinels("m"), "Redis `m` of the Sentinels at a:1, b:2"),
        ] {
            let address = read(url, nodes, None).unwrap();
            assert_eq!(address.to_string(), shown, "{url}");
            assert_eq!(address.tls.is_some(), url.starts_with("rediss"));
            assert!(address.nodes.iter().all(|node| {
                let is_tls = matches!(node.addr(), ConnectionAddr::TcpTls { insecure: false, .. });
                is_tls == address.tls.is_some()
            }));
        }
    }

    #[test]
    fn refuses_what_would_be_weaker_or_ignored() {
        for (url, nodes, flaw) in [
            ("http://a", Nodes::Alone, UrlFlaw::NotRedis),
            ("redis+unix:///run/redis.sock", Nodes::Alone, UrlFlaw::NotRedis),
            ("127.0.0.1:6379", Nodes::Alone, UrlFlaw::NotRedis),
            ("rediss://", Nodes::Alone, UrlFlaw::NotRedis),
            ("rediss://a,", Nodes::Cluster, UrlFlaw::NotRedis),
            ("rediss://a/one", Nodes::Alone, UrlFlaw::NotRedis),
            ("rediss://a/#insecure", Nodes::Alone, UrlFlaw::Parameter),
            ("rediss://a?protocol=resp3", Nodes::Alone, UrlFlaw::Parameter),
            ("redis://10.0.0.1", Nodes::Alone, UrlFlaw::Plain),
            ("redis://127.0.0.1,10.0.0.1", Nodes::Cluster, UrlFlaw::Plain),
            ("redis://localhost.example.com", Nodes::Alone, UrlFlaw::Plain),
            ("rediss://a,b", Nodes::Alone, UrlFlaw::Several),
            ("rediss://a,b/1", Nodes::Cluster, UrlFlaw::DatabaseOfCluster),
        ] {
            assert_eq!(read(url, nodes, None).err(), Some(flaw), "{url}");
        }
        assert_eq!(read("redis://127.0.0.1", Nodes::Alone, Some(b"")).err(), Some(UrlFlaw::PlainWithAuthority));
        let login = Login { username: Some("u"), password: None };
        let twice = Address::new(&Secret::new("rediss://:p@a"), Nodes::Alone, login, Login::default(), None);
        assert_eq!(twice.err(), Some(UrlFlaw::TwoLogins));
    }

    #[test]
    fn a_master_that_sentinels_name_beyond_this_machine_is_not_reached_in_the_clear() {
        let login = RedisConnectionInfo::default();
        let plain = read("redis://127.0.0.1:26379", Nodes::Sentinels("m"), None).unwrap();
        assert!(plain.master("127.0.0.1", 6379, &login).is_ok());
        assert_eq!(plain.master("10.0.0.1", 6379, &login).err(), Some(UrlFlaw::Plain));
        let verified = read("rediss://127.0.0.1:26379", Nodes::Sentinels("m"), None).unwrap();
        let master = verified.master("10.0.0.1", 6379, &login).unwrap();
        assert!(matches!(master.addr(), ConnectionAddr::TcpTls { insecure: false, .. }));
    }

    #[test]
    fn i9_no_part_of_the_password_is_shown() {
        for url in ["redis://u:canary@10.0.0.1", "rediss://u:canary@a:port", "rediss://u:canary@a?x=canary"] {
            let flaw = read(url, Nodes::Alone, None).err().unwrap();
            assert!(!format!("{flaw} {flaw:?}").contains("canary"), "{flaw}");
        }
        assert!(!read("rediss://u:canary@a", Nodes::Alone, None).unwrap().to_string().contains("canary"));
    }
}
