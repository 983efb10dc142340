//! The one place where the agent asks what time it is. How long something takes is measured apart from that, by
//! [`std::time::Instant`], which nobody can set.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::{Timestamp, Zoned, tz::TimeZone};

/// As files carry it.
pub fn system() -> SystemTime {
    SystemTime::now()
}

/// As timestamps in metrics are.
pub fn unix_seconds() -> f64 {
    system().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

pub fn timestamp() -> Timestamp {
    // A clock beyond the year 9999 tells nothing.
    Timestamp::try_from(system()).unwrap_or_default()
}

/// As this machine's owner reads a clock.
pub fn local() -> Zoned {
    timestamp().to_zoned(TimeZone::system())
}
