//! One action on many workers, with a result for each.

use std::collections::{HashMap, HashSet};

use axum::extract::State;
use futures_util::StreamExt;
use futures_util::stream;
use pictor_protocol::{
    AccountId, BulkAction, BulkOutcome, BulkRequest, BulkResponse, BulkResult, DesiredState, PatchWorker,
    WorkerId, WorkerName,
};

use super::{apply, archive, list, store};
use crate::App;
use crate::auth::{Caller, Provider};
use crate::error::{Error, Json, Result};

const WORKERS_MAX: usize = 20_000;
/// So many wait for the database together, and share its commits.
const AT_ONCE: usize = 64;

/// Pauses, resumes, drains, tags or deletes many workers: those with these `ids`, or all that a `filter` means.
/// 409 `selection_changed` when it would not be as many as `expected`.
#[utoipa::path(
    post,
    path = "/v1/workers/bulk",
    request_body = BulkRequest,
    responses((status = 200, body = BulkResponse), (status = 409, description = "Another number of workers is meant now"))
)]
pub(super) async fn post(
    State(app): State<App>,
    Provider(caller): Provider,
    Json(request): Json<BulkRequest>,
) -> Result<Json<BulkResponse>> {
    Ok(Json(bulk(&app, &caller, &request).await?))
}

pub async fn bulk(app: &App, caller: &Caller, request: &BulkRequest) -> Result<BulkResponse> {
    caller.require_full()?;
    if request.action.needs_tag() && request.tag.is_none() {
        return Err(Error::Invalid("tag: this action needs one".to_owned()));
    }
    let meant = meant(app, caller, request).await?;
    if meant.len() > WORKERS_MAX {
        return Err(Error::Invalid(format!(
            "at most {WORKERS_MAX} workers at once; these are {}",
            meant.len()
        )));
    }
    if let Some(expected) = request.expected
        && expected != meant.len() as u64
    {
        let detail =
            format!("{expected} workers were confirmed and {} are meant now; nothing was done", meant.len());
        return Err(Error::conflict("selection_changed", detail));
    }
    let results = stream::iter(meant)
        .map(|(id, name)| async move { told(id, name, act(app, caller, id, request).await) })
        .buffered(AT_ONCE)
        .collect()
        .await;
    Ok(BulkResponse { results })
}

/// What it came to for one worker. An error of ours is told like a refusal: what was done to the others stands.
fn told(id: WorkerId, name: Option<WorkerName>, done: Result<()>) -> BulkResult {
    let Err(error) = done else {
        return BulkResult { id, name, result: BulkOutcome::Done, detail: None };
    };
    let detail = Some(error.to_string());
    if matches!(error, Error::Database(_) | Error::Internal(_)) {
        let cause = anyhow::Error::from(error);
        tracing::error!(worker = %id, error = format!("{cause:#}"), "one of many workers was not changed");
    }
    BulkResult { id, name, result: BulkOutcome::Refused, detail }
}

/// Which workers a request means. Ids that name no worker of the caller's stay, without a name: each id gets
/// its result.
pub async fn meant(
    app: &App,
    caller: &Caller,
    request: &BulkRequest,
) -> Result<Vec<(WorkerId, Option<WorkerName>)>> {
    let owner = caller.account_filter();
    let named = match (&request.ids, &request.filter) {
        (Some(ids), None) => {
            let rows = store::list(&mut *app.db.read().await?, owner, None).await?;
            let mut names: HashMap<WorkerId, WorkerName> =
                rows.into_iter().map(|row| (row.id, row.name)).collect();
            let mut told = HashSet::new();
            let once = ids.iter().filter(|id| told.insert(**id));
            once.map(|id| (*id, names.remove(id))).collect()
        }
        (None, Some(filter)) => {
            let named = |standing: super::Standing| (standing.row.id, Some(standing.row.name));
            list::meant(app, owner, filter).await?.into_iter().map(named).collect()
        }
        _ => return Err(Error::Invalid("give either ids or a filter".to_owned())),
    };
    Ok(named)
}

async fn act(app: &App, caller: &Caller, id: WorkerId, request: &BulkRequest) -> Result<()> {
    let owner = caller.account_filter();
    let desired = |desired| PatchWorker { desired: Some(desired), ..PatchWorker::default() };
    let change = match request.action {
        BulkAction::Delete => return archive(app, id, caller).await,
        BulkAction::Pause => desired(DesiredState::Paused),
        BulkAction::Resume => desired(DesiredState::Active),
        BulkAction::Drain => desired(DesiredState::Draining),
        BulkAction::Tag | BulkAction::Untag => {
            let tag = request.tag.clone().unwrap_or_default().trim().to_owned();
            return retag(app, id, owner, tag, request.action == BulkAction::Tag).await;
        }
    };
    apply(app, id, owner, change).await
}

/// Adds or removes one tag, read and written in one transaction. A worker on which that changes nothing keeps
/// its `updated_at`.
async fn retag(app: &App, id: WorkerId, owner: Option<AccountId>, tag: String, adds: bool) -> Result<()> {
    let now = app.clock.now();
    app.db
        .write(move |conn| {
            let tag = tag.clone();
            Box::pin(async move {
                let mut row = store::get(conn, id, owner).await?;
                if row.tags.contains(&tag) == adds {
                    return Ok(());
                }
                if adds {
                    row.tags.push(tag);
                    row.tags = super::tags(row.tags)?;
                } else {
                    row.tags.retain(|own| *own != tag);
                }
                row.updated_at = now;
                store::update(conn, &row).await
            })
        })
        .await
}
