//! The columns of one record. What is damaged in one makes its record corrupt, by its id, and spoils no other.

use sqlx::{Decode, Row as _, Type};

use super::Row;
use crate::clock::UnixTime;
use crate::model::{GrantKey, PrincipalId};
use crate::store::{Sealed, StoreError, value};

type Database = <Row as sqlx::Row>::Database;

/// The columns of one record of a table.
pub(super) struct Columns<'r> {
    row: &'r Row,
    table: &'static str,
    id: String,
}

impl<'r> Columns<'r> {
    /// Of a record whose id is in this column.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if that is not readable; it names as much of it as is.
    pub(super) fn of(row: &'r Row, table: &'static str, id: &'static str) -> Result<Self, StoreError> {
        let columns = Self::named(row, table, shown(row, id));
        columns.get::<&str>(id)?;
        Ok(columns)
    }

    /// Of a record that people know by this id.
    pub(super) fn named(row: &'r Row, table: &'static str, id: String) -> Self {
        Self { row, table, id }
    }

    /// Of the record.
    pub(super) fn id(&self) -> String {
        self.id.clone()
    }

    pub(super) fn corrupt(&self, why: &'static str) -> StoreError {
        StoreError::Corrupt { table: self.table, id: self.id.clone(), why }
    }

    /// What a column holds.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it is none of these: text that is no UTF-8, another type, nothing where there must be
    /// something.
    pub(super) fn get<T: Decode<'r, Database> + Type<Database>>(&self, column: &'static str) -> Result<T, StoreError> {
        self.row.try_get(column).map_err(|error| match error {
            sqlx::Error::ColumnDecode { .. } => self.corrupt("a column is not readable"),
            other => other.into(),
        })
    }

    pub(super) fn text(&self, column: &'static str) -> Result<String, StoreError> {
        self.get(column)
    }

    pub(super) fn number(&self, column: &'static str) -> Result<u64, StoreError> {
        value::unsigned(self.get(column)?, self.table, &self.id)
    }

    pub(super) fn maybe_number(&self, column: &'static str) -> Result<Option<u64>, StoreError> {
        let number: Option<i64> = self.get(column)?;
        number.map(|number| value::unsigned(number, self.table, &self.id)).transpose()
    }

    pub(super) fn time(&self, column: &'static str) -> Result<UnixTime, StoreError> {
        self.number(column).map(UnixTime)
    }

    pub(super) fn maybe_time(&self, column: &'static str) -> Result<Option<UnixTime>, StoreError> {
        Ok(self.maybe_number(column)?.map(UnixTime))
    }

    pub(super) fn texts(&self, column: &'static str) -> Result<Vec<String>, StoreError> {
        value::texts(self.get(column)?, self.table, &self.id)
    }

    pub(super) fn hash(&self, column: &'static str) -> Result<[u8; 32], StoreError> {
        value::hash(self.get(column)?, self.table, &self.id)
    }

    pub(super) fn maybe_hash(&self, column: &'static str) -> Result<Option<[u8; 32]>, StoreError> {
        let hash: Option<Vec<u8>> = self.get(column)?;
        hash.map(|hash| value::hash(hash, self.table, &self.id)).transpose()
    }

    pub(super) fn maybe_sealed(&self, column: &'static str) -> Result<Option<Sealed>, StoreError> {
        Ok(self.get::<Option<Vec<u8>>>(column)?.map(Sealed))
    }

    pub(super) fn maybe_principal(&self, column: &'static str) -> Result<Option<PrincipalId>, StoreError> {
        Ok(self.get::<Option<String>>(column)?.map(PrincipalId))
    }

    /// What it holds for whom, if it says so.
    pub(super) fn grant_key(&self) -> Result<GrantKey, StoreError> {
        Ok(GrantKey { provider_client: self.get("provider_client")?, holder: self.get("holder")? })
    }
}

/// Text for people, whatever it is: what is no UTF-8 of it is shown as that.
pub(super) fn shown(row: &Row, column: &str) -> String {
    match row.try_get_unchecked::<Vec<u8>, _>(column) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => "?".to_owned(),
    }
}
