//! The SQL of single tasks and attempts. Their statuses are written here and nowhere else.

use pictor_protocol::{
    AccountId, AskId, AttemptId, AttemptStatus, FeeRatio, FrameRange, JobId, Micros, Sha256, StoredFrame,
    TaskId, TaskStatus, UnixMillis, WorkerId,
};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row};

use super::sets::OPEN_ATTEMPTS;
use super::state::{AttemptEvent, TaskEvent, TaskState, apply_to_attempt};
use crate::error::{Error, Result};
use crate::ledger::store::PaidTask;
use crate::row::{Parsed, frame_range, narrow_option, parsed, parsed_option};
use crate::sql::sql;

/// One attempt with its task and what its job says of it.
#[derive(Debug, Clone)]
pub struct Assignment {
    pub attempt_id: AttemptId,
    pub task_id: TaskId,
    pub job_id: JobId,
    pub worker_id: WorkerId,
    pub provider: AccountId,
    pub slot: i64,
    pub status: AttemptStatus,
    pub cost: Micros,
    pub reward: Option<Micros>,
    pub expires_at: UnixMillis,
    pub deadline_at: UnixMillis,
    pub task: TaskState,
    /// Nobody was given the task after this attempt.
    pub is_latest: bool,
    pub frames: FrameRange,
    pub fee_ratio: FeeRatio,
    pub width: Option<u32>,
    pub height: Option<u32>,
    pub scene_sha256: Sha256,
    pub scene_bytes: i64,
}

impl Assignment {
    /// Whether the lease still gives the right to render: never by the clock alone.
    pub fn is_held(&self) -> bool {
        self.is_latest
            && !self.status.has_ended()
            && matches!(self.task.status, TaskStatus::Pending | TaskStatus::Running)
    }

    /// What its completion pays for.
    pub fn paid(&self, points_per_frame: i64) -> PaidTask {
        PaidTask {
            task_id: self.task_id,
            job_id: self.job_id,
            attempt_id: self.attempt_id,
            worker_id: self.worker_id,
            provider: self.provider,
            frames: self.frames.count(),
            cost: self.cost,
            fee_ratio: self.fee_ratio,
            points: points_per_frame,
        }
    }
}

/// A pending task that a worker may have.
pub struct Pick {
    pub job_id: JobId,
    pub task_id: TaskId,
    pub task: TaskState,
    /// The attempt whose lease ran out before, if any.
    pub previous: Option<AttemptId>,
    pub cost: Micros,
    pub timeout_seconds: i64,
}

/// Whose attempt is being made.
#[derive(Debug, Clone)]
pub struct NewAttempt {
    pub id: AttemptId,
    pub worker_id: WorkerId,
    pub provider: AccountId,
    pub slot: u32,
    pub gpu_uuid: Option<String>,
    pub gpu_name: Option<String>,
    pub ask_id: AskId,
    pub lease_seconds: i64,
}

/// How an attempt ended, beside the status.
#[derive(Debug, Clone, Default)]
pub struct Ending {
    pub error: Option<String>,
    pub render_seconds: Option<f64>,
    pub reward: Option<Micros>,
}

pub(super) fn task_state(row: &AnyRow) -> Result<TaskState> {
    Ok(TaskState {
        status: parsed(row, "task_status")?,
        failures: row.try_get("failures")?,
        expiries: row.try_get("expiries")?,
    })
}

macro_rules! select_assignment {
    ($($rest:expr),+ $(,)?) => {
        sql!(
            "SELECT a.id, a.task_id, a.job_id, a.worker_id, a.account_id, a.slot, a.status, a.cost_micros,
                    a.reward_micros, a.expires_at, a.deadline_at, t.status AS task_status, t.failures, t.expiries,
                    t.attempt, t.first_frame, t.last_frame, j.fee_ppm, j.width, j.height, j.scene_sha256, j.scene_bytes
             FROM attempts a JOIN tasks t ON t.id = a.task_id JOIN jobs j ON j.id = a.job_id ",
            $($rest),+
        )
    };
}

fn assignment_of(row: &AnyRow) -> Result<Assignment> {
    let attempt_id: AttemptId = parsed(row, "id")?;
    let latest: Option<AttemptId> = parsed_option(row, "attempt")?;
    Ok(Assignment {
        attempt_id,
        task_id: parsed(row, "task_id")?,
        job_id: parsed(row, "job_id")?,
        worker_id: parsed(row, "worker_id")?,
        provider: parsed(row, "account_id")?,
        slot: row.try_get("slot")?,
        status: parsed(row, "status")?,
        cost: Micros(row.try_get("cost_micros")?),
        reward: row.try_get::<Option<i64>, _>("reward_micros")?.map(Micros),
        expires_at: UnixMillis(row.try_get("expires_at")?),
        deadline_at: UnixMillis(row.try_get("deadline_at")?),
        task: task_state(row)?,
        is_latest: latest == Some(attempt_id),
        frames: frame_range(row)?,
        fee_ratio: FeeRatio::from_ppm(row.try_get("fee_ppm")?)
            .ok_or_else(|| anyhow::anyhow!("a job's fee is out of its range"))?,
        width: narrow_option(row, "width")?,
        height: narrow_option(row, "height")?,
        scene_sha256: parsed(row, "scene_sha256")?,
        scene_bytes: row.try_get("scene_bytes")?,
    })
}

/// An attempt of this worker; another worker's is not found.
pub async fn assignment(
    conn: &mut AnyConnection,
    worker: WorkerId,
    attempt: AttemptId,
) -> Result<Assignment> {
    sqlx::query(select_assignment!("WHERE a.id = $1 AND a.worker_id = $2"))
        .bind(attempt.to_string())
        .bind(worker.to_string())
        .fetch_optional(conn)
        .await?
        .as_ref()
        .map(assignment_of)
        .transpose()?
        .ok_or(Error::NotFound("lease"))
}

/// What an earlier asking of this name was given, ended or not.
pub async fn asked_before(
    conn: &mut AnyConnection,
    worker: WorkerId,
    ask_id: &AskId,
) -> Result<Vec<Assignment>> {
    sqlx::query(select_assignment!("WHERE a.worker_id = $1 AND a.ask_id = $2 ORDER BY a.slot"))
        .bind(worker.to_string())
        .bind(ask_id.as_str().to_owned())
        .fetch_all(conn)
        .await?
        .iter()
        .map(assignment_of)
        .collect()
}

/// The attempts that a worker has not ended, in the order of their slots.
pub async fn open_attempts(conn: &mut AnyConnection, worker: WorkerId) -> Result<Vec<Assignment>> {
    sqlx::query(select_assignment!(
        "WHERE a.worker_id = $1 AND a.status IN ",
        OPEN_ATTEMPTS,
        " ORDER BY a.slot, a.id"
    ))
    .bind(worker.to_string())
    .fetch_all(conn)
    .await?
    .iter()
    .map(assignment_of)
    .collect()
}

/// Attempts whose lease has run out with their task still theirs, or whose time-out has passed.
pub async fn lapsed(conn: &mut AnyConnection, now: UnixMillis, limit: i64) -> Result<Vec<Assignment>> {
    sqlx::query(select_assignment!(
        "WHERE a.status IN ",
        OPEN_ATTEMPTS,
        "
           AND (a.deadline_at <= $1 OR (a.expires_at <= $1 AND t.status = 'running' AND t.attempt = a.id))
         ORDER BY a.expires_at LIMIT $2"
    ))
    .bind(now.0)
    .bind(limit)
    .fetch_all(conn)
    .await?
    .iter()
    .map(assignment_of)
    .collect()
}

/// Gives a picked task to a new attempt; `false` when somebody else was faster.
pub async fn lease(conn: &mut AnyConnection, pick: &Pick, new: &NewAttempt, now: UnixMillis) -> Result<bool> {
    let to = pick.task.apply(TaskEvent::Leased).map_err(anyhow::Error::from)?;
    let claimed = sqlx::query("UPDATE tasks SET status = $3, attempt = $4 WHERE id = $1 AND status = $2")
        .bind(pick.task_id.to_string())
        .bind(pick.task.status.as_str())
        .bind(to.status.as_str())
        .bind(new.id.to_string())
        .execute(&mut *conn)
        .await?
        .rows_affected();
    if claimed == 0 {
        return Ok(false);
    }
    if let Some(previous) = pick.previous {
        expire_if_open(conn, previous, now).await?;
    }
    let deadline = now.plus_seconds(pick.timeout_seconds);
    let expires = now.plus_seconds(new.lease_seconds).min(deadline);
    sqlx::query(
        "INSERT INTO attempts (id, task_id, job_id, worker_id, account_id, slot, gpu_uuid, gpu_name, ask_id, status,
                               cost_micros, leased_at, expires_at, deadline_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'pending', $10, $11, $12, $13)",
    )
    .bind(new.id.to_string())
    .bind(pick.task_id.to_string())
    .bind(pick.job_id.to_string())
    .bind(new.worker_id.to_string())
    .bind(new.provider.to_string())
    .bind(i64::from(new.slot))
    .bind(new.gpu_uuid.clone())
    .bind(new.gpu_name.clone())
    .bind(new.ask_id.as_str().to_owned())
    .bind(pick.cost.0)
    .bind(now.0)
    .bind(expires.0)
    .bind(deadline.0)
    .execute(conn)
    .await?;
    Ok(true)
}

/// Ends the attempt whose task somebody else takes now; one that has ended stays as it is.
async fn expire_if_open(conn: &mut AnyConnection, attempt: AttemptId, now: UnixMillis) -> Result<()> {
    let row = sqlx::query("SELECT status FROM attempts WHERE id = $1")
        .bind(attempt.to_string())
        .fetch_one(&mut *conn)
        .await?;
    let status: AttemptStatus = parsed(&row, "status")?;
    if status.has_ended() {
        return Ok(());
    }
    let ending = Ending {
        error: Some("its lease ran out and another worker took the task".to_owned()),
        ..Ending::default()
    };
    end_attempt(conn, attempt, status, AttemptEvent::Expired, &ending, now).await
}

/// A nullable ratio as text, for SQL to cast: sqlx 0.9's `Any` declares a NULL double as a four-byte float, and
/// PostgreSQL then refuses the eight bytes of the next one in the same prepared statement.
fn double(value: Option<f64>) -> Option<String> {
    value.map(|value| value.to_string())
}

/// Moves a task of which `held` is the latest attempt; `LeaseLost` when it no longer stands as read.
pub async fn move_task(
    conn: &mut AnyConnection,
    held: &Assignment,
    event: TaskEvent,
    now: UnixMillis,
) -> Result<TaskState> {
    let to = held.task.apply(event).map_err(|_| Error::LeaseLost)?;
    let pending_since = (to.status == TaskStatus::Pending).then_some(now.0);
    let ended_at = to.status.has_ended().then_some(now.0);
    let moved = sqlx::query(
        "UPDATE tasks SET status = $4, failures = $5, expiries = $6,
                pending_since = COALESCE($7, pending_since), ended_at = $8
         WHERE id = $1 AND attempt = $2 AND status = $3",
    )
    .bind(held.task_id.to_string())
    .bind(held.attempt_id.to_string())
    .bind(held.task.status.as_str())
    .bind(to.status.as_str())
    .bind(to.failures)
    .bind(to.expiries)
    .bind(pending_since)
    .bind(ended_at)
    .execute(conn)
    .await?
    .rows_affected();
    if moved == 0 { Err(Error::LeaseLost) } else { Ok(to) }
}

/// Ends an attempt that stands at `from`; `LeaseLost` when it no longer does.
pub async fn end_attempt(
    conn: &mut AnyConnection,
    attempt: AttemptId,
    from: AttemptStatus,
    event: AttemptEvent,
    ending: &Ending,
    now: UnixMillis,
) -> Result<()> {
    let to = apply_to_attempt(from, event).map_err(|_| Error::LeaseLost)?;
    let progress = (to == AttemptStatus::Completed).then_some(1.0_f64);
    let started_at = (to == AttemptStatus::Completed).then_some(now.0);
    let ended = sqlx::query(
        "UPDATE attempts SET status = $3, ended_at = $4, error = $5, reward_micros = $6,
                render_seconds = COALESCE(CAST($7 AS DOUBLE PRECISION), render_seconds),
                progress_ratio = COALESCE(CAST($8 AS DOUBLE PRECISION), progress_ratio),
                started_at = COALESCE(started_at, $9)
         WHERE id = $1 AND status = $2",
    )
    .bind(attempt.to_string())
    .bind(from.as_str())
    .bind(to.as_str())
    .bind(now.0)
    .bind(ending.error.clone())
    .bind(ending.reward.map(|reward| reward.0))
    .bind(double(ending.render_seconds))
    .bind(double(progress))
    .bind(started_at)
    .execute(conn)
    .await?
    .rows_affected();
    if ended == 0 { Err(Error::LeaseLost) } else { Ok(()) }
}

/// The holder of a lease was heard: the attempt runs, its task is its again, and the lease lasts a whole one more.
pub async fn hold(
    conn: &mut AnyConnection,
    held: &Assignment,
    lease_seconds: i64,
    progress_ratio: Option<f64>,
    now: UnixMillis,
) -> Result<Assignment> {
    if !held.is_held() {
        return Err(Error::LeaseLost);
    }
    let mut held = held.clone();
    if held.task.status == TaskStatus::Pending {
        held.task = move_task(conn, &held, TaskEvent::TakenBack, now).await?;
    }
    let to = apply_to_attempt(held.status, AttemptEvent::Started).unwrap_or(held.status);
    held.expires_at = now.plus_seconds(lease_seconds).min(held.deadline_at);
    let renewed = sqlx::query(
        "UPDATE attempts SET status = $3, expires_at = $4, started_at = COALESCE(started_at, $5),
                progress_ratio = COALESCE(CAST($6 AS DOUBLE PRECISION), progress_ratio)
         WHERE id = $1 AND status = $2",
    )
    .bind(held.attempt_id.to_string())
    .bind(held.status.as_str())
    .bind(to.as_str())
    .bind(held.expires_at.0)
    .bind(now.0)
    .bind(double(progress_ratio))
    .execute(conn)
    .await?
    .rows_affected();
    held.status = to;
    if renewed == 0 { Err(Error::LeaseLost) } else { Ok(held) }
}

/// Moves every task of a job that the event concerns, then ends its open attempts by `attempts`.
pub async fn move_tasks_of_job(
    conn: &mut AnyConnection,
    job: JobId,
    event: TaskEvent,
    attempts: AttemptEvent,
    now: UnixMillis,
) -> Result<()> {
    for status in TaskStatus::ALL {
        let Ok(to) = (TaskState { status: *status, failures: 0, expiries: 0 }).apply(event) else { continue };
        let ended_at = to.status.has_ended().then_some(now.0);
        let pending_since = (to.status == TaskStatus::Pending).then_some(now.0);
        sqlx::query(
            "UPDATE tasks SET status = $3, ended_at = $4, pending_since = COALESCE($5, pending_since)
             WHERE job_id = $1 AND status = $2",
        )
        .bind(job.to_string())
        .bind(status.as_str())
        .bind(to.status.as_str())
        .bind(ended_at)
        .bind(pending_since)
        .execute(&mut *conn)
        .await?;
    }
    for status in AttemptStatus::ALL {
        let Ok(to) = apply_to_attempt(*status, attempts) else { continue };
        // The set leads to its partial index: few attempts are open.
        sqlx::query(sql!(
            "UPDATE attempts SET status = $3, ended_at = $4 WHERE status = $2 AND status IN ",
            OPEN_ATTEMPTS,
            " AND task_id IN (SELECT id FROM tasks WHERE job_id = $1 AND attempt IS NOT NULL)"
        ))
        .bind(job.to_string())
        .bind(status.as_str())
        .bind(to.as_str())
        .bind(now.0)
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// Adds the tasks of a new job, many to a statement.
pub async fn insert_tasks(
    conn: &mut AnyConnection,
    job: JobId,
    tasks: &[(TaskId, FrameRange)],
    now: UnixMillis,
) -> Result<()> {
    const ROWS_MAX: usize = 1_000;
    for chunk in tasks.chunks(ROWS_MAX) {
        let rows: Vec<String> = (0..chunk.len())
            .map(|row| format!("(${}, $1, ${}, ${}, 'pending', $2)", 3 * row + 3, 3 * row + 4, 3 * row + 5))
            .collect();
        let sql = format!(
            "INSERT INTO tasks (id, job_id, first_frame, last_frame, status, pending_since) VALUES {}",
            rows.join(", ")
        );
        let mut insert = sqlx::query(AssertSqlSafe(sql)).bind(job.to_string()).bind(now.0);
        for (id, frames) in chunk {
            insert =
                insert.bind(id.to_string()).bind(i64::from(frames.first())).bind(i64::from(frames.last()));
        }
        insert.execute(&mut *conn).await?;
    }
    Ok(())
}

/// Adds a frame, or finds it there with the same bytes; other bytes are refused.
pub async fn add_frame(
    conn: &mut AnyConnection,
    attempt: AttemptId,
    frame: &StoredFrame,
    now: UnixMillis,
) -> Result<()> {
    let added = sqlx::query(
        "INSERT INTO frames (attempt_id, frame, sha256, size_bytes, width, height, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (attempt_id, frame) DO NOTHING",
    )
    .bind(attempt.to_string())
    .bind(i64::from(frame.frame))
    .bind(frame.sha256.to_string())
    .bind(i64::try_from(frame.size_bytes).unwrap_or(i64::MAX))
    .bind(i64::from(frame.width))
    .bind(i64::from(frame.height))
    .bind(now.0)
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if added == 1 {
        return Ok(());
    }
    let Parsed(there): Parsed<Sha256> =
        sqlx::query_scalar("SELECT sha256 FROM frames WHERE attempt_id = $1 AND frame = $2")
            .bind(attempt.to_string())
            .bind(i64::from(frame.frame))
            .fetch_one(conn)
            .await?;
    if there == frame.sha256 {
        return Ok(());
    }
    Err(Error::conflict(
        "frame_differs",
        format!("frame {} of this lease was stored before with other bytes (sha-256 {there})", frame.frame),
    ))
}

/// The frames that an attempt has uploaded, in order.
pub async fn frames_of(conn: &mut AnyConnection, attempt: AttemptId) -> Result<Vec<i64>> {
    Ok(sqlx::query_scalar("SELECT frame FROM frames WHERE attempt_id = $1 ORDER BY frame")
        .bind(attempt.to_string())
        .fetch_all(conn)
        .await?)
}

pub async fn keep_log(
    conn: &mut AnyConnection,
    worker: WorkerId,
    attempt: AttemptId,
    log: &str,
) -> Result<()> {
    let kept = sqlx::query("UPDATE attempts SET log = $3 WHERE id = $1 AND worker_id = $2")
        .bind(attempt.to_string())
        .bind(worker.to_string())
        .bind(log.to_owned())
        .execute(conn)
        .await?
        .rows_affected();
    if kept == 0 { Err(Error::NotFound("lease")) } else { Ok(()) }
}
