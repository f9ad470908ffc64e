//! Renewal in the background: a grant in use is renewed when it is due, whether or not anybody asks just then.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{RefreshError, Refresher};

/// How often due grants are looked for.
const TICK: Duration = Duration::from_secs(1);

/// Renewals started at one tick: what keeps a thousand tokens of one moment from being a thousand requests at once.
const PER_TICK: usize = 16;

impl Refresher {
    /// Renews due grants until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            self.renew_due();
            if let Err(error) = self.0.replay_all().await {
                tracing::warn!(%error, "renewed tokens stay in the spool");
            }
        }
    }

    /// Starts the renewal of grants that are in use and due, most lately used first; answers how many.
    pub fn renew_due(&self) -> usize {
        let inner = &self.0;
        let now = inner.clock.now();
        // Evicts what is too old now, so that it is zeroized now.
        inner.opened.run_pending_tasks();
        inner.backoffs.forget(now);
        let due = inner
            .recent
            .take_due(now, PER_TICK, |key| inner.backoffs.now(key, now).is_none() && !inner.flights.under_way(key));
        let mut started = 0;
        for (key, used) in due {
            let Some(flight) = inner.start(&key, &used.source, used.token.generation) else { return started };
            started += 1;
            let inner = Arc::clone(inner);
            tokio::spawn(async move {
                match flight.landed().await {
                    // Its holder comes back to it, if they agree again.
                    Some(Ok(_) | Err(RefreshError::NeedsConsent { .. })) => {}
                    Some(Err(_)) | None => inner.recent.put_back(key, used),
                }
            });
        }
        started
    }
}
