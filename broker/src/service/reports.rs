//! What proxies report: uses of credentials and refusals, recorded once, with a row for what is missing.

use sallyport_proto::broker::{RecordCallsRequest, RecordCallsResponse, Refusal, Use};

use super::Service;
use crate::audit::{Actor, Call, Event};
use crate::clock::UnixTime;
use crate::model::ServerName;
use crate::peer::{Peer, Scope};
use crate::store::{Recorded, ReportNumber, StoreError};

/// Reports in one batch at most.
pub const MAX_REPORTS: usize = 10_000;

/// Bytes kept of any text in a report: it may come from a caller.
const MAX_TEXT: usize = 1024;

/// Why a batch was not recorded; the proxy sends it again, or drops it if it is malformed.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// No number, no proxy, no worker, or too many reports.
    #[error("the batch is not numbered, or is too large")]
    Malformed,
    /// The store does not answer.
    #[error("the store is not available")]
    Store(#[from] StoreError),
}

impl Service {
    /// Records a batch of this proxy; a repeated one changes nothing. Of servers that the proxy does not serve it can know
    /// nothing: what it says of them is not recorded, but that it did.
    pub async fn record_calls(
        &self,
        peer: &Peer,
        request: RecordCallsRequest,
    ) -> Result<RecordCallsResponse, ReportError> {
        let RecordCallsRequest {
            proxy,
            worker,
            epoch_ms,
            sequence,
            mut uses,
            mut refusals,
            anonymous_refusals,
            dropped,
            filter_version,
        } = request;
        let is_numbered = sequence > 0 && !proxy.is_empty() && proxy.len() <= MAX_TEXT && worker.len() <= MAX_TEXT;
        if !is_numbered || uses.len() + refusals.len() > MAX_REPORTS {
            return Err(ReportError::Malformed);
        }
        let number =
            ReportNumber { peer: peer.identity.to_string(), proxy, worker, epoch: UnixTime(epoch_ms), sequence };
        let told = uses.len() + refusals.len();
        uses.retain(|used| serves(peer, &used.server));
        // Where no server is named, there is none at that path.
        refusals.retain(|refused| refused.server.is_empty() || serves(peer, &refused.server));
        let foreign = told - uses.len() - refusals.len();
        let audit = &self.inner().audit;
        let mut entries = Vec::with_capacity(uses.len() + refusals.len() + 2);
        let (peer, proxy) = (number.peer.clone(), number.proxy.clone());
        let by = Call { peer, proxy, filter_version: clip(filter_version), ..Call::default() };
        entries.extend(uses.into_iter().map(|used| audit.entry(used_event(&by, used))));
        entries.extend(refusals.into_iter().map(|refused| audit.entry(refused_event(&by, refused))));
        if dropped > 0 {
            // What was dropped was between the batch before and this one; how many, the proxy counted.
            let reason = format!("dropped {dropped} reports");
            entries.push(audit.entry(Event::calls_gap(&number, sequence, sequence, &reason)));
        }
        if foreign > 0 {
            tracing::warn!(peer = number.peer, foreign, "a proxy reports calls of servers that it does not serve");
            let reason = format!("{foreign} reports of servers that the proxy does not serve");
            entries.push(audit.entry(Event::calls_gap(&number, sequence, sequence, &reason)));
        }
        // Stored together: a gap that nobody would see again must not hang on a second write.
        let gap = |first, last| audit.entry(Event::calls_gap(&number, first, last, "missing"));
        match self.inner().store.record_calls(&number, &entries, &gap).await? {
            Recorded::Stored | Recorded::Gap(_, _) => {
                let anonymous = anonymous_refusals.values().fold(0, |sum: u64, count| sum.saturating_add(*count));
                metrics::counter!("sallyport_anonymous_refusals_total").increment(anonymous);
            }
            Recorded::Repeated => {}
        }
        Ok(RecordCallsResponse { sequence })
    }
}

fn serves(peer: &Peer, server: &str) -> bool {
    match &peer.scope {
        Scope::Every => true,
        scope @ Scope::Groups(_) => scope.serves(&ServerName(server.to_owned())),
    }
}

/// `by` says who reports.
fn used_event(by: &Call, used: Use) -> Event {
    let call = Call {
        request_id: clip(used.request_id),
        server: clip(used.server),
        method: clip(used.method),
        target: clip(used.target),
        ..by.clone()
    };
    Event::call_used(None, call, &clip(used.use_handle), UnixTime(used.at_ms))
}

fn refused_event(by: &Call, refused: Refusal) -> Event {
    let actor = Actor { issuer: clip(refused.issuer), subject: clip(refused.subject), client_id: None };
    let call = Call {
        source_address: clip(refused.source_address),
        request_id: clip(refused.request_id),
        server: clip(refused.server),
        method: clip(refused.method),
        target: clip(refused.target),
        ..by.clone()
    };
    Event::call_refused(Some(actor), call, None, &clip(refused.reason), Some(UnixTime(refused.at_ms)))
}

/// At most [`MAX_TEXT`] bytes, cut between characters.
pub(super) fn clip(mut text: String) -> String {
    let end = (0..=MAX_TEXT.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.truncate(end);
    text
}
