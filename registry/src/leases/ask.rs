//! Asking: who gets which task, and for how long.

use std::time::Duration;

use axum::extract::State;
use pictor_protocol::{
    AskId, AttemptId, HeartbeatRequest, Lease, LeaseRequest, LeasesResponse, UnixMillis, WorkerId,
};
use pictor_telemetry::{Moment, TraceParent};
use sqlx::AnyConnection;
use tokio::time::{Instant, timeout_at};

use crate::App;
use crate::auth::Agent;
use crate::db::Dialect;
use crate::error::{Error, Json, Result};
use crate::jobs;
use crate::tasks::store::{self, Assignment, NewAttempt};
use crate::tasks::{LeaseOutcome, next_job, next_task};
use crate::workers::{self, Facts, may_work};

const WAIT_SECONDS_MAX: u32 = 25;
const SLOTS_MAX: usize = 256;
/// A wake-up of another replica does not reach this one, so a waiting asker also looks by itself.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// What one asking comes down to, once there is something to give.
#[derive(Clone)]
struct Ask {
    worker_id: WorkerId,
    ask_id: AskId,
    /// Its agent's last heartbeat says so.
    accepts_tasks: bool,
    /// One for each slot that may work, as far as was seen.
    attempts: Vec<NewAttempt>,
    /// What others have failed to take since then may also go to who failed it.
    waited_since: UnixMillis,
}

#[utoipa::path(post, path = "/v1/agent/leases", request_body = LeaseRequest, responses((status = 200, body = LeasesResponse)))]
pub(super) async fn ask(
    State(app): State<App>,
    agent: Agent,
    Json(request): Json<LeaseRequest>,
) -> Result<Json<LeasesResponse>> {
    check(&request)?;
    let until = Instant::now() + Duration::from_secs(u64::from(request.wait_seconds));
    let mut pending = app.wakeup.askers();
    let mut picking = Duration::ZERO;
    let leases = loop {
        pending.mark_unchanged();
        let began = Instant::now();
        let answer = answer(&app, agent, &request).await?;
        picking += began.elapsed();
        if let Some(leases) = answer {
            break leases;
        }
        if Instant::now() >= until || app.shutdown.is_cancelled() {
            break Vec::new();
        }
        let next = until.min(Instant::now() + PROBE_INTERVAL);
        tokio::select! {
            _ = timeout_at(next, pending.changed()) => {}
            () = app.shutdown.cancelled() => break Vec::new(),
        }
    };
    app.metrics.assigned(picking.as_secs_f64());
    Ok(Json(LeasesResponse { leases }))
}

fn check(request: &LeaseRequest) -> Result<()> {
    if request.wait_seconds > WAIT_SECONDS_MAX {
        return Err(Error::Invalid(format!("wait_seconds: at most {WAIT_SECONDS_MAX}")));
    }
    let mut slots = request.slots.clone();
    slots.sort_unstable();
    slots.dedup();
    if slots.is_empty() || slots.len() > SLOTS_MAX || slots.len() < request.slots.len() {
        return Err(Error::Invalid(format!("slots: 1 to {SLOTS_MAX} of them, each named once")));
    }
    Ok(())
}

/// The answer to an asking as things stand; `None` while there is nothing to give.
async fn answer(app: &App, agent: Agent, request: &LeaseRequest) -> Result<Option<Vec<Lease>>> {
    let now = app.clock.now();
    let waited_since = now.plus_seconds(-i64::from(app.settings.lease_seconds));
    let seen = app.presence.get(agent.worker_id);
    let accepts_tasks = seen.as_ref().is_some_and(|seen| seen.report.accepts_tasks);
    // Looks before it asks to write: most awakened askers find that another was faster. Whoever waits to write holds no
    // connection to read.
    let able = {
        let mut conn = app.db.read().await?;
        let before = store::asked_before(&mut conn, agent.worker_id, &request.ask_id).await?;
        if !before.is_empty() {
            return Ok(Some(held(&before, now)));
        }
        // What its agent says costs no look into the database, and a job is what is missing most often.
        if !accepts_tasks || next_job(&mut conn, agent.worker_id, waited_since).await?.is_none() {
            return Ok(None);
        }
        able(&mut conn, agent.worker_id, accepts_tasks, &request.slots, now).await?
    };
    let Some(seen) = seen.filter(|_| !able.is_empty()) else { return Ok(None) };
    let ask = Ask {
        worker_id: agent.worker_id,
        ask_id: request.ask_id.clone(),
        accepts_tasks,
        attempts: able.iter().map(|slot| new_attempt(app, agent, request, &seen.report, *slot)).collect(),
        waited_since,
    };
    let dialect = app.db.dialect();
    let began = Instant::now();
    let granted = app
        .db
        .write(move |conn| {
            let ask = ask.clone();
            Box::pin(async move { grant(conn, dialect, &ask, now).await })
        })
        .await?;
    app.metrics.count_leases(LeaseOutcome::Granted, granted.len() as u64);
    for granted in &granted {
        trace(granted, agent.worker_id, began.elapsed());
    }
    let leases: Vec<Lease> = granted.into_iter().map(|granted| granted.lease).collect();
    Ok((!leases.is_empty()).then_some(leases))
}

/// Those of the slots that may work. Asked once to look and once more where it is written, for what holds between the
/// two may change.
async fn able(
    conn: &mut AnyConnection,
    worker_id: WorkerId,
    accepts_tasks: bool,
    slots: &[u32],
    now: UnixMillis,
) -> Result<Vec<u32>> {
    let worker = workers::store::get(conn, worker_id, None).await?;
    let tested = workers::test_render::running_slots(conn, worker_id, now).await?;
    let may = |slot: &&u32| {
        let (desired, renders_test) = (worker.slot_desired(**slot), tested.contains(slot));
        may_work(Facts { accepts_tasks, desired, renders_test })
            .inspect_err(|why| tracing::debug!(worker = %worker_id, slot, ?why, "no work"))
            .is_ok()
    };
    Ok(slots.iter().filter(may).copied().collect())
}

fn held(before: &[Assignment], now: UnixMillis) -> Vec<Lease> {
    before.iter().filter(|held| held.is_held()).map(|held| lease_of(held, now)).collect()
}

/// A lease given to an asker.
struct Granted {
    lease: Lease,
    how: How,
}

/// Which lease of its task it is.
#[derive(Clone, Copy, PartialEq)]
enum How {
    First,
    Another,
    /// The same one again.
    Again,
}

fn trace(granted: &Granted, worker: WorkerId, took: Duration) {
    let Granted { lease, how } = granted;
    let Some(moment) = Moment::of(lease.task_id, lease.id, took) else { return };
    let moment = moment
        .with("pictor.job.id", lease.job_id.to_string())
        .with("pictor.worker.id", worker.to_string())
        .with("pictor.frames", lease.frames.to_string());
    if *how == How::First {
        moment.submitted();
    }
    if *how != How::Again {
        moment.leased();
    }
}

fn new_attempt(
    app: &App,
    agent: Agent,
    request: &LeaseRequest,
    report: &HeartbeatRequest,
    slot: u32,
) -> NewAttempt {
    let reported = report.slots.iter().find(|reported| reported.slot == slot);
    let gpu_uuid = reported.and_then(|reported| reported.gpu_uuid.clone());
    let gpu = report.gpus.iter().find(|gpu| Some(&gpu.uuid) == gpu_uuid.as_ref());
    NewAttempt {
        id: app.clock.id(AttemptId::from_parts),
        worker_id: agent.worker_id,
        provider: agent.account_id,
        slot,
        gpu_name: gpu.and_then(|gpu| gpu.name.clone()),
        gpu_uuid,
        ask_id: request.ask_id.clone(),
        lease_seconds: i64::from(app.settings.lease_seconds),
    }
}

async fn grant(
    conn: &mut AnyConnection,
    dialect: Dialect,
    ask: &Ask,
    now: UnixMillis,
) -> Result<Vec<Granted>> {
    // The same asking can come twice at once, when the first one's connection broke.
    let before = store::asked_before(conn, ask.worker_id, &ask.ask_id).await?;
    if !before.is_empty() {
        let again = |lease| Granted { lease, how: How::Again };
        return Ok(held(&before, now).into_iter().map(again).collect());
    }
    let slots: Vec<u32> = ask.attempts.iter().map(|new| new.slot).collect();
    let able = able(conn, ask.worker_id, ask.accepts_tasks, &slots, now).await?;
    let mut granted = Vec::new();
    for new in ask.attempts.iter().filter(|new| able.contains(&new.slot)) {
        let Some(job) = next_job(conn, ask.worker_id, ask.waited_since).await? else { break };
        let Some(pick) = next_task(conn, dialect, ask.worker_id, job, ask.waited_since).await? else {
            break;
        };
        if !store::lease(conn, &pick, new, now).await? {
            break;
        }
        jobs::store::started(conn, job).await?;
        let held = store::assignment(conn, ask.worker_id, new.id).await?;
        let how = if pick.previous.is_none() { How::First } else { How::Another };
        granted.push(Granted { lease: lease_of(&held, now), how });
    }
    Ok(granted)
}

fn lease_of(held: &Assignment, now: UnixMillis) -> Lease {
    let left = |until: UnixMillis| u32::try_from((until.0 - now.0).max(0) / 1_000).unwrap_or(u32::MAX);
    Lease {
        id: held.attempt_id,
        slot: u32::try_from(held.slot).unwrap_or(u32::MAX),
        task_id: held.task_id,
        job_id: held.job_id,
        frames: held.frames,
        scene_sha256: held.scene_sha256,
        scene_bytes: u64::try_from(held.scene_bytes).unwrap_or(0),
        width: held.width,
        height: held.height,
        lease_seconds: left(held.expires_at),
        timeout_seconds: left(held.deadline_at),
        traceparent: pictor_telemetry::is_exporting()
            .then(|| TraceParent::of_lease(held.task_id, held.attempt_id).to_string()),
    }
}
