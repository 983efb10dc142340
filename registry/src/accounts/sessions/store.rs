//! The rows of sessions, as they begin, are listed and end.

use pictor_protocol::{AccountId, Scope, Session, SessionId, TokenId, UnixMillis};
use sqlx::AnyConnection;

use crate::auth::{SESSION_IDLE_MILLIS, SESSION_MILLIS_MAX};
use crate::error::{Error, Result};
use crate::row::Parsed;

/// Somebody about to be signed in.
#[derive(Clone)]
pub(crate) struct NewSession {
    pub(crate) id: SessionId,
    pub(crate) sha256: [u8; 32],
    pub(crate) account_id: AccountId,
    pub(crate) token_id: Option<TokenId>,
    pub(crate) scope: Scope,
    pub(crate) browser: Option<String>,
}

pub(crate) async fn insert(conn: &mut AnyConnection, new: &NewSession, now: UnixMillis) -> Result<()> {
    sqlx::query("DELETE FROM sessions WHERE account_id = $1 AND (expires_at <= $2 OR last_seen_at <= $3)")
        .bind(new.account_id.to_string())
        .bind(now.0)
        .bind(now.0 - SESSION_IDLE_MILLIS)
        .execute(&mut *conn)
        .await?;
    sqlx::query(
        "INSERT INTO sessions (id, sha256, account_id, token_id, scope, created_at, authenticated_at, last_seen_at, expires_at, browser)
         VALUES ($1, $2, $3, $4, $5, $6, $6, $6, $7, $8)",
    )
    .bind(new.id.to_string())
    .bind(new.sha256.to_vec())
    .bind(new.account_id.to_string())
    .bind(new.token_id.map(String::from))
    .bind(new.scope.as_str())
    .bind(now.0)
    .bind(now.0 + SESSION_MILLIS_MAX)
    .bind(new.browser.clone())
    .execute(conn)
    .await?;
    Ok(())
}

pub(crate) async fn authenticated(conn: &mut AnyConnection, id: SessionId, now: UnixMillis) -> Result<()> {
    sqlx::query("UPDATE sessions SET authenticated_at = $2 WHERE id = $1")
        .bind(id.to_string())
        .bind(now.0)
        .execute(conn)
        .await?;
    Ok(())
}

pub(crate) async fn end(conn: &mut AnyConnection, id: SessionId) -> Result<()> {
    sqlx::query("DELETE FROM sessions WHERE id = $1").bind(id.to_string()).execute(conn).await?;
    Ok(())
}

type SessionRow = (Parsed<SessionId>, Parsed<Scope>, Option<String>, Option<String>, i64, i64, i64);

/// The sessions of an account that have not ended, the one seen last first.
pub(super) async fn list(
    conn: &mut AnyConnection,
    account_id: AccountId,
    now: UnixMillis,
) -> Result<Vec<Session>> {
    let rows: Vec<SessionRow> = sqlx::query_as(
        "SELECT s.id, s.scope, t.name, s.browser, s.created_at, s.last_seen_at, s.expires_at
         FROM sessions s LEFT JOIN tokens t ON t.id = s.token_id
         WHERE s.account_id = $1 AND s.expires_at > $2 AND s.last_seen_at > $3 AND t.revoked_at IS NULL
         ORDER BY s.last_seen_at DESC, s.id DESC",
    )
    .bind(account_id.to_string())
    .bind(now.0)
    .bind(now.0 - SESSION_IDLE_MILLIS)
    .fetch_all(conn)
    .await?;
    let session = |(Parsed(id), Parsed(scope), token_name, browser, created_at, last_seen_at, expires_at): SessionRow| {
        let ends = expires_at.min(last_seen_at + SESSION_IDLE_MILLIS);
        Session {
            id,
            scope,
            token_name,
            browser,
            created_at: UnixMillis(created_at),
            last_seen_at: UnixMillis(last_seen_at),
            expires_at: UnixMillis(ends),
        }
    };
    Ok(rows.into_iter().map(session).collect())
}

/// `NotFound` also when the session is another account's.
pub(super) async fn end_of(conn: &mut AnyConnection, account_id: AccountId, id: SessionId) -> Result<()> {
    let ended = sqlx::query("DELETE FROM sessions WHERE id = $1 AND account_id = $2")
        .bind(id.to_string())
        .bind(account_id.to_string())
        .execute(conn)
        .await?
        .rows_affected();
    if ended == 0 { Err(Error::NotFound("session")) } else { Ok(()) }
}

/// Ends an account's sessions but the one to be kept; how many they were.
pub(super) async fn end_all(
    conn: &mut AnyConnection,
    account_id: AccountId,
    kept: Option<SessionId>,
) -> Result<u64> {
    let ended = sqlx::query("DELETE FROM sessions WHERE account_id = $1 AND id <> $2")
        .bind(account_id.to_string())
        .bind(kept.map(String::from).unwrap_or_default())
        .execute(conn)
        .await?;
    Ok(ended.rows_affected())
}
