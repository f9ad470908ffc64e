//! The broker: owns the vault, verifies callers again, releases credentials and remembers every release.
//!
//! ```text
//! cli, grpc, http ─▶ service ─▶ refresher ─▶ { vault, oauth, store } ─▶ model ─▶ { secret, clock }
//! ```

pub mod admin;
pub mod audit;
mod causes;
pub mod cli;
pub mod clock;
pub mod config;
pub mod consent;
pub mod coordination;
pub mod copies;
pub mod doctor;
pub mod failpoint;
pub mod fetch;
pub mod fingerprints;
pub mod grants;
pub mod grpc;
pub mod harden;
pub mod http;
pub mod issuers;
pub mod keys;
pub mod manifest;
pub mod master_keys;
pub mod model;
pub mod oauth;
pub mod peer;
pub mod principals;
pub mod refresher;
pub mod registry;
pub mod secret;
pub mod secrets;
pub mod serve;
pub mod service;
pub mod signin;
pub mod snapshot;
pub mod store;
pub mod vault;
pub mod xds;
pub mod yaml;
