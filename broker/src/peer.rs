//! Who a proxy is, as its connection proves it, and what it may serve (I3). Nothing a proxy says of itself counts: what it
//! calls itself stands in records beside what it is.

use std::collections::BTreeSet;
use std::fmt;

use crate::model::ServerName;

/// A proxy behind a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// How it is known.
    pub identity: PeerIdentity,
    /// What it may serve.
    pub scope: Scope,
}

/// What a transport proves of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerIdentity {
    /// The Unix user behind a connection to the socket (SO_PEERCRED).
    Uid(u32),
    /// A name in the certificate that it showed.
    San(San),
}

/// A subject alternative name (RFC 5280 §4.2.1.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum San {
    /// A host name, in lower case; never a pattern.
    Dns(String),
    /// A URI, to the letter: for example a SPIFFE id.
    Uri(String),
}

/// The servers that a proxy may serve.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All of them.
    Every,
    /// Those of these groups.
    Groups(BTreeSet<String>),
}

impl Scope {
    /// Whether this server is in it.
    pub fn serves(&self, server: &ServerName) -> bool {
        match self {
            Self::Every => true,
            Self::Groups(groups) => server.0.split_once('/').is_some_and(|(group, _)| groups.contains(group)),
        }
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "uid:{uid}"),
            Self::San(San::Dns(name)) => write!(f, "dns:{name}"),
            Self::San(San::Uri(uri)) => write!(f, "uri:{uri}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_holds_whole_groups_and_no_name_that_only_begins_like_one() {
        let scope = Scope::Groups(BTreeSet::from(["pay".to_owned()]));
        assert!(scope.serves(&ServerName("pay/ledger".into())));
        for other in ["payroll/ledger", "p/ledger", "pay", "", "/pay", "ledger/pay"] {
            assert!(!scope.serves(&ServerName(other.into())), "{other}");
        }
        assert!(Scope::Every.serves(&ServerName("payroll/ledger".into())));
    }
}
