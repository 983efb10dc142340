//! Sums of what ended: of folded rows where they are, and of the rows themselves at both ends of the range.

use pictor_protocol::{AttemptStatus, Micros, TaskCounts, UnixMillis};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, FromRow, Row};

use super::fold::{Fold, folded_until};
use super::of::Of;
use super::period::{Period, QUARTER_MILLIS};
use crate::error::Result;
use crate::filter::Filter;
use crate::sql::{each, sql};

/// What ended in a stretch of time. Attempts that have not ended are not in `tasks`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) tasks: TaskCounts,
    pub(super) earnings: Micros,
    pub(super) points: i64,
}

/// A stretch, by where it begins in quarter hours.
struct Stretch {
    begins: i64,
    sums: Sums,
}

impl FromRow<'_, AnyRow> for Stretch {
    fn from_row(row: &AnyRow) -> std::result::Result<Stretch, sqlx::Error> {
        let mut tasks = TaskCounts::default();
        for status in AttemptStatus::ALL.iter().filter(|status| status.has_ended()) {
            *tasks.of(*status) = row.try_get(status.as_str())?;
        }
        let earnings = Micros(row.try_get("reward_micros")?);
        let sums = Sums { tasks, earnings, points: row.try_get("points")? };
        Ok(Stretch { begins: row.try_get("begins")?, sums })
    }
}

impl Sums {
    pub(super) fn add(&mut self, other: &Sums) {
        let mut others = other.tasks.clone();
        for status in AttemptStatus::ALL {
            *self.tasks.of(*status) += *others.of(*status);
        }
        self.earnings = self.earnings + other.earnings;
        self.points += other.points;
    }
}

/// A range of moments as whole widths that are folded, and the stretches beside them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// In widths; empty where nothing whole is folded.
    pub(super) folded: std::ops::Range<i64>,
    /// In milliseconds.
    pub(super) beside: Vec<(i64, i64)>,
}

impl Split {
    pub(super) fn new(from: Option<UnixMillis>, to: UnixMillis, until: i64, width: i64) -> Split {
        let from = from.map_or(0, |from| from.0);
        let first = -(-from).div_euclid(width);
        let after = to.0.min(until).div_euclid(width);
        if first >= after {
            return Split { folded: 0..0, beside: vec![(from, to.0)] };
        }
        let ends = [(from, first * width), (after * width, to.0)];
        Split { folded: first..after, beside: ends.into_iter().filter(|(begin, end)| begin < end).collect() }
    }
}

macro_rules! sums {
    ($begins:literal) => {
        sql!(
            "SELECT ",
            $begins,
            " AS begins, ",
            each!(AttemptStatus, AttemptStatus::has_ended, |word| [
                "CAST(COALESCE(SUM(",
                word,
                "), 0) AS BIGINT) AS ",
                word
            ]),
            ", CAST(COALESCE(SUM(reward_micros), 0) AS BIGINT) AS reward_micros,
             CAST(COALESCE(SUM(points), 0) AS BIGINT) AS points FROM figures"
        )
    };
}

/// By quarter hours: `$?` is how long one is.
const ATTEMPTS: &str = sql!(
    "SELECT ended_at / $? AS begins, ",
    each!(AttemptStatus, AttemptStatus::has_ended, |word| [
        "CAST(SUM(CASE WHEN status = '",
        word,
        "' THEN 1 ELSE 0 END) AS BIGINT) AS ",
        word
    ]),
    ", CAST(COALESCE(SUM(reward_micros), 0) AS BIGINT) AS reward_micros, CAST(0 AS BIGINT) AS points FROM attempts"
);
const POINTS: &str = "SELECT created_at / $?, CAST(SUM(points) AS BIGINT) FROM points";

/// One sum over the range.
pub(super) async fn total(
    conn: &mut AnyConnection,
    of: Of,
    from: Option<UnixMillis>,
    to: UnixMillis,
) -> Result<Sums> {
    let mut total = Sums::default();
    for Stretch { sums, .. } in read(conn, of, (from, to), sums!("CAST(0 AS BIGINT)"), "").await? {
        total.add(&sums);
    }
    Ok(total)
}

/// A sum for each bucket of the series.
pub(super) async fn by_bucket(conn: &mut AnyConnection, of: Of, period: &Period) -> Result<Vec<Sums>> {
    let mut buckets = vec![Sums::default(); period.buckets.len()];
    let range = (Some(period.series_from), period.to);
    for Stretch { begins, sums } in read(conn, of, range, sums!("quarter"), "GROUP BY quarter").await? {
        buckets[period.bucket_of(UnixMillis(begins * QUARTER_MILLIS))].add(&sums);
    }
    Ok(buckets)
}

async fn read(
    conn: &mut AnyConnection,
    of: Of,
    (from, to): (Option<UnixMillis>, UnixMillis),
    folded: &'static str,
    grouped: &'static str,
) -> Result<Vec<Stretch>> {
    let until = folded_until(conn, Fold::Quarter).await?;
    let split = Split::new(from, to, until, QUARTER_MILLIS);
    let mut stretches: Vec<Stretch> = Vec::new();
    if !split.folded.is_empty() {
        let mut filter = Filter::default();
        filter
            .text("subject = $?", subject(of))
            .integer("quarter >= $?", split.folded.start)
            .integer("quarter < $?", split.folded.end);
        stretches.extend(filter.query::<Stretch>(folded, grouped).fetch_all(&mut *conn).await?);
    }
    for (begin, end) in split.beside {
        let mut ended = of.rows();
        ended.integer("ended_at >= $?", begin).integer("ended_at < $?", end);
        let ended = ended.query_by::<Stretch>(ATTEMPTS, QUARTER_MILLIS, "GROUP BY 1");
        stretches.extend(ended.fetch_all(&mut *conn).await?);
        let mut counted = of.rows();
        counted.integer("created_at >= $?", begin).integer("created_at < $?", end);
        let points: Vec<(i64, i64)> =
            counted.query_by(POINTS, QUARTER_MILLIS, "GROUP BY 1").fetch_all(&mut *conn).await?;
        let points = points
            .into_iter()
            .map(|(begins, points)| Stretch { begins, sums: Sums { points, ..Sums::default() } });
        stretches.extend(points);
    }
    Ok(stretches)
}

fn subject(of: Of) -> String {
    match of {
        Of::All => "network".to_owned(),
        Of::Account(account) => account.to_string(),
        Of::Worker { id, .. } => id.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::Split;
    use pictor_protocol::UnixMillis;

    fn split(from: Option<i64>, to: i64, until: i64) -> (std::ops::Range<i64>, Vec<(i64, i64)>) {
        let split = Split::new(from.map(UnixMillis), UnixMillis(to), until, 100);
        (split.folded, split.beside)
    }

    #[test]
    fn each_moment_is_counted_once() {
        assert_eq!(split(None, 951, 700), (0..7, vec![(700, 951)]));
        assert_eq!(split(Some(250), 951, 700), (3..7, vec![(250, 300), (700, 951)]));
        assert_eq!(split(Some(200), 500, 700), (2..5, vec![]), "whole widths have nothing beside them");
        assert_eq!(split(Some(210), 290, 700), (0..0, vec![(210, 290)]), "within one width");
        assert_eq!(split(Some(710), 951, 700), (0..0, vec![(710, 951)]), "nothing of it is folded");
        assert_eq!(split(None, 951, 0), (0..0, vec![(0, 951)]), "nothing at all is folded");
    }
}
