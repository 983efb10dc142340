//! Accounts and their tokens.

pub mod store;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use pictor_protocol::{Account, AccountId, CreatedToken, List, Me, NewToken, Token, TokenId};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::auth::{self, Caller, Operator};
use crate::earnings::store::{Book, balance};
use crate::error::{Error, Json, Path, Query, Result};

const NAME_CHARS_MAX: usize = 64;
const WALLET_CHARS_MAX: usize = 200;
const LIMIT_DEFAULT: u32 = 100;
const LIMIT_MAX: u32 = 1_000;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(me))
        .routes(routes!(create_token, list_tokens))
        .routes(routes!(revoke_token))
        .routes(routes!(list))
}

/// What may name an account or a token: 1 to 64 printable characters.
pub fn account_name(text: &str) -> Result<String> {
    printable("a name", text, NAME_CHARS_MAX)
}

pub fn wallet_address(text: &str) -> Result<String> {
    printable("a wallet address", text, WALLET_CHARS_MAX)
}

fn printable(what: &str, text: &str, chars_max: usize) -> Result<String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > chars_max || text.chars().any(char::is_control) {
        return Err(Error::Invalid(format!(
            "{what} has 1 to {chars_max} characters and no control characters"
        )));
    }
    Ok(text.to_owned())
}

/// Who the token speaks for, and what it may do.
#[utoipa::path(get, path = "/v1/me", responses((status = 200, body = Me)))]
async fn me(State(app): State<App>, caller: Caller) -> Result<Json<Me>> {
    let balance_micros = balance(&mut *app.db.read().await?, &Book::Account(caller.account_id)).await?;
    Ok(Json(Me {
        id: caller.account_id,
        name: caller.name,
        roles: caller.roles,
        scope: caller.scope,
        wallet_address: caller.wallet_address,
        currency: app.settings.currency.clone(),
        balance_micros,
    }))
}

/// Makes a token; its secret is shown this once.
#[utoipa::path(post, path = "/v1/tokens", request_body = NewToken, responses((status = 201, body = CreatedToken)))]
async fn create_token(
    State(app): State<App>,
    caller: Caller,
    Json(new): Json<NewToken>,
) -> Result<impl IntoResponse> {
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
    app.db
        .write(move |conn| {
            let row = row.clone();
            Box::pin(async move { store::add_token(conn, &row, now).await })
        })
        .await?;
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
    let (owner, now) = (caller.account_filter(), app.clock.now());
    app.db.write(move |conn| Box::pin(store::revoke_token(conn, owner, id, now))).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// At most 1,000; 100 unless given.
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Every account, oldest first; for operators.
#[utoipa::path(get, path = "/v1/accounts", params(ListQuery), responses((status = 200, body = List<Account>)))]
async fn list(
    State(app): State<App>,
    _: Operator,
    Query(query): Query<ListQuery>,
) -> Result<Json<List<Account>>> {
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if limit == 0 || limit > LIMIT_MAX {
        return Err(Error::Invalid(format!("limit must be from 1 to {LIMIT_MAX}")));
    }
    let after: Option<AccountId> = match query.cursor.as_deref() {
        None | Some("") => None,
        Some(cursor) => {
            let not_ours = |_| Error::Invalid("cursor is not one that this list gave".to_owned());
            Some(cursor.parse().map_err(not_ours)?)
        }
    };
    Ok(Json(page(&app, after, limit).await?))
}

/// The next accounts by age, with their balances.
pub async fn page(app: &App, after: Option<AccountId>, limit: u32) -> Result<List<Account>> {
    let mut conn = app.db.read().await?;
    let mut items = store::list(&mut conn, after, i64::from(limit) + 1).await?;
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    for account in &mut items {
        account.balance_micros = balance(&mut conn, &Book::Account(account.id)).await?;
    }
    let next_cursor = items.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(List { items, next_cursor })
}
