//! Secrets: found nowhere they are not used, opened by nobody else, and every release on record (threats V, A5, H16–H18).

#[path = "secrets/broker.rs"]
mod broker;
#[path = "secrets/canaries.rs"]
mod canaries;
#[path = "secrets/people.rs"]
mod people;
#[path = "secrets/records.rs"]
mod records;
#[path = "secrets/sign_in.rs"]
mod sign_in;
#[path = "secrets/swapped.rs"]
mod swapped;
#[path = "secrets/vault.rs"]
mod vault;
