//! Accounts, their tokens, and who is signed in to them.

pub(crate) mod identities;
pub(crate) mod me;
pub(crate) mod sessions;
pub(crate) mod sign_in;
pub mod store;
pub(crate) mod tokens;
mod wallet;

use axum::extract::State;
use pictor_protocol::{Account, AccountId, List};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::auth::Operator;
use crate::error::{Error, Json, Query, Result};
use crate::ledger::store::{Book, balance};
use crate::lists;

pub use wallet::wallet_address;

const NAME_CHARS_MAX: usize = 64;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(me::routes())
        .merge(tokens::routes())
        .merge(sessions::routes())
        .merge(identities::routes())
        .routes(routes!(list))
}

/// What may name an account or a token: 1 to 64 printable characters.
pub fn account_name(text: &str) -> Result<String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > NAME_CHARS_MAX || text.chars().any(char::is_control) {
        return Err(Error::Invalid(format!(
            "a name has 1 to {NAME_CHARS_MAX} characters and no control characters"
        )));
    }
    Ok(text.to_owned())
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
    let limit = lists::limit(query.limit)?;
    Ok(Json(page(&app, lists::after(query.cursor.as_deref())?, limit).await?))
}

/// The next accounts by age, with their balances.
pub async fn page(app: &App, after: Option<AccountId>, limit: u32) -> Result<List<Account>> {
    let mut conn = app.db.read().await?;
    let items = store::list(&mut conn, after, i64::from(limit) + 1).await?;
    let mut list = lists::page(items, limit, |last| last.id.to_string());
    for account in &mut list.items {
        account.balance_micros = balance(&mut conn, &Book::Account(account.id)).await?;
    }
    Ok(list)
}
