//! What is wrong with a file: where, what, and what to do about it.

use std::cell::RefCell;
use std::fmt;

/// One flaw of a file, told so that its author can mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file as its author names it.
    pub file: String,
    /// From 1; 0 if it is about the whole file.
    pub line: u32,
    /// Path of the field, for example `integrations[0].auth_data.type`; empty if it is about no field.
    pub field: String,
    /// What is wrong: lower case, no full stop, never a secret.
    pub message: String,
    /// What to do about it; empty if the message says it all.
    pub hint: String,
}

/// `<file>:<line>: <field>: <message>`; the hint is for a line of its own.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// A problem before it has a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl Flaw {
    /// A flaw and its remedy.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }
}

/// Collects the problems and warnings of one file.
#[derive(Debug)]
pub struct Problems {
    file: String,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl Problems {
    /// None yet.
    pub fn of(file: &str) -> Self {
        Self { file: file.to_owned(), problems: RefCell::default(), warnings: RefCell::default() }
    }

    /// Adds a problem.
    pub fn report(&self, line: u32, field: &str, flaw: Flaw) {
        self.problems.borrow_mut().push(self.place(line, field, flaw));
    }

    /// Adds a warning, which stops nothing.
    pub fn warn(&self, line: u32, field: &str, flaw: Flaw) {
        self.warnings.borrow_mut().push(self.place(line, field, flaw));
    }

    /// Adds a problem that has its place.
    pub fn add(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Problems and warnings, each in order of lines.
    pub fn into_parts(self) -> (Vec<Problem>, Vec<Problem>) {
        let (mut problems, mut warnings) = (self.problems.into_inner(), self.warnings.into_inner());
        problems.sort_by_key(|problem| problem.line);
        warnings.sort_by_key(|warning| warning.line);
        (problems, warnings)
    }

    fn place(&self, line: u32, field: &str, Flaw { message, hint }: Flaw) -> Problem {
        Problem { file: self.file.clone(), line, field: field.to_owned(), message, hint }
    }
}

/// The YAML reader ends its messages with the place, which is told apart.
pub(super) fn without_place(message: &str) -> &str {
    let line = message.lines().next().unwrap_or_default();
    line.split(" at line ").next().unwrap_or(line)
}
