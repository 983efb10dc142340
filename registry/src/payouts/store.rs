//! All SQL of payouts. Their status is written here and nowhere else.

use pictor_protocol::{AccountId, Micros, Payout, PayoutId, PayoutStatus, UnixMillis};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::state::{PayoutEvent, apply};
use crate::error::{Error, Result};
use crate::ledger::store::{Book, TransferKind, end_payout, hold_payout};
use crate::row::parsed;

/// A payout about to be made.
#[derive(Debug, Clone)]
pub struct NewPayoutRow {
    pub id: PayoutId,
    pub account_id: AccountId,
    pub amount: Micros,
    pub reference: Option<String>,
    pub idempotency_key: Option<String>,
}

macro_rules! select_payout {
    ($rest:literal) => {
        concat!(
            "SELECT p.id, p.account_id, a.name, p.amount_micros, p.status, p.wallet_address, p.reference,
                    p.created_at, p.ended_at
             FROM payouts p JOIN accounts a ON a.id = p.account_id ",
            $rest
        )
    };
}

fn payout(row: &AnyRow, currency: &str) -> Result<Payout> {
    Ok(Payout {
        id: parsed(row, "id")?,
        account_id: parsed(row, "account_id")?,
        account_name: row.try_get("name")?,
        currency: currency.to_owned(),
        amount_micros: Micros(row.try_get("amount_micros")?),
        status: parsed(row, "status")?,
        wallet_address: row.try_get("wallet_address")?,
        reference: row.try_get("reference")?,
        created_at: UnixMillis(row.try_get("created_at")?),
        ended_at: row.try_get::<Option<i64>, _>("ended_at")?.map(UnixMillis),
    })
}

async fn get(conn: &mut AnyConnection, id: PayoutId, currency: &str) -> Result<Payout> {
    let row = sqlx::query(select_payout!("WHERE p.id = $1"))
        .bind(id.to_string())
        .fetch_optional(conn)
        .await?
        .ok_or(Error::NotFound("payout"))?;
    payout(&row, currency)
}

/// The newest first, of one account or of all.
pub async fn list(
    conn: &mut AnyConnection,
    owner: Option<AccountId>,
    before: Option<PayoutId>,
    limit: i64,
    currency: &str,
) -> Result<Vec<Payout>> {
    let rows = sqlx::query(select_payout!(
        "WHERE p.account_id = COALESCE($1, p.account_id) AND p.id < COALESCE($2, 'pay~') ORDER BY p.id DESC LIMIT $3"
    ))
    .bind(owner.map(String::from))
    .bind(before.map(String::from))
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter().map(|row| payout(row, currency)).collect()
}

/// What was ever sent to the account's wallet, or to all wallets.
pub async fn sent(conn: &mut AnyConnection, owner: Option<AccountId>) -> Result<Micros> {
    let micros: i64 = sqlx::query_scalar(
        "SELECT CAST(COALESCE(SUM(amount_micros), 0) AS BIGINT) FROM payouts
         WHERE status = 'sent' AND account_id = COALESCE($1, account_id)",
    )
    .bind(owner.map(String::from))
    .fetch_one(conn)
    .await?;
    Ok(Micros(micros))
}

/// Makes a payout and holds its amount, or finds it made before under the same key (`false`).
pub async fn create(
    conn: &mut AnyConnection,
    new: &NewPayoutRow,
    currency: &str,
    now: UnixMillis,
) -> Result<(Payout, bool)> {
    let made = sqlx::query(
        "INSERT INTO payouts (id, account_id, amount_micros, status, wallet_address, reference, idempotency_key, created_at)
         SELECT $1, id, $3, 'pending', wallet_address, $4, $5, $6 FROM accounts WHERE id = $2
         ON CONFLICT (idempotency_key) DO NOTHING",
    )
    .bind(new.id.to_string())
    .bind(new.account_id.to_string())
    .bind(new.amount.0)
    .bind(new.reference.clone())
    .bind(new.idempotency_key.clone())
    .bind(now.0)
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if made == 1 {
        hold_payout(conn, new.account_id, new.id, new.amount, now).await?;
        return Ok((get(conn, new.id, currency).await?, true));
    }
    let there = by_key(conn, new.idempotency_key.as_deref(), currency).await?;
    let there = there.ok_or(Error::NotFound("account"))?;
    if (there.account_id, there.amount_micros) == (new.account_id, new.amount) {
        return Ok((there, false));
    }
    let detail =
        format!("this Idempotency-Key has made {} to another account or of another amount", there.id);
    Err(Error::conflict("idempotency_key_reused", detail))
}

async fn by_key(conn: &mut AnyConnection, key: Option<&str>, currency: &str) -> Result<Option<Payout>> {
    let row = sqlx::query(select_payout!("WHERE p.idempotency_key = $1"))
        .bind(key.map(str::to_owned))
        .fetch_optional(conn)
        .await?;
    row.map(|row| payout(&row, currency)).transpose()
}

/// Ends a payout with its transfer. Said again (`false`), it changes nothing.
pub(super) async fn end(
    conn: &mut AnyConnection,
    id: PayoutId,
    event: PayoutEvent,
    reference: Option<String>,
    currency: &str,
    now: UnixMillis,
) -> Result<(Payout, bool)> {
    let before = get(conn, id, currency).await?;
    let said = match event {
        PayoutEvent::Sent => PayoutStatus::Sent,
        PayoutEvent::Failed => PayoutStatus::Failed,
    };
    if before.status == said {
        return Ok((before, false));
    }
    let ended = || Error::conflict("payout_ended", format!("{id} has ended: it is {}", before.status));
    let to = apply(before.status, event).map_err(|_| ended())?;
    let moved = sqlx::query(
        "UPDATE payouts SET status = $3, ended_at = $4, reference = COALESCE($5, reference)
         WHERE id = $1 AND status = $2",
    )
    .bind(id.to_string())
    .bind(before.status.as_str())
    .bind(to.as_str())
    .bind(now.0)
    .bind(reference)
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if moved == 0 {
        return Err(Error::conflict("payout_ended", format!("{id} was ended by somebody else just now")));
    }
    let transfer = match event {
        PayoutEvent::Sent => (TransferKind::Payout, Book::PaidOut),
        PayoutEvent::Failed => (TransferKind::Refund, Book::Account(before.account_id)),
    };
    end_payout(conn, id, transfer, before.amount_micros, now).await?;
    Ok((get(conn, id, currency).await?, true))
}
