//! How many there are of what, by status: of one account or of all.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::str::FromStr;

use pictor_protocol::{AccountId, JobStatus, TaskStatus, UnixMillis};
use sqlx::AnyConnection;

use crate::error::Result;
use crate::row::Parsed;

pub(super) async fn accounts(conn: &mut AnyConnection) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT COUNT(*) FROM accounts").fetch_one(conn).await?)
}

pub async fn jobs(conn: &mut AnyConnection, owner: Option<AccountId>) -> Result<BTreeMap<JobStatus, i64>> {
    let jobs =
        "SELECT status, COUNT(*) FROM jobs WHERE account_id = COALESCE($1, account_id) GROUP BY status";
    counted(conn, jobs, owner, JobStatus::ALL).await
}

pub async fn tasks(conn: &mut AnyConnection, owner: Option<AccountId>) -> Result<BTreeMap<TaskStatus, i64>> {
    let tasks = match owner {
        None => "SELECT status, COUNT(*) FROM tasks WHERE COALESCE($1, '') = '' GROUP BY status",
        Some(_) => {
            "SELECT t.status, COUNT(*) FROM tasks t JOIN jobs j ON j.id = t.job_id
             WHERE j.account_id = $1 GROUP BY t.status"
        }
    };
    counted(conn, tasks, owner, TaskStatus::ALL).await
}

/// Since when the task that waits longest has waited.
pub async fn oldest_pending(
    conn: &mut AnyConnection,
    owner: Option<AccountId>,
) -> Result<Option<UnixMillis>> {
    let oldest: Option<i64> = sqlx::query_scalar(
        "SELECT MIN(t.pending_since) FROM tasks t JOIN jobs j ON j.id = t.job_id
         WHERE t.status = $2 AND j.account_id = COALESCE($1, j.account_id)",
    )
    .bind(owner.map(String::from))
    .bind(TaskStatus::Pending.as_str())
    .fetch_one(conn)
    .await?;
    Ok(oldest.map(UnixMillis))
}

/// Every status has its count, of none too.
async fn counted<T>(
    conn: &mut AnyConnection,
    sql: &'static str,
    owner: Option<AccountId>,
    all: &[T],
) -> Result<BTreeMap<T, i64>>
where
    T: Copy + Ord + Send + Unpin + FromStr<Err: StdError + Send + Sync + 'static>,
{
    let rows: Vec<(Parsed<T>, i64)> =
        sqlx::query_as(sql).bind(owner.map(String::from)).fetch_all(conn).await?;
    let zeros = all.iter().map(|status| (*status, 0));
    Ok(zeros.chain(rows.into_iter().map(|(Parsed(status), count)| (status, count))).collect())
}
