//! The history of attempts: one page as JSON, or all of it as CSV.

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use pictor_protocol::{AttemptStatus, HistoryRow, List, Micros, RewardStatus, UnixMillis, WorkerId};
use serde::Deserialize;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, FromRow, Row};
use utoipa::IntoParams;

use super::order::{Order, Position, Sort, ending};
use super::redact::redacted;
use crate::App;
use crate::auth::{Caller, Provider};
use crate::error::{Error, Json, Query, Result};
use crate::filter::Filter;
use crate::lists::{self, Format, LIMIT_MAX, given};
use crate::row::{narrow, parsed};
use crate::spreadsheet::{self, Column, or_empty};

const COLUMNS: [Column<HistoryRow>; 20] = [
    Column("id", |row| row.id.to_string()),
    Column("task_id", |row| row.task_id.to_string()),
    Column("job_id", |row| row.job_id.to_string()),
    Column("worker_id", |row| row.worker_id.to_string()),
    Column("slot", |row| row.slot.to_string()),
    Column("gpu_uuid", |row| or_empty(row.gpu_uuid.as_ref())),
    Column("gpu_name", |row| or_empty(row.gpu_name.as_ref())),
    Column("status", |row| row.status.to_string()),
    Column("error", |row| or_empty(row.error.as_ref())),
    Column("progress_ratio", |row| or_empty(row.progress_ratio)),
    Column("render_seconds", |row| or_empty(row.render_seconds)),
    Column("currency", |row| row.currency.clone()),
    Column("cost_micros", |row| row.cost_micros.0.to_string()),
    Column("reward_micros", |row| or_empty(row.reward_micros.map(|reward| reward.0))),
    Column("reward_status", |row| or_empty(row.reward_status)),
    Column("started_at", |row| or_empty(row.started_at)),
    Column("completed_at", |row| or_empty(row.completed_at)),
    Column("worker_name", |row| row.worker_name.clone()),
    Column("first_frame", |row| row.first_frame.to_string()),
    Column("last_frame", |row| row.last_frame.to_string()),
];

#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HistoryQuery {
    /// Workers, separated by commas.
    pub worker: Option<String>,
    /// A GPU's UUID.
    pub gpu: Option<String>,
    /// Attempts of workers that carry this tag.
    pub tag: Option<String>,
    /// Statuses, separated by commas.
    pub status: Option<String>,
    /// Leased at this moment or later.
    pub from: Option<UnixMillis>,
    /// Leased before this moment.
    pub to: Option<UnixMillis>,
    /// A part of a job's or task's id.
    pub search: Option<String>,
    /// By when they were leased, unless given.
    #[serde(default)]
    #[param(inline)]
    pub sort: Sort,
    /// Descending unless given: newest, latest, most first.
    #[serde(default)]
    #[param(inline)]
    pub order: Order,
    /// At most 1,000; 100 unless given. CSV without it is the whole history.
    pub limit: Option<u32>,
    /// The `next_cursor` of the page before.
    pub cursor: Option<String>,
    #[serde(default)]
    #[param(inline)]
    pub format: Format,
}

/// Attempts, newest first unless sorted otherwise; an operator's are the whole network's.
#[utoipa::path(get, path = "/v1/attempts", params(HistoryQuery), responses((status = 200, body = List<HistoryRow>)))]
pub(super) async fn list(
    State(app): State<App>,
    Provider(caller): Provider,
    Query(query): Query<HistoryQuery>,
) -> Result<Response> {
    answer(&app, &caller, &query).await
}

/// What the query asks for, in the format that it asks for.
async fn answer(app: &App, caller: &Caller, query: &HistoryQuery) -> Result<Response> {
    match query.format {
        Format::Csv => as_csv(app, caller, query),
        Format::Json => Ok(Json(attempts(app, caller, query).await?).into_response()),
    }
}

/// One page of the attempts that a caller may see.
pub async fn attempts(app: &App, caller: &Caller, query: &HistoryQuery) -> Result<List<HistoryRow>> {
    let filter = query.filter(caller)?;
    let limit = lists::limit(query.limit)?;
    let (items, next) = page(
        &mut *app.db.read().await?,
        &filter,
        query.sorting(),
        query.after()?,
        limit,
        &app.settings.currency,
    )
    .await?;
    Ok(List { items, next_cursor: next.map(|next| next.cursor()) })
}

/// The attempts as a CSV file, streamed.
pub fn as_csv(app: &App, caller: &Caller, query: &HistoryQuery) -> Result<Response> {
    Ok(csv(
        app.clone(),
        query.filter(caller)?,
        query.sorting(),
        query.after()?,
        lists::limit_if_asked(query.limit)?,
    ))
}

impl HistoryQuery {
    fn sorting(&self) -> (Sort, Order) {
        (self.sort, self.order)
    }

    fn after(&self) -> Result<Option<Position>> {
        given(self.cursor.as_deref()).map(|cursor| Position::read(cursor, self.sort)).transpose()
    }

    fn filter(&self, caller: &Caller) -> Result<Filter> {
        let mut filter = Filter::default();
        if let Some(account) = caller.account_filter() {
            filter.text("attempts.account_id = $?", account);
        }
        if let Some(workers) = given(self.worker.as_deref()) {
            let workers: std::result::Result<Vec<WorkerId>, _> =
                workers.split(',').map(|id| id.trim().parse()).collect();
            filter.one_of(
                "attempts.worker_id",
                &workers.map_err(|error| Error::Invalid(format!("worker: {error}")))?,
            );
        }
        if let Some(gpu) = given(self.gpu.as_deref()) {
            filter.text("attempts.gpu_uuid = $?", gpu);
        }
        if let Some(tag) = given(self.tag.as_deref()) {
            // Tags are kept as a JSON list: one is in it when taking it out changes the text.
            let quoted = serde_json::to_string(tag).map_err(anyhow::Error::from)?;
            filter.text(
                "attempts.worker_id IN (SELECT id FROM workers WHERE REPLACE(tags, $?, '') <> tags)",
                quoted,
            );
        }
        if let Some(statuses) = given(self.status.as_deref()) {
            let statuses: std::result::Result<Vec<AttemptStatus>, _> =
                statuses.split(',').map(str::parse).collect();
            filter.one_of(
                "attempts.status",
                &statuses.map_err(|error| Error::Invalid(format!("status: {error}")))?,
            );
        }
        if let Some(from) = self.from {
            filter.integer("attempts.leased_at >= $?", from.0);
        }
        if let Some(to) = self.to {
            filter.integer("attempts.leased_at < $?", to.0);
        }
        if let Some(search) = given(self.search.as_deref()) {
            filter.text(
                "(attempts.job_id LIKE $? ESCAPE '\\' OR attempts.task_id LIKE $? ESCAPE '\\')",
                lists::holding(&search.to_lowercase()),
            );
        }
        Ok(filter)
    }
}

/// What a history row is read from. The others are joined from the left, so that no database is tempted to
/// begin with them.
pub(super) const SELECT: &str = "SELECT attempts.id, attempts.task_id, attempts.job_id, attempts.worker_id,
        workers.name AS worker_name, tasks.first_frame, tasks.last_frame, attempts.slot, attempts.gpu_uuid,
        attempts.gpu_name, attempts.status, attempts.error, attempts.progress_ratio, attempts.render_seconds,
        attempts.cost_micros, attempts.reward_micros, attempts.leased_at, attempts.started_at, attempts.ended_at
     FROM attempts LEFT JOIN workers ON workers.id = attempts.worker_id
         LEFT JOIN tasks ON tasks.id = attempts.task_id";

/// One page and, unless it is the last, where the next begins.
async fn page(
    conn: &mut AnyConnection,
    filter: &Filter,
    sorting: (Sort, Order),
    after: Option<Position>,
    limit: u32,
    currency: &str,
) -> Result<(Vec<HistoryRow>, Option<Position>)> {
    let mut filter = filter.clone();
    if let Some(after) = &after {
        after.apply(&mut filter, sorting);
    }
    // One row more than asked for tells whether there is a next page.
    let rows: Vec<Stored> =
        filter.limited(SELECT, &ending(sorting), i64::from(limit) + 1).fetch_all(conn).await?;
    let more = rows.len() > limit as usize;
    let items: Vec<HistoryRow> =
        rows.into_iter().take(limit as usize).map(|stored| stored.of(currency)).collect();
    let next = if more { items.last().map(|row| Position::of(row, sorting.0)) } else { None };
    Ok((items, next))
}

/// A row as stored: without the currency, which is the network's.
pub(super) struct Stored(HistoryRow);

impl Stored {
    pub(super) fn of(self, currency: &str) -> HistoryRow {
        HistoryRow { currency: currency.to_owned(), ..self.0 }
    }
}

impl<'r> FromRow<'r, AnyRow> for Stored {
    fn from_row(row: &'r AnyRow) -> std::result::Result<Stored, sqlx::Error> {
        let reward_micros = row.try_get::<Option<i64>, _>("reward_micros")?.map(Micros);
        Ok(Stored(HistoryRow {
            id: parsed(row, "id")?,
            task_id: parsed(row, "task_id")?,
            job_id: parsed(row, "job_id")?,
            worker_id: parsed(row, "worker_id")?,
            worker_name: row.try_get("worker_name")?,
            first_frame: narrow(row, "first_frame")?,
            last_frame: narrow(row, "last_frame")?,
            slot: narrow(row, "slot")?,
            gpu_uuid: row.try_get("gpu_uuid")?,
            gpu_name: row.try_get("gpu_name")?,
            status: parsed(row, "status")?,
            error: row.try_get::<Option<String>, _>("error")?.map(|error| redacted(&error)),
            progress_ratio: row.try_get("progress_ratio")?,
            render_seconds: row.try_get("render_seconds")?,
            currency: String::new(),
            cost_micros: Micros(row.try_get("cost_micros")?),
            reward_micros,
            reward_status: reward_micros.map(|_| RewardStatus::Posted),
            leased_at: UnixMillis(row.try_get("leased_at")?),
            started_at: row.try_get::<Option<i64>, _>("started_at")?.map(UnixMillis),
            completed_at: row.try_get::<Option<i64>, _>("ended_at")?.map(UnixMillis),
        }))
    }
}

/// Read page by page while it is sent, so that a long history is never held whole.
fn csv(
    app: App,
    filter: Filter,
    sorting: (Sort, Order),
    after: Option<Position>,
    limit: Option<u32>,
) -> Response {
    let start = Some((after, limit));
    let pages = stream::try_unfold(start, move |at| {
        let (app, filter) = (app.clone(), filter.clone());
        async move {
            let Some((after, limit)) = at else { return Ok::<_, Error>(None) };
            let currency = &app.settings.currency;
            let mut conn = app.db.read().await?;
            let limit_now = limit.unwrap_or(LIMIT_MAX);
            let (rows, next) = page(&mut conn, &filter, sorting, after, limit_now, currency).await?;
            let text = spreadsheet::text(rows.iter().map(|row| spreadsheet::row(&COLUMNS, row)))?;
            let rest = next.filter(|_| limit.is_none()).map(|next| (Some(next), None));
            Ok(Some((Bytes::from(text), rest)))
        }
    });
    let head = stream::once(async { Ok(Bytes::from(spreadsheet::text([spreadsheet::head(&COLUMNS)])?)) });
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"attempts.csv\""),
    ];
    (headers, Body::from_stream(head.chain(pages))).into_response()
}
