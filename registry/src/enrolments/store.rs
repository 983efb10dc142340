//! The rows of enrolment keys.

use pictor_protocol::{AccountId, Enrolment, EnrolmentId, UnixMillis};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use crate::error::{Error, Result};
use crate::row::{json, narrow, parsed};

#[derive(Clone)]
pub struct EnrolmentRow {
    pub account_id: AccountId,
    pub sha256: [u8; 32],
    pub enrolment: Enrolment,
}

/// A use of a key that was counted, and what the worker made with it is to be.
pub struct Use {
    pub id: EnrolmentId,
    pub account_id: AccountId,
    pub name_pattern: String,
    pub tags: Vec<String>,
    pub next_number: i64,
    /// Where the payouts of its account go.
    pub wallet_address: Option<String>,
}

pub async fn create(conn: &mut AnyConnection, row: &EnrolmentRow) -> Result<()> {
    let new = &row.enrolment;
    sqlx::query(
        "INSERT INTO enrolments (id, account_id, name_pattern, tags, sha256, uses_max, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(new.id.to_string())
    .bind(row.account_id.to_string())
    .bind(new.name_pattern.clone())
    .bind(serde_json::to_string(&new.tags).map_err(anyhow::Error::from)?)
    .bind(row.sha256.to_vec())
    .bind(i64::from(new.count))
    .bind(new.created_at.0)
    .bind(new.expires_at.map(|at| at.0))
    .execute(conn)
    .await?;
    Ok(())
}

/// What was not revoked, of one account or of all, newest first.
pub async fn list(conn: &mut AnyConnection, owner: Option<AccountId>) -> Result<Vec<Enrolment>> {
    let rows = sqlx::query(
        "SELECT id, name_pattern, tags, uses_max, used, created_at, expires_at, last_used_at FROM enrolments
         WHERE revoked_at IS NULL AND account_id = COALESCE($1, account_id) ORDER BY id DESC",
    )
    .bind(owner.map(String::from))
    .fetch_all(conn)
    .await?;
    rows.iter().map(enrolment).collect()
}

fn enrolment(row: &AnyRow) -> Result<Enrolment> {
    Ok(Enrolment {
        id: parsed(row, "id")?,
        name_pattern: row.try_get("name_pattern")?,
        count: narrow(row, "uses_max")?,
        used: narrow(row, "used")?,
        tags: json(row, "tags")?,
        created_at: UnixMillis(row.try_get("created_at")?),
        expires_at: row.try_get::<Option<i64>, _>("expires_at")?.map(UnixMillis),
        last_used_at: row.try_get::<Option<i64>, _>("last_used_at")?.map(UnixMillis),
    })
}

/// `NotFound` also when the key is another account's, or was revoked already.
pub async fn revoke(
    conn: &mut AnyConnection,
    owner: Option<AccountId>,
    id: EnrolmentId,
    now: UnixMillis,
) -> Result<()> {
    let revoked = sqlx::query(
        "UPDATE enrolments SET revoked_at = $3
         WHERE id = $1 AND revoked_at IS NULL AND account_id = COALESCE($2, account_id)",
    )
    .bind(id.to_string())
    .bind(owner.map(String::from))
    .bind(now.0)
    .execute(conn)
    .await?
    .rows_affected();
    if revoked == 0 { Err(Error::NotFound("enrolment key")) } else { Ok(()) }
}

/// Counts one use. The count is compared where it is written, so that no two machines share the last one.
pub async fn count_use(conn: &mut AnyConnection, sha256: [u8; 32], now: UnixMillis) -> Result<Use> {
    let counted = sqlx::query(
        "UPDATE enrolments SET used = used + 1, last_used_at = $2
         WHERE sha256 = $1 AND revoked_at IS NULL AND used < uses_max AND (expires_at IS NULL OR expires_at > $2)
         RETURNING id, account_id, name_pattern, tags, next_number",
    )
    .bind(sha256.to_vec())
    .bind(now.0)
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = counted else { return Err(refusal(conn, sha256, now).await?) };
    let account_id: AccountId = parsed(&row, "account_id")?;
    let wallet_address = sqlx::query_scalar("SELECT wallet_address FROM accounts WHERE id = $1")
        .bind(account_id.to_string())
        .fetch_one(conn)
        .await?;
    Ok(Use {
        id: parsed(&row, "id")?,
        account_id,
        name_pattern: row.try_get("name_pattern")?,
        tags: json(&row, "tags")?,
        next_number: row.try_get("next_number")?,
        wallet_address,
    })
}

/// Why a key was not counted. Whoever has it may know.
async fn refusal(conn: &mut AnyConnection, sha256: [u8; 32], now: UnixMillis) -> Result<Error> {
    let found: Option<(i64, Option<i64>)> = sqlx::query_as(
        "SELECT uses_max, expires_at FROM enrolments WHERE sha256 = $1 AND revoked_at IS NULL",
    )
    .bind(sha256.to_vec())
    .fetch_optional(conn)
    .await?;
    Ok(match found {
        None => Error::Forbidden("there is no such enrolment key, or it was revoked".to_owned()),
        Some((_, Some(at))) if at <= now.0 => {
            Error::conflict("enrolment_expired", format!("this enrolment key expired at {}", UnixMillis(at)))
        }
        Some((uses_max, _)) => Error::conflict(
            "enrolment_used_up",
            format!("this enrolment key has made all of its workers ({uses_max}): make another key"),
        ),
    })
}

/// The next worker's name goes on from here.
pub async fn number_used(conn: &mut AnyConnection, id: EnrolmentId, number: i64) -> Result<()> {
    sqlx::query("UPDATE enrolments SET next_number = $2 WHERE id = $1")
        .bind(id.to_string())
        .bind(number + 1)
        .execute(conn)
        .await?;
    Ok(())
}
