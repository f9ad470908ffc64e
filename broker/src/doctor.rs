//! `sallyport doctor`: what keeps a broker from serving, or soon will, each with what to do about it.
//!
//! Half of it is seen from outside, by a process that runs beside the broker or in its place ([`machine`], [`gateway`]); the
//! other half only by the broker that runs ([`Running`]). Nothing is changed by looking.

mod certificate;
mod clocks;
pub mod gateway;
pub mod keys;
pub mod machine;
mod own_keys;
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

/// What was found of one thing. Holds no secret (I9). None that is not good is without a remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, for example `store` or `key file`.
    pub check: String,
    /// What was seen.
    pub told: String,
    found: Found,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Good,
    Warning(Remedy),
    Bad(Remedy),
}

/// What to do; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Remedy(String);

impl Remedy {
    fn new(remedy: impl Into<String>) -> Self {
        let remedy = remedy.into();
        Self(if remedy.trim().is_empty() { "see the log of the broker".to_owned() } else { remedy })
    }
}

impl Finding {
    /// All is well.
    pub fn good(check: impl Into<String>, told: impl Into<String>) -> Self {
        Self { check: check.into(), told: told.into(), found: Found::Good }
    }

    /// Worth a look.
    pub fn warning(check: impl Into<String>, told: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check: check.into(), told: told.into(), found: Found::Warning(Remedy::new(remedy)) }
    }

    /// To be mended.
    pub fn bad(check: impl Into<String>, told: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check: check.into(), told: told.into(), found: Found::Bad(Remedy::new(remedy)) }
    }

    /// How it is.
    pub fn verdict(&self) -> Verdict {
        match self.found {
            Found::Good => Verdict::Good,
            Found::Warning(_) => Verdict::Warning,
            Found::Bad(_) => Verdict::Bad,
        }
    }

    /// What to do, unless it is good.
    pub fn remedy(&self) -> Option<&str> {
        match &self.found {
            Found::Good => None,
            Found::Warning(remedy) | Found::Bad(remedy) => Some(&remedy.0),
        }
    }
}

#[cfg(test)]
mod tests;
