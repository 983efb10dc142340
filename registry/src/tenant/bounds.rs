//! How much a query may ask for.

use std::time::Duration;

use promql_parser::util::parse_duration;

/// Why a query is refused, for the caller.
pub(super) type Refusal = String;

/// How far apart the first and the last moment of a query may be.
pub(super) const RANGE_MAX: Duration = Duration::from_secs(400 * 86_400);
/// What Prometheus allows of a series; engines that speak like it may not.
const POINTS_MAX: f64 = 11_000.0;
pub(super) const POINTS_OF_SUBQUERY_MAX: u128 = 100_000;

/// The evaluations of a range query, in seconds as Prometheus takes them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Range {
    pub start: f64,
    pub end: f64,
    pub step: f64,
}

impl Range {
    pub(super) fn parse(start: &str, end: &str, step: &str) -> Result<Range, Refusal> {
        let range = Range { start: time("start", start)?, end: time("end", end)?, step: seconds(step)? };
        span(range.start, range.end)?;
        if (range.end - range.start) / range.step + 1.0 > POINTS_MAX {
            return Err(format!(
                "more than {POINTS_MAX} points a series: ask for a shorter range or a longer step"
            ));
        }
        Ok(range)
    }

    pub(super) fn span(self) -> Duration {
        Duration::from_secs_f64(self.end - self.start)
    }
}

/// Whether two moments are in order and near enough.
pub(super) fn span(start: f64, end: f64) -> Result<(), Refusal> {
    if end < start {
        return Err("end lies before start".to_owned());
    }
    if end - start > RANGE_MAX.as_secs_f64() {
        return Err(format!("more than {} days: ask for a shorter range", RANGE_MAX.as_secs() / 86_400));
    }
    Ok(())
}

/// Seconds since 1970, or RFC 3339.
pub(super) fn time(name: &str, text: &str) -> Result<f64, Refusal> {
    if let Ok(seconds) = text.parse::<f64>() {
        // Further away than any clock; also what is infinite or no number.
        if seconds.abs() < 1e11 {
            return Ok(seconds);
        }
    }
    let moment: Option<jiff::Timestamp> = text.parse().ok();
    #[allow(clippy::cast_precision_loss)]
    let seconds = moment.map(|moment| moment.as_millisecond() as f64 / 1_000.0);
    seconds.ok_or_else(|| format!("{name} is neither seconds since 1970 nor RFC 3339: '{text}'"))
}

/// A number of seconds, or a duration such as 5m.
fn seconds(text: &str) -> Result<f64, Refusal> {
    let seconds = match text.parse::<f64>() {
        Ok(seconds) => Some(seconds),
        Err(_) => parse_duration(text).ok().map(|duration| duration.as_secs_f64()),
    };
    let fits = seconds.filter(|seconds| (0.001..=RANGE_MAX.as_secs_f64()).contains(seconds));
    fits.ok_or_else(|| format!("step is not a number of seconds or a duration such as 30s: '{text}'"))
}

#[cfg(test)]
mod tests {
    use super::{Range, time};

    #[test]
    fn times_are_read_as_prometheus_reads_them() {
        assert_eq!(time("time", "1700000000.5"), Ok(1_700_000_000.5));
        assert_eq!(time("time", "2023-11-14T22:13:20.500Z"), Ok(1_700_000_000.5));
        assert_eq!(time("time", "2023-11-14T23:13:20+01:00"), Ok(1_700_000_000.0));
        for text in ["", "now", "NaN", "inf", "1e300", "2023-11-14"] {
            time("time", text).expect_err(text);
        }
    }

    #[test]
    fn ranges_are_bounded() {
        let range = Range::parse("1000", "2000", "30s").unwrap();
        assert_eq!(range, Range { start: 1_000.0, end: 2_000.0, step: 30.0 });
        assert!(Range::parse("0", "10999", "1").is_ok());
        for (start, end, step) in [
            ("0", "11000", "1"),
            ("2000", "1000", "1"),
            ("0", "1000", "0"),
            ("0", "1000", "-1"),
            ("0", "1000", "NaN"),
            ("0", "1000", "1e300"),
            ("0", "40000000", "1d"),
            ("0", "", "1d"),
        ] {
            Range::parse(start, end, step).expect_err(step);
        }
    }
}
