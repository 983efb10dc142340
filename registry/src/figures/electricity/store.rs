//! The rows of electricity: what workers told, and what was used since.

use pictor_protocol::{AccountId, Electricity, UnixMillis, WorkerId};
use sqlx::{AnyConnection, Row};

use crate::error::Result;
use crate::figures::period::QUARTER_MILLIS;
use crate::filter::Filter;
use crate::row::{Parsed, parsed};

/// The total that a worker told last.
pub(super) struct Told {
    pub(super) account_id: AccountId,
    pub(super) currency: Option<String>,
    pub(super) micros: Option<i64>,
}

/// What was used since the total before, in micros of the told currency, and of the network's where a rate is known.
pub(super) struct Used {
    pub(super) cost: i64,
    pub(super) network: Option<i64>,
    pub(super) at: UnixMillis,
}

/// None when `at` is not the worker's last heartbeat.
pub(super) async fn told_before(
    conn: &mut AnyConnection,
    worker_id: WorkerId,
    at: UnixMillis,
) -> Result<Option<Told>> {
    let row = sqlx::query(
        "SELECT account_id, electricity_currency, electricity_micros FROM workers
         WHERE id = $1 AND last_heartbeat_at = $2 AND archived_at IS NULL",
    )
    .bind(worker_id.to_string())
    .bind(at.0)
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Told {
        account_id: parsed(&row, "account_id")?,
        currency: row.try_get("electricity_currency")?,
        micros: row.try_get("electricity_micros")?,
    }))
}

pub(super) async fn keep_told(
    conn: &mut AnyConnection,
    worker_id: WorkerId,
    told: &Electricity,
) -> Result<()> {
    sqlx::query("UPDATE workers SET electricity_currency = $2, electricity_micros = $3 WHERE id = $1")
        .bind(worker_id.to_string())
        .bind(told.currency.clone())
        .bind(told.cost_micros.0)
        .execute(conn)
        .await?;
    Ok(())
}

/// Adds to the quarter hour of that moment.
pub(super) async fn add(
    conn: &mut AnyConnection,
    worker_id: WorkerId,
    account_id: AccountId,
    used: &Used,
    told: &Electricity,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO electricity (worker_id, account_id, quarter, currency, cost_micros, network_micros, unrated_micros,
             exchange_rate, exchange_rate_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (worker_id, quarter, currency) DO UPDATE SET
             cost_micros = electricity.cost_micros + excluded.cost_micros,
             network_micros = electricity.network_micros + excluded.network_micros,
             unrated_micros = electricity.unrated_micros + excluded.unrated_micros,
             exchange_rate = COALESCE(excluded.exchange_rate, electricity.exchange_rate),
             exchange_rate_at = COALESCE(excluded.exchange_rate_at, electricity.exchange_rate_at)",
    )
    .bind(worker_id.to_string())
    .bind(account_id.to_string())
    .bind(used.at.0 / QUARTER_MILLIS)
    .bind(told.currency.clone())
    .bind(used.cost)
    .bind(used.network.unwrap_or(0))
    .bind(if used.network.is_some() { 0 } else { used.cost })
    .bind(told.exchange_rate.map(|rate| rate.to_string()))
    .bind(told.exchange_rate_at.map(|at| at.0))
    .execute(conn)
    .await?;
    Ok(())
}

/// The newest rate of a currency, and when it was true.
pub(super) async fn newest_rate(
    conn: &mut AnyConnection,
    mut owned: Filter,
    currency: &str,
) -> Result<(Option<f64>, Option<UnixMillis>)> {
    owned.text("exchange_rate IS NOT NULL AND currency = $?", currency);
    let newest: Vec<(Parsed<f64>, Option<i64>)> = owned
        .limited("SELECT exchange_rate, exchange_rate_at FROM electricity", "ORDER BY quarter DESC", 1)
        .fetch_all(conn)
        .await?;
    let newest = newest.into_iter().next();
    Ok(newest.map_or((None, None), |(Parsed(rate), at)| (Some(rate), at.map(UnixMillis))))
}
