//! The figures of an account, a worker or the whole network, and the series of their charts.

use pictor_protocol::{Earnings, EarningsGroup, Micros, SeriesPoint, UnixMillis, WorkerId};

use super::electricity;
use super::groups as grouped;
use super::of::Of;
use super::period::{By, PeriodQuery};
use super::store;
use super::sums::{self, Sums};
use crate::App;
use crate::auth::{Caller, Provider};
use crate::error::{Error, Json, Path, Query, Result};
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
    let found = store::owner_of(&mut *app.db.read().await?, id).await?;
    let (owner, name) = found.ok_or(Error::NotFound("worker"))?;
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
    store::count_open(&mut conn, of, period.to, &mut tasks).await?;
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
        balance_micros: store::held(&mut conn, of.holder(), rewards).await?,
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
