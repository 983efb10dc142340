//! The browsers in which people are signed in to an account.

pub(crate) mod store;

use axum::extract::State;
use axum::http::StatusCode;
use pictor_protocol::{List, Session, SessionId};
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::audit::{self, Event};
use crate::auth::Caller;
use crate::error::{Json, Path, Result};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_sessions, end_every_session)).routes(routes!(end_one_session))
}

/// The caller's sessions that have not ended, the one seen last first.
#[utoipa::path(get, path = "/v1/sessions", responses((status = 200, body = List<Session>)))]
async fn list_sessions(State(app): State<App>, caller: Caller) -> Result<Json<List<Session>>> {
    Ok(Json(List { items: list(&app, &caller).await?, next_cursor: None }))
}

/// Signs out one browser.
#[utoipa::path(delete, path = "/v1/sessions/{id}", params(("id" = SessionId, Path)), responses((status = 204)))]
async fn end_one_session(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<SessionId>,
) -> Result<StatusCode> {
    end(&app, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Signs out every browser.
#[utoipa::path(delete, path = "/v1/sessions", responses((status = 204)))]
async fn end_every_session(State(app): State<App>, caller: Caller) -> Result<StatusCode> {
    end_all(&app, &caller, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn list(app: &App, caller: &Caller) -> Result<Vec<Session>> {
    store::list(&mut *app.db.read().await?, caller.account_id, app.clock.now()).await
}

pub(crate) async fn end(app: &App, caller: &Caller, id: SessionId) -> Result<()> {
    let owner = caller.account_id;
    let event = Event::by(&app.clock, caller, owner, "session_ended", id);
    app.db
        .write(move |conn| {
            let event = event.clone();
            Box::pin(async move {
                store::end_of(conn, owner, id).await?;
                audit::record(conn, &event).await
            })
        })
        .await
}

/// Ends every session but the one to be kept; how many they were.
pub(crate) async fn end_all(app: &App, caller: &Caller, kept: Option<SessionId>) -> Result<u64> {
    let owner = caller.account_id;
    let event = Event::by(&app.clock, caller, owner, "sessions_ended", owner);
    app.db
        .write(move |conn| {
            let event = event.clone();
            Box::pin(async move {
                let ended = store::end_all(conn, owner, kept).await?;
                audit::record(conn, &event.with(json!({ "sessions": ended }))).await?;
                Ok(ended)
            })
        })
        .await
}
