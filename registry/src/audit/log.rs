//! The audit log as it is read: by operators whole, by others what concerns their own account.

use axum::extract::State;
use pictor_protocol::{AuditEntry, List};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::store::{self, Wanted};
use crate::App;
use crate::auth::Caller;
use crate::error::{Json, Query, Result};
use crate::lists::{self, given};

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
    let items = store::entries(&mut *app.db.read().await?, wanted).await?;
    Ok(lists::page(items, limit, |last| last.id.to_string()))
}

/// Every action that was ever recorded, for a filter to choose from.
pub async fn actions(app: &App) -> Result<Vec<String>> {
    store::actions(&mut *app.db.read().await?).await
}
