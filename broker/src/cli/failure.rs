//! How a command fails: `error:` says what is wrong, `hint:` what to do. Both go to standard error.

use std::error::Error;
use std::process::ExitCode;

use crate::causes;
use crate::config::ConfigError;
use crate::yaml::Problem;

/// What the command could not do.
const FAILED: u8 = 1;
/// No broker answers; 2 is clap's, for arguments it does not know.
const NO_BROKER: u8 = 3;

/// Why a command failed, with what to do about it.
#[derive(Debug)]
pub struct Failure {
    told: Vec<(String, String)>,
    code: u8,
}

impl Failure {
    /// An error and a hint, which may be empty.
    pub fn new(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { told: vec![(error.into(), hint.into())], code: FAILED }
    }

    /// An error with its causes.
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        Self::new(causes::told(error), "")
    }

    /// Flaws of files.
    pub fn of_problems(problems: &[Problem]) -> Self {
        let told = problems.iter().map(|problem| (problem.to_string(), problem.hint.clone()));
        Self { told: told.collect(), code: FAILED }
    }

    /// One for each of these errors, if there is any, all with one hint.
    ///
    /// # Errors
    /// With those.
    pub fn of_each(errors: &[String], hint: &str) -> Result<(), Self> {
        errors.iter().map(|error| Self::new(error, hint)).reduce(Self::and).map_or(Ok(()), Err)
    }

    /// Both, this one first; the exit code is this one's.
    pub fn and(mut self, other: Self) -> Self {
        self.told.extend(other.told);
        self
    }

    /// Nobody answers.
    pub fn no_broker(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code: NO_BROKER, ..Self::new(error, hint) }
    }

    /// What is wrong.
    pub fn error(&self) -> &str {
        self.told.first().map_or("", |(error, _)| error)
    }

    /// What to do about it; may be empty.
    pub fn hint(&self) -> &str {
        self.told.first().map_or("", |(_, hint)| hint)
    }

    /// Prints it; answers the code to exit with.
    pub fn exit(self) -> ExitCode {
        for (error, hint) in &self.told {
            eprintln!("error: {error}");
            if !hint.is_empty() {
                eprintln!("hint: {hint}");
            }
        }
        ExitCode::from(self.code)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        match &error {
            ConfigError::Bad { problems, .. } => Self::of_problems(problems),
            ConfigError::Unreadable { file, source } => {
                let hint = "name it with `-c FILE`";
                Self::new(format!("cannot read {}: {source}", file.display()), hint)
            }
            ConfigError::Named { .. } => Self::new(causes::told(&error), "name a file that the broker's user can read"),
        }
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        let hint = match status.code() {
            tonic::Code::PermissionDenied => "run the command as that user",
            tonic::Code::Unavailable => "see the broker's log, and try again",
            tonic::Code::OutOfRange | tonic::Code::ResourceExhausted => "apply fewer files at a time",
            _ => "",
        };
        Self::new(status.message(), hint)
    }
}
