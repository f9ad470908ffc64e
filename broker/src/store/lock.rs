//! What one transaction of all brokers holds at a time.

use crate::model::{GrantKey, Identity};

/// Held from where it is taken to the end of the transaction. A transaction takes one at most, and before it writes, so that
/// no two wait for each other.
#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "one writer needs no name for what it holds")]
pub(super) enum Lock<'a> {
    /// The end of the audit chain, and the numbers of reports.
    Audit,
    /// The consents in progress for one grant.
    Consents(&'a GrantKey),
    /// What is dropped because it expired: rows of many, in no order.
    Expired,
    /// Whose an identity is.
    Identity(&'a Identity),
}
