//! The double-entry ledger. Rows are only ever inserted, each under a key that names its cause, so that
//! a cause said twice moves its money once.

use std::collections::HashMap;
use std::fmt;

use pictor_protocol::{
    AccountId, AttemptId, BookSum, Earned, FeeRatio, JobId, Micros, PayoutId, TaskId, Transfer, TransferId,
    UnixMillis, WorkerId,
};
use sha2::{Digest, Sha256};
use sqlx::AnyConnection;

use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::lists;
use crate::row::Parsed;

/// How many workers one statement names.
const EARNED_AT_ONCE: usize = 500;

/// One side of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Book {
    /// The balance of an account.
    Account(AccountId),
    /// What a job has set aside for its tasks.
    Escrow(JobId),
    /// What the network kept.
    Fees,
    /// Where credit comes from: the only book that may fall below zero.
    Issued,
    /// What a payout holds until it was sent or has failed.
    Payout(PayoutId),
    /// What was sent to wallets.
    PaidOut,
}

impl fmt::Display for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Book::Account(account) => account.fmt(f),
            Book::Escrow(job) => job.fmt(f),
            Book::Fees => f.write_str("fees"),
            Book::Issued => f.write_str("issued"),
            Book::Payout(payout) => payout.fmt(f),
            Book::PaidOut => f.write_str("paid_out"),
        }
    }
}

/// Why money moves. The table's CHECK knows `correction` too, for it can grow no further word: an operator's, once the API
/// takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferKind {
    Credit,
    Escrow,
    Reward,
    Fee,
    Refund,
    Payout,
}

impl TransferKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            TransferKind::Credit => "credit",
            TransferKind::Escrow => "escrow",
            TransferKind::Reward => "reward",
            TransferKind::Fee => "fee",
            TransferKind::Refund => "refund",
            TransferKind::Payout => "payout",
        }
    }
}

/// A transfer to be made; `amount` is above zero.
#[derive(Debug, Clone)]
pub struct NewTransfer {
    pub key: String,
    pub kind: TransferKind,
    pub from: Book,
    pub to: Book,
    pub amount: Micros,
    pub worker_id: Option<WorkerId>,
    pub attempt_id: Option<AttemptId>,
}

/// A completed task whose escrow is to be paid.
#[derive(Debug, Clone, Copy)]
pub struct PaidTask {
    pub task_id: TaskId,
    pub job_id: JobId,
    pub attempt_id: AttemptId,
    pub worker_id: WorkerId,
    /// The worker's account.
    pub provider: AccountId,
    pub frames: i64,
    pub cost: Micros,
    pub fee_ratio: FeeRatio,
    /// Points for one frame.
    pub points: i64,
}

/// Makes a transfer, or finds it already made (`false`). The same key for another transfer is an error:
/// whoever reused it is about to lose money silently.
pub async fn transfer(conn: &mut AnyConnection, new: NewTransfer, now: UnixMillis) -> Result<bool> {
    let (worker_id, attempt_id) = (new.worker_id.map(String::from), new.attempt_id.map(String::from));
    let made = sqlx::query(
        "INSERT INTO transfers (id, key, kind, from_book, to_book, amount_micros, worker_id, attempt_id, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (key) DO NOTHING",
    )
    .bind(transfer_id(&new.key, now).to_string())
    .bind(new.key.clone())
    .bind(new.kind.as_str())
    .bind(new.from.to_string())
    .bind(new.to.to_string())
    .bind(new.amount.0)
    .bind(worker_id.clone())
    .bind(attempt_id.clone())
    .bind(now.0)
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if made == 1 {
        return Ok(true);
    }
    let there: (String, String, String, i64, Option<String>, Option<String>) = sqlx::query_as(
        "SELECT kind, from_book, to_book, amount_micros, worker_id, attempt_id FROM transfers WHERE key = $1",
    )
    .bind(new.key.clone())
    .fetch_one(&mut *conn)
    .await?;
    let said = (
        new.kind.as_str().to_owned(),
        new.from.to_string(),
        new.to.to_string(),
        new.amount.0,
        worker_id,
        attempt_id,
    );
    if there == said {
        return Ok(false);
    }
    let detail = format!(
        "{} already names a transfer of {} from {} to {}; use another key",
        new.key,
        Micros(there.3),
        there.1,
        there.2
    );
    Err(Error::conflict("transfer_differs", detail))
}

/// The id follows from the key, so that a retried transaction writes the same row.
fn transfer_id(key: &str, now: UnixMillis) -> TransferId {
    let mut random = [0; 10];
    random.copy_from_slice(&Sha256::digest(key.as_bytes())[..10]);
    TransferId::from_parts(now.0.try_into().unwrap_or_default(), random)
}

/// What a book holds: all that went in, less all that went out.
pub async fn balance(conn: &mut AnyConnection, book: &Book) -> Result<Micros> {
    let micros: i64 = sqlx::query_scalar(
        "SELECT (SELECT COALESCE(CAST(SUM(amount_micros) AS BIGINT), 0) FROM transfers WHERE to_book = $1)
              - (SELECT COALESCE(CAST(SUM(amount_micros) AS BIGINT), 0) FROM transfers WHERE from_book = $1)",
    )
    .bind(book.to_string())
    .fetch_one(&mut *conn)
    .await?;
    Ok(Micros(micros))
}

/// Locks an account until the transaction ends, so that nobody else spends from the balance that it reads next.
async fn lock_balance(conn: &mut AnyConnection, account: AccountId) -> Result<()> {
    let locked = sqlx::query("UPDATE accounts SET balance_version = balance_version + 1 WHERE id = $1")
        .bind(account.to_string())
        .execute(&mut *conn)
        .await?
        .rows_affected();
    if locked == 0 { Err(Error::NotFound("account")) } else { Ok(()) }
}

/// Takes a payout's amount out of the account's balance; `InsufficientFunds` when the account holds less.
pub async fn hold_payout(
    conn: &mut AnyConnection,
    account: AccountId,
    payout: PayoutId,
    amount: Micros,
    now: UnixMillis,
) -> Result<()> {
    lock_balance(conn, account).await?;
    let held = balance(conn, &Book::Account(account)).await?;
    if held < amount {
        return Err(Error::InsufficientFunds(format!(
            "a payout of {amount} is refused: the account holds {held}"
        )));
    }
    let hold = NewTransfer {
        key: format!("payout:{payout}"),
        kind: TransferKind::Payout,
        from: Book::Account(account),
        to: Book::Payout(payout),
        amount,
        worker_id: None,
        attempt_id: None,
    };
    transfer(conn, hold, now).await?;
    Ok(())
}

/// Moves what a payout holds on to wallets, or back to the account.
pub async fn end_payout(
    conn: &mut AnyConnection,
    payout: PayoutId,
    (kind, to): (TransferKind, Book),
    amount: Micros,
    now: UnixMillis,
) -> Result<()> {
    let end = NewTransfer {
        key: format!("{}:ended:{payout}", kind.as_str()),
        kind,
        from: Book::Payout(payout),
        to,
        amount,
        worker_id: None,
        attempt_id: None,
    };
    transfer(conn, end, now).await?;
    Ok(())
}

/// Sets a job's cost aside; `InsufficientFunds` when the account holds less.
pub async fn escrow_job(
    conn: &mut AnyConnection,
    account: AccountId,
    job_id: JobId,
    amount: Micros,
    now: UnixMillis,
) -> Result<()> {
    lock_balance(conn, account).await?;
    if amount == Micros::ZERO {
        return Ok(());
    }
    let held = balance(conn, &Book::Account(account)).await?;
    if held < amount {
        return Err(Error::InsufficientFunds(format!("the job costs {amount} and the account holds {held}")));
    }
    let escrow = NewTransfer {
        key: format!("escrow:{job_id}"),
        kind: TransferKind::Escrow,
        from: Book::Account(account),
        to: Book::Escrow(job_id),
        amount,
        worker_id: None,
        attempt_id: None,
    };
    transfer(conn, escrow, now).await?;
    Ok(())
}

/// Pays a completed task out of its job's escrow, reward and fee, and counts its points; the reward.
/// Writes only rows of its own: completions of one job or provider never wait for each other here.
pub async fn pay_task(conn: &mut AnyConnection, task: &PaidTask, now: UnixMillis) -> Result<Micros> {
    let (reward, fee) = task.fee_ratio.split(task.cost);
    let parts =
        [(TransferKind::Reward, Book::Account(task.provider), reward), (TransferKind::Fee, Book::Fees, fee)];
    for (kind, to, amount) in parts {
        if amount == Micros::ZERO {
            continue;
        }
        let part = NewTransfer {
            key: format!("{}:{}", kind.as_str(), task.task_id),
            kind,
            from: Book::Escrow(task.job_id),
            to,
            amount,
            worker_id: Some(task.worker_id),
            attempt_id: Some(task.attempt_id),
        };
        transfer(conn, part, now).await?;
    }
    let points = task.frames.saturating_mul(task.points);
    add_points(conn, &format!("frames:{}", task.task_id), task.provider, task.worker_id, points, now).await?;
    Ok(reward)
}

/// Returns what is left of an ended job's escrow to its creator; how much that was.
/// The caller has ended the job's tasks in the same transaction, so that none can still be paid.
pub async fn refund_job(
    conn: &mut AnyConnection,
    job_id: JobId,
    creator: AccountId,
    now: UnixMillis,
) -> Result<Micros> {
    let left = balance(conn, &Book::Escrow(job_id)).await?;
    if left > Micros::ZERO {
        let refund = NewTransfer {
            key: format!("refund:{job_id}"),
            kind: TransferKind::Refund,
            from: Book::Escrow(job_id),
            to: Book::Account(creator),
            amount: left,
            worker_id: None,
            attempt_id: None,
        };
        transfer(conn, refund, now).await?;
    }
    Ok(left)
}

/// Gives an account money to spend, once per `key`; `false` when that key has given it before.
pub async fn credit(
    conn: &mut AnyConnection,
    account: AccountId,
    key: &str,
    amount: Micros,
    now: UnixMillis,
) -> Result<bool> {
    if amount <= Micros::ZERO {
        return Err(Error::Invalid(format!(
            "a credit of {amount} is refused: the amount must be above zero"
        )));
    }
    let credit = NewTransfer {
        key: format!("credit:{key}"),
        kind: TransferKind::Credit,
        from: Book::Issued,
        to: Book::Account(account),
        amount,
        worker_id: None,
        attempt_id: None,
    };
    transfer(conn, credit, now).await
}

/// What a worker has earned, all time.
pub async fn earned(conn: &mut AnyConnection, worker_id: WorkerId, currency: &str) -> Result<Earned> {
    let (earnings, points): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT COALESCE(CAST(SUM(amount_micros) AS BIGINT), 0) FROM transfers
                 WHERE worker_id = $1 AND kind = 'reward'),
                (SELECT COALESCE(CAST(SUM(points) AS BIGINT), 0) FROM points WHERE worker_id = $1)",
    )
    .bind(worker_id.to_string())
    .fetch_one(&mut *conn)
    .await?;
    Ok(Earned { currency: currency.to_owned(), earnings_micros: Micros(earnings), points })
}

/// What each of these workers has earned, all time: money and points. Those that earned nothing are not among them.
pub async fn earned_of(
    conn: &mut AnyConnection,
    workers: &[WorkerId],
) -> Result<HashMap<WorkerId, (Micros, i64)>> {
    let mut earned: HashMap<WorkerId, (Micros, i64)> = HashMap::with_capacity(workers.len());
    for some in workers.chunks(EARNED_AT_ONCE) {
        let mut filter = Filter::default();
        filter.one_of("worker_id", some);
        let points: Vec<(Parsed<WorkerId>, i64)> = filter
            .query("SELECT worker_id, CAST(SUM(points) AS BIGINT) FROM points", "GROUP BY worker_id")
            .fetch_all(&mut *conn)
            .await?;
        filter.text("kind = $?", TransferKind::Reward.as_str());
        let rewards: Vec<(Parsed<WorkerId>, i64)> = filter
            .query(
                "SELECT worker_id, CAST(SUM(amount_micros) AS BIGINT) FROM transfers",
                "GROUP BY worker_id",
            )
            .fetch_all(&mut *conn)
            .await?;
        for (Parsed(worker), micros) in rewards {
            earned.entry(worker).or_default().0 = Micros(micros);
        }
        for (Parsed(worker), count) in points {
            earned.entry(worker).or_default().1 = count;
        }
    }
    Ok(earned)
}

/// Counts points once per `key`; `false` when they were counted before, or are none.
pub async fn add_points(
    conn: &mut AnyConnection,
    key: &str,
    account_id: AccountId,
    worker_id: WorkerId,
    points: i64,
    now: UnixMillis,
) -> Result<bool> {
    if points <= 0 {
        return Ok(false);
    }
    let made = sqlx::query(
        "INSERT INTO points (key, account_id, worker_id, points, created_at)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (key) DO NOTHING",
    )
    .bind(key.to_owned())
    .bind(account_id.to_string())
    .bind(worker_id.to_string())
    .bind(points)
    .bind(now.0)
    .execute(&mut *conn)
    .await?
    .rows_affected();
    Ok(made == 1)
}

const BOOKS: [&str; 6] = ["accounts", "escrow", "payouts", "fees", "issued", "paid_out"];

/// What the books of each kind hold together.
pub(super) async fn books(conn: &mut AnyConnection) -> Result<Vec<BookSum>> {
    let sums: Vec<(String, i64)> = sqlx::query_as(
        "SELECT kind, CAST(SUM(amount) AS BIGINT) FROM (
             SELECT CASE WHEN book LIKE 'acc\\_%' ESCAPE '\\' THEN 'accounts'
                         WHEN book LIKE 'job\\_%' ESCAPE '\\' THEN 'escrow'
                         WHEN book LIKE 'pay\\_%' ESCAPE '\\' THEN 'payouts' ELSE book END AS kind, amount
             FROM (SELECT to_book AS book, amount_micros AS amount FROM transfers
                   UNION ALL SELECT from_book, -amount_micros FROM transfers) AS entries) AS books
         GROUP BY kind",
    )
    .fetch_all(conn)
    .await?;
    let held = |book: &str| sums.iter().find(|(kind, _)| kind == book).map_or(0, |(_, sum)| *sum);
    Ok(BOOKS
        .iter()
        .map(|book| BookSum { book: (*book).to_owned(), balance_micros: Micros(held(book)) })
        .collect())
}

type TransferRow =
    (Parsed<TransferId>, String, String, String, Option<String>, String, Option<String>, i64, i64);

/// Transfers, newest first: of a part of a key, or of a whole book.
pub(super) async fn transfers(
    conn: &mut AnyConnection,
    search: &str,
    before: Option<TransferId>,
    limit: i64,
) -> Result<Vec<Transfer>> {
    let rows: Vec<TransferRow> = sqlx::query_as(
        "SELECT t.id, t.key, t.kind, t.from_book, f.name, t.to_book, o.name, t.amount_micros, t.created_at
         FROM transfers t LEFT JOIN accounts f ON f.id = t.from_book LEFT JOIN accounts o ON o.id = t.to_book
         WHERE t.id < COALESCE($1, 'trf~') AND ($2 = '' OR t.key LIKE $3 ESCAPE '\\' OR t.from_book = $2 OR t.to_book = $2)
         ORDER BY t.id DESC LIMIT $4",
    )
    .bind(before.map(String::from))
    .bind(search.to_owned())
    .bind(lists::holding(search))
    .bind(limit)
    .fetch_all(conn)
    .await?;
    let transfer =
        |(Parsed(id), key, kind, from_book, from_name, to_book, to_name, amount, created_at): TransferRow| {
            Transfer {
                id,
                key,
                kind,
                from_book,
                from_name,
                to_book,
                to_name,
                amount_micros: Micros(amount),
                created_at: UnixMillis(created_at),
            }
        };
    Ok(rows.into_iter().map(transfer).collect())
}

/// What was set aside for jobs and did not come back; and how much of it waits in escrow still.
pub(super) async fn set_aside(conn: &mut AnyConnection, account: AccountId) -> Result<(Micros, Micros)> {
    let (given, held): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT COALESCE(CAST(SUM(amount_micros) AS BIGINT), 0) FROM transfers WHERE from_book = $1 AND kind = 'escrow')
              - (SELECT COALESCE(CAST(SUM(amount_micros) AS BIGINT), 0) FROM transfers WHERE to_book = $1 AND kind = 'refund') AS given,
                (SELECT COALESCE(CAST(SUM(amount_micros) AS BIGINT), 0) FROM transfers WHERE to_book IN (
                    SELECT id FROM jobs WHERE account_id = $1 AND ended_at IS NULL))
              - (SELECT COALESCE(CAST(SUM(amount_micros) AS BIGINT), 0) FROM transfers WHERE from_book IN (
                    SELECT id FROM jobs WHERE account_id = $1 AND ended_at IS NULL)) AS held",
    )
    .bind(account.to_string())
    .fetch_one(conn)
    .await?;
    Ok((Micros(given), Micros(held)))
}
