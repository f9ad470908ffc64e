//! OAuth as a client: what is asked of providers' endpoints, and how their answers are read. Knows no store and serves
//! no HTTP.

pub mod account;
pub mod authorize;
pub mod callback;
pub mod endpoint;
pub mod introspection;
pub mod pkce;
pub mod profile;
pub mod revocation;
pub mod token_request;
pub mod token_response;

pub use endpoint::{Answer, Client, NoAnswer, Request, TokenEndpoint};
pub use pkce::Verifier;
pub use token_request::{Grant, RESERVED_PARAMS, TokenRequest, request_token};
pub use token_response::{Fault, Given, RefusalCode, Token, TokenEndpointError};
