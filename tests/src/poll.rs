//! Waiting for something to become true, never for time to pass.

use std::time::{Duration, Instant};

/// Long enough for a busy machine; what fails takes this long to fail.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);

/// Asks until there is an answer, for 20 seconds.
///
/// # Panics
/// When there was none.
pub async fn eventually<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, ask).await
}

/// Asks until there is an answer.
///
/// # Panics
/// When there was none in time.
pub async fn eventually_within<T>(patience: Duration, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < patience, "not within {patience:?}: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}
