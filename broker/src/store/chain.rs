//! How records of audit are chained: each hash covers its predecessor's and every column of its own row.

use sha2::{Digest, Sha256};

use super::AuditEntry;

/// What stands for the predecessor of the first record.
pub const GENESIS: [u8; 32] = [0; 32];

/// The hash of the record at `sequence`, whose predecessor has the hash `previous`. Every part is preceded by its
/// length, so that no text can move from one column to another unseen.
pub fn link(previous: &[u8; 32], sequence: u64, entry: &AuditEntry) -> [u8; 32] {
    // Exhaustive: a new column that the hash does not cover is an error here.
    let AuditEntry { event, actor, server, at, json } = entry;
    let mut hash = Sha256::new().chain_update(b"sallyport.audit.v1");
    hash.update(previous);
    hash.update(sequence.to_be_bytes());
    hash.update(at.0.to_be_bytes());
    for text in [event, actor, server, json] {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    }
    hash.finalize().into()
}
