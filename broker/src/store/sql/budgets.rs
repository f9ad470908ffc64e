//! How much of what providers may be asked all brokers together have spent.

use sqlx::Row as _;

use super::{Connection, query, signed};
use crate::store::StoreError;

pub(super) async fn spent_until(db: &mut Connection, provider: &str) -> Result<Option<u64>, StoreError> {
    let sql = "SELECT spent_until FROM provider_budgets WHERE provider = $1";
    let row = query(sql).bind(provider).fetch_optional(db).await?;
    // What cannot be right is as good as nothing spent: it is written over.
    row.map(|row| Ok(row.try_get::<i64, _>(0)?.try_into().unwrap_or(0))).transpose()
}

pub(super) async fn spend(
    db: &mut Connection,
    provider: &str,
    from: Option<u64>,
    until: u64,
) -> Result<bool, StoreError> {
    let spent = match from {
        None => query("INSERT INTO provider_budgets (provider, spent_until) VALUES ($1, $2) ON CONFLICT DO NOTHING"),
        Some(_) => query(
            "UPDATE provider_budgets SET spent_until = $2 WHERE provider = $1 AND (spent_until = $3 OR spent_until < 0)",
        ),
    };
    let spent = spent.bind(provider).bind(signed(until));
    let spent = match from {
        None => spent,
        Some(from) => spent.bind(signed(from)),
    };
    Ok(spent.execute(db).await?.rows_affected() == 1)
}
