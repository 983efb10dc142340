//! The SQL of the queue: which job and which task a worker may have next, and what waits.

use pictor_protocol::{JobId, Micros, UnixMillis, WorkerId};
use sqlx::{AnyConnection, AssertSqlSafe};

use super::Queue;
use crate::db::Dialect;
use crate::error::Result;
use crate::row::{Parsed, frame_range, parsed, parsed_option};
use crate::sql::sql;
use crate::tasks::sets::LEASED_JOBS;
use crate::tasks::store::{Pick, task_state};

/// A pending task that this worker may have: not one that it failed, unless nobody else took it for a lease.
macro_rules! may_have {
    () => {
        "t.status = 'pending' AND (t.failures = 0 OR t.pending_since <= $2 OR NOT EXISTS (
             SELECT 1 FROM attempts f WHERE f.task_id = t.id AND f.worker_id = $1 AND f.status = 'failed'))"
    };
}

/// The job that this worker should work on next.
pub async fn next_job(
    conn: &mut AnyConnection,
    worker: WorkerId,
    waited_since: UnixMillis,
) -> Result<Option<JobId>> {
    let row = sqlx::query(sql!(
        "SELECT j.id FROM jobs j WHERE j.status IN ",
        LEASED_JOBS,
        " AND EXISTS (SELECT 1 FROM tasks t WHERE t.job_id = j.id AND ",
        may_have!(),
        ") ORDER BY j.priority DESC, j.created_at, j.id LIMIT 1"
    ))
    .bind(worker.to_string())
    .bind(waited_since.0)
    .fetch_optional(conn)
    .await?;
    Ok(row.as_ref().map(|row| parsed(row, "id")).transpose()?)
}

/// How many tasks wait, and how many of them `may_have` keeps from each worker that failed them.
pub(super) async fn queue(conn: &mut AnyConnection, waited_since: UnixMillis) -> Result<Queue> {
    let pending: i64 = sqlx::query_scalar(sql!(
        "SELECT COUNT(*) FROM jobs j JOIN tasks t ON t.job_id = j.id AND t.status = 'pending'
         WHERE j.status IN ",
        LEASED_JOBS
    ))
    .fetch_one(&mut *conn)
    .await?;
    let rows: Vec<(Parsed<WorkerId>, i64)> = sqlx::query_as(sql!(
        "SELECT f.worker_id, COUNT(DISTINCT t.id) FROM tasks t
         JOIN jobs j ON j.id = t.job_id AND j.status IN ",
        LEASED_JOBS,
        " JOIN attempts f ON f.task_id = t.id AND f.status = 'failed'
         WHERE t.status = 'pending' AND t.failures > 0 AND t.pending_since > $1 GROUP BY f.worker_id"
    ))
    .bind(waited_since.0)
    .fetch_all(conn)
    .await?;
    let unsigned = |count: i64| u64::try_from(count).unwrap_or(0);
    let failed_here = rows.into_iter().map(|(Parsed(worker), count)| (worker, unsigned(count))).collect();
    Ok(Queue { pending: unsigned(pending), failed_here })
}

/// The job's first pending task for this worker, locked against other pickers.
pub async fn next_task(
    conn: &mut AnyConnection,
    dialect: Dialect,
    worker: WorkerId,
    job: JobId,
    waited_since: UnixMillis,
) -> Result<Option<Pick>> {
    const FIRST: &str = concat!(
        "SELECT t.id, t.status AS task_status, t.failures, t.expiries, t.attempt,
                t.first_frame, t.last_frame FROM tasks t WHERE t.job_id = $3 AND ",
        may_have!(),
        " ORDER BY t.first_frame LIMIT 1"
    );
    let found = sqlx::query(AssertSqlSafe(format!("{FIRST}{}", dialect.claim())))
        .bind(worker.to_string())
        .bind(waited_since.0)
        .bind(job.to_string())
        .fetch_optional(&mut *conn)
        .await?;
    let Some(row) = found else { return Ok(None) };
    let (frame_cost, timeout_seconds): (i64, i64) =
        sqlx::query_as("SELECT frame_cost_micros, task_timeout_seconds FROM jobs WHERE id = $1")
            .bind(job.to_string())
            .fetch_one(conn)
            .await?;
    let cost = Micros(frame_cost)
        .checked_times(frame_range(&row)?.count())
        .ok_or_else(|| anyhow::anyhow!("the cost of a task of {job} is out of range"))?;
    Ok(Some(Pick {
        job_id: job,
        task_id: parsed(&row, "id")?,
        task: task_state(&row)?,
        previous: parsed_option(&row, "attempt")?,
        cost,
        timeout_seconds,
    }))
}
