//! Waits for a moment that may not be set.

use tokio::time::{Instant, sleep_until};

/// Completes at that moment; never if there is none.
pub(super) async fn reached(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
