//! What creators have spent, from the ledger.

use axum::extract::State;
use pictor_protocol::Spending;

use super::store::{Book, balance, set_aside};
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
