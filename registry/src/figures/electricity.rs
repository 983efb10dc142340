//! What workers' electricity costs their owners: told by agents, beside the ledger and never part of it.

mod store;

use pictor_protocol::{Electricity, ElectricityCost, ElectricitySum, Micros, UnixMillis, WorkerId};
use sqlx::AnyConnection;

use super::of::Of;
use super::period::{Period, QUARTER_MILLIS};
use crate::error::Result;
use store::Used;

/// What can be counted with.
pub(crate) fn is_sound(told: &Electricity) -> bool {
    let is_currency = told.currency.len() == 3 && told.currency.bytes().all(|byte| byte.is_ascii_uppercase());
    is_currency
        && told.cost_micros >= Micros::ZERO
        && told.exchange_rate.is_none_or(|rate| rate.is_finite() && rate > 0.0)
}

/// Adds what was used since the total told before. The first total, and one in another currency, is where
/// counting begins; a smaller one is an agent that lost its file. Said again, nothing is added.
pub(crate) async fn record(
    conn: &mut AnyConnection,
    worker_id: WorkerId,
    told: &Electricity,
    network_currency: &str,
    at: UnixMillis,
) -> Result<()> {
    let before = store::told_before(conn, worker_id, at).await?;
    // A later heartbeat was written already.
    let Some(store::Told { account_id, currency, micros }) = before else { return Ok(()) };
    let counted = micros.filter(|_| currency.as_deref() == Some(&told.currency));
    if counted == Some(told.cost_micros.0) {
        return Ok(());
    }
    store::keep_told(conn, worker_id, told).await?;
    let cost = counted.map_or(0, |counted| told.cost_micros.0 - counted);
    if cost <= 0 {
        return Ok(());
    }
    let network = in_network_currency(cost, told, network_currency);
    store::add(conn, worker_id, account_id, &Used { cost, network, at }, told).await
}

/// An estimate from an owner's own rate; the ledger never sees it.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
fn in_network_currency(micros: i64, told: &Electricity, network_currency: &str) -> Option<i64> {
    if told.currency == network_currency {
        return Some(micros);
    }
    told.exchange_rate.map(|rate| (micros as f64 / rate).round() as i64)
}

/// What electricity cost in the period, by currency; `None` where no worker tells it.
/// Quarter hours count whole, to the side on which they begin.
pub(super) async fn of(
    conn: &mut AnyConnection,
    of: Of,
    period: &Period,
    earnings: Micros,
) -> Result<Option<ElectricityCost>> {
    let mut owned = of.rows();
    if let Some(from) = period.from {
        owned.integer("quarter >= $?", from.0 / QUARTER_MILLIS);
    }
    owned.integer("quarter <= $?", period.to.0 / QUARTER_MILLIS);
    let by_currency: Vec<(String, i64, i64, i64)> = owned
        .query(
            "SELECT currency, CAST(SUM(cost_micros) AS BIGINT), CAST(SUM(network_micros) AS BIGINT),
                    CAST(SUM(unrated_micros) AS BIGINT) FROM electricity",
            "GROUP BY currency ORDER BY currency",
        )
        .fetch_all(&mut *conn)
        .await?;
    if by_currency.is_empty() {
        return Ok(None);
    }
    let has_rates = by_currency.iter().all(|(_, _, _, unrated)| *unrated == 0);
    let cost = Micros(by_currency.iter().map(|(_, _, network, _)| network).sum());
    let mut sums = Vec::with_capacity(by_currency.len());
    for (currency, cost, _, _) in by_currency {
        let (exchange_rate, exchange_rate_at) = store::newest_rate(conn, owned.clone(), &currency).await?;
        sums.push(ElectricitySum { currency, cost_micros: Micros(cost), exchange_rate, exchange_rate_at });
    }
    Ok(Some(ElectricityCost {
        sums,
        cost_micros: has_rates.then_some(cost),
        net_micros: has_rates.then_some(earnings - cost),
    }))
}
