//! The provider of our own keeps its word: what refresh and consent are tested against is itself tested.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

#[path = "provider/authorize.rs"]
mod authorize;
#[path = "provider/browser.rs"]
mod browser;
#[path = "provider/chromium.rs"]
mod chromium;
#[path = "provider/faults.rs"]
mod faults;
#[path = "provider/real.rs"]
mod real;
#[path = "provider/rotation.rs"]
mod rotation;
#[path = "provider/token.rs"]
mod token;
