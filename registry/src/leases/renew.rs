//! Renewing: a heartbeat names the leases that an agent holds.

use pictor_protocol::{
    AttemptId, AttemptReport, AttemptStatus, HeldLease, LeaseState, TaskStatus, UnixMillis, WorkerId,
};
use sqlx::AnyConnection;

use crate::App;
use crate::error::{Error, Result};
use crate::tasks::store;

/// Renews what a heartbeat names, and says of each whether it is still held. Writes only what must be
/// written: a start, a lease taken back, or one of which a third is used.
pub(super) async fn renew(
    app: &App,
    worker: WorkerId,
    reports: &[AttemptReport],
    now: UnixMillis,
) -> Result<Vec<HeldLease>> {
    let lease_seconds = i64::from(app.settings.lease_seconds);
    let fresh_until = now.plus_seconds(lease_seconds - lease_seconds.div_euclid(3).max(1));
    let (mut answers, mut due) = (Vec::with_capacity(reports.len()), Vec::new());
    for report in reports {
        let found = store::assignment(&mut *app.db.read().await?, worker, report.attempt_id).await;
        let state = match found {
            Ok(held) if held.is_held() => {
                let capped = held.expires_at == held.deadline_at;
                let is_fresh = held.expires_at > fresh_until || capped;
                if !is_fresh
                    || held.status == AttemptStatus::Pending
                    || held.task.status == TaskStatus::Pending
                {
                    due.push(report.clone());
                }
                LeaseState::Held
            }
            Ok(_) | Err(Error::NotFound(_)) => LeaseState::Lost,
            Err(cause) => return Err(cause),
        };
        answers.push(HeldLease { attempt_id: report.attempt_id, state });
    }
    if !due.is_empty() {
        let lost = app
            .db
            .write(move |conn| {
                let due = due.clone();
                Box::pin(async move { renew_due(conn, worker, &due, lease_seconds, now).await })
            })
            .await?;
        for answer in &mut answers {
            if lost.contains(&answer.attempt_id) {
                answer.state = LeaseState::Lost;
            }
        }
    }
    Ok(answers)
}

/// Which of them were lost since they were read.
async fn renew_due(
    conn: &mut AnyConnection,
    worker: WorkerId,
    due: &[AttemptReport],
    lease_seconds: i64,
    now: UnixMillis,
) -> Result<Vec<AttemptId>> {
    let mut lost = Vec::new();
    for report in due {
        let held = store::assignment(conn, worker, report.attempt_id).await?;
        let progress = report.progress_ratio.filter(|ratio| (0.0..=1.0).contains(ratio));
        match store::hold(conn, &held, lease_seconds, progress, now).await {
            Ok(_) => {}
            Err(Error::LeaseLost) => lost.push(report.attempt_id),
            Err(cause) => return Err(cause),
        }
    }
    Ok(lost)
}
