//! The ledger as operators see it: what its books hold, its checks, and its transfers.

use axum::extract::State;
use pictor_protocol::{Ledger, List, Transfer};
use serde::Deserialize;
use utoipa::IntoParams;

use super::check::check_once;
use super::store;
use crate::App;
use crate::auth::Operator;
use crate::error::{Error, Json, Query, Result};
use crate::lists;

const SEARCH_CHARS_MAX: usize = 200;

/// What the books hold and what the checks find now; for operators.
#[utoipa::path(get, path = "/v1/ledger", responses((status = 200, body = Ledger)))]
pub(super) async fn get(State(app): State<App>, _: Operator) -> Result<Json<Ledger>> {
    Ok(Json(ledger(&app).await?))
}

/// Reads every row: operators ask now and then.
pub async fn ledger(app: &App) -> Result<Ledger> {
    let mut conn = app.db.read().await?;
    let findings = check_once(&mut conn).await?;
    Ok(Ledger {
        currency: app.settings.currency.clone(),
        checked_at: app.clock.now(),
        findings: findings.iter().map(ToString::to_string).collect(),
        books: store::books(&mut conn).await?,
    })
}

#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TransfersQuery {
    /// A part of a key, or a whole book.
    pub search: Option<String>,
    /// At most 1,000; 100 unless given.
    pub limit: Option<u32>,
    /// The `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// The ledger's transfers, newest first; for operators.
#[utoipa::path(get, path = "/v1/ledger/transfers", params(TransfersQuery), responses((status = 200, body = List<Transfer>)))]
pub(super) async fn list(
    State(app): State<App>,
    _: Operator,
    Query(query): Query<TransfersQuery>,
) -> Result<Json<List<Transfer>>> {
    Ok(Json(transfers(&app, &query).await?))
}

pub async fn transfers(app: &App, query: &TransfersQuery) -> Result<List<Transfer>> {
    let limit = lists::limit(query.limit)?;
    let search = query.search.as_deref().unwrap_or_default().trim();
    if search.chars().count() > SEARCH_CHARS_MAX {
        return Err(Error::Invalid(format!("search: at most {SEARCH_CHARS_MAX} characters")));
    }
    let before = lists::after(query.cursor.as_deref())?;
    let items = store::transfers(&mut *app.db.read().await?, search, before, i64::from(limit) + 1).await?;
    Ok(lists::page(items, limit, |last| last.id.to_string()))
}
