//! Which frames of a job are rendered, and how its tasks stand along them.

use pictor_protocol::{FrameRange, Job, JobId, TaskStatus};
use sqlx::{AnyConnection, Row};

use super::{Picture, Standing};
use crate::error::Result;
use crate::row::{frame_range, narrow, parsed};

/// The pictures of a job that came last, newest first.
pub(super) async fn newest(conn: &mut AnyConnection, job: JobId, limit: i64) -> Result<Vec<Picture>> {
    sqlx::query(
        "SELECT f.frame, f.sha256, f.size_bytes FROM tasks t JOIN frames f ON f.attempt_id = t.attempt
         WHERE t.job_id = $1 AND t.status = 'completed' ORDER BY t.ended_at DESC, f.frame DESC LIMIT $2",
    )
    .bind(job.to_string())
    .bind(limit)
    .fetch_all(conn)
    .await?
    .iter()
    .map(picture_of)
    .collect()
}

/// The first finished frames from one number to another, in order.
pub(super) async fn finished(
    conn: &mut AnyConnection,
    job: JobId,
    first: i64,
    last: i64,
    limit: i64,
) -> Result<Vec<Picture>> {
    sqlx::query(
        "SELECT f.frame, f.sha256, f.size_bytes FROM tasks t JOIN frames f ON f.attempt_id = t.attempt
         WHERE t.job_id = $1 AND t.last_frame >= $2 AND t.first_frame <= $3 AND t.status = 'completed'
           AND f.frame >= $2 AND f.frame <= $3 ORDER BY f.frame LIMIT $4",
    )
    .bind(job.to_string())
    .bind(first)
    .bind(last)
    .bind(limit)
    .fetch_all(conn)
    .await?
    .iter()
    .map(picture_of)
    .collect()
}

fn picture_of(row: &sqlx::any::AnyRow) -> Result<Picture> {
    Ok(Picture {
        frame: narrow(row, "frame")?,
        sha256: parsed(row, "sha256")?,
        size_bytes: row.try_get("size_bytes")?,
    })
}

/// The tasks that have frames from one number to another.
pub(super) async fn tasks_between(
    conn: &mut AnyConnection,
    job: JobId,
    first: i64,
    last: i64,
) -> Result<Vec<(FrameRange, TaskStatus)>> {
    sqlx::query(
        "SELECT first_frame, last_frame, status FROM tasks
         WHERE job_id = $1 AND last_frame >= $2 AND first_frame <= $3 ORDER BY first_frame",
    )
    .bind(job.to_string())
    .bind(first)
    .bind(last)
    .fetch_all(conn)
    .await?
    .iter()
    .map(|row| Ok((frame_range(row)?, parsed(row, "status")?)))
    .collect()
}

/// How a job's frames stand, in groups of `size`.
pub(super) async fn standing(conn: &mut AnyConnection, job: &Job, size: i64) -> Result<Vec<Standing>> {
    sqlx::query(
        "SELECT (first_frame - $2) / $3 AS part, status, CAST(SUM(last_frame - first_frame + 1) AS BIGINT) AS frames
         FROM tasks WHERE job_id = $1 GROUP BY 1, status",
    )
    .bind(job.id.to_string())
    .bind(i64::from(job.frames.first()))
    .bind(size)
    .fetch_all(conn)
    .await?
    .iter()
    .map(|row| {
        Ok(Standing {
            group: row.try_get("part")?,
            status: parsed(row, "status")?,
            frames: row.try_get("frames")?,
        })
    })
    .collect()
}
