//! What a verified caller is, and what policy lets a caller do. Pure: no clock, no network, no randomness.
//!
//! Filter and broker both decide with this crate and with nothing else, so that neither can be talked into a token the
//! other would refuse (I3). The proofs are types: [`verify`] makes a [`Caller`], [`Caller::enter`] an [`Entered`],
//! [`Entered::authorize`] an [`Allowed`], and there is no other way to come by any of them (I2).
//!
//! No input may trap the filter (I10): the lints below keep out everything that could.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::arithmetic_side_effects
    )
)]

mod algorithm;
mod bearer;
mod caller;
mod claims;
mod external;
mod header;
mod id_token;
mod issuer;
mod json;
mod key;
mod policy;
mod revocations;
mod signature;
mod subjects;
mod token;

pub use algorithm::Algorithm;
pub use bearer::bearer;
pub use caller::{Caller, Door, Entered};
pub use external::{ExternalIdentities, ExternalIdentity};
pub use id_token::{Asked, IdTokenError, Person, verify_id_token};
pub use issuer::{Issuer, Issuers, TokenProfile};
pub use key::{KeyError, MAX_KID_BYTES, PublicKey};
pub use policy::{Allowed, Policy, PolicyDenied, Teams};
pub use revocations::Revocations;
pub use signature::{HostSignatures, NoHost, es256_der};
pub use token::{LEEWAY_MS, MAX_HEADER_BYTES, MAX_TOKEN_BYTES, TokenError, verify};

#[cfg(test)]
mod tests;
