//! The figures of an account, a worker or the whole network, and the series of their charts.

use pictor_protocol::{
    AccountId, AttemptStatus, Earnings, Micros, SeriesPoint, TaskCounts, UnixMillis, WorkerId,
};
use sqlx::AnyConnection;

use super::electricity;
use super::filter::{Filter, Of};
use super::period::{Period, PeriodQuery, QUARTER_MILLIS};
use super::store::{self, Book};
use crate::App;
use crate::auth::Provider;
use crate::error::{Error, Json, Path, Query, Result};

/// The account's figures; an operator's are the whole network's.
#[utoipa::path(get, path = "/v1/summary", params(PeriodQuery), responses((status = 200, body = Earnings)))]
pub(super) async fn of_account(
    app: axum::extract::State<App>,
    Provider(caller): Provider,
    query: Query<PeriodQuery>,
) -> Result<Json<Earnings>> {
    answer(&app, Of::account(caller.account_filter()), caller.account_filter(), &query.0).await
}

/// The account's earnings; an operator's are the whole network's.
#[utoipa::path(get, path = "/v1/earnings", params(PeriodQuery), responses((status = 200, body = Earnings)))]
pub(super) async fn earnings(
    app: axum::extract::State<App>,
    Provider(caller): Provider,
    query: Query<PeriodQuery>,
) -> Result<Json<Earnings>> {
    answer(&app, Of::account(caller.account_filter()), caller.account_filter(), &query.0).await
}

/// One worker's figures, of an archived one too; the balance is its account's.
#[utoipa::path(
    get,
    path = "/v1/workers/{id}/statistics",
    params(("id" = WorkerId, Path), PeriodQuery),
    responses((status = 200, body = Earnings))
)]
pub(super) async fn of_worker(
    app: axum::extract::State<App>,
    Provider(caller): Provider,
    Path(worker_id): Path<WorkerId>,
    query: Query<PeriodQuery>,
) -> Result<Json<Earnings>> {
    let owner = owner_of(&mut *app.db.read().await?, worker_id).await?;
    if !caller.may_see(owner) {
        return Err(Error::NotFound("worker"));
    }
    answer(&app, Of::Worker(worker_id), Some(owner), &query.0).await
}

async fn owner_of(conn: &mut AnyConnection, worker_id: WorkerId) -> Result<AccountId> {
    let owner: Option<String> = sqlx::query_scalar("SELECT account_id FROM workers WHERE id = $1")
        .bind(worker_id.to_string())
        .fetch_optional(conn)
        .await?;
    let owner = owner.ok_or(Error::NotFound("worker"))?;
    Ok(owner.parse().map_err(anyhow::Error::from)?)
}

async fn answer(app: &App, of: Of, holder: Option<AccountId>, query: &PeriodQuery) -> Result<Json<Earnings>> {
    let period = query.period(app.clock.now())?;
    let mut conn = app.db.read().await?;
    let rewards = rewards(of);
    let select = "SELECT CAST(SUM(amount_micros) AS BIGINT) FROM transfers";
    let earnings_micros = Micros(sum(&mut conn, select, rewards.clone(), &period).await?);
    Ok(Json(Earnings {
        currency: app.settings.currency.clone(),
        earnings_micros,
        // Rewards are posted with the completion: until audits hold some back, none waits.
        pending_micros: Micros::ZERO,
        balance_micros: held(&mut conn, holder).await?,
        paid_out_micros: paid_out(&mut conn, holder).await?,
        points: sum(&mut conn, "SELECT CAST(SUM(points) AS BIGINT) FROM points", owned(of), &period).await?,
        electricity: electricity::of(&mut conn, owned(of), &period, earnings_micros).await?,
        tasks: task_counts(&mut conn, of, &period).await?,
        series: series(&mut conn, of, rewards, &period).await?,
    }))
}

/// Points and attempts carry both ids.
fn owned(of: Of) -> Filter {
    let mut filter = Filter::default();
    match of {
        Of::All => {}
        Of::Account(account) => {
            filter.text("account_id = $?", account);
        }
        Of::Worker(worker) => {
            filter.text("worker_id = $?", worker);
        }
    }
    filter
}

fn rewards(of: Of) -> Filter {
    let mut filter = Filter::default();
    match of {
        Of::All => {}
        Of::Account(account) => {
            filter.text("to_book = $?", account);
        }
        Of::Worker(worker) => {
            filter.text("worker_id = $?", worker);
        }
    }
    filter.text("kind = $?", store::TransferKind::Reward.as_str());
    filter
}

async fn sum(
    conn: &mut AnyConnection,
    select: &'static str,
    mut filter: Filter,
    period: &Period,
) -> Result<i64> {
    if let Some(from) = period.from {
        filter.integer("created_at >= $?", from.0);
    }
    filter.integer("created_at < $?", period.to.0);
    let (sum,): (Option<i64>,) = filter.query(select, "").fetch_one(conn).await?;
    Ok(sum.unwrap_or(0))
}

/// What the account holds now; for the whole network, what all accounts hold.
async fn held(conn: &mut AnyConnection, holder: Option<AccountId>) -> Result<Micros> {
    if let Some(account) = holder {
        return store::balance(conn, &Book::Account(account)).await;
    }
    let micros: i64 = sqlx::query_scalar(
        "SELECT (SELECT COALESCE(CAST(SUM(amount_micros) AS BIGINT), 0) FROM transfers WHERE to_book IN (SELECT id FROM accounts))
              - (SELECT COALESCE(CAST(SUM(amount_micros) AS BIGINT), 0) FROM transfers WHERE from_book IN (SELECT id FROM accounts))",
    )
    .fetch_one(conn)
    .await?;
    Ok(Micros(micros))
}

async fn paid_out(conn: &mut AnyConnection, holder: Option<AccountId>) -> Result<Micros> {
    let mut filter = Filter::default();
    filter.text("to_book = $?", Book::PaidOut.to_string());
    if let Some(account) = holder {
        filter.text("from_book = $?", account);
    }
    let (sum,): (Option<i64>,) =
        filter.query("SELECT CAST(SUM(amount_micros) AS BIGINT) FROM transfers", "").fetch_one(conn).await?;
    Ok(Micros(sum.unwrap_or(0)))
}

/// Attempts that ended in the period, and those not ended that began before its end.
async fn task_counts(conn: &mut AnyConnection, of: Of, period: &Period) -> Result<TaskCounts> {
    let mut ended = owned(of);
    if let Some(from) = period.from {
        ended.integer("ended_at >= $?", from.0);
    }
    ended.integer("ended_at < $?", period.to.0);
    let mut held = owned(of);
    held.integer("ended_at IS NULL AND leased_at < $?", period.to.0);
    let mut counts = TaskCounts::default();
    for filter in [ended, held] {
        let rows: Vec<(String, i64)> = filter
            .query("SELECT status, COUNT(*) FROM attempts", "GROUP BY status")
            .fetch_all(&mut *conn)
            .await?;
        for (status, count) in rows {
            *counts.of(status.parse::<AttemptStatus>().map_err(anyhow::Error::from)?) += count;
        }
    }
    Ok(counts)
}

async fn series(
    conn: &mut AnyConnection,
    of: Of,
    mut rewards: Filter,
    period: &Period,
) -> Result<Vec<SeriesPoint>> {
    let mut series: Vec<SeriesPoint> = period
        .buckets
        .iter()
        .map(|at| SeriesPoint { at: *at, earnings_micros: Micros::ZERO, completed: 0, failed: 0 })
        .collect();
    rewards.integer("created_at >= $?", period.series_from.0).integer("created_at < $?", period.to.0);
    let earned: Vec<(i64, i64)> = rewards
        .query(
            "SELECT created_at / 900000 AS quarter, CAST(SUM(amount_micros) AS BIGINT) FROM transfers",
            "GROUP BY created_at / 900000",
        )
        .fetch_all(&mut *conn)
        .await?;
    for (quarter, micros) in earned {
        let point = &mut series[period.bucket_of(UnixMillis(quarter * QUARTER_MILLIS))];
        point.earnings_micros = point.earnings_micros + Micros(micros);
    }
    let mut ended = owned(of);
    ended.integer("ended_at >= $?", period.series_from.0).integer("ended_at < $?", period.to.0);
    let ended: Vec<(i64, i64, i64)> = ended
        .query(
            "SELECT ended_at / 900000 AS quarter,
                    CAST(SUM(CASE WHEN status = 'completed' THEN 1 ELSE 0 END) AS BIGINT),
                    CAST(SUM(CASE WHEN status = 'failed' THEN 1 ELSE 0 END) AS BIGINT) FROM attempts",
            "GROUP BY ended_at / 900000",
        )
        .fetch_all(&mut *conn)
        .await?;
    for (quarter, completed, failed) in ended {
        let point = &mut series[period.bucket_of(UnixMillis(quarter * QUARTER_MILLIS))];
        point.completed += completed;
        point.failed += failed;
    }
    Ok(series)
}
