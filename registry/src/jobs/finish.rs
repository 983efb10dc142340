//! The end of jobs, by their tasks or by their creator.

use std::convert::Infallible;
use std::time::Duration;

use pictor_protocol::{JobId, UnixMillis};
use sqlx::AnyConnection;

use super::store::{self, JobRow};
use crate::App;
use crate::error::Result;
use crate::ledger;
use crate::tasks::state::{AttemptEvent, JobEvent, TaskEvent};
use crate::tasks::store::move_tasks_of_job;

/// How often all open jobs are looked at: for what another process ended, or this one before it stopped.
const SCAN_INTERVAL: Duration = Duration::from_secs(5);

/// Ends jobs as their last tasks end.
pub async fn finish_loop(app: App) -> anyhow::Result<Infallible> {
    let mut scans = tokio::time::interval(SCAN_INTERVAL);
    loop {
        let ended = tokio::select! {
            jobs = app.wakeup.jobs_with_ended_tasks() => finish_each(&app, jobs).await,
            _ = scans.tick() => finish_once(&app).await.map(|_| ()),
        };
        if let Err(cause) = ended {
            tracing::error!(error = %cause, "jobs could not be ended; the next scan tries again");
        }
    }
}

/// Ends every job that is at its end; how many were looked at.
pub async fn finish_once(app: &App) -> Result<usize> {
    let jobs = store::to_be_ended(&mut *app.db.read().await?).await?;
    let count = jobs.len();
    finish_each(app, jobs).await?;
    Ok(count)
}

async fn finish_each(app: &App, jobs: impl IntoIterator<Item = JobId>) -> Result<()> {
    for job in jobs {
        // A look costs less than a write, and most ended tasks do not end their job.
        if store::tally(&mut *app.db.read().await?, job).await?.ending().is_none() {
            continue;
        }
        let now = app.clock.now();
        app.db.write(move |conn| Box::pin(async move { finish(conn, job, now).await })).await?;
    }
    Ok(())
}

async fn finish(conn: &mut AnyConnection, job: JobId, now: UnixMillis) -> Result<()> {
    let row = store::job(conn, job).await?;
    let Some(event) = store::tally(conn, job).await?.ending() else { return Ok(()) };
    if row.status.has_ended() {
        return Ok(());
    }
    let error = match event {
        JobEvent::Failed => {
            let last = store::last_task_error(conn, job).await?;
            Some(last.unwrap_or_else(|| "its tasks failed".to_owned()))
        }
        _ => None,
    };
    end(conn, &row, event, error, now).await
}

/// Ends a job: what is left of it is cancelled, and what is left in escrow goes back, all at once.
pub(super) async fn end(
    conn: &mut AnyConnection,
    job: &JobRow,
    event: JobEvent,
    error: Option<String>,
    now: UnixMillis,
) -> Result<()> {
    store::move_job(conn, job.id, job.status, event, error, now).await?;
    move_tasks_of_job(conn, job.id, TaskEvent::JobEnded, AttemptEvent::Cancelled, now).await?;
    let refunded = ledger::store::refund_job(conn, job.id, job.account_id, now).await?;
    tracing::info!(job = %job.id, ?event, %refunded, "a job has ended");
    Ok(())
}
