//! The filter that runs inside Envoy: verifies callers, applies policy, swaps the credential.
//!
//! All of it is pure but `host`, and runs natively in tests.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::arithmetic_side_effects
    )
)]

pub mod agree;
pub mod callers;
pub mod challenge;
pub mod config;
pub mod content;
pub mod credentials;
pub mod flow;
pub mod head;
pub mod headers;
#[cfg(target_arch = "wasm32")]
mod host;
pub mod jsonrpc;
pub mod metadata;
pub mod pending;
pub mod reject;
pub mod reports;
pub mod session;
pub mod snapshot;
pub mod worker;
#[cfg(test)]
mod world;

/// As the broker is told it, for the record.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

#[cfg(target_arch = "wasm32")]
mod entry {
    proxy_wasm::main! {{
        proxy_wasm::set_log_level(proxy_wasm::types::LogLevel::Info);
        proxy_wasm::set_root_context(|id| Box::new(crate::host::Root::new(id)));
    }}
}
