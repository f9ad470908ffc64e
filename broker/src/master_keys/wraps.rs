//! How many data keys a local master key has wrapped, over all starts: AES-GCM with random nonces bounds it.

use std::collections::HashMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::MasterKeys;
use crate::store::StoreError;
use crate::vault::KeyId;

/// An eighth below 2^31, which is half of the 2^32 random nonces that one AES-GCM key may use (NIST SP 800-38D §8.3).
pub const WRAPS_ALARM: u64 = (1 << 31) - (1 << 28);

/// Counted ahead of use, so that a crash forgets none: more than are wrapped between two looks.
pub(super) const STRIDE: u64 = 4096;

const LOOK: Duration = Duration::from_secs(1);

impl MasterKeys {
    /// Keeps the stored counts ahead of what is wrapped, until `stop`.
    pub async fn count_wraps(self, stop: CancellationToken) {
        let mut counted = HashMap::new();
        loop {
            if let Err(error) = self.count_ahead(&mut counted).await {
                tracing::warn!(%error, "what the master key has wrapped is not counted for now");
            }
            if stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_none() {
                return;
            }
        }
    }

    /// `counted`: of each key, what was added for this process.
    pub(super) async fn count_ahead(&self, counted: &mut HashMap<KeyId, u64>) -> Result<(), StoreError> {
        let parts = &self.0.parts;
        for key in parts.vault.keys() {
            let Some(wraps) = key.wraps else { continue };
            let ahead = counted.entry(key.id).or_default();
            let is_used = key.is_current || wraps > 0;
            if !is_used || *ahead >= wraps + STRIDE / 2 {
                continue;
            }
            let more = wraps + STRIDE - *ahead;
            let sum = parts.store.add_wraps(&key.id.to_string(), more, parts.clock.now()).await?;
            *ahead += more;
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            metrics::gauge!("sallyport_master_key_wraps", "key" => key.id.to_string()).set(sum as f64);
            if sum >= WRAPS_ALARM {
                tracing::error!(
                    key_id = %key.id, wraps = sum,
                    "the master key has wrapped almost 2^31 data keys; run `sallyport key rotate` and `sallyport key rewrap`"
                );
            }
        }
        Ok(())
    }
}
