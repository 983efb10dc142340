//! All SQL of jobs and scenes. A job's status is written here and nowhere else.

use std::collections::HashMap;

use pictor_protocol::{
    AccountId, FeeRatio, FrameRange, Job, JobId, JobStatus, Micros, Sha256, TaskId, TaskStatus, UnixMillis,
};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use crate::error::{Error, Result};
use crate::lists;
use crate::row::{frame_range, narrow, parsed};
use crate::sql::sql;
use crate::tasks::sets::{OPEN_JOBS, OPEN_TASKS};
use crate::tasks::state::{FAILED_TASKS_MAX, JobEvent, apply_to_job};
use crate::tasks::store::insert_tasks;

/// A job to be made, its settings checked.
#[derive(Debug, Clone)]
pub struct NewJob {
    pub id: JobId,
    pub account_id: AccountId,
    pub name: String,
    pub frames: FrameRange,
    pub frames_per_task: u32,
    pub frame_cost: Micros,
    pub fee_ratio: FeeRatio,
    pub width: Option<u32>,
    pub height: Option<u32>,
    pub task_timeout_seconds: i64,
    pub scene_sha256: Sha256,
    pub scene_bytes: i64,
    pub idempotency_key: Option<String>,
    pub tasks: Vec<(TaskId, FrameRange)>,
}

/// How the tasks of one job stand, by status: how many, of how many frames.
#[derive(Debug, Clone, Default)]
pub struct TaskTally(HashMap<TaskStatus, (i64, i64)>);

impl TaskTally {
    pub fn tasks(&self, status: TaskStatus) -> i64 {
        self.0.get(&status).map_or(0, |(tasks, _)| *tasks)
    }

    pub fn frames(&self, status: TaskStatus) -> i64 {
        self.0.get(&status).map_or(0, |(_, frames)| *frames)
    }

    pub fn tasks_total(&self) -> i64 {
        self.0.values().map(|(tasks, _)| tasks).sum()
    }

    /// How a job whose tasks stand so ends; `None` while it goes on.
    pub fn ending(&self) -> Option<JobEvent> {
        let failed = self.tasks(TaskStatus::Failed);
        let all_ended = self.0.keys().all(|status| status.has_ended());
        match (failed, all_ended) {
            (0, true) => Some(JobEvent::Completed),
            (FAILED_TASKS_MAX.., _) | (1.., true) => Some(JobEvent::Failed),
            _ => None,
        }
    }
}

/// A job's row.
#[derive(Debug, Clone)]
pub struct JobRow {
    pub id: JobId,
    pub account_id: AccountId,
    pub name: String,
    pub status: JobStatus,
    pub error: Option<String>,
    pub frames: FrameRange,
    pub frames_per_task: u32,
    pub frame_cost: Micros,
    pub width: Option<i64>,
    pub height: Option<i64>,
    pub task_timeout_seconds: i64,
    pub scene_sha256: Sha256,
    pub created_at: UnixMillis,
    pub ended_at: Option<UnixMillis>,
}

impl JobRow {
    pub fn view(self, tally: &TaskTally, currency: &str) -> Job {
        let times = |frames: i64| Micros(self.frame_cost.0.saturating_mul(frames));
        let completed = tally.frames(TaskStatus::Completed);
        Job {
            id: self.id,
            status: self.status,
            error: self.error,
            frames: self.frames,
            frames_per_task: self.frames_per_task,
            frames_total: self.frames.count(),
            frames_completed: completed,
            tasks_total: tally.tasks_total(),
            tasks_completed: tally.tasks(TaskStatus::Completed),
            tasks_failed: tally.tasks(TaskStatus::Failed),
            tasks_running: tally.tasks(TaskStatus::Running),
            currency: currency.to_owned(),
            cost_micros: times(self.frames.count()),
            spent_micros: times(completed),
            scene_sha256: self.scene_sha256,
            created_at: self.created_at,
            completed_at: self.ended_at,
            name: self.name,
        }
    }

    /// Whether it was made from the same settings and scene.
    fn is_same(&self, new: &NewJob) -> bool {
        self.name == new.name
            && self.frames == new.frames
            && self.frames_per_task == new.frames_per_task
            && self.frame_cost == new.frame_cost
            && self.width == new.width.map(i64::from)
            && self.height == new.height.map(i64::from)
            && self.task_timeout_seconds == new.task_timeout_seconds
            && self.scene_sha256 == new.scene_sha256
    }
}

macro_rules! select_job {
    ($rest:literal) => {
        concat!(
            "SELECT id, account_id, name, status, error, first_frame, last_frame, frames_per_task, frame_cost_micros,
                    width, height, task_timeout_seconds, scene_sha256, created_at, ended_at FROM jobs ",
            $rest
        )
    };
}

fn job_of(row: &AnyRow) -> Result<JobRow> {
    Ok(JobRow {
        id: parsed(row, "id")?,
        account_id: parsed(row, "account_id")?,
        name: row.try_get("name")?,
        status: parsed(row, "status")?,
        error: row.try_get("error")?,
        frames: frame_range(row)?,
        frames_per_task: narrow(row, "frames_per_task")?,
        frame_cost: Micros(row.try_get("frame_cost_micros")?),
        width: row.try_get("width")?,
        height: row.try_get("height")?,
        task_timeout_seconds: row.try_get("task_timeout_seconds")?,
        scene_sha256: parsed(row, "scene_sha256")?,
        created_at: UnixMillis(row.try_get("created_at")?),
        ended_at: row.try_get::<Option<i64>, _>("ended_at")?.map(UnixMillis),
    })
}

/// Adds a job and its tasks, or finds the job that its key has made before (`false`).
pub async fn insert(conn: &mut AnyConnection, new: &NewJob, now: UnixMillis) -> Result<(JobRow, bool)> {
    let made = sqlx::query(
        "INSERT INTO jobs (id, account_id, name, status, first_frame, last_frame, frames_per_task, frame_cost_micros,
                           fee_ppm, width, height, task_timeout_seconds, scene_sha256, scene_bytes, idempotency_key,
                           created_at)
         VALUES ($1, $2, $3, 'pending', $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
         ON CONFLICT (account_id, idempotency_key) DO NOTHING",
    )
    .bind(new.id.to_string())
    .bind(new.account_id.to_string())
    .bind(new.name.clone())
    .bind(i64::from(new.frames.first()))
    .bind(i64::from(new.frames.last()))
    .bind(i64::from(new.frames_per_task))
    .bind(new.frame_cost.0)
    .bind(new.fee_ratio.ppm())
    .bind(new.width.map(i64::from))
    .bind(new.height.map(i64::from))
    .bind(new.task_timeout_seconds)
    .bind(new.scene_sha256.to_string())
    .bind(new.scene_bytes)
    .bind(new.idempotency_key.clone())
    .bind(now.0)
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if made == 1 {
        insert_tasks(conn, new.id, &new.tasks, now).await?;
        return Ok((job(conn, new.id).await?, true));
    }
    let key = new.idempotency_key.as_deref().unwrap_or_default();
    let there = by_key(conn, new.account_id, key).await?.ok_or(Error::NotFound("job"))?;
    if there.is_same(new) {
        return Ok((there, false));
    }
    let detail = format!(
        "this Idempotency-Key has made {} from other settings or another scene; use a new key",
        there.id
    );
    Err(Error::conflict("idempotency_key_reused", detail))
}

pub async fn job(conn: &mut AnyConnection, id: JobId) -> Result<JobRow> {
    let row = sqlx::query(select_job!("WHERE id = $1")).bind(id.to_string()).fetch_optional(conn).await?;
    row.as_ref().map(job_of).transpose()?.ok_or(Error::NotFound("job"))
}

pub async fn by_key(conn: &mut AnyConnection, account: AccountId, key: &str) -> Result<Option<JobRow>> {
    sqlx::query(select_job!("WHERE account_id = $1 AND idempotency_key = $2"))
        .bind(account.to_string())
        .bind(key.to_owned())
        .fetch_optional(conn)
        .await?
        .as_ref()
        .map(job_of)
        .transpose()
}

/// Which jobs are asked for.
#[derive(Debug, Default)]
pub struct Wanted {
    /// None: everybody's.
    pub account: Option<AccountId>,
    pub before: Option<JobId>,
    pub statuses: Option<Vec<JobStatus>>,
    /// A part of the name or id.
    pub search: Option<String>,
    pub limit: i64,
}

macro_rules! wanted {
    () => {
        "($1 IS NULL OR account_id = $1) AND ($2 IS NULL OR id < $2) AND ($3 IS NULL OR $3 LIKE '%,' || status || ',%')
         AND ($4 IS NULL OR LOWER(name) LIKE $4 ESCAPE '\\' OR id LIKE $4 ESCAPE '\\') ORDER BY id DESC LIMIT $5"
    };
}

/// One page of jobs, newest first, with how their tasks stand.
pub async fn page(conn: &mut AnyConnection, wanted: &Wanted) -> Result<Vec<(JobRow, TaskTally)>> {
    let account = wanted.account.map(String::from);
    let before = wanted.before.map(String::from);
    let statuses = wanted.statuses.as_ref().map(|statuses| {
        let words: Vec<&str> = statuses.iter().map(|status| status.as_str()).collect();
        format!(",{},", words.join(","))
    });
    let search = wanted.search.as_ref().map(|search| lists::holding(&search.to_lowercase()));
    let rows = sqlx::query(concat!(select_job!("WHERE "), wanted!()))
        .bind(account.clone())
        .bind(before.clone())
        .bind(statuses.clone())
        .bind(search.clone())
        .bind(wanted.limit)
        .fetch_all(&mut *conn)
        .await?;
    let tallied = sqlx::query(concat!(
        "SELECT job_id, status, COUNT(*) AS tasks, CAST(SUM(last_frame - first_frame + 1) AS BIGINT) AS frames
         FROM tasks WHERE job_id IN (SELECT id FROM jobs WHERE ",
        wanted!(),
        ") GROUP BY job_id, status"
    ))
    .bind(account)
    .bind(before)
    .bind(statuses)
    .bind(search)
    .bind(wanted.limit)
    .fetch_all(conn)
    .await?;
    let mut tallies: HashMap<JobId, TaskTally> = HashMap::new();
    for row in &tallied {
        tallies.entry(parsed(row, "job_id")?).or_default().0.insert(parsed(row, "status")?, counted(row)?);
    }
    rows.iter()
        .map(|row| {
            let job = job_of(row)?;
            let tally = tallies.remove(&job.id).unwrap_or_default();
            Ok((job, tally))
        })
        .collect()
}

fn counted(row: &AnyRow) -> Result<(i64, i64)> {
    Ok((row.try_get("tasks")?, row.try_get("frames")?))
}

pub async fn tally(conn: &mut AnyConnection, job: JobId) -> Result<TaskTally> {
    let rows = sqlx::query(
        "SELECT status, COUNT(*) AS tasks, CAST(SUM(last_frame - first_frame + 1) AS BIGINT) AS frames
         FROM tasks WHERE job_id = $1 GROUP BY status",
    )
    .bind(job.to_string())
    .fetch_all(conn)
    .await?;
    let mut tally = TaskTally::default();
    for row in &rows {
        tally.0.insert(parsed(row, "status")?, counted(row)?);
    }
    Ok(tally)
}

/// Moves a job that stands at `from`; where it stands then. Fails when it was moved since it was read.
pub async fn move_job(
    conn: &mut AnyConnection,
    job: JobId,
    from: JobStatus,
    event: JobEvent,
    error: Option<String>,
    now: UnixMillis,
) -> Result<JobStatus> {
    let to =
        apply_to_job(from, event).map_err(|refused| Error::conflict("job_status", refused.to_string()))?;
    let moved =
        sqlx::query("UPDATE jobs SET status = $3, ended_at = $4, error = $5 WHERE id = $1 AND status = $2")
            .bind(job.to_string())
            .bind(from.as_str())
            .bind(to.as_str())
            .bind(to.has_ended().then_some(now.0))
            .bind(error)
            .execute(conn)
            .await?
            .rows_affected();
    if moved == 0 {
        return Err(Error::conflict(
            "job_status",
            format!("{job} is no longer {from}; look at it and try again"),
        ));
    }
    Ok(to)
}

/// A task of the job was leased: a pending job runs. One that runs already stays as it is.
pub async fn started(conn: &mut AnyConnection, job: JobId) -> Result<()> {
    let to = apply_to_job(JobStatus::Pending, JobEvent::Started).map_err(anyhow::Error::from)?;
    sqlx::query("UPDATE jobs SET status = $3 WHERE id = $1 AND status = $2")
        .bind(job.to_string())
        .bind(JobStatus::Pending.as_str())
        .bind(to.as_str())
        .execute(conn)
        .await?;
    Ok(())
}

/// Whether any task of it was ever leased.
pub async fn was_started(conn: &mut AnyConnection, job: JobId) -> Result<bool> {
    let leased: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM tasks WHERE job_id = $1 AND attempt IS NOT NULL")
            .bind(job.to_string())
            .fetch_one(conn)
            .await?;
    Ok(leased > 0)
}

/// Open jobs whose tasks have all ended, or of which too many have failed.
pub async fn to_be_ended(conn: &mut AnyConnection) -> Result<Vec<JobId>> {
    sqlx::query(sql!(
        "SELECT j.id FROM jobs j WHERE j.status IN ",
        OPEN_JOBS,
        " AND (NOT EXISTS (SELECT 1 FROM tasks t WHERE t.job_id = j.id AND t.status IN ",
        OPEN_TASKS,
        ") OR (SELECT COUNT(*) FROM tasks t WHERE t.job_id = j.id AND t.status = 'failed') >= $1)"
    ))
    .bind(FAILED_TASKS_MAX)
    .fetch_all(conn)
    .await?
    .iter()
    .map(|row| Ok(parsed(row, "id")?))
    .collect()
}

/// Why the task that failed last has failed.
pub async fn last_task_error(conn: &mut AnyConnection, job: JobId) -> Result<Option<String>> {
    let found: Option<(Option<String>,)> = sqlx::query_as(
        "SELECT a.error FROM tasks t JOIN attempts a ON a.id = t.attempt
         WHERE t.job_id = $1 AND t.status = 'failed' ORDER BY t.ended_at DESC, t.first_frame DESC LIMIT 1",
    )
    .bind(job.to_string())
    .fetch_optional(conn)
    .await?;
    Ok(found.and_then(|(error,)| error))
}

/// The account may name this scene from now on.
pub async fn add_scene(
    conn: &mut AnyConnection,
    account: AccountId,
    sha256: Sha256,
    size_bytes: i64,
    now: UnixMillis,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO scenes (sha256, account_id, size_bytes, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (sha256, account_id) DO NOTHING",
    )
    .bind(sha256.to_string())
    .bind(account.to_string())
    .bind(size_bytes)
    .bind(now.0)
    .execute(conn)
    .await?;
    Ok(())
}

/// The size of a scene that this account uploaded.
pub async fn scene_bytes(
    conn: &mut AnyConnection,
    account: AccountId,
    sha256: Sha256,
) -> Result<Option<i64>> {
    Ok(sqlx::query_scalar("SELECT size_bytes FROM scenes WHERE sha256 = $1 AND account_id = $2")
        .bind(sha256.to_string())
        .bind(account.to_string())
        .fetch_optional(conn)
        .await?)
}

#[cfg(test)]
mod tests {
    use super::TaskTally;
    use crate::tasks::state::JobEvent;
    use pictor_protocol::TaskStatus::{self, Cancelled, Completed, Failed, Paused, Pending, Running};

    fn ending(tasks: &[(TaskStatus, i64)]) -> Option<JobEvent> {
        TaskTally(tasks.iter().map(|(status, count)| (*status, (*count, *count))).collect()).ending()
    }

    #[test]
    fn a_job_ends_with_its_tasks_or_with_too_many_failures() {
        assert_eq!(ending(&[(Completed, 5)]), Some(JobEvent::Completed));
        assert_eq!(ending(&[(Completed, 5), (Failed, 1)]), Some(JobEvent::Failed));
        assert_eq!(ending(&[(Pending, 9), (Failed, 3)]), Some(JobEvent::Failed));
        for open in [Pending, Running, Paused] {
            assert_eq!(ending(&[(Completed, 5), (open, 1)]), None);
            assert_eq!(ending(&[(Failed, 2), (open, 1)]), None);
        }
        assert_eq!(ending(&[(Cancelled, 1), (Failed, 1)]), Some(JobEvent::Failed));
    }
}
