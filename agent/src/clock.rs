//! What time it is, as the agent's rooms need it: [`pictor_ground::clock`] alone asks the system.

use jiff::{Timestamp, Zoned, tz::TimeZone};
use pictor_ground::clock;

pub fn timestamp() -> Timestamp {
    // A clock beyond the year 9999 tells nothing.
    Timestamp::try_from(clock::now()).unwrap_or_default()
}

/// As this machine's owner reads a clock.
pub fn local() -> Zoned {
    timestamp().to_zoned(TimeZone::system())
}
