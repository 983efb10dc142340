//! Waiting for the thing itself, up to a deadline.

use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Looks until there is something, and panics naming `what` after `seconds`.
pub(crate) async fn until<T>(what: &str, seconds: u64, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut ticks = tokio::time::interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "gave up after {seconds} s waiting until {what}");
    }
}

/// Looks until it is so.
pub(crate) async fn until_true(what: &str, seconds: u64, mut look: impl AsyncFnMut() -> bool) {
    until(what, seconds, async || look().await.then_some(())).await;
}
