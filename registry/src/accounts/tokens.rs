//! Access tokens: made, listed and revoked.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use pictor_protocol::{CreatedToken, List, NewToken, Token, TokenId};
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{account_name, store};
use crate::App;
use crate::audit::{self, Event};
use crate::auth::{self, Caller};
use crate::error::{Json, Path, Result};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create_token, list_tokens)).routes(routes!(revoke_token))
}

/// Makes a token; its secret is shown this once.
#[utoipa::path(post, path = "/v1/tokens", request_body = NewToken, responses((status = 201, body = CreatedToken)))]
async fn create_token(
    State(app): State<App>,
    caller: Caller,
    Json(new): Json<NewToken>,
) -> Result<impl IntoResponse> {
    let created = create(&app, &caller, &new).await?;
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(created)))
}

/// The caller's tokens that were not revoked, without their secrets.
#[utoipa::path(get, path = "/v1/tokens", responses((status = 200, body = List<Token>)))]
async fn list_tokens(State(app): State<App>, caller: Caller) -> Result<Json<List<Token>>> {
    let items = store::tokens(&mut *app.db.read().await?, caller.account_id).await?;
    Ok(Json(List { items, next_cursor: None }))
}

/// Revokes a token: it opens nothing from now on.
#[utoipa::path(delete, path = "/v1/tokens/{id}", params(("id" = TokenId, Path)), responses((status = 204)))]
async fn revoke_token(State(app): State<App>, caller: Caller, Path(id): Path<TokenId>) -> Result<StatusCode> {
    revoke(&app, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn create(app: &App, caller: &Caller, new: &NewToken) -> Result<CreatedToken> {
    let (secret, now) = (auth::new_token(&app.clock), app.clock.now());
    let row = store::NewTokenRow {
        id: app.clock.id(TokenId::from_parts),
        account_id: caller.account_id,
        worker_id: None,
        name: account_name(&new.name)?,
        scope: new.scope,
        sha256: secret.sha256,
    };
    let created = CreatedToken {
        id: row.id,
        name: row.name.clone(),
        scope: row.scope,
        created_at: now,
        token: secret.text,
    };
    let event = Event::by(&app.clock, caller, caller.account_id, "token_created", row.id)
        .with(json!({ "name": row.name, "scope": row.scope }));
    app.db
        .write(move |conn| {
            let (row, event) = (row.clone(), event.clone());
            Box::pin(async move {
                store::add_token(conn, &row, now).await?;
                audit::record(conn, &event).await
            })
        })
        .await?;
    Ok(created)
}

/// Revokes a token of the caller's, or for an operator of anybody's; its name.
pub(crate) async fn revoke(app: &App, caller: &Caller, id: TokenId) -> Result<String> {
    let (owner, now) = (caller.account_filter(), app.clock.now());
    let event = Event::by(&app.clock, caller, caller.account_id, "token_revoked", id);
    app.db
        .write(move |conn| {
            let event = event.clone();
            Box::pin(async move {
                let (account_id, name) = store::revoke_token(conn, owner, id, now).await?;
                let event = Event { account_id: Some(account_id), ..event.with(json!({ "name": name })) };
                audit::record(conn, &event).await?;
                Ok(name)
            })
        })
        .await
}
