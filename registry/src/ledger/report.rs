//! The ledger as operators see it: what its books hold, its checks, and its transfers.

use axum::extract::State;
use pictor_protocol::{BookSum, Ledger, List, Micros, Transfer, TransferId, UnixMillis};
use serde::Deserialize;
use sqlx::AnyConnection;
use utoipa::IntoParams;

use super::check::check_once;
use crate::App;
use crate::auth::Operator;
use crate::error::{Error, Json, Query, Result};
use crate::lists;

const SEARCH_CHARS_MAX: usize = 200;
const BOOKS: [&str; 6] = ["accounts", "escrow", "payouts", "fees", "issued", "paid_out"];

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
        books: books(&mut conn).await?,
    })
}

async fn books(conn: &mut AnyConnection) -> Result<Vec<BookSum>> {
    let sums: Vec<(String, i64)> = sqlx::query_as(
        "SELECT kind, CAST(SUM(amount) AS BIGINT) FROM (
             SELECT CASE WHEN book LIKE 'acc\\_%' ESCAPE '\\' THEN 'accounts'
                         WHEN book LIKE 'job\\_%' ESCAPE '\\' THEN 'escrow'
                         WHEN book LIKE 'pay\\_%' ESCAPE '\\' THEN 'payouts' ELSE book END AS kind, amount
             FROM (SELECT to_book AS book, amount_micros AS amount FROM transfers
                   UNION ALL SELECT from_book, -amount_micros FROM transfers) AS entries) AS books
         GROUP BY kind",
    )
    .fetch_all(conn)
    .await?;
    let held = |book: &str| sums.iter().find(|(kind, _)| kind == book).map_or(0, |(_, sum)| *sum);
    Ok(BOOKS
        .iter()
        .map(|book| BookSum { book: (*book).to_owned(), balance_micros: Micros(held(book)) })
        .collect())
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
    let items = rows(&mut *app.db.read().await?, search, before, i64::from(limit) + 1).await?;
    Ok(lists::page(items, limit, |last| last.id.to_string()))
}

type Row = (String, String, String, String, Option<String>, String, Option<String>, i64, i64);

async fn rows(
    conn: &mut AnyConnection,
    search: &str,
    before: Option<TransferId>,
    limit: i64,
) -> Result<Vec<Transfer>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT t.id, t.key, t.kind, t.from_book, f.name, t.to_book, o.name, t.amount_micros, t.created_at
         FROM transfers t LEFT JOIN accounts f ON f.id = t.from_book LEFT JOIN accounts o ON o.id = t.to_book
         WHERE t.id < COALESCE($1, 'trf~') AND ($2 = '' OR t.key LIKE $3 ESCAPE '\\' OR t.from_book = $2 OR t.to_book = $2)
         ORDER BY t.id DESC LIMIT $4",
    )
    .bind(before.map(String::from))
    .bind(search.to_owned())
    .bind(lists::holding(search))
    .bind(limit)
    .fetch_all(conn)
    .await?;
    let transfer = |(id, key, kind, from_book, from_name, to_book, to_name, amount, created_at): Row| {
        Ok(Transfer {
            id: id.parse().map_err(anyhow::Error::from)?,
            key,
            kind,
            from_book,
            from_name,
            to_book,
            to_name,
            amount_micros: Micros(amount),
            created_at: UnixMillis(created_at),
        })
    };
    rows.into_iter().map(transfer).collect()
}
