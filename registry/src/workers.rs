//! Workers: setup, config files, who is there, and where each stands.

mod bulk;
mod list;
mod may_work;
pub mod names;
mod presence;
mod seen;
pub mod setup;
pub mod store;
pub mod test_render;
mod view;

use axum::extract::State;
use axum::http::StatusCode;
use pictor_protocol::{
    AccountId, DesiredState, NewWorker, PatchWorker, SlotDesired, Worker, WorkerId, WorkerName,
};
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::accounts::store::revoke_worker_tokens;
use crate::audit::{self, Event};
use crate::auth::{Agent, Caller, Provider};
use crate::error::{Error, Json, Path, Result};
use crate::ledger::store::earned_of;
use crate::tasks;

pub use bulk::{bulk, meant};
pub use list::{ListQuery, Listed, Order, Sort, TagTotal, csv, list, totals_by_tag};
pub use may_work::{Facts, Kept, may_work};
pub(crate) use presence::write_one;
pub use presence::{Presence, presence_loop, write_presence};
pub use seen::{Beat, Seen};
pub use view::Standing;

const TAGS_MAX: usize = 32;
const TAG_CHARS_MAX: usize = 64;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create, list::get))
        .routes(routes!(bulk::post))
        .routes(routes!(get, patch, delete))
        .routes(routes!(config))
        .routes(routes!(setup::batch))
        .routes(routes!(rename))
        .merge(test_render::routes())
}

/// Where every worker of an account, or of all, stands now.
pub async fn standings(app: &App, owner: Option<AccountId>) -> Result<Vec<Standing>> {
    standings_of(app, owner, None).await
}

/// As [`standings`], of these workers alone where there are any.
async fn standings_of(
    app: &App,
    owner: Option<AccountId>,
    ids: Option<&[WorkerId]>,
) -> Result<Vec<Standing>> {
    let (rows, mut held) = {
        let mut conn = app.db.read().await?;
        (store::list(&mut conn, owner, ids).await?, store::held(&mut conn, owner, ids).await?)
    };
    let queue = tasks::queue(app).await?;
    let (now, offline_after_seconds) = (app.clock.now(), app.settings.offline_after_seconds());
    let standing = |row: store::WorkerRow| {
        let (seen, held) = (app.presence.get(row.id), held.remove(&row.id).unwrap_or_default());
        Standing::new(row, seen, held, queue.clone(), now, offline_after_seconds)
    };
    Ok(rows.into_iter().map(standing).collect())
}

/// Where one worker stands now; `NotFound` also when it is another account's.
pub async fn standing(app: &App, worker_id: WorkerId, owner: Option<AccountId>) -> Result<Standing> {
    standings_of(app, owner, Some(&[worker_id])).await?.pop().ok_or(Error::NotFound("worker"))
}

/// What a worker of this owner's is called.
pub async fn name(app: &App, worker_id: WorkerId, owner: Option<AccountId>) -> Result<WorkerName> {
    Ok(store::get(&mut *app.db.read().await?, worker_id, owner).await?.name)
}

/// One worker, if this owner has it; operators, `None`, see each.
pub async fn worker(app: &App, worker_id: WorkerId, owner: Option<AccountId>) -> Result<Worker> {
    let standing = standing(app, worker_id, owner).await?;
    let earned = earned_of(&mut *app.db.read().await?, &[worker_id]).await?;
    Ok(standing.worker(earned.get(&worker_id).copied().unwrap_or_default()))
}

/// Registers a worker; its config file is the next thing to fetch.
#[utoipa::path(post, path = "/v1/workers", request_body = NewWorker, responses((status = 201, body = Worker)))]
async fn create(
    State(app): State<App>,
    Provider(caller): Provider,
    Json(new): Json<NewWorker>,
) -> Result<(StatusCode, Json<Worker>)> {
    let id = setup::register(&app, caller.account_id, new.name).await?;
    Ok((StatusCode::CREATED, Json(worker(&app, id, Some(caller.account_id)).await?)))
}

/// One worker.
#[utoipa::path(get, path = "/v1/workers/{id}", params(("id" = WorkerId, Path)), responses((status = 200, body = Worker)))]
async fn get(
    State(app): State<App>,
    Provider(caller): Provider,
    Path(id): Path<WorkerId>,
) -> Result<Json<Worker>> {
    Ok(Json(worker(&app, id, caller.account_filter()).await?))
}

/// Changes name, tags or desired state, of the worker or of single slots; what is absent stays.
#[utoipa::path(
    patch,
    path = "/v1/workers/{id}",
    params(("id" = WorkerId, Path)),
    request_body = PatchWorker,
    responses((status = 200, body = Worker))
)]
async fn patch(
    State(app): State<App>,
    Provider(caller): Provider,
    Path(id): Path<WorkerId>,
    Json(change): Json<PatchWorker>,
) -> Result<Json<Worker>> {
    apply(&app, id, caller.account_filter(), change).await?;
    Ok(Json(worker(&app, id, caller.account_filter()).await?))
}

/// Changes a worker and what is wanted of it and of its slots.
pub async fn apply(app: &App, id: WorkerId, owner: Option<AccountId>, change: PatchWorker) -> Result<()> {
    let change = PatchWorker { tags: change.tags.map(tags).transpose()?, ..change };
    let now = app.clock.now();
    let slots = change.slots.iter().flatten().map(|slot| slot.desired);
    let activates = slots.chain(change.desired).any(|wanted| wanted == DesiredState::Active);
    let seen = app.presence.get(id);
    let reported: Vec<u32> =
        seen.iter().flat_map(|seen| &seen.report.slots).map(|reported| reported.slot).collect();
    app.db
        .write(move |conn| {
            let (change, reported) = (change.clone(), reported.clone());
            Box::pin(async move {
                let mut row = store::get(conn, id, owner).await?;
                check_slots(change.slots.as_deref().unwrap_or_default(), &reported)?;
                let before = (row.name.clone(), row.tags.clone());
                row.name = change.name.unwrap_or(row.name);
                row.tags = change.tags.unwrap_or(row.tags);
                row.desired = change.desired.unwrap_or(row.desired);
                change.slots.iter().flatten().for_each(|wanted| row.want_of_slot(*wanted));
                if before != (row.name.clone(), row.tags.clone()) {
                    row.updated_at = now;
                }
                store::update(conn, &row).await
            })
        })
        .await?;
    if activates {
        app.wakeup.task_pending();
    }
    Ok(())
}

/// Slots are those that the worker's agent has named, each at most once.
fn check_slots(wanted: &[SlotDesired], reported: &[u32]) -> Result<()> {
    for (place, SlotDesired { slot, .. }) in wanted.iter().enumerate() {
        if !reported.contains(slot) {
            return Err(Error::Invalid(format!("slots: this worker has no slot {slot}")));
        }
        if wanted[..place].iter().any(|other| other.slot == *slot) {
            return Err(Error::Invalid(format!("slots: slot {slot} is named twice")));
        }
    }
    Ok(())
}

pub fn tags(tags: Vec<String>) -> Result<Vec<String>> {
    let mut kept: Vec<String> = Vec::with_capacity(tags.len());
    for tag in tags {
        let tag = tag.trim();
        if tag.is_empty()
            || tag.chars().count() > TAG_CHARS_MAX
            || tag.chars().any(|c| c.is_control() || c == ',')
        {
            return Err(Error::Invalid(format!(
                "tags: each has 1 to {TAG_CHARS_MAX} characters, no comma and no control characters"
            )));
        }
        if !kept.iter().any(|other| other == tag) {
            kept.push(tag.to_owned());
        }
    }
    if kept.len() > TAGS_MAX {
        return Err(Error::Invalid(format!("tags: at most {TAGS_MAX}")));
    }
    Ok(kept)
}

/// Archives a worker: its token dies at once, what it renders is given back, and its name is free.
#[utoipa::path(delete, path = "/v1/workers/{id}", params(("id" = WorkerId, Path)), responses((status = 204)))]
async fn delete(
    State(app): State<App>,
    Provider(caller): Provider,
    Path(id): Path<WorkerId>,
) -> Result<StatusCode> {
    archive(&app, id, &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn archive(app: &App, id: WorkerId, caller: &Caller) -> Result<()> {
    let (owner, now, clock, caller) =
        (caller.account_filter(), app.clock.now(), app.clock.clone(), caller.clone());
    // What it last reported belongs to its history.
    presence::write_one(app, id).await?;
    app.db
        .write(move |conn| {
            let (caller, clock) = (caller.clone(), clock.clone());
            Box::pin(async move {
                let row = store::get(conn, id, owner).await?;
                store::archive(conn, id, now).await?;
                let event = Event::by(&clock, &caller, row.account_id, "worker_deleted", id);
                audit::record(conn, &event.with(json!({ "name": row.name }))).await?;
                revoke_worker_tokens(conn, id, now).await?;
                tasks::release_all(conn, id, now).await
            })
        })
        .await?;
    app.presence.forget(id);
    app.wakeup.task_pending();
    Ok(())
}

/// The worker's config file with a new token. The machine that uses the worker now is disconnected when
/// another one first uses the new token.
#[utoipa::path(
    get,
    path = "/v1/workers/{id}/config",
    params(("id" = WorkerId, Path)),
    responses((status = 200, body = String, content_type = "application/toml"))
)]
async fn config(
    State(app): State<App>,
    Provider(caller): Provider,
    Path(id): Path<WorkerId>,
) -> Result<setup::Download> {
    setup::config_file(&app, &caller, id).await
}

/// The new name of an agent's own worker.
#[utoipa::path(patch, path = "/v1/agent/worker", request_body = NewWorker, responses((status = 200, body = Worker)))]
async fn rename(State(app): State<App>, agent: Agent, Json(new): Json<NewWorker>) -> Result<Json<Worker>> {
    let name: WorkerName = new.name;
    let change = PatchWorker { name: Some(name), ..PatchWorker::default() };
    apply(&app, agent.worker_id, Some(agent.account_id), change).await?;
    Ok(Json(worker(&app, agent.worker_id, Some(agent.account_id)).await?))
}
