//! The rows by which a request is known: tokens and sessions.

use pictor_protocol::{AccountId, SessionId, TokenId, UnixMillis, WorkerId};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::{Actor, Agent, Caller, SESSION_IDLE_MILLIS, Session, digest};
use crate::error::{Error, Result};
use crate::row::{parsed, parsed_option};

/// A token that was not revoked, and who has it.
pub(crate) struct KnownToken {
    pub(crate) token_id: TokenId,
    pub(crate) account_id: AccountId,
    pub(crate) worker_id: Option<WorkerId>,
    pub(super) last_used_at: Option<UnixMillis>,
    pub(crate) caller: Caller,
}

pub(super) async fn known_token(conn: &mut AnyConnection, token: &str) -> Result<KnownToken> {
    let row = sqlx::query(
        "SELECT t.id, t.account_id, t.worker_id, t.scope, t.last_used_at, a.name, a.roles, a.wallet_address
         FROM tokens t JOIN accounts a ON a.id = t.account_id
         WHERE t.sha256 = $1 AND t.revoked_at IS NULL",
    )
    .bind(digest(token).to_vec())
    .fetch_optional(conn)
    .await?
    .ok_or(Error::Unauthorized)?;
    let caller = caller(&row, Actor::Token)?;
    Ok(KnownToken {
        token_id: parsed(&row, "id")?,
        account_id: caller.account_id,
        worker_id: parsed_option(&row, "worker_id")?,
        last_used_at: row.try_get::<Option<i64>, _>("last_used_at")?.map(UnixMillis),
        caller,
    })
}

/// From a row with `account_id`, `name`, `roles`, `wallet_address` and `scope`.
fn caller(row: &AnyRow, actor: Actor) -> Result<Caller> {
    let roles: String = row.try_get("roles")?;
    let words: std::result::Result<_, _> = roles.split(',').map(str::parse).collect();
    Ok(Caller {
        account_id: parsed(row, "account_id")?,
        name: row.try_get("name")?,
        roles: words.map_err(|_| anyhow::anyhow!("an account's row holds the roles {roles}"))?,
        scope: parsed(row, "scope")?,
        wallet_address: row.try_get("wallet_address")?,
        actor,
    })
}

pub(crate) async fn touch(conn: &mut AnyConnection, token: TokenId, now: UnixMillis) -> Result<()> {
    sqlx::query("UPDATE tokens SET last_used_at = $2 WHERE id = $1")
        .bind(token.to_string())
        .bind(now.0)
        .execute(conn)
        .await?;
    Ok(())
}

/// The first use of a worker's newest token disconnects whoever uses the older one.
pub(super) async fn first_use(conn: &mut AnyConnection, agent: Agent, now: UnixMillis) -> Result<()> {
    touch(conn, agent.token_id, now).await?;
    sqlx::query(
        "UPDATE tokens SET revoked_at = $3
         WHERE worker_id = $1 AND id <> $2 AND revoked_at IS NULL AND last_used_at IS NOT NULL",
    )
    .bind(agent.worker_id.to_string())
    .bind(agent.token_id.to_string())
    .bind(now.0)
    .execute(conn)
    .await?;
    Ok(())
}

/// Who a cookie stands for, and when that was last seen; `Unauthorized` once the session has ended, or its token
/// was revoked.
pub(super) async fn session(
    conn: &mut AnyConnection,
    cookie: &str,
    now: UnixMillis,
) -> Result<(Session, UnixMillis)> {
    let row = sqlx::query(
        "SELECT s.id, s.account_id, s.token_id, s.scope, s.authenticated_at, s.last_seen_at, a.name, a.roles, a.wallet_address, a.time_zone
         FROM sessions s JOIN accounts a ON a.id = s.account_id LEFT JOIN tokens t ON t.id = s.token_id
         WHERE s.sha256 = $1 AND s.expires_at > $2 AND s.last_seen_at > $3 AND t.revoked_at IS NULL",
    )
    .bind(digest(cookie).to_vec())
    .bind(now.0)
    .bind(now.0 - SESSION_IDLE_MILLIS)
    .fetch_optional(conn)
    .await?
    .ok_or(Error::Unauthorized)?;
    let session = Session {
        token_id: parsed_option(&row, "token_id")?,
        id: parsed(&row, "id")?,
        caller: caller(&row, Actor::Session)?,
        authenticated_at: UnixMillis(row.try_get("authenticated_at")?),
        time_zone: row.try_get("time_zone")?,
    };
    Ok((session, UnixMillis(row.try_get("last_seen_at")?)))
}

pub(super) async fn session_seen(conn: &mut AnyConnection, id: SessionId, now: UnixMillis) -> Result<()> {
    sqlx::query("UPDATE sessions SET last_seen_at = $2 WHERE id = $1")
        .bind(id.to_string())
        .bind(now.0)
        .execute(conn)
        .await?;
    Ok(())
}
