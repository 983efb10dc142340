//! Test renders: a scene of the agent's own on every slot of a worker, unpaid and in no statistics. Only the
//! last one of a worker is kept.

pub mod state;
pub mod store;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use pictor_protocol::{
    AccountId, TestRender, TestRenderId, TestRenderReport, TestRenderSlot, TestRenderStatus, UnixMillis,
    WantedTestRender, WorkerId,
};
use sqlx::AnyConnection;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::auth::{Agent, Caller, Provider};
use crate::error::{Error, Json, Path, Result};
use crate::png;
use state::TestRenderEvent;

/// What did not end by then has failed.
const MILLIS_MAX: i64 = 10 * 60 * 1_000;
const UNANSWERED: &str = "it did not end within 10 minutes: its slot stayed busy, its agent went away, or its agent is \
     too old to know test renders";
/// The agent's scene is small.
const FRAME_BYTES_MAX: u64 = 4 << 20;
const TEXT_CHARS_MAX: usize = 2_000;
const SECONDS_MAX: f64 = 1_000_000.0;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(post, get))
        .routes(routes!(frame))
        .routes(routes!(report))
        .routes(routes!(put_frame))
}

/// When those that are still open were asked for.
fn open_since(now: UnixMillis) -> UnixMillis {
    UnixMillis(now.0 - MILLIS_MAX)
}

fn path(worker: WorkerId, slot: u32) -> String {
    format!("test-renders/{worker}/{slot}")
}

/// Asks for a test render on every slot that the agent reports. 409 `worker_offline`, `no_slots`, or
/// `test_render_under_way`.
#[utoipa::path(
    post,
    path = "/v1/workers/{id}/test-render",
    params(("id" = WorkerId, Path)),
    responses((status = 201, body = TestRender), (status = 409, description = "It is offline, or one is under way"))
)]
async fn post(
    State(app): State<App>,
    Provider(caller): Provider,
    Path(id): Path<WorkerId>,
) -> Result<(StatusCode, Json<TestRender>)> {
    Ok((StatusCode::CREATED, Json(request(&app, &caller, id).await?)))
}

pub async fn request(app: &App, caller: &Caller, id: WorkerId) -> Result<TestRender> {
    caller.require_full()?;
    super::standing(app, id, caller.account_filter()).await?;
    let now = app.clock.now();
    let seen = app.presence.get(id).filter(|seen| seen.is_online(now, app.settings.offline_after_seconds()));
    let seen = seen.ok_or_else(|| {
        Error::conflict("worker_offline", "this worker is offline: start its agent, then try again")
    })?;
    let slots: Vec<TestRenderSlot> = seen
        .report
        .slots
        .iter()
        .map(|slot| TestRenderSlot {
            slot: slot.slot,
            gpu_uuid: slot.gpu_uuid.clone(),
            status: TestRenderStatus::Pending,
            seconds: None,
            device: None,
            peak_memory_bytes: None,
            error: None,
        })
        .collect();
    if slots.is_empty() {
        return Err(Error::conflict("no_slots", "this worker's agent has no slot to render on"));
    }
    let made = TestRender { id: app.clock.id(TestRenderId::from_parts), requested_at: now, slots };
    let row = made.clone();
    app.db
        .write(move |conn| {
            let row = row.clone();
            Box::pin(async move {
                store::lock(conn, id).await?;
                if !store::open_slots(conn, id, open_since(now)).await?.is_empty() {
                    return Err(Error::conflict(
                        "test_render_under_way",
                        "a test render is under way already",
                    ));
                }
                store::replace(conn, id, &row).await
            })
        })
        .await?;
    Ok(made)
}

/// The worker's last test render.
#[utoipa::path(get, path = "/v1/workers/{id}/test-render", params(("id" = WorkerId, Path)), responses((status = 200, body = TestRender)))]
async fn get(
    State(app): State<App>,
    Provider(caller): Provider,
    Path(id): Path<WorkerId>,
) -> Result<Json<TestRender>> {
    let last = last(&app, id, caller.account_filter()).await?;
    Ok(Json(last.ok_or(Error::NotFound("test render: none was asked for"))?))
}

/// The last test render of a worker, if its owner ever asked for one.
pub async fn last(app: &App, id: WorkerId, owner: Option<AccountId>) -> Result<Option<TestRender>> {
    let conn = &mut *app.db.read().await?;
    super::store::get(conn, id, owner).await?;
    let Some(mut found) = store::last(conn, id).await? else { return Ok(None) };
    if found.requested_at <= open_since(app.clock.now()) {
        for slot in found.slots.iter_mut().filter(|slot| !slot.status.has_ended()) {
            slot.status = TestRenderStatus::Failed;
            slot.error = Some(UNANSWERED.to_owned());
        }
    }
    Ok(Some(found))
}

/// The frame that one slot rendered.
#[utoipa::path(
    get,
    path = "/v1/workers/{id}/test-render/slots/{slot}/frame",
    params(("id" = WorkerId, Path), ("slot" = u32, Path)),
    responses((status = 200, content_type = "image/png"))
)]
async fn frame(
    State(app): State<App>,
    Provider(caller): Provider,
    Path((id, slot)): Path<(WorkerId, u32)>,
) -> Result<Response> {
    picture(&app, &caller, id, slot).await
}

pub async fn picture(app: &App, caller: &Caller, id: WorkerId, slot: u32) -> Result<Response> {
    caller.require_full()?;
    let last = last(app, id, caller.account_filter()).await?;
    let completed =
        |found: &TestRenderSlot| found.slot == slot && found.status == TestRenderStatus::Completed;
    if !last.is_some_and(|last| last.slots.iter().any(completed)) {
        return Err(Error::NotFound("frame of a test render"));
    }
    let stored = app.blobs.get(&path(id, slot)).await?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("image/png")),
        (header::CONTENT_LENGTH, HeaderValue::from(stored.size_bytes)),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache")),
    ];
    Ok((headers, Body::from_stream(stored.bytes)).into_response())
}

/// What an agent is told at its heartbeat.
pub(crate) async fn wanted(
    conn: &mut AnyConnection,
    worker: WorkerId,
    now: UnixMillis,
) -> Result<Option<WantedTestRender>> {
    let open = store::open_slots(conn, worker, open_since(now)).await?;
    let Some(id) = open.first().map(|open| open.id) else { return Ok(None) };
    Ok(Some(WantedTestRender { id, slots: open.into_iter().map(|open| open.slot).collect() }))
}

/// The slots that are busy with a test render.
pub async fn running_slots(conn: &mut AnyConnection, worker: WorkerId, now: UnixMillis) -> Result<Vec<u32>> {
    let open = store::open_slots(conn, worker, open_since(now)).await?;
    Ok(open
        .into_iter()
        .filter(|open| open.status == TestRenderStatus::Running)
        .map(|open| open.slot)
        .collect())
}

/// That a slot's test render runs, or how it ended. 409 `test_render_ended` when it has ended already, and
/// `frame_missing` when `completed` comes before the frame.
#[utoipa::path(
    put,
    path = "/v1/agent/test-renders/{id}/slots/{slot}",
    params(("id" = TestRenderId, Path), ("slot" = u32, Path)),
    request_body = TestRenderReport,
    responses((status = 204), (status = 409, description = "It has ended already, or its frame has not come"))
)]
async fn report(
    State(app): State<App>,
    agent: Agent,
    Path((id, slot)): Path<(TestRenderId, u32)>,
    Json(report): Json<TestRenderReport>,
) -> Result<StatusCode> {
    let event = event_of(report.status)?;
    let report = checked(report)?;
    let (worker, since) = (agent.worker_id, open_since(app.clock.now()));
    app.db
        .write(move |conn| {
            let report = report.clone();
            Box::pin(async move {
                let open = open_slot(conn, worker, id, slot, since).await?;
                if event == TestRenderEvent::Completed && !open.has_frame {
                    return Err(Error::conflict("frame_missing", "send the frame before it is completed"));
                }
                store::report(conn, worker, &open, event, &report).await
            })
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The frame of a slot's test render, as it goes before `completed`.
#[utoipa::path(
    put,
    path = "/v1/agent/test-renders/{id}/slots/{slot}/frame",
    params(("id" = TestRenderId, Path), ("slot" = u32, Path)),
    responses((status = 204), (status = 409, description = "It has ended already"))
)]
async fn put_frame(
    State(app): State<App>,
    agent: Agent,
    Path((id, slot)): Path<(TestRenderId, u32)>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode> {
    let (worker, since) = (agent.worker_id, open_since(app.clock.now()));
    open_slot(&mut *app.db.read().await?, worker, id, slot, since).await?;
    let bytes = png::whole_png(&headers, body, FRAME_BYTES_MAX).await?;
    app.blobs.put(&path(worker, slot), bytes).await?;
    app.db
        .write(move |conn| {
            Box::pin(async move {
                let open = open_slot(conn, worker, id, slot, since).await?;
                store::frame_came(conn, worker, &open).await
            })
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A slot of this worker's own test render, while something may come of it.
async fn open_slot(
    conn: &mut AnyConnection,
    worker: WorkerId,
    id: TestRenderId,
    slot: u32,
    since: UnixMillis,
) -> Result<store::OpenSlot> {
    let open = store::open_slots(conn, worker, since).await?;
    if let Some(found) = open.into_iter().find(|open| open.id == id && open.slot == slot) {
        return Ok(found);
    }
    let last = store::last(conn, worker).await?.filter(|last| last.id == id);
    match last.is_some_and(|last| last.slots.iter().any(|known| known.slot == slot)) {
        true => Err(store::ended()),
        false => Err(Error::NotFound("test render")),
    }
}

fn event_of(said: TestRenderStatus) -> Result<TestRenderEvent> {
    match said {
        TestRenderStatus::Pending => Err(Error::Invalid("status: running, completed or failed".to_owned())),
        TestRenderStatus::Running => Ok(TestRenderEvent::Runs),
        TestRenderStatus::Completed => Ok(TestRenderEvent::Completed),
        TestRenderStatus::Failed => Ok(TestRenderEvent::Failed),
    }
}

fn checked(report: TestRenderReport) -> Result<TestRenderReport> {
    let sound = |seconds: f64| (0.0..=SECONDS_MAX).contains(&seconds);
    match report.seconds {
        Some(seconds) if sound(seconds) => {}
        None if report.status != TestRenderStatus::Completed => {}
        _ => return Err(Error::Invalid(format!("seconds: from 0 to {SECONDS_MAX}"))),
    }
    let kept = |text: String| {
        text.chars().take(TEXT_CHARS_MAX).map(|c| if c == '\0' { '\u{FFFD}' } else { c }).collect()
    };
    let error = (report.status == TestRenderStatus::Failed)
        .then(|| report.error.filter(|text| !text.is_empty()))
        .map(|error| error.map_or_else(|| "its agent does not say why".to_owned(), kept));
    Ok(TestRenderReport { device: report.device.map(kept), error, ..report })
}
