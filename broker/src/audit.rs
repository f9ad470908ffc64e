//! The audit: who did what, to whose account, through which server, and what came of it.
//!
//! What is recorded is durable before [`Audit::record`] answers, so that whoever waits for it acts only on what can be
//! found later (I7). One task writes, whole groups at a time: while one group is on its way to disk the next gathers.

mod chain;
mod event;
mod record;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

pub use chain::{ChainError, ChainHead, VerifyError, verify_chain};
pub use event::{Actor, Call, Event, EventName, Outcome, PolicyDecision, Release, ReportSpan};
pub use record::line;

use crate::clock::Clock;
use crate::model::Tenant;
use crate::store::{AuditEntry, Store, StoreError};

/// Records in one group at most; the rest wait for the next.
const GROUP: usize = 256;
/// Records that may wait before those who bring more wait as well.
const QUEUE: usize = 1024;

/// Why nothing was recorded: what depends on it must not be done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuditError {
    /// The writer has ended.
    #[error("the audit has stopped; the broker must be restarted")]
    Stopped,
    /// The store did not take it.
    #[error("the audit cannot be written")]
    Store(#[source] Arc<StoreError>),
}

/// Records events; clones share one writer, which ends when the last of them is gone.
#[derive(Clone)]
pub struct Audit {
    queue: mpsc::Sender<Waiting>,
    clock: Arc<dyn Clock>,
    tenant: Tenant,
}

struct Waiting {
    entry: AuditEntry,
    answer: oneshot::Sender<Result<u64, AuditError>>,
}

impl Audit {
    /// Starts the writer. Needs a running `tokio`.
    pub fn start(store: Arc<dyn Store>, clock: Arc<dyn Clock>, tenant: Tenant) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(write(store, waiting));
        Self { queue, clock, tenant }
    }

    /// Records an event; answers its sequence once it is durable. Whoever stops waiting does not stop the recording.
    pub async fn record(&self, event: Event) -> Result<u64, AuditError> {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { entry: self.entry(event), answer };
        self.queue.send(waiting).await.map_err(|_| AuditError::Stopped)?;
        answered.await.map_err(|_| AuditError::Stopped)?
    }

    /// The record of an event, for [`Store::record_calls`], which stores it with the number of its batch.
    pub fn entry(&self, event: Event) -> AuditEntry {
        record::entry(event, &self.tenant, self.clock.now())
    }
}

async fn write(store: Arc<dyn Store>, mut queue: mpsc::Receiver<Waiting>) {
    let mut group = Vec::with_capacity(GROUP);
    while queue.recv_many(&mut group, GROUP).await > 0 {
        let (entries, answers): (Vec<_>, Vec<_>) = group.drain(..).map(|w: Waiting| (w.entry, w.answer)).unzip();
        let count = entries.len() as u64;
        match store.append_audit(&entries).await {
            Ok(last) => {
                metrics::counter!("sallyport_audit_records_total").increment(count);
                for (answer, sequence) in answers.into_iter().zip(last + 1 - count..) {
                    // Nobody may be waiting any more; the record stands.
                    let _ = answer.send(Ok(sequence));
                }
            }
            Err(error) => {
                metrics::counter!("sallyport_audit_failures_total").increment(count);
                tracing::error!(error = &error as &dyn std::error::Error, records = count, "audit not written");
                let error = Arc::new(error);
                for answer in answers {
                    let _ = answer.send(Err(AuditError::Store(Arc::clone(&error))));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
