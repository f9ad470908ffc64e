//! People and their agents: each call with the grant of the very person it is made for, and the way to one where it is missing.

#[path = "people/identities.rs"]
mod identities;
#[path = "people/isolation.rs"]
mod isolation;
#[path = "people/published.rs"]
mod published;
#[path = "people/status.rs"]
mod status;
