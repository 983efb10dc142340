//! The rows of the audit log: only ever inserted.

use pictor_protocol::{AccountId, AuditEntry, AuditEventId, UnixMillis};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::Event;
use crate::error::Result;
use crate::row::{json, parsed, parsed_option};

/// Call it inside the transaction that does the thing.
pub async fn record(conn: &mut AnyConnection, event: &Event) -> Result<()> {
    sqlx::query(
        "INSERT INTO audit_events (id, at, account_id, actor_account_id, actor, action, subject, detail)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(event.id.to_string())
    .bind(event.at.0)
    .bind(event.account_id.map(String::from))
    .bind(event.actor_account_id.map(String::from))
    .bind(event.actor.as_str())
    .bind(event.action.clone())
    .bind(event.subject.clone())
    .bind(event.detail.to_string())
    .execute(conn)
    .await?;
    Ok(())
}

/// Which entries are asked for.
pub(super) struct Wanted {
    /// `None`: of any account.
    pub(super) owner: Option<AccountId>,
    pub(super) account: Option<String>,
    pub(super) action: Option<String>,
    pub(super) before: Option<AuditEventId>,
    pub(super) limit: i64,
}

/// Newest first.
pub(super) async fn entries(conn: &mut AnyConnection, wanted: Wanted) -> Result<Vec<AuditEntry>> {
    let rows = sqlx::query(
        "SELECT e.id, e.at, e.account_id, a.name AS account_name, e.actor_account_id, b.name AS actor_name,
             e.actor, e.action, e.subject, e.detail
         FROM audit_events e LEFT JOIN accounts a ON a.id = e.account_id
             LEFT JOIN accounts b ON b.id = e.actor_account_id
         WHERE e.id < COALESCE($1, 'aud~') AND (CAST($2 AS TEXT) IS NULL OR e.account_id = $2)
             AND (CAST($3 AS TEXT) IS NULL OR e.account_id = $3 OR a.name = $3)
             AND (CAST($4 AS TEXT) IS NULL OR e.action = $4)
         ORDER BY e.id DESC LIMIT $5",
    )
    .bind(wanted.before.map(String::from))
    .bind(wanted.owner.map(String::from))
    .bind(wanted.account)
    .bind(wanted.action)
    .bind(wanted.limit)
    .fetch_all(conn)
    .await?;
    rows.iter().map(entry).collect()
}

fn entry(row: &AnyRow) -> Result<AuditEntry> {
    Ok(AuditEntry {
        id: parsed(row, "id")?,
        at: UnixMillis(row.try_get("at")?),
        account_id: parsed_option(row, "account_id")?,
        account_name: row.try_get("account_name")?,
        actor_account_id: parsed_option(row, "actor_account_id")?,
        actor_name: row.try_get("actor_name")?,
        actor: row.try_get("actor")?,
        action: row.try_get("action")?,
        subject: row.try_get("subject")?,
        detail: json(row, "detail")?,
    })
}

/// Every action that was ever recorded.
pub(super) async fn actions(conn: &mut AnyConnection) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar("SELECT DISTINCT action FROM audit_events ORDER BY action").fetch_all(conn).await?)
}
