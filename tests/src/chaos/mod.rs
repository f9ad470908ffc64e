//! A fleet under chosen misfortunes, and whether its history is one that may be.
//!
//! ```text
//! plan     when which part dies, freezes, ends and comes back: all of it from one seed
//! keeper   who carries it out
//! people   call through the gateway meanwhile, their tokens expire every few seconds
//! drive    all of it together
//! history  what the provider issued, what upstreams were called with, what the store and the audit say
//! losses   which answers may have been lost: by which misfortune
//! check    what must not be in it
//! ```

mod check;
mod drive;
mod history;
mod keeper;
mod losses;
mod people;
mod plan;
mod report;

pub use check::{Violation, check};
pub use drive::{Options, run};
pub use history::{Fault, Grant, History, Outage, Refresh, Release, Served, Verdict};
pub use losses::{Cause, Struck};
pub use plan::{Deed, Part, Plan};
pub use report::Report;
