//! The rows of the audit log: only ever inserted.

use sqlx::AnyConnection;

use super::Event;
use crate::error::Result;

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
