//! Many records at once, of which one may be corrupt.

use super::StoreError;

/// What was found: one record that cannot be read spoils no other, and is named.
#[derive(Debug)]
pub struct Found<T> {
    /// Those that could be read.
    pub records: Vec<T>,
    /// Of the others, each a [`StoreError::Corrupt`].
    pub corrupt: Vec<StoreError>,
}

impl<T> Found<T> {
    /// Sorts out what each record was read as; any other error than a corrupt record is all there is to tell.
    pub(super) fn sort(read: impl Iterator<Item = Result<T, StoreError>>) -> Result<Self, StoreError> {
        let mut found = Self { records: Vec::new(), corrupt: Vec::new() };
        for read in read {
            match read {
                Ok(record) => found.records.push(record),
                Err(corrupt @ StoreError::Corrupt { .. }) => found.corrupt.push(corrupt),
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Those that could be read; the others are named in the log.
    pub fn readable(self) -> Vec<T> {
        for error in &self.corrupt {
            tracing::error!(%error, "a record is left out");
        }
        self.records
    }
}
