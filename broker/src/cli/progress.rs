//! How far a long command is, where a person watches.

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};

/// One line on standard error that is written anew, if that is a terminal; it ends when this is dropped.
pub(super) struct ProgressLine {
    shown: bool,
}

impl ProgressLine {
    pub(super) fn begin() -> Self {
        Self { shown: std::io::stderr().is_terminal() }
    }

    pub(super) fn tell(&self, so_far: impl Display) {
        if self.shown {
            // What the line said before may have been longer.
            eprint!("\r{so_far}\x1b[K");
            // It informs only: the command goes on without.
            let _ = std::io::stderr().flush();
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if self.shown {
            eprintln!();
        }
    }
}
