//! The one place that asks what time it is. How long something takes is measured apart from that, by
//! [`std::time::Instant`], which nobody can set.

use std::time::{SystemTime, UNIX_EPOCH};

/// As files carry it.
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// As timestamps in metrics are.
pub fn unix_seconds() -> f64 {
    now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
