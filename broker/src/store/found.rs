//! Many records at once, of which one may be corrupt.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

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

    /// What can still be told of each record: those that are corrupt are named, and among the others for that much.
    pub(super) fn salvage<R>(
        rows: &[R],
        read: impl Fn(&R) -> Result<(), StoreError>,
        salvaged: impl Fn(&R) -> T,
    ) -> Result<Self, StoreError> {
        let mut found = Self { records: Vec::new(), corrupt: Vec::new() };
        for row in rows {
            match read(row) {
                Ok(()) => {}
                Err(corrupt @ StoreError::Corrupt { .. }) => found.corrupt.push(corrupt),
                Err(error) => return Err(error),
            }
            found.records.push(salvaged(row));
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

/// Which corrupt records the log has named: what is read each second is told once, for as long as it stays as it is.
#[derive(Debug, Default)]
pub struct Named(Mutex<BTreeSet<String>>);

impl Named {
    /// Names those that were not named the last time, and says what becomes of them.
    pub fn name<T>(&self, found: &Found<T>, becomes: &'static str) {
        let found: BTreeSet<String> = found.corrupt.iter().map(ToString::to_string).collect();
        let mut named = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for error in found.difference(&named) {
            tracing::error!(error, becomes, "a record is corrupt");
        }
        *named = found;
    }
}
