//! Sums of what ended: of folded rows where they are, and of the rows themselves at both ends of the range.

use pictor_protocol::{Micros, TaskCounts, UnixMillis};
use sqlx::AnyConnection;

use super::fold::{Fold, folded_until};
use super::of::Of;
use super::period::{Period, QUARTER_MILLIS};
use crate::error::Result;
use crate::filter::Filter;

/// What ended in a stretch of time. Attempts that have not ended are not in `tasks`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) tasks: TaskCounts,
    pub(super) earnings: Micros,
    pub(super) points: i64,
}

/// Beginning in quarter hours, completed, failed, expired, released, cancelled, micros earned, points.
type Row = (i64, i64, i64, i64, i64, i64, i64, i64);

impl Sums {
    pub(super) fn add(&mut self, other: &Sums) {
        self.tasks.completed += other.tasks.completed;
        self.tasks.failed += other.tasks.failed;
        self.tasks.expired += other.tasks.expired;
        self.tasks.released += other.tasks.released;
        self.tasks.cancelled += other.tasks.cancelled;
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
        concat!(
            "SELECT ",
            $begins,
            ", CAST(COALESCE(SUM(completed), 0) AS BIGINT), CAST(COALESCE(SUM(failed), 0) AS BIGINT),
             CAST(COALESCE(SUM(expired), 0) AS BIGINT), CAST(COALESCE(SUM(released), 0) AS BIGINT),
             CAST(COALESCE(SUM(cancelled), 0) AS BIGINT), CAST(COALESCE(SUM(reward_micros), 0) AS BIGINT),
             CAST(COALESCE(SUM(points), 0) AS BIGINT) FROM figures"
        )
    };
}

const ATTEMPTS: &str = "
    SELECT ended_at / 900000, CAST(SUM(CASE WHEN status = 'completed' THEN 1 ELSE 0 END) AS BIGINT),
           CAST(SUM(CASE WHEN status = 'failed' THEN 1 ELSE 0 END) AS BIGINT),
           CAST(SUM(CASE WHEN status = 'expired' THEN 1 ELSE 0 END) AS BIGINT),
           CAST(SUM(CASE WHEN status = 'released' THEN 1 ELSE 0 END) AS BIGINT),
           CAST(SUM(CASE WHEN status = 'cancelled' THEN 1 ELSE 0 END) AS BIGINT),
           CAST(COALESCE(SUM(reward_micros), 0) AS BIGINT), CAST(0 AS BIGINT) FROM attempts";
const POINTS: &str = "SELECT created_at / 900000, CAST(SUM(points) AS BIGINT) FROM points";

/// One sum over the range.
pub(super) async fn total(
    conn: &mut AnyConnection,
    of: Of,
    from: Option<UnixMillis>,
    to: UnixMillis,
) -> Result<Sums> {
    let mut total = Sums::default();
    for (_, sums) in read(conn, of, from, to, sums!("CAST(0 AS BIGINT)"), "").await? {
        total.add(&sums);
    }
    Ok(total)
}

/// A sum for each bucket of the series.
pub(super) async fn by_bucket(conn: &mut AnyConnection, of: Of, period: &Period) -> Result<Vec<Sums>> {
    let mut buckets = vec![Sums::default(); period.buckets.len()];
    let rows =
        read(conn, of, Some(period.series_from), period.to, sums!("quarter"), "GROUP BY quarter").await?;
    for (quarter, sums) in rows {
        buckets[period.bucket_of(UnixMillis(quarter * QUARTER_MILLIS))].add(&sums);
    }
    Ok(buckets)
}

async fn read(
    conn: &mut AnyConnection,
    of: Of,
    from: Option<UnixMillis>,
    to: UnixMillis,
    folded: &'static str,
    grouped: &'static str,
) -> Result<Vec<(i64, Sums)>> {
    let until = folded_until(conn, Fold::Quarter).await?;
    let split = Split::new(from, to, until, QUARTER_MILLIS);
    let mut rows: Vec<Row> = Vec::new();
    if !split.folded.is_empty() {
        let mut filter = Filter::default();
        filter
            .text("subject = $?", subject(of))
            .integer("quarter >= $?", split.folded.start)
            .integer("quarter < $?", split.folded.end);
        rows.extend(filter.query::<Row>(folded, grouped).fetch_all(&mut *conn).await?);
    }
    for (begin, end) in split.beside {
        let mut ended = of.rows();
        ended.integer("ended_at >= $?", begin).integer("ended_at < $?", end);
        rows.extend(ended.query::<Row>(ATTEMPTS, "GROUP BY ended_at / 900000").fetch_all(&mut *conn).await?);
        let mut counted = of.rows();
        counted.integer("created_at >= $?", begin).integer("created_at < $?", end);
        let points: Vec<(i64, i64)> =
            counted.query(POINTS, "GROUP BY created_at / 900000").fetch_all(&mut *conn).await?;
        rows.extend(points.into_iter().map(|(quarter, points)| (quarter, 0, 0, 0, 0, 0, 0, points)));
    }
    Ok(rows.into_iter().map(sums).collect())
}

fn subject(of: Of) -> String {
    match of {
        Of::All => "network".to_owned(),
        Of::Account(account) => account.to_string(),
        Of::Worker { id, .. } => id.to_string(),
    }
}

fn sums(row: Row) -> (i64, Sums) {
    let (begins, completed, failed, expired, released, cancelled, micros, points) = row;
    let tasks = TaskCounts { completed, failed, expired, released, cancelled, ..TaskCounts::default() };
    (begins, Sums { tasks, earnings: Micros(micros), points })
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
