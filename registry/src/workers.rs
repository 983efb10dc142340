//! Workers: setup, config files, status, and the heartbeats of their agents.

mod heartbeat;
mod presence;
pub mod store;
mod view;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pictor_protocol::{
    AccountId, DesiredState, List, NewWorker, PatchWorker, Scope, TokenId, Worker, WorkerConfig, WorkerId,
    WorkerName, WorkerStatus,
};
use serde::Deserialize;
use serde_json::json;
use sqlx::AnyConnection;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::accounts::store::{NewTokenRow, add_worker_token, revoke_worker_tokens};
use crate::audit::{self, Event};
use crate::auth::{self, Agent, Provider};
use crate::error::{Error, Json, Path, Query, Result};
use crate::tasks;

pub use presence::{Presence, Seen, presence_loop, write_presence};
pub use view::Standing;

const LIMIT_DEFAULT: u32 = 100;
const LIMIT_MAX: u32 = 1_000;
const TAGS_MAX: usize = 32;
const TAG_CHARS_MAX: usize = 64;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(get, patch, delete))
        .routes(routes!(config))
        .routes(routes!(heartbeat::heartbeat))
        .routes(routes!(rename))
}

/// What the owner of a worker wants of it.
pub async fn desired(conn: &mut AnyConnection, worker_id: WorkerId) -> Result<DesiredState> {
    Ok(store::get(conn, worker_id, None).await?.desired)
}

/// Where every worker of an account, or of all, stands now.
pub async fn standings(app: &App, owner: Option<AccountId>) -> Result<Vec<Standing>> {
    let (rows, mut held) = {
        let mut conn = app.db.read().await?;
        (store::list(&mut conn, owner).await?, store::held(&mut conn, owner, None).await?)
    };
    let (now, offline_after_seconds) = (app.clock.now(), app.settings.offline_after_seconds());
    let standing = |row: store::WorkerRow| {
        let (seen, held) = (app.presence.get(row.id), held.remove(&row.id).unwrap_or_default());
        Standing::new(row, seen, held, now, offline_after_seconds)
    };
    Ok(rows.into_iter().map(standing).collect())
}

async fn standing(app: &App, worker_id: WorkerId, owner: Option<AccountId>) -> Result<Standing> {
    let mut conn = app.db.read().await?;
    let row = store::get(&mut conn, worker_id, owner).await?;
    let held = store::held(&mut conn, None, Some(worker_id)).await?.remove(&worker_id).unwrap_or_default();
    let seen = app.presence.get(worker_id);
    Ok(Standing::new(row, seen, held, app.clock.now(), app.settings.offline_after_seconds()))
}

/// Registers a worker; its config file is the next thing to fetch.
#[utoipa::path(post, path = "/v1/workers", request_body = NewWorker, responses((status = 201, body = Worker)))]
async fn create(
    State(app): State<App>,
    Provider(caller): Provider,
    Json(new): Json<NewWorker>,
) -> Result<(StatusCode, Json<Worker>)> {
    let (id, account_id, now) = (app.clock.id(WorkerId::from_parts), caller.account_id, app.clock.now());
    app.db
        .write(move |conn| {
            let name = new.name.clone();
            Box::pin(async move { store::create(conn, id, account_id, &name, now).await })
        })
        .await?;
    Ok((StatusCode::CREATED, Json(standing(&app, id, Some(account_id)).await?.worker())))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Sort {
    #[default]
    Name,
    /// What needs attention first.
    Status,
    CreatedAt,
    UpdatedAt,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Order {
    #[default]
    Asc,
    Desc,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// A part of a name, an id, a GPU's name or UUID, an IP address or a tag.
    search: Option<String>,
    /// Statuses, separated by commas.
    status: Option<String>,
    /// Workers that carry this tag.
    tag: Option<String>,
    #[serde(default)]
    #[param(inline)]
    sort: Sort,
    #[serde(default)]
    #[param(inline)]
    order: Order,
    /// At most 1,000; 100 unless given.
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The caller's workers; an operator's are the whole network's.
#[utoipa::path(get, path = "/v1/workers", params(ListQuery), responses((status = 200, body = List<Worker>)))]
async fn list(
    State(app): State<App>,
    Provider(caller): Provider,
    Query(query): Query<ListQuery>,
) -> Result<Json<List<Worker>>> {
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if limit == 0 || limit > LIMIT_MAX {
        return Err(Error::Invalid(format!("limit must be from 1 to {LIMIT_MAX}")));
    }
    let statuses = statuses(query.status.as_deref())?;
    let after = query.cursor.as_deref().filter(|cursor| !cursor.is_empty()).map(position).transpose()?;
    let descending = query.order == Order::Desc;
    let mut found: Vec<((String, String), Standing)> = standings(&app, caller.account_filter())
        .await?
        .into_iter()
        .filter(|standing| statuses.is_empty() || statuses.contains(&standing.status))
        .filter(|standing| matches(standing, query.search.as_deref(), query.tag.as_deref()))
        .map(|standing| ((view::sort_text(&standing, query.sort), standing.row.id.to_string()), standing))
        .filter(|(key, _)| after.as_ref().is_none_or(|after| view::compare(key, after, descending).is_gt()))
        .collect();
    found.sort_by(|(left, _), (right, _)| view::compare(left, right, descending));
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next_cursor = found.last().filter(|_| more).map(|(key, _)| cursor(key)).transpose()?;
    Ok(Json(List { items: found.iter().map(|(_, standing)| standing.worker()).collect(), next_cursor }))
}

fn statuses(text: Option<&str>) -> Result<Vec<WorkerStatus>> {
    let words = text.unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty());
    words.map(|word| word.parse().map_err(|error| Error::Invalid(format!("status: {error}")))).collect()
}

fn matches(standing: &Standing, search: Option<&str>, tag: Option<&str>) -> bool {
    if tag.is_some_and(|tag| !tag.is_empty() && !standing.row.tags.iter().any(|own| own == tag)) {
        return false;
    }
    let search = search.unwrap_or_default().trim().to_lowercase();
    let hit = |text: &str| text.to_lowercase().contains(&search);
    let row = &standing.row;
    if hit(row.name.as_str()) || hit(&row.id.to_string()) || row.tags.iter().any(|tag| hit(tag)) {
        return true;
    }
    standing.seen.as_ref().is_some_and(|seen| {
        let gpu = |gpu: &pictor_protocol::Gpu| hit(&gpu.uuid) || gpu.name.as_deref().is_some_and(hit);
        seen.ip.is_some_and(|ip| hit(&ip.to_string()))
            || seen.report.local_ip.as_deref().is_some_and(hit)
            || seen.report.gpus.iter().any(gpu)
    })
}

/// A cursor is the place after the last item, so that a list which changes meanwhile skips nothing.
fn cursor(key: &(String, String)) -> Result<String> {
    Ok(URL_SAFE_NO_PAD.encode(serde_json::to_vec(key).map_err(anyhow::Error::from)?))
}

fn position(cursor: &str) -> Result<(String, String)> {
    let decoded = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|json| serde_json::from_slice(&json).ok());
    decoded.ok_or_else(|| Error::Invalid("cursor is not one that this list gave".to_owned()))
}

/// One worker.
#[utoipa::path(get, path = "/v1/workers/{id}", params(("id" = WorkerId, Path)), responses((status = 200, body = Worker)))]
async fn get(
    State(app): State<App>,
    Provider(caller): Provider,
    Path(id): Path<WorkerId>,
) -> Result<Json<Worker>> {
    Ok(Json(standing(&app, id, caller.account_filter()).await?.worker()))
}

/// Changes name, tags or desired state; what is absent stays.
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
    let change = PatchWorker { tags: change.tags.map(tags).transpose()?, ..change };
    apply(&app, id, caller.account_filter(), change).await?;
    Ok(Json(standing(&app, id, caller.account_filter()).await?.worker()))
}

async fn apply(app: &App, id: WorkerId, owner: Option<AccountId>, change: PatchWorker) -> Result<()> {
    let (now, activates) = (app.clock.now(), change.desired == Some(DesiredState::Active));
    app.db
        .write(move |conn| {
            let change = change.clone();
            Box::pin(async move {
                let mut row = store::get(conn, id, owner).await?;
                let before = (row.name.clone(), row.tags.clone());
                row.name = change.name.unwrap_or(row.name);
                row.tags = change.tags.unwrap_or(row.tags);
                row.desired = change.desired.unwrap_or(row.desired);
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

fn tags(tags: Vec<String>) -> Result<Vec<String>> {
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
    let (owner, now, clock) = (caller.account_filter(), app.clock.now(), app.clock.clone());
    // What it last reported belongs to its history.
    presence::write_one(&app, id).await?;
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
    Ok(StatusCode::NO_CONTENT)
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
) -> Result<Response> {
    caller.require_full()?;
    let row = store::get(&mut *app.db.read().await?, id, caller.account_filter()).await?;
    let (secret, now) = (auth::new_token(&app.clock), app.clock.now());
    let file_name = row.name.config_file_name();
    let token = NewTokenRow {
        id: app.clock.id(TokenId::from_parts),
        account_id: row.account_id,
        worker_id: Some(id),
        name: file_name.clone(),
        scope: Scope::Full,
        sha256: secret.sha256,
    };
    let config = WorkerConfig {
        registry: app.public_url.clone(),
        worker_id: id,
        worker_name: row.name,
        wallet_address: row.wallet_address,
        token: secret.text,
    };
    let settings = toml::to_string(&config).map_err(anyhow::Error::from)?;
    let event = Event::by(&app.clock, &caller, row.account_id, "worker_config_downloaded", id)
        .with(json!({ "file": file_name }));
    app.db
        .write(move |conn| {
            let (token, event) = (token.clone(), event.clone());
            Box::pin(async move {
                add_worker_token(conn, &token, now).await?;
                audit::record(conn, &event).await
            })
        })
        .await?;
    let headers = [
        (header::CONTENT_TYPE, "application/toml".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{file_name}\"")),
    ];
    Ok((headers, format!("{CONFIG_HEADER}{settings}")).into_response())
}

const CONFIG_HEADER: &str = "\
# One worker of the render network. Install it with: pictor-agent import THIS-FILE
# The token is a secret. Using this file on another machine disconnects the machine that uses the worker now.
";

/// The new name of an agent's own worker.
#[utoipa::path(patch, path = "/v1/agent/worker", request_body = NewWorker, responses((status = 200, body = Worker)))]
async fn rename(State(app): State<App>, agent: Agent, Json(new): Json<NewWorker>) -> Result<Json<Worker>> {
    let name: WorkerName = new.name;
    let change = PatchWorker { name: Some(name), ..PatchWorker::default() };
    apply(&app, agent.worker_id, Some(agent.account_id), change).await?;
    Ok(Json(standing(&app, agent.worker_id, Some(agent.account_id)).await?.worker()))
}
