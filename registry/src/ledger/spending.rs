//! What creators have spent, from the ledger.

use axum::extract::State;
use pictor_protocol::{AccountId, Micros, Spending};
use sqlx::AnyConnection;

use super::store::{Book, balance};
use crate::App;
use crate::auth::{Caller, Creator};
use crate::error::{Json, Result};

/// The caller's own balance, what is set aside for its jobs, and what it has spent on them.
#[utoipa::path(get, path = "/v1/spending", responses((status = 200, body = Spending)))]
pub(super) async fn of_creator(State(app): State<App>, Creator(caller): Creator) -> Result<Json<Spending>> {
    Ok(Json(spending(&app, &caller).await?))
}

pub async fn spending(app: &App, caller: &Caller) -> Result<Spending> {
    let conn = &mut *app.db.read().await?;
    let balance_micros = balance(conn, &Book::Account(caller.account_id)).await?;
    let (given, escrow_micros) = set_aside(conn, caller.account_id).await?;
    Ok(Spending {
        currency: app.settings.currency.clone(),
        balance_micros,
        escrow_micros,
        spent_micros: given - escrow_micros,
    })
}

/// What was set aside for jobs and did not come back; and how much of it waits in escrow still.
async fn set_aside(conn: &mut AnyConnection, account: AccountId) -> Result<(Micros, Micros)> {
    let (given, held): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT COALESCE(CAST(SUM(amount_micros) AS BIGINT), 0) FROM transfers WHERE from_book = $1 AND kind = 'escrow')
              - (SELECT COALESCE(CAST(SUM(amount_micros) AS BIGINT), 0) FROM transfers WHERE to_book = $1 AND kind = 'refund') AS given,
                (SELECT COALESCE(CAST(SUM(amount_micros) AS BIGINT), 0) FROM transfers WHERE to_book IN (
                    SELECT id FROM jobs WHERE account_id = $1 AND ended_at IS NULL))
              - (SELECT COALESCE(CAST(SUM(amount_micros) AS BIGINT), 0) FROM transfers WHERE from_book IN (
                    SELECT id FROM jobs WHERE account_id = $1 AND ended_at IS NULL)) AS held",
    )
    .bind(account.to_string())
    .fetch_one(conn)
    .await?;
    Ok((Micros(given), Micros(held)))
}
