//! One attempt, opened: its row, its frames, and its log without what is the creator's alone.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use pictor_protocol::{Attempt, AttemptId};
use sqlx::AnyConnection;

use super::history::{SELECT, Stored};
use super::redact::redacted;
use crate::App;
use crate::auth::{Caller, Provider};
use crate::error::{Error, Json, Path, Result};
use crate::filter::Filter;
use crate::tasks::store::frames_of;

/// One attempt: its row, and the frames that it has uploaded.
#[utoipa::path(get, path = "/v1/attempts/{id}", params(("id" = AttemptId, Path)), responses((status = 200, body = Attempt)))]
pub(super) async fn get(
    State(app): State<App>,
    Provider(caller): Provider,
    Path(id): Path<AttemptId>,
) -> Result<Json<Attempt>> {
    Ok(Json(attempt(&app, &caller, id).await?))
}

/// The end of what Blender said, at most 256 KiB, its scene's paths and file names left out.
#[utoipa::path(get, path = "/v1/attempts/{id}/log", params(("id" = AttemptId, Path)), responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn log(
    State(app): State<App>,
    Provider(caller): Provider,
    Path(id): Path<AttemptId>,
) -> Result<Response> {
    let log = log_of_attempt(&app, &caller, id).await?.ok_or(Error::NotFound("log: none was sent"))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], log).into_response())
}

/// The attempt, if the caller may know of it.
pub async fn attempt(app: &App, caller: &Caller, id: AttemptId) -> Result<Attempt> {
    let conn = &mut *app.db.read().await?;
    let stored: Option<Stored> = seen(caller, id).limited(SELECT, "", 1).fetch_optional(&mut *conn).await?;
    let row = stored.ok_or(Error::NotFound("attempt"))?.of(&app.settings.currency);
    let (logs,): (i64,) =
        seen(caller, id).query("SELECT COUNT(attempts.log) FROM attempts", "").fetch_one(&mut *conn).await?;
    Ok(Attempt { row, frames: frames_of(conn, id).await?, has_log: logs > 0 })
}

/// Its log as its provider may read it; none when its agent sent none.
pub async fn log_of_attempt(app: &App, caller: &Caller, id: AttemptId) -> Result<Option<String>> {
    caller.require_full()?;
    let conn: &mut AnyConnection = &mut *app.db.read().await?;
    let found: Option<(Option<String>,)> =
        seen(caller, id).limited("SELECT attempts.log FROM attempts", "", 1).fetch_optional(conn).await?;
    let (log,) = found.ok_or(Error::NotFound("attempt"))?;
    Ok(log.map(|log| redacted(&log)))
}

fn seen(caller: &Caller, id: AttemptId) -> Filter {
    let mut filter = Filter::default();
    filter.text("attempts.id = $?", id);
    if let Some(account) = caller.account_filter() {
        filter.text("attempts.account_id = $?", account);
    }
    filter
}
