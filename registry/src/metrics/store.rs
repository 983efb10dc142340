//! What `/metrics/network` sums: of one account or of all.

use std::collections::HashMap;

use pictor_protocol::AccountId;
use sqlx::AnyConnection;

use crate::error::Result;

/// By worker, and by a word such as a status where there is one.
pub(super) type Totals = HashMap<(String, String), i64>;

/// What completed tasks have cost, in micros, by the kind of transfer.
pub(super) async fn paid(conn: &mut AnyConnection, owner: Option<AccountId>) -> Result<HashMap<String, i64>> {
    let paid = match owner {
        None => {
            "SELECT kind, CAST(SUM(amount_micros) AS BIGINT) FROM transfers
             WHERE kind IN ('reward', 'fee') AND COALESCE($1, '') = '' GROUP BY kind"
        }
        Some(_) => {
            "SELECT t.kind, CAST(SUM(t.amount_micros) AS BIGINT) FROM transfers t JOIN workers w ON w.id = t.worker_id
             WHERE t.kind IN ('reward', 'fee') AND w.account_id = $1 GROUP BY t.kind"
        }
    };
    counted(conn, paid, owner).await
}

/// What each worker has earned, in micros.
pub(super) async fn earnings(conn: &mut AnyConnection, owner: Option<AccountId>) -> Result<Totals> {
    by_worker(
        conn,
        "SELECT worker_id, '', CAST(SUM(amount_micros) AS BIGINT) FROM transfers
         WHERE kind = 'reward' AND worker_id IS NOT NULL AND to_book = COALESCE($1, to_book) GROUP BY worker_id",
        owner,
    )
    .await
}

/// The points of each worker.
pub(super) async fn points(conn: &mut AnyConnection, owner: Option<AccountId>) -> Result<Totals> {
    by_worker(
        conn,
        "SELECT worker_id, '', CAST(SUM(points) AS BIGINT) FROM points
         WHERE account_id = COALESCE($1, account_id) GROUP BY worker_id",
        owner,
    )
    .await
}

/// The attempts of each worker, by status.
pub(super) async fn attempts(conn: &mut AnyConnection, owner: Option<AccountId>) -> Result<Totals> {
    by_worker(
        conn,
        "SELECT worker_id, status, COUNT(*) FROM attempts
         WHERE account_id = COALESCE($1, account_id) GROUP BY worker_id, status",
        owner,
    )
    .await
}

/// Counts by a word, such as a status.
async fn counted(
    conn: &mut AnyConnection,
    sql: &'static str,
    owner: Option<AccountId>,
) -> Result<HashMap<String, i64>> {
    let rows: Vec<(String, i64)> = sqlx::query_as(sql).bind(owner.map(String::from)).fetch_all(conn).await?;
    Ok(rows.into_iter().collect())
}

async fn by_worker(conn: &mut AnyConnection, sql: &'static str, owner: Option<AccountId>) -> Result<Totals> {
    let rows: Vec<(String, String, i64)> =
        sqlx::query_as(sql).bind(owner.map(String::from)).fetch_all(conn).await?;
    Ok(rows.into_iter().map(|(worker, word, sum)| ((worker, word), sum)).collect())
}
