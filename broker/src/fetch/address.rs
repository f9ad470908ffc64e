//! Which addresses may be reached.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use async_trait::async_trait;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Finds the addresses of a host name.
#[async_trait]
pub trait Lookup: Send + Sync + 'static {
    /// Every address, with port 0.
    async fn lookup(&self, host: &str) -> io::Result<Vec<SocketAddr>>;
}

/// The system's resolver.
pub(super) struct System;

#[async_trait]
impl Lookup for System {
    async fn lookup(&self, host: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.collect())
    }
}

/// How far a request may go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reach {
    /// Public addresses, and networks that the operator lists.
    PublicOrListed,
    /// Loopback addresses, and only those that the operator lists.
    ListedLoopback,
}

impl Reach {
    pub(super) fn permits(self, address: IpAddr, allow: &[IpNet]) -> bool {
        // `::ffff:127.0.0.1` is 127.0.0.1 to the kernel, and to us.
        let address = address.to_canonical();
        let is_listed = allow.iter().any(|network| network.contains(&address));
        match self {
            Self::PublicOrListed => is_listed || is_public(address),
            Self::ListedLoopback => is_listed && address.is_loopback(),
        }
    }
}

/// IANA's special-purpose registry for IPv4, and multicast, and the reserved end.
const NOT_PUBLIC_V4: [Ipv4Net; 16] = [
    Ipv4Net::new_assert(Ipv4Addr::new(0, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10),
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 0, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 2, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 31, 196, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 52, 193, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 88, 99, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 15),
    Ipv4Net::new_assert(Ipv4Addr::new(198, 51, 100, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(203, 0, 113, 0), 24),
    // Multicast (224/4) and reserved (240/4) together, with the broadcast address.
    Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// The one block of IPv6 that is assigned to the public Internet (RFC 4291 §2.4).
const GLOBAL_UNICAST: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// What is not public inside [`GLOBAL_UNICAST`]: IETF protocols with Teredo (2001::/23), documentation, and 6to4, which
/// carries any IPv4 address inside.
const NOT_PUBLIC_V6: [Ipv6Net; 4] = [
    Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    Ipv6Net::new_assert(Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    Ipv6Net::new_assert(Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !NOT_PUBLIC_V4.iter().any(|network| network.contains(&address)),
        IpAddr::V6(address) => {
            GLOBAL_UNICAST.contains(&address) && !NOT_PUBLIC_V6.iter().any(|network| network.contains(&address))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o9_no_address_with_a_special_purpose_is_public() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::",
            "3fff::1",
            "5f00::1",
            "4000::1",
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert!(!Reach::PublicOrListed.permits(address, &[]), "{address}");
            assert!(!Reach::ListedLoopback.permits(address, &[]), "{address}");
        }
    }

    #[test]
    fn public_addresses_are_reached_and_listed_networks_too() {
        for address in
            ["1.1.1.1", "8.8.8.8", "100.63.255.255", "172.32.0.1", "223.255.255.255", "2606:4700::1111", "2a00::1"]
        {
            let address: IpAddr = address.parse().unwrap();
            assert!(Reach::PublicOrListed.permits(address, &[]), "{address}");
        }
        let listed: Vec<IpNet> = vec!["10.1.0.0/16".parse().unwrap(), "127.0.0.0/8".parse().unwrap()];
        let permits = |reach: Reach, address: &str| reach.permits(address.parse().unwrap(), &listed);
        assert!(permits(Reach::PublicOrListed, "10.1.2.3"));
        assert!(permits(Reach::PublicOrListed, "::ffff:10.1.2.3"));
        assert!(!permits(Reach::PublicOrListed, "10.2.0.1"));
        assert!(permits(Reach::ListedLoopback, "127.0.0.1"));
        assert!(!permits(Reach::ListedLoopback, "::1"));
        assert!(!permits(Reach::ListedLoopback, "10.1.2.3"));
        assert!(!permits(Reach::ListedLoopback, "8.8.8.8"));
    }
}
