//! The ledger's own audit: what must be true of all rows together, looked at once a minute.

use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use pictor_protocol::Micros;
use sqlx::AnyConnection;

use crate::App;
use crate::error::Result;

const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// Something the ledger must never say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A book that cannot owe money does.
    BelowZero { book: String, balance: Micros },
    /// A job has ended and its escrow was not returned.
    EscrowLeft { job: String, balance: Micros },
    /// What a job's completed tasks cost is not what was paid for them.
    Paid { job: String, cost: Micros, paid: Micros },
    /// What an attempt says it earned is not what was transferred for it.
    Reward { attempt: String, said: Micros, paid: Micros },
    /// What a payout holds is not its amount while it is pending, or not nothing once it has ended.
    Payout { payout: String, due: Micros, balance: Micros },
    /// What an account's folded figures say it earned is not what was transferred meanwhile.
    Figures { account: String, said: Micros, paid: Micros },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::BelowZero { book, balance } => write!(f, "book {book} stands at {balance}, below zero"),
            Finding::EscrowLeft { job, balance } => {
                write!(f, "{job} has ended with {balance} left in escrow")
            }
            Finding::Paid { job, cost, paid } => {
                write!(f, "completed tasks of {job} cost {cost}, but {paid} was paid for them")
            }
            Finding::Reward { attempt, said, paid } => {
                write!(f, "{attempt} is said to have earned {said}, but {paid} was transferred")
            }
            Finding::Payout { payout, due, balance } => {
                write!(f, "{payout} must hold {due}, and holds {balance}")
            }
            Finding::Figures { account, said, paid } => {
                write!(f, "the figures of {account} say {said} earned, but {paid} was transferred")
            }
        }
    }
}

/// Looks at the whole ledger; empty when it is sound. Each statement sees one moment of the database,
/// so that work going on meanwhile is never mistaken for a fault.
pub async fn check_once(conn: &mut AnyConnection) -> Result<Vec<Finding>> {
    let below_zero: Vec<(String, i64)> = sqlx::query_as(
        "SELECT book, CAST(SUM(amount) AS BIGINT) AS balance FROM (
             SELECT to_book AS book, amount_micros AS amount FROM transfers
             UNION ALL SELECT from_book, -amount_micros FROM transfers) AS entries
         WHERE book NOT IN ('issued', 'paid_out') GROUP BY book HAVING SUM(amount) < 0",
    )
    .fetch_all(&mut *conn)
    .await?;
    let escrow_left: Vec<(String, i64)> = sqlx::query_as(
        "SELECT book, CAST(SUM(amount) AS BIGINT) AS balance FROM (
             SELECT to_book AS book, amount_micros AS amount FROM transfers
             UNION ALL SELECT from_book, -amount_micros FROM transfers) AS entries
         JOIN jobs ON jobs.id = entries.book
         WHERE jobs.ended_at IS NOT NULL GROUP BY book HAVING SUM(amount) <> 0",
    )
    .fetch_all(&mut *conn)
    .await?;
    let unpaid: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT job, CAST(SUM(cost) AS BIGINT) AS cost, CAST(SUM(paid) AS BIGINT) AS paid FROM (
             SELECT job_id AS job, cost_micros AS cost, 0 AS paid FROM attempts WHERE status = 'completed'
             UNION ALL
             SELECT from_book, 0, amount_micros FROM transfers WHERE kind IN ('reward', 'fee')) AS entries
         GROUP BY job HAVING SUM(cost) <> SUM(paid)",
    )
    .fetch_all(&mut *conn)
    .await?;
    let rewards: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT attempt, CAST(SUM(said) AS BIGINT) AS said, CAST(SUM(paid) AS BIGINT) AS paid FROM (
             SELECT id AS attempt, reward_micros AS said, 0 AS paid FROM attempts WHERE status = 'completed'
             UNION ALL
             SELECT attempt_id, 0, amount_micros FROM transfers WHERE kind = 'reward') AS entries
         GROUP BY attempt HAVING SUM(said) <> SUM(paid)",
    )
    .fetch_all(&mut *conn)
    .await?;
    let below_zero =
        below_zero.into_iter().map(|(book, balance)| Finding::BelowZero { book, balance: Micros(balance) });
    let escrow_left =
        escrow_left.into_iter().map(|(job, balance)| Finding::EscrowLeft { job, balance: Micros(balance) });
    let unpaid = unpaid.into_iter().map(|(job, cost, paid)| Finding::Paid {
        job,
        cost: Micros(cost),
        paid: Micros(paid),
    });
    let rewards = rewards.into_iter().map(|(attempt, said, paid)| Finding::Reward {
        attempt,
        said: Micros(said),
        paid: Micros(paid),
    });
    let mut findings: Vec<Finding> = below_zero.chain(escrow_left).chain(unpaid).chain(rewards).collect();
    findings.extend(check_payouts(conn).await?);
    findings.extend(check_figures(conn).await?);
    Ok(findings)
}

async fn check_payouts(conn: &mut AnyConnection) -> Result<impl Iterator<Item = Finding>> {
    let wrong: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT payout, CAST(SUM(due) AS BIGINT) AS due, CAST(SUM(held) AS BIGINT) AS held FROM (
             SELECT id AS payout, amount_micros AS due, 0 AS held FROM payouts WHERE status = 'pending'
             UNION ALL SELECT to_book, 0, amount_micros FROM transfers WHERE to_book IN (SELECT id FROM payouts)
             UNION ALL SELECT from_book, 0, -amount_micros FROM transfers
                       WHERE from_book IN (SELECT id FROM payouts)) AS entries
         GROUP BY payout HAVING SUM(due) <> SUM(held)",
    )
    .fetch_all(conn)
    .await?;
    Ok(wrong.into_iter().map(|(payout, due, balance)| Finding::Payout {
        payout,
        due: Micros(due),
        balance: Micros(balance),
    }))
}

async fn check_figures(conn: &mut AnyConnection) -> Result<impl Iterator<Item = Finding>> {
    let wrong: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT book, CAST(SUM(said) AS BIGINT) AS said, CAST(SUM(paid) AS BIGINT) AS paid FROM (
             SELECT subject AS book, reward_micros AS said, 0 AS paid FROM figures
             WHERE subject IN (SELECT id FROM accounts)
             UNION ALL
             SELECT to_book, 0, amount_micros FROM transfers WHERE kind = 'reward'
             AND created_at < (SELECT until FROM folds WHERE name = 'quarter')) AS entries
         GROUP BY book HAVING SUM(said) <> SUM(paid)",
    )
    .fetch_all(conn)
    .await?;
    Ok(wrong.into_iter().map(|(account, said, paid)| Finding::Figures {
        account,
        said: Micros(said),
        paid: Micros(paid),
    }))
}

/// Checks the ledger every minute, logs what it finds, and says in the metrics whether it was sound. A database
/// that does not answer is logged too, and tried again: readiness is not this loop's to judge.
pub async fn ledger_check_loop(app: App) -> anyhow::Result<Infallible> {
    let mut ticks = tokio::time::interval(CHECK_INTERVAL);
    loop {
        ticks.tick().await;
        let found = findings(&app).await;
        app.metrics.ledger_checked(found.as_ref().is_ok_and(Vec::is_empty), app.clock.now());
        match found {
            Ok(findings) => findings.iter().for_each(|finding| tracing::error!("ledger: {finding}")),
            Err(error) => tracing::error!("the ledger could not be checked: {error}"),
        }
    }
}

async fn findings(app: &App) -> Result<Vec<Finding>> {
    let mut conn = app.db.read().await?;
    check_once(&mut conn).await
}
