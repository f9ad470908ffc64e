//! Secrets that the configuration holds, or says where they are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::secret::Secret;
use crate::yaml::{Field, Fields, Flaw};

/// Where a secret is.
#[derive(Clone, Debug)]
pub enum SecretSource {
    /// In the configuration.
    Here(Arc<Secret>),
    /// In a file, alone.
    File(PathBuf),
    /// In an environment variable.
    Variable(String),
}

/// Why there is no secret where the configuration says.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("{field}_file: cannot read {}", file.display())]
    File {
        /// Which secret.
        field: &'static str,
        /// Which file.
        file: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The variable is not set, or is no text.
    #[error("{field}_env: `{variable}` is not set")]
    Variable {
        /// Which secret.
        field: &'static str,
        /// Which variable.
        variable: String,
    },
    /// There is nothing in it.
    #[error("{field} is empty where the configuration says that it is")]
    Empty {
        /// Which secret.
        field: &'static str,
    },
}

impl SecretSource {
    /// The file that it is in, if it is in one.
    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(file) => Some(file),
            Self::Here(_) | Self::Variable(_) => None,
        }
    }

    /// Reads it; a line break at its end is the editor's.
    ///
    /// # Errors
    /// [`SecretError`], which names it by `field`.
    pub fn read(&self, field: &'static str) -> Result<Secret, SecretError> {
        let read = match self {
            // Exposed to be copied: the configuration keeps its own.
            Self::Here(secret) => Secret::new(secret.expose()),
            Self::File(file) => Secret::new(std::fs::read(file).map_err(|source| SecretError::File {
                field,
                file: file.clone(),
                source,
            })?),
            Self::Variable(name) => {
                Secret::new(std::env::var(name).map_err(|_| SecretError::Variable { field, variable: name.clone() })?)
            }
        };
        // Exposed to be cut to what it is.
        match read.expose().trim_ascii() {
            [] => Err(SecretError::Empty { field }),
            secret => Ok(Secret::new(secret)),
        }
    }
}

/// At most one of a value, a file and a variable, and which field it is.
pub(super) fn secret<'f>(
    fields: &Fields<'f>,
    names: [&'static str; 3],
    what: &str,
    base: &Path,
) -> Option<(Field<'f>, SecretSource)> {
    let read = |name, make: &dyn Fn(&str) -> SecretSource| {
        fields.optional(name).and_then(|field| field.text().map(|text| (field.clone(), make(text))))
    };
    let [here, file, variable] = names;
    let given = [
        read(here, &|text| SecretSource::Here(Arc::new(Secret::new(text)))),
        read(file, &|text| SecretSource::File(base.join(text))),
        read(variable, &|text| SecretSource::Variable(text.to_owned())),
    ];
    let mut given = given.into_iter().flatten();
    let first = given.next();
    for (field, _) in given {
        field.report(Flaw::new(format!("is a second {what}"), "keep one of the fields that hold it"));
    }
    first
}
