//! People consent in a browser, each for themselves, and what goes wrong on the way stores nothing.

#[path = "consent/walk.rs"]
mod walk;
