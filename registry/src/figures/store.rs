//! What figures read beside their sums: whose a worker is, what is held now, and what has not ended.

use pictor_protocol::{AccountId, AttemptStatus, Micros, TaskCounts, UnixMillis, WorkerId};
use sqlx::AnyConnection;

use super::of::Of;
use crate::error::Result;
use crate::filter::Filter;
use crate::row::Parsed;
use crate::sql::sql;
use crate::tasks::sets::OPEN_ATTEMPTS;

/// The account of a worker, archived or not, and the worker's name.
pub(super) async fn owner_of(conn: &mut AnyConnection, id: WorkerId) -> Result<Option<(AccountId, String)>> {
    let found: Option<(Parsed<_>, String)> =
        sqlx::query_as("SELECT account_id, name FROM workers WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(conn)
            .await?;
    Ok(found.map(|(Parsed(account), name)| (account, name)))
}

/// What the account holds now; for the whole network, what all accounts hold. The ledger says the same: its
/// check compares rewards with attempts and with figures.
pub(super) async fn held(
    conn: &mut AnyConnection,
    holder: Option<AccountId>,
    rewards: Micros,
) -> Result<Micros> {
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
pub(super) async fn count_open(
    conn: &mut AnyConnection,
    of: Of,
    to: UnixMillis,
    counts: &mut TaskCounts,
) -> Result<()> {
    let mut open = Filter::default();
    open.fixed(sql!("status IN ", OPEN_ATTEMPTS)).integer("leased_at < $?", to.0);
    match of {
        Of::All => &mut open,
        Of::Account(account) => {
            open.text("worker_id IN (SELECT id FROM workers WHERE account_id = $?)", account)
        }
        Of::Worker { id, .. } => open.text("worker_id = $?", id),
    };
    let rows: Vec<(Parsed<AttemptStatus>, i64)> =
        open.query("SELECT status, COUNT(*) FROM attempts", "GROUP BY status").fetch_all(conn).await?;
    for (Parsed(status), count) in rows {
        *counts.of(status) += count;
    }
    Ok(())
}
