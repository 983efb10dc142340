//! Which stretch of time is asked for, and the buckets of its chart, cut in the asker's own time zone.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use pictor_protocol::{Interval, UnixMillis};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::error::{Error, Result};

const BUCKETS_MAX: usize = 10_000;
const HOUR_SECONDS: i64 = 3_600;
const DAY_SECONDS: i64 = 24 * HOUR_SECONDS;
pub(super) const DAY_MILLIS: i64 = 1_000 * DAY_SECONDS;

/// Rows are summed by quarter hours in SQL and put into buckets here: every zone's offset is a multiple.
pub(super) const QUARTER_MILLIS: i64 = 900_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
pub enum Range {
    #[serde(rename = "24h")]
    Day,
    #[serde(rename = "7d")]
    Week,
    #[serde(rename = "30d")]
    Month,
}

/// What figures are grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum By {
    Worker,
    Gpu,
    GpuName,
    /// A worker's present tags; one with several counts for each of them.
    Tag,
}

/// Without `range`, `from` and `to` the figures are all time and the series covers the last 30 days.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PeriodQuery {
    /// Until now; instead of `from` and `to`.
    pub range: Option<Range>,
    /// The first moment, included.
    pub from: Option<UnixMillis>,
    /// The last moment, excluded; now unless given.
    pub to: Option<UnixMillis>,
    /// The width of the series' buckets; by default one that gives a chart of readable length.
    pub interval: Option<Interval>,
    /// The IANA time zone in which days and months begin; UTC unless given.
    pub tz: Option<String>,
    /// Asks for the figures by worker, GPU, GPU model or tag as well.
    #[param(inline)]
    pub by: Option<By>,
}

/// A stretch of time and where its buckets begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Period {
    /// From the beginning when `None`.
    pub(super) from: Option<UnixMillis>,
    /// Excluded.
    pub(super) to: UnixMillis,
    /// The series counts from here: `from`, or 30 days before `to`.
    pub(super) series_from: UnixMillis,
    /// Ascending; the first one begins at or before `series_from`.
    pub(super) buckets: Vec<UnixMillis>,
    /// Neither a first nor a last moment was asked for.
    pub(super) is_all_time: bool,
    /// The end of a range until now: all that has happened lies before it.
    pub(super) now: UnixMillis,
}

impl PeriodQuery {
    pub(super) fn period(&self, now: UnixMillis) -> Result<Period> {
        let (from, to) = self.bounds(now)?;
        let zone = match self.tz.as_deref() {
            None | Some("") => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|_| {
                Error::Invalid(format!("tz: '{name}' is not an IANA time zone such as Europe/Berlin"))
            })?,
        };
        let series_from = from.unwrap_or(to.plus_seconds(-30 * DAY_SECONDS));
        let interval = self.interval.unwrap_or(match (to.0 - series_from.0) / 1_000 {
            ..=172_800 => Interval::Hour,
            seconds if seconds <= 92 * DAY_SECONDS => Interval::Day,
            _ => Interval::Month,
        });
        let buckets = buckets(series_from, to, interval, &zone)?;
        let is_all_time = from.is_none() && self.to.is_none();
        Ok(Period { from, to, series_from, buckets, is_all_time, now: UnixMillis(now.0.saturating_add(1)) })
    }

    fn bounds(&self, now: UnixMillis) -> Result<(Option<UnixMillis>, UnixMillis)> {
        // The end is excluded, and what happened in this very millisecond has happened.
        let until_now = UnixMillis(now.0.saturating_add(1));
        let seconds = match self.range {
            None => {
                let to = self.to.unwrap_or(until_now);
                if self.from.is_some_and(|from| from >= to) {
                    return Err(Error::Invalid("from must lie before to".to_owned()));
                }
                return Ok((self.from, to));
            }
            Some(_) if self.from.is_some() || self.to.is_some() => {
                return Err(Error::Invalid("give either range or from and to".to_owned()));
            }
            Some(Range::Day) => DAY_SECONDS,
            Some(Range::Week) => 7 * DAY_SECONDS,
            Some(Range::Month) => 30 * DAY_SECONDS,
        };
        Ok((Some(now.plus_seconds(-seconds)), until_now))
    }
}

impl Period {
    /// The bucket that holds a moment of the series.
    pub(super) fn bucket_of(&self, moment: UnixMillis) -> usize {
        self.buckets.partition_point(|begin| *begin <= moment).saturating_sub(1)
    }
}

fn buckets(from: UnixMillis, to: UnixMillis, interval: Interval, zone: &TimeZone) -> Result<Vec<UnixMillis>> {
    let outside = |cause: jiff::Error| Error::Invalid(format!("from or to is out of range: {cause}"));
    let end = Timestamp::from_millisecond(to.0).map_err(outside)?;
    let begin = Timestamp::from_millisecond(from.0).map_err(outside)?.to_zoned(zone.clone());
    let mut next = first_bucket(&begin, interval).map_err(outside)?;
    let mut buckets = Vec::new();
    while next.timestamp() < end {
        if buckets.len() == BUCKETS_MAX {
            return Err(Error::Invalid(format!(
                "from {from} to {to} by {interval} makes more than {BUCKETS_MAX} buckets: ask for a wider interval"
            )));
        }
        buckets.push(UnixMillis(next.timestamp().as_millisecond()));
        next = following(&next, interval).map_err(outside)?;
    }
    Ok(buckets)
}

fn first_bucket(moment: &Zoned, interval: Interval) -> std::result::Result<Zoned, jiff::Error> {
    match interval {
        Interval::Hour => moment.with().minute(0).second(0).subsec_nanosecond(0).build(),
        Interval::Day => moment.start_of_day(),
        Interval::Month => moment.first_of_month()?.start_of_day(),
    }
}

fn following(begin: &Zoned, interval: Interval) -> std::result::Result<Zoned, jiff::Error> {
    match interval {
        Interval::Hour => begin.checked_add(1.hour()),
        // A day on which the clocks change has 23 or 25 hours; some begin at 01:00.
        Interval::Day => begin.tomorrow()?.start_of_day(),
        Interval::Month => begin.checked_add(1.month())?.start_of_day(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Period, PeriodQuery, Range};
    use pictor_protocol::{Interval, UnixMillis};

    fn at(text: &str) -> UnixMillis {
        text.parse().unwrap()
    }

    fn period(query: &PeriodQuery, now: &str) -> Period {
        query.period(at(now)).unwrap()
    }

    #[test]
    fn days_are_the_askers_own_and_follow_its_clock_changes() {
        let query = PeriodQuery {
            from: Some(at("2026-03-28T12:00:00Z")),
            to: Some(at("2026-03-30T12:00:00Z")),
            interval: Some(Interval::Day),
            tz: Some("Europe/Berlin".to_owned()),
            ..PeriodQuery::default()
        };
        let period = period(&query, "2026-11-01T00:00:00Z");
        let expected = ["2026-03-27T23:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"];
        assert_eq!(period.buckets, expected.map(at));
        assert_eq!(period.bucket_of(at("2026-03-29T21:59:59.999Z")), 1);
        assert_eq!(period.bucket_of(at("2026-03-29T22:00:00Z")), 2);
    }

    #[test]
    fn ranges_end_now_and_choose_a_readable_interval() {
        let now = "2026-11-23T10:20:00Z";
        for (range, from, count) in [
            (Range::Day, "2026-11-22T10:20:00Z", 25),
            (Range::Week, "2026-11-16T10:20:00Z", 8),
            (Range::Month, "2026-10-24T10:20:00Z", 31),
        ] {
            let period = period(&PeriodQuery { range: Some(range), ..PeriodQuery::default() }, now);
            assert_eq!((period.from, period.buckets.len()), (Some(at(from)), count));
            assert_eq!(period.to, UnixMillis(at(now).0 + 1), "this very millisecond included");
        }
        let all = period(&PeriodQuery::default(), now);
        assert_eq!((all.from, all.buckets.len()), (None, 31));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let now = at("2026-11-23T10:20:00Z");
        let refused = [
            PeriodQuery { tz: Some("Europe/Nowhere".to_owned()), ..PeriodQuery::default() },
            PeriodQuery { range: Some(Range::Day), to: Some(now), ..PeriodQuery::default() },
            PeriodQuery { from: Some(now), to: Some(now), ..PeriodQuery::default() },
            PeriodQuery {
                from: Some(UnixMillis(0)),
                interval: Some(Interval::Hour),
                ..PeriodQuery::default()
            },
        ];
        for query in refused {
            assert!(query.period(now).is_err(), "{query:?}");
        }
    }
}
