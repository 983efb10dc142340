//! The whole network at a glance, for its operators.

pub mod store;

use std::collections::BTreeMap;

use axum::extract::State;
use pictor_protocol::{NetworkOverview, WorkerStatus};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::auth::Operator;
use crate::error::{Json, Result};
use crate::workers;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get))
}

/// Workers, jobs and tasks by status, and how long the queue's first task has waited; for operators.
#[utoipa::path(get, path = "/v1/network", responses((status = 200, body = NetworkOverview)))]
async fn get(State(app): State<App>, _: Operator) -> Result<Json<NetworkOverview>> {
    Ok(Json(overview(&app).await?))
}

pub async fn overview(app: &App) -> Result<NetworkOverview> {
    let mut workers: BTreeMap<WorkerStatus, i64> =
        WorkerStatus::ALL.iter().map(|status| (*status, 0)).collect();
    for standing in workers::standings(app, None).await? {
        *workers.entry(standing.status).or_default() += 1;
    }
    let conn = &mut *app.db.read().await?;
    let waits_since = store::oldest_pending(conn, None).await?;
    Ok(NetworkOverview {
        accounts: store::accounts(conn).await?,
        workers,
        jobs: store::jobs(conn, None).await?,
        tasks: store::tasks(conn, None).await?,
        oldest_pending_seconds: waits_since.map(|since| app.clock.now().seconds_since(since).max(0.0)),
    })
}
