//! Values as SQL stores keep them.

use super::StoreError;

/// SQL counts to 2^63 - 1; the far end of time or numbers is as good as further.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(value: i64, table: &'static str, id: &str) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::Corrupt { table, id: id.to_owned(), why: "a number is negative" })
}

pub(super) fn hash(bytes: Vec<u8>, table: &'static str, id: &str) -> Result<[u8; 32], StoreError> {
    let corrupt = |_| StoreError::Corrupt { table, id: id.to_owned(), why: "a hash is not 32 bytes long" };
    bytes.try_into().map_err(corrupt)
}

/// A compare-and-swap changed one row, or somebody else was first.
pub(super) fn one(rows: u64) -> Result<(), StoreError> {
    match rows {
        1 => Ok(()),
        _ => Err(StoreError::Conflict),
    }
}

pub(super) fn to_json(texts: &[String]) -> String {
    serde_json::Value::from(texts).to_string()
}

pub(super) fn texts(json: &str, table: &'static str, id: &str) -> Result<Vec<String>, StoreError> {
    let corrupt = |_| StoreError::Corrupt { table, id: id.to_owned(), why: "a list is not one" };
    serde_json::from_str(json).map_err(corrupt)
}
