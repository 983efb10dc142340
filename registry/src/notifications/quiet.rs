//! Quiet hours: whether they hold at a moment, and until when.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use pictor_protocol::{QuietHours, UnixMillis};

/// When the quiet hours end in which this moment lies; `None` outside them.
pub(super) fn until(hours: QuietHours, zone: &TimeZone, now: UnixMillis) -> Option<UnixMillis> {
    let there = Timestamp::from_millisecond(now.0).ok()?.to_zoned(zone.clone());
    let minute = u16::try_from(i32::from(there.hour()) * 60 + i32::from(there.minute())).ok()?;
    let (from, to) = (hours.from.minutes(), hours.to.minutes());
    let is_quiet = if from < to { (from..to).contains(&minute) } else { minute >= from || minute < to };
    if !is_quiet {
        return None;
    }
    let day = if minute < to { there.date() } else { there.date().checked_add(1.day()).ok()? };
    let end = day.at((to / 60).try_into().ok()?, (to % 60).try_into().ok()?, 0, 0);
    // Where the clock was put forward over the end, the moment after the gap.
    Some(UnixMillis(end.to_zoned(zone.clone()).ok()?.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use pictor_protocol::{QuietHours, UnixMillis};

    use super::until;

    #[track_caller]
    fn check(from: &str, to: &str, now: &str, expected: Option<&str>) {
        let hours = QuietHours { from: from.parse().unwrap(), to: to.parse().unwrap() };
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let moment = |text: &str| text.parse::<UnixMillis>().unwrap();
        assert_eq!(until(hours, &zone, moment(now)), expected.map(moment), "{from}-{to} at {now}");
    }

    #[test]
    fn they_hold_by_the_accounts_clock() {
        check("22:00", "07:00", "2025-11-24T20:59:59Z", None);
        check("22:00", "07:00", "2025-11-24T21:00:00Z", Some("2025-11-25T06:00:00Z"));
        check("22:00", "07:00", "2025-11-25T05:59:59Z", Some("2025-11-25T06:00:00Z"));
        check("22:00", "07:00", "2025-11-25T06:00:00Z", None);
        check("12:00", "13:30", "2025-07-01T10:00:00Z", Some("2025-07-01T11:30:00Z"));
        check("12:00", "13:30", "2025-07-01T11:30:00Z", None);
    }

    #[test]
    fn they_end_though_the_clock_is_put_forward() {
        check("22:00", "02:30", "2025-03-29T23:00:00Z", Some("2025-03-30T01:30:00Z"));
        check("22:00", "07:00", "2025-03-29T23:00:00Z", Some("2025-03-30T05:00:00Z"));
    }
}
