//! Leases that ran out and attempts that took too long: their tasks go back to whoever asks next.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use pictor_protocol::{TaskStatus, UnixMillis};
use pictor_telemetry::TraceParent;
use sqlx::AnyConnection;
use tracing::info_span;

use super::outcome::LeaseOutcome;
use super::state::{AttemptEvent, TaskEvent};
use super::store::{self, Assignment, Ending};
use crate::App;
use crate::error::{Error, Result};

/// How many lapsed attempts one statement reads.
const ATTEMPTS_MAX: i64 = 1_000;
/// They are written at once, so that they share durable commits.
const WRITES_IN_FLIGHT: usize = 64;

/// Sweeps once a second. Not before this process has listened for a whole lease: an outage of ours
/// must not cost anybody a task.
pub async fn sweep_loop(app: App) -> anyhow::Result<Infallible> {
    let listening_since = app.clock.now();
    let lease = i64::from(app.settings.lease_seconds);
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        if app.clock.now() < listening_since.plus_seconds(lease) {
            continue;
        }
        if let Err(cause) = sweep_once(&app).await {
            tracing::error!(error = %cause, "lapsed leases could not be swept; the next sweep tries again");
        }
    }
}

/// Ends what has lapsed by now; how many attempts that concerned.
pub async fn sweep_once(app: &App) -> Result<usize> {
    let now = app.clock.now();
    let lapsed = store::lapsed(&mut *app.db.read().await?, now, ATTEMPTS_MAX).await?;
    let count = lapsed.len();
    stream::iter(lapsed)
        .map(Ok)
        .try_for_each_concurrent(WRITES_IN_FLIGHT, |found| sweep_one(app, found, now))
        .await?;
    Ok(count)
}

async fn sweep_one(app: &App, found: Assignment, now: UnixMillis) -> Result<()> {
    let (worker, attempt, job) = (found.worker_id, found.attempt_id, found.job_id);
    let swept = app
        .db
        .write(move |conn| {
            Box::pin(async move {
                let attempt = store::assignment(conn, worker, attempt).await?;
                expire(conn, &attempt, now).await
            })
        })
        .await;
    let task_status = match swept {
        Ok(task_status) => task_status,
        // Its holder was heard, or it has ended, since it was read.
        Err(Error::LeaseLost) => return Ok(()),
        Err(cause) => return Err(cause),
    };
    let span = info_span!("task expired", pictor.task.id = %found.task_id, pictor.attempt.id = %attempt);
    pictor_telemetry::follow(&span, TraceParent::of_lease(found.task_id, attempt));
    pictor_telemetry::failed(&span, &"the lease ran out");
    span.in_scope(|| tracing::info!(%attempt, %worker, "a lease ran out"));
    app.metrics.count_leases(LeaseOutcome::Expired, 1);
    match task_status {
        Some(TaskStatus::Pending) => app.wakeup.task_pending(),
        Some(_) => app.wakeup.task_ended(job),
        None => {}
    }
    Ok(())
}

/// Where the task stands after it, if it was moved. The attempt stays open as long as its holder may
/// still take the task back.
async fn expire(
    conn: &mut AnyConnection,
    attempt: &Assignment,
    now: UnixMillis,
) -> Result<Option<TaskStatus>> {
    let is_late = attempt.deadline_at <= now;
    if attempt.status.has_ended() || !(is_late || attempt.expires_at <= now) {
        return Err(Error::LeaseLost);
    }
    let task_status = if attempt.is_latest && attempt.task.status == TaskStatus::Running {
        Some(store::move_task(conn, attempt, TaskEvent::AttemptExpired, now).await?.status)
    } else {
        None
    };
    if !is_late && task_status == Some(TaskStatus::Pending) {
        return Ok(task_status);
    }
    let reason = if is_late {
        "it took longer than the job's time-out".to_owned()
    } else {
        "its worker was not heard of, and the task has lost its lease too often".to_owned()
    };
    let ending = Ending { error: Some(reason), ..Ending::default() };
    store::end_attempt(conn, attempt.attempt_id, attempt.status, AttemptEvent::Expired, &ending, now).await?;
    Ok(task_status)
}
