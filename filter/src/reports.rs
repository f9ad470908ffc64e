//! Reports to the broker: uses of credentials one by one, refusals of verified callers, counts of the anonymous rest.

use std::collections::{BTreeMap, VecDeque};

use sallyport_proto::broker::{RecordCallsRequest, Refusal, Use};

/// Most uses and refusals in one batch: below the broker's limit on messages.
const BATCH: usize = 1_000;

/// What waits to be reported. A batch stays in flight until the broker has it durably, so that nothing is lost on the
/// way; its number makes a repetition harmless.
pub struct Reports {
    proxy: String,
    worker: String,
    epoch_ms: u64,
    limit: usize,
    sequence: u64,
    uses: VecDeque<Use>,
    refusals: VecDeque<Refusal>,
    anonymous: BTreeMap<&'static str, u64>,
    dropped: u64,
    flight: Option<RecordCallsRequest>,
}

impl Reports {
    /// Of one VM of one proxy, started at `epoch_ms`; holds at most `limit` uses, and as many refusals.
    pub fn new(proxy: String, worker: String, epoch_ms: u64, limit: usize) -> Self {
        Self {
            proxy,
            worker,
            epoch_ms,
            limit,
            sequence: 0,
            uses: VecDeque::new(),
            refusals: VecDeque::new(),
            anonymous: BTreeMap::new(),
            dropped: 0,
            flight: None,
        }
    }

    /// Whether another use could not be remembered: it must not happen then (I7).
    pub fn is_full(&self) -> bool {
        self.uses.len() >= self.limit
    }

    /// Remembers a use.
    pub fn used(&mut self, used: Use) {
        self.uses.push_back(used);
    }

    /// Remembers that a verified caller was refused; beyond the limit, only that one was.
    pub fn refused(&mut self, refusal: Refusal) {
        if self.refusals.len() < self.limit {
            self.refusals.push_back(refusal);
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    /// Counts a refusal of somebody unknown.
    pub fn refused_anonymous(&mut self, code: &'static str) {
        let count = self.anonymous.entry(code).or_default();
        *count = count.saturating_add(1);
    }

    /// Whether a whole batch waits, so that the next one must not: what is not told in time fills the queue, and a full
    /// queue stops calls.
    pub fn is_pressing(&self) -> bool {
        self.uses.len() >= BATCH || self.refusals.len() >= BATCH
    }

    /// The batch to send now: a new one, or the one whose fate is not known; `None` when there is nothing to say.
    pub fn next_batch(&mut self) -> Option<&RecordCallsRequest> {
        if self.flight.is_none() {
            if self.uses.is_empty() && self.refusals.is_empty() && self.anonymous.is_empty() && self.dropped == 0 {
                return None;
            }
            self.sequence = self.sequence.saturating_add(1);
            self.flight = Some(RecordCallsRequest {
                proxy: self.proxy.clone(),
                worker: self.worker.clone(),
                epoch_ms: self.epoch_ms,
                sequence: self.sequence,
                uses: self.uses.drain(..self.uses.len().min(BATCH)).collect(),
                refusals: self.refusals.drain(..self.refusals.len().min(BATCH)).collect(),
                anonymous_refusals: std::mem::take(&mut self.anonymous)
                    .into_iter()
                    .map(|(code, count)| (code.to_owned(), count))
                    .collect(),
                dropped: std::mem::take(&mut self.dropped),
                filter_version: crate::VERSION.to_owned(),
            });
        }
        self.flight.as_ref()
    }

    /// The broker has every batch up to `sequence`.
    pub fn recorded(&mut self, sequence: u64) {
        if self.flight.as_ref().is_some_and(|batch| batch.sequence <= sequence) {
            self.flight = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(handle: &str) -> Use {
        Use { use_handle: handle.into(), ..Use::default() }
    }

    fn reports() -> Reports {
        Reports::new("edge".into(), "1".into(), 7, 2)
    }

    #[test]
    fn says_nothing_when_nothing_happened() {
        assert!(reports().next_batch().is_none());
    }

    #[test]
    fn i7_a_batch_is_repeated_under_its_number_until_it_is_recorded() {
        let mut reports = reports();
        reports.used(used("a"));
        assert_eq!(reports.next_batch().unwrap().sequence, 1);
        reports.used(used("b"));
        assert_eq!(reports.next_batch().unwrap().uses, [used("a")], "the same batch again");
        reports.recorded(0);
        assert_eq!(reports.next_batch().unwrap().sequence, 1);
        reports.recorded(1);
        let second = reports.next_batch().unwrap();
        assert_eq!((second.sequence, second.uses.as_slice()), (2, [used("b")].as_slice()));
    }

    #[test]
    fn i7_is_full_at_its_limit() {
        let mut reports = reports();
        reports.used(used("a"));
        assert!(!reports.is_full());
        reports.used(used("b"));
        assert!(reports.is_full());
    }

    #[test]
    fn a_whole_batch_is_not_left_to_wait() {
        let mut reports = Reports::new("edge".into(), "1".into(), 7, 2 * BATCH);
        (1..BATCH).for_each(|_| reports.used(used("a")));
        assert!(!reports.is_pressing());
        reports.used(used("a"));
        assert!(reports.is_pressing());
        reports.next_batch().unwrap();
        assert!(!reports.is_pressing(), "it is on its way");
        (0..BATCH).for_each(|_| reports.refused(Refusal::default()));
        assert!(reports.is_pressing());
    }

    #[test]
    fn refusals_beyond_the_limit_are_counted_as_dropped() {
        let mut reports = reports();
        (0..5).for_each(|_| reports.refused(Refusal::default()));
        let batch = reports.next_batch().unwrap();
        assert_eq!((batch.refusals.len(), batch.dropped), (2, 3));
    }

    #[test]
    fn anonymous_refusals_are_counted_by_code() {
        let mut reports = reports();
        reports.refused_anonymous("token_missing");
        reports.refused_anonymous("token_missing");
        assert_eq!(reports.next_batch().unwrap().anonymous_refusals["token_missing"], 2);
    }
}
