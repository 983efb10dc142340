//! Jobs: submitted with a scene and a price, split into tasks, paid from escrow, ended with their tasks.

mod finish;
mod frames;
mod scene;
pub mod store;

use axum::body::Bytes;
use axum::extract::multipart::{Field, MultipartRejection};
use axum::extract::{DefaultBodyLimit, Multipart, State};
use axum::http::{HeaderMap, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pictor_protocol::{AccountId, Job, JobId, JobSettings, JobStatus, List, Micros, Sha256, TaskId};
use serde::Deserialize;
use tracing::Span;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use crate::App;
use crate::auth::{Caller, Creator};
use crate::blobs::Received;
use crate::error::{Error, Json, Path, Query, Result};
use crate::ledger;
use crate::lists::{self, given};
use crate::png::SIDE_MAX;
use crate::tasks::state::{AttemptEvent, JobEvent, TaskEvent};
use crate::tasks::store::move_tasks_of_job;
use store::NewJob;

pub use finish::{finish_loop, finish_once};
pub use frames::{Picture, Standing, archive, frames, newest_frames, picture, standing};

const NAME_CHARS_MAX: usize = 128;
const FRAMES_MAX: i64 = 100_000;
const KEY_CHARS_MAX: usize = 255;
const SETTINGS_BYTES_MAX: u64 = 64 * 1024;
const FRAME_TIMEOUT_SECONDS: i64 = 3_600;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        // Scenes are bounded where they are received.
        .routes(routes!(list, create).layer(DefaultBodyLimit::disable()))
        .routes(routes!(get))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(cancel))
        .routes(routes!(frames::list))
        .routes(routes!(frames::zip))
        .routes(routes!(frames::get))
}

/// The parts of the form, for the document alone.
#[derive(ToSchema)]
#[allow(dead_code)]
struct JobForm {
    settings: JobSettings,
    #[schema(value_type = Option<String>, format = Binary)]
    scene: Option<Vec<u8>>,
}

/// Submits a job: `settings` as JSON, then the scene. 201; 200 when its `Idempotency-Key` has made it before.
#[utoipa::path(post, path = "/v1/jobs", request_body(content = JobForm, content_type = "multipart/form-data"),
    params(("Idempotency-Key" = Option<String>, Header)), responses((status = 201, body = Job), (status = 200, body = Job)))]
async fn create(
    State(app): State<App>,
    Creator(caller): Creator,
    headers: HeaderMap,
    form: std::result::Result<Multipart, MultipartRejection>,
) -> Result<(StatusCode, Json<Job>)> {
    let key = idempotency_key(&headers)?;
    let mut form = form.map_err(|rejection| Error::Invalid(rejection.body_text()))?;
    let settings = settings_of(&mut form).await?;
    let cost = admit(&app, caller.account_id, &settings, key.as_deref()).await?;
    let scene = match next_part(&mut form).await? {
        Some(part) if part.name() == Some("scene") => Some(part),
        Some(part) => return Err(unknown_part(&part)),
        None => None,
    };
    let (job, is_new) = receive(&app, caller.account_id, &settings, key, cost, scene).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(job)))
}

/// What the job will cost, once its settings make sense and the account can pay for it.
pub async fn admit(
    app: &App,
    account: AccountId,
    settings: &JobSettings,
    key: Option<&str>,
) -> Result<Micros> {
    let cost = cost_of(settings)?;
    refuse_unpayable(app, account, key, cost).await?;
    Ok(cost)
}

/// Receives the scene, if it comes along, and submits the job; false when its key has made it before.
pub async fn receive(
    app: &App,
    account: AccountId,
    settings: &JobSettings,
    key: Option<String>,
    cost: Micros,
    scene: Option<Field<'_>>,
) -> Result<(Job, bool)> {
    let (scene_sha256, scene_bytes) = match scene {
        Some(part) => {
            let received = received_scene(app, settings, part).await?;
            let known = (received.sha256, size(received.size_bytes)?);
            received.keep(&format!("scenes/{}", known.0)).await?;
            known
        }
        None => named_scene(app, account, settings).await?,
    };
    let new = new_job(app, account, settings, key, (scene_sha256, scene_bytes));
    let (job, is_new) = submit(app, new, cost).await?;
    Ok((view(app, job).await?, is_new))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    if text.is_empty() || text.chars().count() > KEY_CHARS_MAX {
        return Err(Error::Invalid(format!("Idempotency-Key: 1 to {KEY_CHARS_MAX} characters of ASCII")));
    }
    Ok(Some(text.to_owned()))
}

/// The next part of a form; none after its last.
pub async fn next_part(form: &mut Multipart) -> Result<Option<Field<'_>>> {
    form.next_field()
        .await
        .map_err(|cause| Error::Invalid(format!("the form cannot be read: {}", cause.body_text())))
}

fn unknown_part(part: &Field<'_>) -> Error {
    let name: String = part.name().unwrap_or_default().chars().take(40).collect();
    Error::Invalid(format!("the form has a part '{name}' where 'settings' and then 'scene' belong"))
}

async fn settings_of(form: &mut Multipart) -> Result<JobSettings> {
    let missing = || Error::Invalid("the form's first part must be 'settings', as JSON".to_owned());
    let mut part = next_part(form).await?.ok_or_else(missing)?;
    if part.name() != Some("settings") {
        return Err(unknown_part(&part));
    }
    let mut json = Vec::new();
    loop {
        let chunk: Option<Bytes> =
            part.chunk().await.map_err(|cause| Error::Invalid(format!("settings: {}", cause.body_text())))?;
        let Some(chunk) = chunk else { break };
        json.extend_from_slice(&chunk);
        if json.len() as u64 > SETTINGS_BYTES_MAX {
            return Err(Error::TooLarge(format!("settings: at most {SETTINGS_BYTES_MAX} bytes")));
        }
    }
    serde_json::from_slice(&json).map_err(|cause| Error::Invalid(format!("settings: {cause}")))
}

/// What the whole job costs, once its settings make sense.
pub fn cost_of(settings: &JobSettings) -> Result<Micros> {
    let refused = |detail: String| Err(Error::unprocessable("job_settings", detail));
    let name_chars = settings.name.trim().chars().count();
    if name_chars == 0 || name_chars > NAME_CHARS_MAX || settings.name.chars().any(char::is_control) {
        return refused(format!("name: 1 to {NAME_CHARS_MAX} characters, none of them a control character"));
    }
    let frames = settings.frames.count();
    if frames > FRAMES_MAX {
        return refused(format!("frames: {frames} of them; a job has at most {FRAMES_MAX}"));
    }
    if settings.frames_per_task == 0 {
        return refused("frames_per_task: at least 1".to_owned());
    }
    if settings.task_timeout_seconds == Some(0) {
        return refused("task_timeout_seconds: at least 1".to_owned());
    }
    match (settings.width, settings.height) {
        (None, None) => {}
        (Some(width), Some(height)) if [width, height].iter().all(|side| (1..=SIDE_MAX).contains(side)) => {}
        (Some(_), Some(_)) => return refused(format!("width and height: 1 to {SIDE_MAX} pixels each")),
        _ => return refused("width and height: give both, or neither for the scene's own".to_owned()),
    }
    if settings.frame_cost_micros < Micros::ZERO {
        return refused("frame_cost_micros: a cost cannot be negative".to_owned());
    }
    match settings.frame_cost_micros.checked_times(frames) {
        Some(cost) => Ok(cost),
        None => {
            refused(format!("frame_cost_micros: {frames} frames at that cost are more than can be counted"))
        }
    }
}

/// Spares an upload that would end in the same answer; the balance that counts is read again with the escrow.
async fn refuse_unpayable(app: &App, account: AccountId, key: Option<&str>, cost: Micros) -> Result<()> {
    let conn = &mut *app.db.read().await?;
    if let Some(key) = key
        && store::by_key(conn, account, key).await?.is_some()
    {
        return Ok(());
    }
    let held = ledger::store::balance(conn, &ledger::store::Book::Account(account)).await?;
    if cost > Micros::ZERO && held < cost {
        return Err(Error::InsufficientFunds(format!("the job costs {cost} and the account holds {held}")));
    }
    Ok(())
}

async fn received_scene(app: &App, settings: &JobSettings, part: Field<'_>) -> Result<Received> {
    let received = app.blobs.receive(part, app.settings.scene_bytes_max).await?;
    let refused = match (scene::check(&received.head), &settings.scene_sha256) {
        (Err(cause), _) => Some(Error::unprocessable("not_a_scene", cause.to_string())),
        (Ok(()), Some(named)) if named.parse() != Ok(received.sha256) => Some(Error::unprocessable(
            "scene_differs",
            format!("the scene received has the SHA-256 {}, not the one of scene_sha256", received.sha256),
        )),
        (Ok(()), _) => None,
    };
    match refused {
        None => Ok(received),
        Some(error) => {
            received.discard().await?;
            Err(error)
        }
    }
}

async fn named_scene(app: &App, account: AccountId, settings: &JobSettings) -> Result<(Sha256, i64)> {
    let Some(named) = &settings.scene_sha256 else {
        return Err(Error::Invalid(
            "the form's second part must be 'scene', or settings must name scene_sha256".to_owned(),
        ));
    };
    let unknown = || {
        let detail = "scene_sha256: this account has uploaded no such scene; send it as the part 'scene'";
        Error::unprocessable("scene_unknown", detail)
    };
    let sha256 = named.parse().map_err(|_| unknown())?;
    let found = store::scene_bytes(&mut *app.db.read().await?, account, sha256).await?;
    found.map(|bytes| (sha256, bytes)).ok_or_else(unknown)
}

fn size(bytes: u64) -> Result<i64> {
    i64::try_from(bytes).map_err(|_| Error::TooLarge("the scene is too large".to_owned()))
}

fn new_job(
    app: &App,
    account_id: AccountId,
    settings: &JobSettings,
    idempotency_key: Option<String>,
    (scene_sha256, scene_bytes): (Sha256, i64),
) -> NewJob {
    let frames_of_task = i64::from(settings.frames_per_task).min(settings.frames.count());
    let task_timeout_seconds =
        settings.task_timeout_seconds.map_or(frames_of_task * FRAME_TIMEOUT_SECONDS, i64::from);
    let task = |frames| (app.clock.id(TaskId::from_parts), frames);
    NewJob {
        id: app.clock.id(JobId::from_parts),
        account_id,
        name: settings.name.trim().to_owned(),
        frames: settings.frames,
        frames_per_task: settings.frames_per_task,
        frame_cost: settings.frame_cost_micros,
        fee_ratio: app.settings.fee_ratio,
        width: settings.width,
        height: settings.height,
        task_timeout_seconds,
        scene_sha256,
        scene_bytes,
        idempotency_key,
        tasks: settings.frames.chunks(settings.frames_per_task).map(task).collect(),
    }
}

/// Adds the job with its tasks and its escrow, all or nothing.
async fn submit(app: &App, new: NewJob, cost: Micros) -> Result<(store::JobRow, bool)> {
    let now = app.clock.now();
    let made = app
        .db
        .write(move |conn| {
            let new = new.clone();
            Box::pin(async move {
                store::add_scene(conn, new.account_id, new.scene_sha256, new.scene_bytes, now).await?;
                let (job, is_new) = store::insert(conn, &new, now).await?;
                if is_new {
                    ledger::store::escrow_job(conn, new.account_id, new.id, cost, now).await?;
                }
                Ok((job, is_new))
            })
        })
        .await?;
    pictor_telemetry::attribute(&Span::current(), "pictor.job.id", &made.0.id);
    if made.1 {
        app.wakeup.task_pending();
    }
    Ok(made)
}

async fn view(app: &App, job: store::JobRow) -> Result<Job> {
    let tally = store::tally(&mut *app.db.read().await?, job.id).await?;
    Ok(job.view(&tally, &app.settings.currency))
}

/// The job, if the caller may know of it.
async fn seen(app: &App, caller: &Caller, id: JobId) -> Result<store::JobRow> {
    let job = store::job(&mut *app.db.read().await?, id).await?;
    if caller.may_see(job.account_id) { Ok(job) } else { Err(Error::NotFound("job")) }
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct JobsQuery {
    /// Statuses, separated by commas.
    pub status: Option<String>,
    /// A part of a job's name or id.
    pub search: Option<String>,
    /// 1 to 1,000; 100 unless given.
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// Jobs, newest first; an operator's are the whole network's.
#[utoipa::path(get, path = "/v1/jobs", params(JobsQuery), responses((status = 200, body = List<Job>)))]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<JobsQuery>,
) -> Result<Json<List<Job>>> {
    Ok(Json(jobs(&app, &caller, &query).await?))
}

/// One page of the jobs that a caller may see.
pub async fn jobs(app: &App, caller: &Caller, query: &JobsQuery) -> Result<List<Job>> {
    let limit = lists::limit(query.limit)?;
    let statuses: Option<std::result::Result<Vec<JobStatus>, _>> =
        given(query.status.as_deref()).map(|statuses| statuses.split(',').map(str::parse).collect());
    let wanted = store::Wanted {
        account: caller.account_filter(),
        before: given(query.cursor.as_deref()).map(position).transpose()?,
        statuses: statuses.transpose().map_err(|error| Error::Invalid(format!("status: {error}")))?,
        search: given(query.search.as_deref()).map(str::to_owned),
        // One more than asked for tells whether there is a next page.
        limit: i64::from(limit) + 1,
    };
    let rows = store::page(&mut *app.db.read().await?, &wanted).await?;
    let items = rows.into_iter().map(|(job, tally)| job.view(&tally, &app.settings.currency)).collect();
    Ok(lists::page(items, limit, |last: &Job| URL_SAFE_NO_PAD.encode(last.id.to_string())))
}

fn position(cursor: &str) -> Result<JobId> {
    let id = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    id.and_then(|id| id.parse().ok()).ok_or_else(lists::strange_cursor)
}

#[utoipa::path(get, path = "/v1/jobs/{id}", params(("id" = JobId, Path)), responses((status = 200, body = Job)))]
async fn get(State(app): State<App>, caller: Caller, Path(id): Path<JobId>) -> Result<Json<Job>> {
    Ok(Json(job(&app, &caller, id).await?))
}

/// One job that the caller may see.
pub async fn job(app: &App, caller: &Caller, id: JobId) -> Result<Job> {
    view(app, seen(app, caller, id).await?).await
}

/// What a creator wants of a job.
#[derive(Debug, Clone, Copy)]
pub enum Wish {
    Pause,
    Resume,
    Cancel,
}

/// Pauses a job: its tasks are not assigned, and what is being rendered is given back.
#[utoipa::path(post, path = "/v1/jobs/{id}/pause", params(("id" = JobId, Path)), responses((status = 200, body = Job)))]
async fn pause(State(app): State<App>, Creator(caller): Creator, Path(id): Path<JobId>) -> Result<Json<Job>> {
    Ok(Json(grant(&app, &caller, id, Wish::Pause).await?))
}

#[utoipa::path(post, path = "/v1/jobs/{id}/resume", params(("id" = JobId, Path)), responses((status = 200, body = Job)))]
async fn resume(
    State(app): State<App>,
    Creator(caller): Creator,
    Path(id): Path<JobId>,
) -> Result<Json<Job>> {
    Ok(Json(grant(&app, &caller, id, Wish::Resume).await?))
}

/// Cancels a job for good; what was not rendered is refunded.
#[utoipa::path(post, path = "/v1/jobs/{id}/cancel", params(("id" = JobId, Path)), responses((status = 200, body = Job)))]
async fn cancel(
    State(app): State<App>,
    Creator(caller): Creator,
    Path(id): Path<JobId>,
) -> Result<Json<Job>> {
    Ok(Json(grant(&app, &caller, id, Wish::Cancel).await?))
}

/// Does what the creator wants of the job.
pub async fn grant(app: &App, caller: &Caller, id: JobId, wish: Wish) -> Result<Job> {
    seen(app, caller, id).await?;
    let now = app.clock.now();
    let job = app
        .db
        .write(move |conn| {
            Box::pin(async move {
                let job = store::job(conn, id).await?;
                if !is_granted(&job, wish) {
                    apply(conn, &job, wish, now).await?;
                }
                store::job(conn, id).await
            })
        })
        .await?;
    if matches!(wish, Wish::Resume) {
        app.wakeup.task_pending();
    }
    view(app, job).await
}

/// Said again, a wish is granted already.
fn is_granted(job: &store::JobRow, wish: Wish) -> bool {
    use pictor_protocol::JobStatus::{Cancelled, Paused, Pending, Running};
    match wish {
        Wish::Pause => job.status == Paused,
        Wish::Resume => matches!(job.status, Pending | Running),
        Wish::Cancel => job.status == Cancelled,
    }
}

async fn apply(
    conn: &mut sqlx::AnyConnection,
    job: &store::JobRow,
    wish: Wish,
    now: pictor_protocol::UnixMillis,
) -> Result<()> {
    let (event, task_event) = match wish {
        Wish::Cancel => return finish::end(conn, job, JobEvent::Cancelled, None, now).await,
        Wish::Pause => (JobEvent::Paused, TaskEvent::JobPaused),
        Wish::Resume => {
            let started = store::was_started(conn, job.id).await?;
            (JobEvent::Resumed { started }, TaskEvent::JobResumed)
        }
    };
    store::move_job(conn, job.id, job.status, event, None, now).await?;
    move_tasks_of_job(conn, job.id, task_event, AttemptEvent::Released, now).await
}

#[cfg(test)]
mod tests {
    use super::cost_of;
    use pictor_protocol::{JobSettings, Micros};

    fn cost_with(changed: &str) -> Option<Micros> {
        let mut settings: serde_json::Value =
            serde_json::from_str(r#"{"name": "n", "frames": "1-10", "frame_cost_micros": 50000}"#).unwrap();
        let changed: serde_json::Value = serde_json::from_str(changed).unwrap();
        settings.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
        let settings: JobSettings = serde_json::from_value(settings).unwrap();
        cost_of(&settings).ok()
    }

    #[test]
    fn settings_must_make_sense() {
        assert_eq!(cost_with("{}"), Some(Micros(500_000)));
        assert_eq!(cost_with(r#"{"frame_cost_micros": 0, "width": 16384, "height": 1}"#), Some(Micros(0)));
        assert_eq!(cost_with(r#"{"frames": "1-100000"}"#), Some(Micros(5_000_000_000)));
        for refused in [
            r#"{"name": "  "}"#,
            r#"{"name": "a\nb"}"#,
            r#"{"frames": "0-100000"}"#,
            r#"{"frames_per_task": 0}"#,
            r#"{"task_timeout_seconds": 0}"#,
            r#"{"width": 100}"#,
            r#"{"width": 0, "height": 100}"#,
            r#"{"width": 100, "height": 16385}"#,
            r#"{"frame_cost_micros": -1}"#,
            r#"{"frame_cost_micros": 9223372036854775807}"#,
        ] {
            assert_eq!(cost_with(refused), None, "{refused}");
        }
    }
}
