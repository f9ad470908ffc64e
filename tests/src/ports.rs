//! Free loopback ports for the parts that must be told theirs before they start.

use std::{
    collections::HashSet,
    net::TcpListener,
    sync::{LazyLock, Mutex},
};

/// Below the ports that the kernel hands to outgoing connections, so that only another harness can take one in between.
const FIRST: u16 = 12_000;
const LAST: u16 = 32_000;

static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// The first of `count` ports in a row that nobody listens on.
pub fn free_ports(count: u16) -> u16 {
    loop {
        let first = free();
        if (first + 1..first + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
}

/// A port nobody listens on, given once per process.
pub(crate) fn free() -> u16 {
    let mut given = GIVEN.lock().expect("no holder panics");
    loop {
        let mut bytes = [0; 2];
        getrandom::fill(&mut bytes).expect("the system has randomness");
        let port = FIRST + u16::from_ne_bytes(bytes) % (LAST - FIRST);
        if !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.insert(port);
            return port;
        }
    }
}
