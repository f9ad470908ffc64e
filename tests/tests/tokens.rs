//! The outer door: which tokens open it, and the many that do not (threats J).

#[path = "tokens/claims.rs"]
mod claims;
#[path = "tokens/header.rs"]
mod header;
#[path = "tokens/keys.rs"]
mod keys;
#[path = "tokens/presented.rs"]
mod presented;
#[path = "tokens/signature.rs"]
mod signature;
