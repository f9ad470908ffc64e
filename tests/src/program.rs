//! Which build of the broker is run.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::setup;

/// A broker's binary, and what is said to it by its environment.
#[derive(Clone)]
pub struct Program {
    file: PathBuf,
    environment: Option<(&'static str, &'static str)>,
}

impl Default for Program {
    /// The one that `cargo xtask build` has built.
    fn default() -> Self {
        Self::at(&setup().broker)
    }
}

impl Program {
    /// Another one.
    pub fn at(file: &Path) -> Self {
        Self { file: file.to_path_buf(), environment: None }
    }

    /// One whose SQLite answers before anything is on disk. No broker that ships can be told to.
    pub fn without_durability() -> Self {
        let environment = Some(("SALLYPORT_WITHOUT_DURABILITY", "1"));
        Self { environment, ..Self::at(&setup().broker_failpoints) }
    }

    /// Where it is.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The one beside it that fills stores, else the one that the tests run.
    pub(crate) fn seeder(&self) -> PathBuf {
        let beside = self.file.with_file_name("sallyport-failpoints");
        if beside.exists() { beside } else { setup().broker_failpoints.clone() }
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.file);
        command.envs(self.environment);
        command
    }
}
