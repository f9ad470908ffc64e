//! What operators ask of the audit.

use std::sync::Arc;

use sallyport_proto::admin as proto;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::status;
use crate::audit::{self, ChainHead, VerifyError, verify_chain};
use crate::keys;
use crate::store::{Store, StoredAudit};

/// Records read from the store at a time.
const PAGE: u32 = 500;

/// The records that a query is for, oldest first, as they are read.
pub(super) fn query(
    store: Arc<dyn Store>,
    query: proto::QueryAuditRequest,
) -> ReceiverStream<Result<proto::AuditRecord, Status>> {
    let (records, stream) = tokio::sync::mpsc::channel(PAGE as usize);
    tokio::spawn(async move {
        let mut after = query.after_sequence;
        let mut left = if query.limit == 0 { u32::MAX } else { query.limit };
        while left > 0 {
            let page = store.audit(after, &query.actor, &query.server, &query.event, PAGE).await;
            let page = match page {
                Ok(page) => page,
                Err(error) => {
                    // Whoever asked may be gone.
                    let _ = records.send(Err(status::of_store(&error))).await;
                    return;
                }
            };
            let Some(last) = page.last() else { return };
            after = last.sequence;
            let wanted =
                |record: &&StoredAudit| query.fingerprint.is_empty() || is_release_of(&query.fingerprint, record);
            for record in page.iter().filter(wanted).take(left as usize) {
                left -= 1;
                if records.send(Ok(proto::AuditRecord { json: audit::line(record) })).await.is_err() {
                    return;
                }
            }
        }
    });
    ReceiverStream::new(stream)
}

/// Whether a record tells of a release with this fingerprint. They are searched for too rarely to be worth a column.
fn is_release_of(fingerprint: &str, record: &StoredAudit) -> bool {
    #[derive(serde::Deserialize)]
    struct Released {
        fingerprints: Vec<String>,
    }

    // Most are told apart without being read.
    record.entry.json.contains(fingerprint)
        && serde_json::from_str(&record.entry.json)
            .is_ok_and(|record: Released| record.fingerprints.iter().any(|held| held == fingerprint))
}

/// Whether the chain is whole. A broken one is an answer; not being able to read it is an error.
pub(super) async fn verify(store: &dyn Store) -> Result<proto::VerifyAuditResponse, Status> {
    use proto::verify_audit_response::Found;

    let found = match verify_chain(store).await {
        Ok(ChainHead { sequence, hash }) => Found::Whole(proto::AuditHead { sequence, hash: keys::hex(&hash) }),
        Err(VerifyError::Broken(error)) => {
            Found::Broken(proto::AuditBreak { sequence: error.sequence(), problem: error.to_string() })
        }
        Err(VerifyError::Store(error)) => return Err(status::of_store(&error)),
    };
    Ok(proto::VerifyAuditResponse { found: Some(found) })
}
