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
pub mod config;
pub mod content;
pub mod headers;
pub mod jsonrpc;
pub mod metadata;
pub mod reject;
pub mod session;
