//! `sallyport doctor`: what keeps a broker from serving, or soon will, each with what to do about it.
//!
//! Half of it is seen from outside, by a process that runs beside the broker or in its place ([`machine`], [`gateway`]); the
//! other half only by the broker that runs ([`Running`]). Nothing is changed by looking.

mod certificate;
pub mod gateway;
mod keys;
pub mod machine;
mod reach;
pub mod redis;
mod running;

pub use running::{Parts, Running};

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It works, and will not for long, or not everywhere.
    Warning,
    /// It keeps somebody from being served.
    Bad,
}

impl Verdict {
    /// As operators and scripts read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }
}

/// What was found of one thing. Holds no secret (I9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, for example `store` or `key file`.
    pub check: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was seen.
    pub told: String,
    /// What to do; empty where nothing need be.
    pub remedy: String,
}

impl Finding {
    /// All is well.
    pub fn good(check: impl Into<String>, told: impl Into<String>) -> Self {
        Self { check: check.into(), verdict: Verdict::Good, told: told.into(), remedy: String::new() }
    }

    /// Worth a look.
    pub fn warning(check: impl Into<String>, told: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check: check.into(), verdict: Verdict::Warning, told: told.into(), remedy: remedy.into() }
    }

    /// To be mended.
    pub fn bad(check: impl Into<String>, told: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check: check.into(), verdict: Verdict::Bad, told: told.into(), remedy: remedy.into() }
    }
}
