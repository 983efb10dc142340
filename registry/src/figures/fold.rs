//! Figures that are kept: a loop sums what ended, once it is old enough that no transaction can still add to
//! its time. Completions write no shared row, and a year of history is read as sums.

use std::convert::Infallible;
use std::time::Duration;

use pictor_protocol::{AttemptStatus, UnixMillis};
use sqlx::{AnyConnection, AssertSqlSafe};

use super::period::{DAY_MILLIS, QUARTER_MILLIS};
use crate::App;
use crate::error::Result;
use crate::sql::{each, sql};

const FOLD_INTERVAL: Duration = Duration::from_secs(60);
/// A transaction's rows carry the moment at which its request came, and none waits this long to be written.
const SETTLED_MILLIS: i64 = 15 * 60 * 1_000;

/// Which figures, by the width of time that one row sums.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fold {
    /// Of each account, each worker and the network: `figures`.
    Quarter,
    /// Of each GPU: `gpu_figures`, and their sums, `gpu_totals`.
    Day,
}

impl Fold {
    const ALL: [Fold; 2] = [Fold::Quarter, Fold::Day];

    fn name(self) -> &'static str {
        match self {
            Fold::Quarter => "quarter",
            Fold::Day => "day",
        }
    }

    pub(super) fn width_millis(self) -> i64 {
        match self {
            Fold::Quarter => QUARTER_MILLIS,
            Fold::Day => DAY_MILLIS,
        }
    }
}

/// What ended before this moment is folded, and what is folded does not change.
pub(super) async fn folded_until(conn: &mut AnyConnection, fold: Fold) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT until FROM folds WHERE name = $1")
        .bind(fold.name())
        .fetch_one(conn)
        .await?)
}

/// Folds what has settled, once a minute. What cannot be folded now is tried again: until then its rows are read.
pub async fn fold_loop(app: App) -> anyhow::Result<Infallible> {
    let mut ticks = tokio::time::interval(FOLD_INTERVAL);
    loop {
        ticks.tick().await;
        if let Err(error) = fold_settled(&app).await {
            tracing::error!(
                error = format!("{:#}", anyhow::Error::from(error)),
                "figures could not be folded"
            );
        }
    }
}

/// Folds all that has settled, a day of history to a transaction.
async fn fold_settled(app: &App) -> Result<()> {
    for fold in Fold::ALL {
        while fold_next(app, fold).await? {}
    }
    Ok(())
}

/// Folds at most a day more; whether there was something to fold.
async fn fold_next(app: &App, fold: Fold) -> Result<bool> {
    let width = fold.width_millis();
    let settled = (app.clock.now().0 - SETTLED_MILLIS).div_euclid(width) * width;
    let (from, begins) = {
        let mut conn = app.db.read().await?;
        let from = folded_until(&mut conn, fold).await?;
        let first: Option<i64> =
            sqlx::query_scalar("SELECT MIN(created_at) FROM accounts").fetch_one(&mut *conn).await?;
        // Nothing ended before the first account was made; were there something, it would be folded with that day.
        (from, from.max(first.unwrap_or(settled)))
    };
    let to = (begins.div_euclid(DAY_MILLIS) * DAY_MILLIS + DAY_MILLIS).min(settled);
    if from >= to {
        return Ok(false);
    }
    app.db.write(move |conn| Box::pin(fold_range(conn, fold, UnixMillis(from), UnixMillis(to)))).await?;
    Ok(true)
}

async fn fold_range(conn: &mut AnyConnection, fold: Fold, from: UnixMillis, to: UnixMillis) -> Result<()> {
    let moved = sqlx::query("UPDATE folds SET until = $3 WHERE name = $1 AND until = $2")
        .bind(fold.name())
        .bind(from.0)
        .bind(to.0)
        .execute(&mut *conn)
        .await?
        .rows_affected();
    if moved == 0 {
        // Another replica was faster.
        return Ok(());
    }
    match fold {
        Fold::Quarter => {
            for subject in ["worker_id", "account_id", "'network'"] {
                // Safe: the three subjects are the literals above.
                let sql = QUARTERS.replace("SUBJECT", subject);
                let folded =
                    sqlx::query(AssertSqlSafe(sql)).bind(from.0).bind(to.0).bind(fold.width_millis());
                folded.execute(&mut *conn).await?;
            }
        }
        Fold::Day => {
            for days in [DAYS, TOTALS] {
                let folded = sqlx::query(days).bind(from.0).bind(to.0).bind(fold.width_millis());
                folded.execute(&mut *conn).await?;
            }
        }
    }
    Ok(())
}

/// `$3` is how long a quarter hour is.
const QUARTERS: &str = sql!(
    "INSERT INTO figures (subject, quarter, ",
    ENDED,
    ", reward_micros, points)
    SELECT subject, quarter, ",
    each!(AttemptStatus, AttemptStatus::has_ended, |word| ["CAST(SUM(", word, ") AS BIGINT)"]),
    ", CAST(SUM(reward_micros) AS BIGINT), CAST(SUM(points) AS BIGINT)
    FROM (
        SELECT SUBJECT AS subject, ended_at / $3 AS quarter, ",
    each!(AttemptStatus, AttemptStatus::has_ended, |word| [
        "CASE WHEN status = '",
        word,
        "' THEN 1 ELSE 0 END AS ",
        word
    ]),
    ", COALESCE(reward_micros, 0) AS reward_micros, 0 AS points
        FROM attempts
        WHERE account_id IN (SELECT id FROM accounts) AND ended_at >= $1 AND ended_at < $2
        UNION ALL
        SELECT SUBJECT, created_at / $3, ",
    each!(AttemptStatus, AttemptStatus::has_ended, |_word| ["0"]),
    ", 0, points
        FROM points
        WHERE account_id IN (SELECT id FROM accounts) AND created_at >= $1 AND created_at < $2) AS entries
    GROUP BY subject, quarter"
);
/// A status that ends attempts has a column of figures.
const ENDED: &str = each!(AttemptStatus, AttemptStatus::has_ended, |word| [word]);

const DAYS: &str = "
    INSERT INTO gpu_figures (account_id, day, worker_id, gpu_uuid, gpu_name, completed, failed, reward_micros)
    SELECT account_id, ended_at / $3, worker_id, COALESCE(gpu_uuid, ''), MAX(gpu_name),
           CAST(SUM(CASE WHEN status = 'completed' THEN 1 ELSE 0 END) AS BIGINT),
           CAST(SUM(CASE WHEN status = 'failed' THEN 1 ELSE 0 END) AS BIGINT),
           CAST(COALESCE(SUM(reward_micros), 0) AS BIGINT)
    FROM attempts
    WHERE account_id IN (SELECT id FROM accounts) AND ended_at >= $1 AND ended_at < $2
    GROUP BY 1, 2, 3, 4";

/// The days just folded are added; `WHERE` tells SQLite where the conflict's `ON` begins.
const TOTALS: &str = "
    INSERT INTO gpu_totals (account_id, worker_id, gpu_uuid, gpu_name, completed, failed, reward_micros)
    SELECT account_id, worker_id, gpu_uuid, MAX(gpu_name), CAST(SUM(completed) AS BIGINT),
           CAST(SUM(failed) AS BIGINT), CAST(SUM(reward_micros) AS BIGINT)
    FROM gpu_figures
    WHERE account_id IN (SELECT id FROM accounts) AND day >= $1 / $3 AND day < $2 / $3
    GROUP BY account_id, worker_id, gpu_uuid
    ON CONFLICT (account_id, worker_id, gpu_uuid) DO UPDATE SET
        gpu_name = COALESCE(excluded.gpu_name, gpu_totals.gpu_name),
        completed = gpu_totals.completed + excluded.completed,
        failed = gpu_totals.failed + excluded.failed,
        reward_micros = gpu_totals.reward_micros + excluded.reward_micros";
