//! OAuth as a client: what is asked of providers' token endpoints, and how their answers are read. Knows no store.

pub mod client_credentials;
pub mod profile;
pub mod token_response;

pub use client_credentials::{
    Answer, ClientCredentialsRequest, NoAnswer, RESERVED_PARAMS, TokenEndpoint, client_credentials,
};
pub use token_response::{RefusalCode, Token, TokenEndpointError};
