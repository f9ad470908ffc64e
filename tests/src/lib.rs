//! The harness: a whole gate of real parts on loopback, and the counterparts that try to break it.
//!
//! ```text
//! raw · h2 · call · clients ──▶ Envoy with the filter ──▶ upstream (records every byte)
//!                                    │
//!                               broker ──▶ issuer, provider (count, fail, lie on demand)
//! ```
//!
//! A test starts from [`World::shared`] or, where it breaks a part, from a [`World`] of its own, registers the servers it
//! needs through the real command line, and speaks to the gateway from outside only.

mod api;
mod application;
mod broker;
mod browser;
mod call;
mod canary;
pub mod chaos;
mod child;
mod chromium;
mod clients;
mod consent;
mod dir;
mod endpoints;
mod envoy;
mod h2;
mod issuer;
mod keys;
mod kms;
mod listener;
mod page;
mod poll;
mod ports;
mod program;
pub mod provider;
mod raw;
mod runtime;
mod seed;
mod server;
mod setup;
mod size;
mod store;
mod tls;
mod token;
mod transit;
mod upstream;
mod world;

pub use api::{acquire, admin_api, audit_records, broker_api, snapshot};
pub use application::Application;
pub use broker::{Broker, Output};
pub use browser::Browser;
pub use call::{Call, Reply, RpcError};
pub use canary::{Canary, spellings};
pub use child::Child;
pub use chromium::{Chromium, Cookie, Person, Seen};
pub use clients::{Client, ClientAnswer, Idp, McpServer};
pub use endpoints::EndpointsFile;
pub use envoy::{
    Envoy, Levels, pinned, set_broker_over_tls, set_manager, set_module, set_plugin, set_plugin_configuration,
};
pub use h2::{Connection, Piece};
pub use issuer::{Issuer, Jwks};
pub use keys::{Algorithm, SigningKey};
pub use kms::{Kms, KmsFault};
pub use listener::{Body, Listening, Reply as HttpReply, bytes_body, empty_body, stream_body};
pub use page::Page;
pub use poll::{eventually, eventually_within};
pub use ports::free_ports;
pub use program::Program;
pub use provider::Provider;
pub use raw::{RawConnection, RawReply};
pub use runtime::{run, spawn};
pub use server::{Auth, OAuth, Server, ServerBuilder, github};
pub use setup::setup;
pub use store::{Database, NoWrites};
pub use tls::{Authority, Certificate};
pub use token::{TokenBuilder, now_seconds};
pub use transit::{Transit, TransitFault};
pub use upstream::{Answer, Recorded, Upstream};
pub use world::{Change, World, WorldBuilder};

/// How often something is done again: `usual` times, or as often as the long figures want with `SALLYPORT_FULL`;
/// `SALLYPORT_ROUNDS` says otherwise.
///
/// # Panics
/// When `SALLYPORT_ROUNDS` is no number.
pub fn rounds(usual: usize, full: usize) -> usize {
    match std::env::var("SALLYPORT_ROUNDS") {
        Ok(rounds) => rounds.parse().unwrap_or_else(|error| panic!("SALLYPORT_ROUNDS={rounds}: {error}")),
        Err(_) if std::env::var_os("SALLYPORT_FULL").is_some() => full,
        Err(_) => usual,
    }
}

/// A random lower-case name, unlike any other.
pub fn unique(prefix: &str) -> String {
    let mut bytes = [0; 6];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    bytes.iter().fold(format!("{prefix}-"), |name, byte| name + &format!("{byte:02x}"))
}
