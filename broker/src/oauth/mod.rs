//! OAuth as a client: what is asked of providers' token endpoints, and how their answers are read. Knows no store.

pub mod token_response;

pub use token_response::{RefusalCode, Token, TokenEndpointError};
