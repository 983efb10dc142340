//! The rows of the audit log: only ever inserted.

use pictor_protocol::{AccountId, AuditEventId, UnixMillis};
use sqlx::AnyConnection;

use super::{Actor, Event};
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

type EventRow = (String, i64, Option<String>, Option<String>, String, String, String, String);

/// What was done, newest first: the `limit` before an event. `account_id` None: to any account's things.
pub async fn list(
    conn: &mut AnyConnection,
    account_id: Option<AccountId>,
    before: Option<AuditEventId>,
    limit: i64,
) -> Result<Vec<Event>> {
    // No id is greater than this one.
    let before = before.map_or_else(|| "aud_g".to_owned(), String::from);
    let rows: Vec<EventRow> = sqlx::query_as(
        "SELECT id, at, account_id, actor_account_id, actor, action, subject, detail FROM audit_events
         WHERE id < $1 AND (CAST($2 AS TEXT) IS NULL OR account_id = $2) ORDER BY id DESC LIMIT $3",
    )
    .bind(before)
    .bind(account_id.map(String::from))
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(event).collect()
}

fn event((id, at, account_id, actor_account_id, actor, action, subject, detail): EventRow) -> Result<Event> {
    let account = |id: Option<String>| id.map(|id| id.parse()).transpose().map_err(anyhow::Error::from);
    Ok(Event {
        id: id.parse().map_err(anyhow::Error::from)?,
        at: UnixMillis(at),
        account_id: account(account_id)?,
        actor_account_id: account(actor_account_id)?,
        actor: match actor.as_str() {
            "session" => Actor::Session,
            "token" => Actor::Token,
            "cli" => Actor::Cli,
            _ => Actor::System,
        },
        action,
        subject,
        detail: serde_json::from_str(&detail).map_err(anyhow::Error::from)?,
    })
}
