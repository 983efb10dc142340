//! The figures of an account, a worker or the whole network, and the series of their charts.

use pictor_protocol::{
    AccountId, AttemptStatus, Earnings, EarningsGroup, Micros, SeriesPoint, TaskCounts, UnixMillis, WorkerId,
};
use sqlx::AnyConnection;

use super::electricity;
use super::groups as grouped;
use super::of::Of;
use super::period::{By, PeriodQuery};
use super::sums::{self, Sums};
use crate::App;
use crate::auth::{Caller, Provider};
use crate::error::{Error, Json, Path, Query, Result};
use crate::filter::Filter;
use crate::payouts;

/// The account's figures; an operator's are the whole network's.
#[utoipa::path(get, path = "/v1/summary", params(PeriodQuery), responses((status = 200, body = Earnings)))]
pub(super) async fn of_account(
    app: axum::extract::State<App>,
    Provider(caller): Provider,
    query: Query<PeriodQuery>,
) -> Result<Json<Earnings>> {
    Ok(Json(figures(&app, Of::account(caller.account_filter()), &query.0).await?))
}

/// The account's earnings; an operator's are the whole network's.
#[utoipa::path(get, path = "/v1/earnings", params(PeriodQuery), responses((status = 200, body = Earnings)))]
pub(super) async fn earnings(
    app: axum::extract::State<App>,
    Provider(caller): Provider,
    query: Query<PeriodQuery>,
) -> Result<Json<Earnings>> {
    Ok(Json(figures(&app, Of::account(caller.account_filter()), &query.0).await?))
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
    let (of, _) = worker_seen_by(&app, &caller, worker_id).await?;
    Ok(Json(figures(&app, of, &query.0).await?))
}

/// A worker whose figures the caller may see, archived or not, and its name.
pub async fn worker_seen_by(app: &App, caller: &Caller, id: WorkerId) -> Result<(Of, String)> {
    let found: Option<(String, String)> =
        sqlx::query_as("SELECT account_id, name FROM workers WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&mut *app.db.read().await?)
            .await?;
    let (owner, name) = found.ok_or(Error::NotFound("worker"))?;
    let owner: AccountId = owner.parse().map_err(anyhow::Error::from)?;
    if caller.may_see(owner) { Ok((Of::Worker { id, owner }, name)) } else { Err(Error::NotFound("worker")) }
}

/// What the three calls answer.
pub async fn figures(app: &App, of: Of, query: &PeriodQuery) -> Result<Earnings> {
    let period = query.period(app.clock.now())?;
    let mut conn = app.db.read().await?;
    let buckets = sums::by_bucket(&mut conn, of, &period).await?;
    let total = if period.from.is_some() {
        buckets.iter().fold(Sums::default(), |mut total, bucket| {
            total.add(bucket);
            total
        })
    } else {
        sums::total(&mut conn, of, None, period.to).await?
    };
    let mut tasks = total.tasks;
    count_open(&mut conn, of, period.to, &mut tasks).await?;
    // What a worker's or a range's figures leave out belongs to the balance as well.
    let rewards = match of {
        Of::All | Of::Account(_) if period.is_all_time => total.earnings,
        _ => sums::total(&mut conn, Of::account(of.holder()), None, period.now).await?.earnings,
    };
    let groups = match query.by {
        Some(by) => Some(grouped::read(&mut conn, of, &period).await?.grouped(by)),
        None => None,
    };
    let point = |(at, sums): (&UnixMillis, &Sums)| SeriesPoint {
        at: *at,
        earnings_micros: sums.earnings,
        completed: sums.tasks.completed,
        failed: sums.tasks.failed,
    };
    Ok(Earnings {
        currency: app.settings.currency.clone(),
        earnings_micros: total.earnings,
        // Rewards are posted with the completion: until audits hold some back, none waits.
        pending_micros: Micros::ZERO,
        balance_micros: held(&mut conn, of.holder(), rewards).await?,
        paid_out_micros: payouts::store::sent(&mut conn, of.holder()).await?,
        points: total.points,
        electricity: electricity::of(&mut conn, of, &period, total.earnings).await?,
        tasks,
        series: period.buckets.iter().zip(&buckets).map(point).collect(),
        groups,
    })
}

/// All-time figures by each of several properties.
pub async fn groups<const N: usize>(app: &App, of: Of, by: [By; N]) -> Result<[Vec<EarningsGroup>; N]> {
    let period = PeriodQuery::default().period(app.clock.now())?;
    let cells = grouped::read(&mut *app.db.read().await?, of, &period).await?;
    Ok(by.map(|by| cells.grouped(by)))
}

/// What the account holds now; for the whole network, what all accounts hold. The ledger says the same: its
/// check compares rewards with attempts and with figures.
async fn held(conn: &mut AnyConnection, holder: Option<AccountId>, rewards: Micros) -> Result<Micros> {
    let (mut received, mut spent) = (Filter::default(), Filter::default());
    match holder {
        Some(account) => {
            received.text("to_book = $?", account);
            spent.text("from_book = $?", account);
        }
        None => {
            received.fixed("to_book IN (SELECT id FROM accounts)");
            spent.fixed("from_book IN (SELECT id FROM accounts)");
        }
    }
    received.fixed("kind NOT IN ('reward', 'fee')");
    let mut sums = [Micros::ZERO; 2];
    for (filter, sum) in [received, spent].iter().zip(&mut sums) {
        let (micros,): (Option<i64>,) = filter
            .query("SELECT CAST(SUM(amount_micros) AS BIGINT) FROM transfers", "")
            .fetch_one(&mut *conn)
            .await?;
        *sum = Micros(micros.unwrap_or(0));
    }
    Ok(rewards + sums[0] - sums[1])
}

/// Counts attempts that have not ended and began before `to`.
async fn count_open(conn: &mut AnyConnection, of: Of, to: UnixMillis, counts: &mut TaskCounts) -> Result<()> {
    let mut open = Filter::default();
    open.fixed("status IN ('pending', 'running', 'paused')").integer("leased_at < $?", to.0);
    match of {
        Of::All => &mut open,
        Of::Account(account) => {
            open.text("worker_id IN (SELECT id FROM workers WHERE account_id = $?)", account)
        }
        Of::Worker { id, .. } => open.text("worker_id = $?", id),
    };
    let rows: Vec<(String, i64)> =
        open.query("SELECT status, COUNT(*) FROM attempts", "GROUP BY status").fetch_all(conn).await?;
    for (status, count) in rows {
        *counts.of(status.parse::<AttemptStatus>().map_err(anyhow::Error::from)?) += count;
    }
    Ok(())
}
