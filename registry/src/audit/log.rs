//! The audit log as it is read: by operators whole, by others what concerns their own account.

use axum::extract::State;
use pictor_protocol::{AccountId, AuditEntry, AuditEventId, List, UnixMillis};
use serde::Deserialize;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::auth::Caller;
use crate::error::{Json, Query, Result};
use crate::lists::{self, given};
use crate::row::{parsed, parsed_option};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list))
}

#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// What was done to this account: its id or its name.
    pub account: Option<String>,
    /// Such as `token_created`.
    pub action: Option<String>,
    /// At most 1,000; 100 unless given.
    pub limit: Option<u32>,
    /// The `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// What was done and by whom, newest first: to the caller's account, or to any for operators.
#[utoipa::path(get, path = "/v1/audit", params(AuditQuery), responses((status = 200, body = List<AuditEntry>)))]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<AuditQuery>,
) -> Result<Json<List<AuditEntry>>> {
    Ok(Json(entries(&app, &caller, &query).await?))
}

pub async fn entries(app: &App, caller: &Caller, query: &AuditQuery) -> Result<List<AuditEntry>> {
    caller.require_full()?;
    let limit = lists::limit(query.limit)?;
    let wanted = Wanted {
        owner: caller.account_filter(),
        account: given(query.account.as_deref()).map(str::to_owned),
        action: given(query.action.as_deref()).map(str::to_owned),
        before: lists::after(query.cursor.as_deref())?,
        limit: i64::from(limit) + 1,
    };
    let items = rows(&mut *app.db.read().await?, wanted).await?;
    Ok(lists::page(items, limit, |last| last.id.to_string()))
}

struct Wanted {
    /// `None`: of any account.
    owner: Option<AccountId>,
    account: Option<String>,
    action: Option<String>,
    before: Option<AuditEventId>,
    limit: i64,
}

async fn rows(conn: &mut AnyConnection, wanted: Wanted) -> Result<Vec<AuditEntry>> {
    let rows = sqlx::query(
        "SELECT e.id, e.at, e.account_id, a.name AS account_name, e.actor_account_id, b.name AS actor_name,
             e.actor, e.action, e.subject, e.detail
         FROM audit_events e LEFT JOIN accounts a ON a.id = e.account_id
             LEFT JOIN accounts b ON b.id = e.actor_account_id
         WHERE e.id < COALESCE($1, 'aud~') AND (CAST($2 AS TEXT) IS NULL OR e.account_id = $2)
             AND (CAST($3 AS TEXT) IS NULL OR e.account_id = $3 OR a.name = $3)
             AND (CAST($4 AS TEXT) IS NULL OR e.action = $4)
         ORDER BY e.id DESC LIMIT $5",
    )
    .bind(wanted.before.map(String::from))
    .bind(wanted.owner.map(String::from))
    .bind(wanted.account)
    .bind(wanted.action)
    .bind(wanted.limit)
    .fetch_all(conn)
    .await?;
    rows.iter().map(entry).collect()
}

fn entry(row: &AnyRow) -> Result<AuditEntry> {
    let detail: String = row.try_get("detail")?;
    Ok(AuditEntry {
        id: parsed(row, "id")?,
        at: UnixMillis(row.try_get("at")?),
        account_id: parsed_option(row, "account_id")?,
        account_name: row.try_get("account_name")?,
        actor_account_id: parsed_option(row, "actor_account_id")?,
        actor_name: row.try_get("actor_name")?,
        actor: row.try_get("actor")?,
        action: row.try_get("action")?,
        subject: row.try_get("subject")?,
        detail: serde_json::from_str(&detail).map_err(anyhow::Error::from)?,
    })
}

/// Every action that was ever recorded, for a filter to choose from.
pub async fn actions(app: &App) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar("SELECT DISTINCT action FROM audit_events ORDER BY action")
        .fetch_all(&mut *app.db.read().await?)
        .await?)
}
