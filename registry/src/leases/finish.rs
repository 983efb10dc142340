//! How an attempt ends by its holder's word: completed and paid, failed, or given back.

use std::time::Duration;

use axum::extract::State;
use pictor_protocol::{
    AttemptEnded, AttemptId, AttemptStatus, CompleteRequest, FailRequest, Micros, ReleaseRequest, TaskStatus,
    UnixMillis,
};
use pictor_telemetry::Moment;
use sqlx::AnyConnection;
use tokio::time::Instant;

use crate::App;
use crate::auth::Agent;
use crate::error::{Error, Json, Path, Result};
use crate::ledger;
use crate::tasks::LeaseOutcome;
use crate::tasks::state::{AttemptEvent, TaskEvent};
use crate::tasks::store::{self, Assignment, Ending};

const ERROR_CHARS_MAX: usize = 2_000;
/// How many missing frames an answer names.
const MISSING_NAMED_MAX: usize = 20;

/// What a holder says of its attempt.
#[derive(Clone)]
enum Said {
    Completed { render_seconds: f64, points_per_frame: i64 },
    Failed { error: String, render_seconds: Option<f64> },
    Released { reason: String },
}

impl Said {
    fn outcome(&self) -> LeaseOutcome {
        match self {
            Said::Completed { .. } => LeaseOutcome::Completed,
            Said::Failed { .. } => LeaseOutcome::Failed,
            Said::Released { .. } => LeaseOutcome::Released,
        }
    }

    fn status(&self) -> AttemptStatus {
        match self {
            Said::Completed { .. } => AttemptStatus::Completed,
            Said::Failed { .. } => AttemptStatus::Failed,
            Said::Released { .. } => AttemptStatus::Released,
        }
    }
}

#[utoipa::path(post, path = "/v1/agent/leases/{id}/complete", params(("id" = AttemptId, Path)), request_body = CompleteRequest, responses((status = 200, body = AttemptEnded)))]
pub(super) async fn complete(
    State(app): State<App>,
    agent: Agent,
    Path(id): Path<AttemptId>,
    Json(request): Json<CompleteRequest>,
) -> Result<Json<AttemptEnded>> {
    let render_seconds = seconds(request.render_seconds)?;
    let points_per_frame = app.settings.points_per_frame;
    end(&app, agent, id, Said::Completed { render_seconds, points_per_frame }).await
}

#[utoipa::path(post, path = "/v1/agent/leases/{id}/fail", params(("id" = AttemptId, Path)), request_body = FailRequest, responses((status = 200, body = AttemptEnded)))]
pub(super) async fn fail(
    State(app): State<App>,
    agent: Agent,
    Path(id): Path<AttemptId>,
    Json(request): Json<FailRequest>,
) -> Result<Json<AttemptEnded>> {
    let render_seconds = request.render_seconds.map(seconds).transpose()?;
    end(&app, agent, id, Said::Failed { error: kept(&request.error), render_seconds }).await
}

#[utoipa::path(post, path = "/v1/agent/leases/{id}/release", params(("id" = AttemptId, Path)), request_body = ReleaseRequest, responses((status = 200, body = AttemptEnded)))]
pub(super) async fn release(
    State(app): State<App>,
    agent: Agent,
    Path(id): Path<AttemptId>,
    Json(request): Json<ReleaseRequest>,
) -> Result<Json<AttemptEnded>> {
    end(&app, agent, id, Said::Released { reason: kept(&request.reason) }).await
}

fn seconds(given: f64) -> Result<f64> {
    if given.is_finite() && given >= 0.0 {
        Ok(given)
    } else {
        Err(Error::Invalid("render_seconds: a number from 0".to_owned()))
    }
}

fn kept(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').take(ERROR_CHARS_MAX).collect()
}

/// An ending just made, or found made before by the same word.
struct Ended {
    answer: AttemptEnded,
    attempt: Assignment,
    task_status: Option<TaskStatus>,
    outcome: LeaseOutcome,
}

async fn end(app: &App, agent: Agent, id: AttemptId, said: Said) -> Result<Json<AttemptEnded>> {
    let (now, lease_seconds) = (app.clock.now(), i64::from(app.settings.lease_seconds));
    let (began, told) = (Instant::now(), said.clone());
    let ended = app
        .db
        .write(move |conn| {
            let said = said.clone();
            Box::pin(async move {
                let attempt = store::assignment(conn, agent.worker_id, id).await?;
                if attempt.status == said.status() {
                    return Ok(again(attempt, said.outcome()));
                }
                let attempt = match said {
                    // Giving back what was never started does not start it.
                    Said::Released { .. } if attempt.is_held() => attempt,
                    _ => store::hold(conn, &attempt, lease_seconds, None, now).await?,
                };
                end_held(conn, attempt, &said, now).await
            })
        })
        .await?;
    if let Some(task_status) = ended.task_status {
        app.metrics.count_leases(ended.outcome, 1);
        trace(app, &ended, told, began.elapsed());
        if task_status == TaskStatus::Pending {
            app.wakeup.task_pending();
        } else {
            app.wakeup.task_ended(ended.attempt.job_id);
        }
    }
    Ok(Json(ended.answer))
}

/// Only what was paid or ended just now is told, not what is said again.
fn trace(app: &App, ended: &Ended, said: Said, took: Duration) {
    let (task, attempt) = (ended.attempt.task_id, ended.attempt.attempt_id);
    let Some(moment) = Moment::of(task, attempt, took) else { return };
    match said {
        Said::Completed { .. } => {
            let reward = ended.answer.reward_micros.unwrap_or(Micros::ZERO);
            let moment = moment.with("pictor.cost_micros", ended.attempt.cost.0);
            let moment = moment.with("pictor.reward_micros", reward.0);
            moment.with("pictor.currency", app.settings.currency.clone()).record("task paid");
        }
        Said::Failed { error, .. } => moment.failed(error).record("task failed"),
        Said::Released { reason } => moment.with("pictor.reason", reason).record("task released"),
    }
}

fn again(attempt: Assignment, outcome: LeaseOutcome) -> Ended {
    let answer = AttemptEnded {
        attempt_id: attempt.attempt_id,
        status: attempt.status,
        reward_micros: attempt.reward,
    };
    Ended { answer, attempt, task_status: None, outcome }
}

async fn end_held(
    conn: &mut AnyConnection,
    attempt: Assignment,
    said: &Said,
    now: UnixMillis,
) -> Result<Ended> {
    let (task_event, attempt_event, ending) = match said {
        Said::Completed { render_seconds, points_per_frame } => {
            let reward = pay(conn, &attempt, *points_per_frame, now).await?;
            let ending = Ending { error: None, render_seconds: Some(*render_seconds), reward: Some(reward) };
            (TaskEvent::Completed, AttemptEvent::Completed, ending)
        }
        Said::Failed { error, render_seconds } => {
            let ending = Ending { error: Some(error.clone()), render_seconds: *render_seconds, reward: None };
            (TaskEvent::AttemptFailed, AttemptEvent::Failed, ending)
        }
        Said::Released { reason } => {
            let ending = Ending { error: Some(reason.clone()), ..Ending::default() };
            (TaskEvent::AttemptReleased, AttemptEvent::Released, ending)
        }
    };
    let task = if attempt.task.status == TaskStatus::Running {
        store::move_task(conn, &attempt, task_event, now).await?
    } else {
        attempt.task
    };
    store::end_attempt(conn, attempt.attempt_id, attempt.status, attempt_event, &ending, now).await?;
    let answer =
        AttemptEnded { attempt_id: attempt.attempt_id, status: said.status(), reward_micros: ending.reward };
    Ok(Ended { answer, attempt, task_status: Some(task.status), outcome: said.outcome() })
}

/// Pays a task of which every frame is there. What follows in the same transaction takes it back when
/// the lease turns out to be lost.
async fn pay(
    conn: &mut AnyConnection,
    attempt: &Assignment,
    points_per_frame: i64,
    now: UnixMillis,
) -> Result<Micros> {
    let there = store::frames_of(conn, attempt.attempt_id).await?;
    let missing: Vec<String> = attempt
        .frames
        .iter()
        .filter(|frame| there.binary_search(&i64::from(*frame)).is_err())
        .take(MISSING_NAMED_MAX)
        .map(|frame| frame.to_string())
        .collect();
    if !missing.is_empty() {
        let detail = format!("upload these frames first: {}", missing.join(", "));
        return Err(Error::unprocessable("frames_missing", detail));
    }
    let paid = attempt.paid(points_per_frame);
    ledger::store::pay_task(conn, &paid, now).await
}
