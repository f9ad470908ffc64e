//! How much of what providers may be asked all brokers together have spent.

use sqlx::Row as _;

use super::{Connection, query, signed, unsigned};
use crate::store::StoreError;

pub(super) async fn spent_until(db: &mut Connection, provider: &str) -> Result<Option<u64>, StoreError> {
    let sql = "SELECT spent_until FROM provider_budgets WHERE provider = $1";
    let row = query(sql).bind(provider).fetch_optional(db).await?;
    row.map(|row| unsigned(row.try_get(0)?, "provider_budgets", provider)).transpose()
}

pub(super) async fn spend(
    db: &mut Connection,
    provider: &str,
    from: Option<u64>,
    until: u64,
) -> Result<bool, StoreError> {
    let spent = match from {
        None => query("INSERT INTO provider_budgets (provider, spent_until) VALUES ($1, $2) ON CONFLICT DO NOTHING"),
        Some(_) => query("UPDATE provider_budgets SET spent_until = $2 WHERE provider = $1 AND spent_until = $3"),
    };
    let spent = spent.bind(provider).bind(signed(until));
    let spent = match from {
        None => spent,
        Some(from) => spent.bind(signed(from)),
    };
    Ok(spent.execute(db).await?.rows_affected() == 1)
}
