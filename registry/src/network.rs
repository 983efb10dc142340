//! The whole network at a glance, for its operators.

use std::collections::BTreeMap;
use std::str::FromStr;

use axum::extract::State;
use pictor_protocol::{JobStatus, NetworkOverview, TaskStatus, UnixMillis, WorkerStatus};
use sqlx::AnyConnection;
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
    let mut by_status: BTreeMap<WorkerStatus, i64> = zeros(WorkerStatus::ALL);
    for standing in workers::standings(app, None).await? {
        *by_status.entry(standing.status).or_default() += 1;
    }
    let mut conn = app.db.read().await?;
    let accounts: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM accounts").fetch_one(&mut *conn).await?;
    let since: Option<i64> =
        sqlx::query_scalar("SELECT MIN(pending_since) FROM tasks WHERE status = 'pending'")
            .fetch_one(&mut *conn)
            .await?;
    let waited = since.map(|since| app.clock.now().seconds_since(UnixMillis(since)).max(0.0));
    let jobs =
        counted(&mut conn, "SELECT status, COUNT(*) FROM jobs GROUP BY status", JobStatus::ALL).await?;
    let tasks =
        counted(&mut conn, "SELECT status, COUNT(*) FROM tasks GROUP BY status", TaskStatus::ALL).await?;
    Ok(NetworkOverview { accounts, workers: by_status, jobs, tasks, oldest_pending_seconds: waited })
}

fn zeros<T: Copy + Ord>(all: &[T]) -> BTreeMap<T, i64> {
    all.iter().map(|status| (*status, 0)).collect()
}

async fn counted<T>(conn: &mut AnyConnection, sql: &'static str, all: &[T]) -> Result<BTreeMap<T, i64>>
where
    T: Copy + Ord + FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let rows: Vec<(String, i64)> = sqlx::query_as(sql).fetch_all(conn).await?;
    let mut counts = zeros(all);
    for (status, count) in rows {
        counts.insert(status.parse().map_err(anyhow::Error::from)?, count);
    }
    Ok(counts)
}
