//! The rows of incidents, and what of attempts makes one.

use pictor_protocol::{AccountId, AttemptStatus, IncidentId, NotificationEvent, UnixMillis, WorkerId};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::trouble::Stage;
use crate::error::Result;
use crate::row::{Parsed, parsed};
use crate::sql::sql;
use crate::tasks::sets::RENDERED_ATTEMPTS;

/// Accounts that somebody is to be told about, or that have an incident to end.
pub(super) async fn watched(conn: &mut AnyConnection) -> Result<Vec<AccountId>> {
    let ids: Vec<Parsed<_>> = sqlx::query_scalar(
        "SELECT account_id FROM channels UNION SELECT account_id FROM incidents WHERE ended_at IS NULL",
    )
    .fetch_all(conn)
    .await?;
    Ok(ids.into_iter().map(|Parsed(id)| id).collect())
}

/// An incident that has not ended.
#[derive(Debug, Clone)]
pub(super) struct OpenIncident {
    pub(super) id: IncidentId,
    pub(super) worker_id: WorkerId,
    pub(super) event: NotificationEvent,
    pub(super) subject: String,
    pub(super) stage: Stage,
}

pub(super) async fn open_incidents(
    conn: &mut AnyConnection,
    account: AccountId,
) -> Result<Vec<OpenIncident>> {
    let rows = sqlx::query(
        "SELECT id, worker_id, event, subject, clear_since FROM incidents
         WHERE account_id = $1 AND ended_at IS NULL",
    )
    .bind(account.to_string())
    .fetch_all(conn)
    .await?;
    let open = |row: &AnyRow| {
        let clear_since: Option<i64> = row.try_get("clear_since")?;
        Ok(OpenIncident {
            id: parsed(row, "id")?,
            worker_id: parsed(row, "worker_id")?,
            event: parsed(row, "event")?,
            subject: row.try_get("subject")?,
            stage: clear_since.map_or(Stage::Open, |since| Stage::Clearing { since: UnixMillis(since) }),
        })
    };
    rows.iter().map(open).collect()
}

/// `false` when another replica has begun it.
pub(super) async fn begin(
    conn: &mut AnyConnection,
    account: AccountId,
    incident: &OpenIncident,
    now: UnixMillis,
) -> Result<bool> {
    let begun = sqlx::query(
        "INSERT INTO incidents (id, account_id, worker_id, event, subject, began_at)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
    )
    .bind(incident.id.to_string())
    .bind(account.to_string())
    .bind(incident.worker_id.to_string())
    .bind(incident.event.as_str())
    .bind(incident.subject.clone())
    .bind(now.0)
    .execute(conn)
    .await?
    .rows_affected();
    Ok(begun == 1)
}

/// It looks well since now, or does so no more.
pub(super) async fn set_clear(
    conn: &mut AnyConnection,
    id: IncidentId,
    since: Option<UnixMillis>,
) -> Result<()> {
    sqlx::query(
        "UPDATE incidents SET clear_since = $2
         WHERE id = $1 AND ended_at IS NULL AND (clear_since IS NULL) = (CAST($2 AS BIGINT) IS NOT NULL)",
    )
    .bind(id.to_string())
    .bind(since.map(|since| since.0))
    .execute(conn)
    .await?;
    Ok(())
}

/// `false` when another replica has ended it.
pub(super) async fn end(conn: &mut AnyConnection, id: IncidentId, now: UnixMillis) -> Result<bool> {
    let ended = sqlx::query("UPDATE incidents SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL")
        .bind(id.to_string())
        .bind(now.0)
        .execute(conn)
        .await?
        .rows_affected();
    Ok(ended == 1)
}

/// Workers of which an attempt has failed since.
pub(super) async fn failed_since(
    conn: &mut AnyConnection,
    account: AccountId,
    since: UnixMillis,
) -> Result<Vec<WorkerId>> {
    let ids: Vec<Parsed<_>> = sqlx::query_scalar(
        "SELECT DISTINCT worker_id FROM attempts
         WHERE account_id = $1 AND ended_at >= $2 AND status = 'failed'",
    )
    .bind(account.to_string())
    .bind(since.0)
    .fetch_all(conn)
    .await?;
    Ok(ids.into_iter().map(|Parsed(id)| id).collect())
}

/// Whether the last `count` attempts that a worker completed or failed were all failures.
pub(super) async fn fails(conn: &mut AnyConnection, worker: WorkerId, count: usize) -> Result<bool> {
    let last: Vec<Parsed<AttemptStatus>> = sqlx::query_scalar(sql!(
        "SELECT status FROM attempts WHERE worker_id = $1 AND status IN ",
        RENDERED_ATTEMPTS,
        " ORDER BY id DESC LIMIT $2"
    ))
    .bind(worker.to_string())
    .bind(i64::try_from(count).map_err(anyhow::Error::from)?)
    .fetch_all(conn)
    .await?;
    Ok(last.len() == count && last.iter().all(|Parsed(status)| *status == AttemptStatus::Failed))
}

/// What ended before `before` is nobody's to read any more.
pub(super) async fn forget(conn: &mut AnyConnection, before: UnixMillis) -> Result<()> {
    sqlx::query("DELETE FROM incidents WHERE ended_at < $1").bind(before.0).execute(conn).await?;
    Ok(())
}
