//! People signed in with a browser: what their cookie stands for, and for how long.

use pictor_protocol::{AccountId, Scope, SessionId, TokenId, UnixMillis};
use sqlx::{AnyConnection, Row};

use super::{Caller, caller, digest, new_token, token_row};
use crate::App;
use crate::audit::Actor;
use crate::error::{Error, Result};

/// A session that nobody used for so long has ended.
const IDLE_MILLIS: i64 = 3 * 24 * 3_600_000;
/// It ends then, however busy.
pub const SESSION_MILLIS_MAX: i64 = 14 * 24 * 3_600_000;
/// How stale `last_seen_at` may be: a page is not worth a write.
const SEEN_MILLIS: i64 = 5 * 60_000;

/// Somebody signed in.
#[derive(Debug, Clone)]
pub struct Session {
    pub id: SessionId,
    pub caller: Caller,
    /// When the person last proved who they are.
    pub authenticated_at: UnixMillis,
    /// The account's IANA time zone, if it has chosen one.
    pub time_zone: Option<String>,
}

#[derive(Clone)]
struct NewSession {
    id: SessionId,
    sha256: [u8; 32],
    account_id: AccountId,
    token_id: Option<TokenId>,
    scope: Scope,
}

/// Signs in with an access token; the cookie's value. The session can do what the token can, and ends with it.
pub async fn open_session(app: &App, token: &str) -> Result<String> {
    let found = token_row(app, token.trim()).await?;
    if found.worker_id.is_some() {
        return Err(Error::Forbidden(
            "that is the token of a worker's config file; people sign in with an access token".to_owned(),
        ));
    }
    let (secret, now) = (new_token(&app.clock), app.clock.now());
    let new = NewSession {
        id: app.clock.id(SessionId::from_parts),
        sha256: secret.sha256,
        account_id: found.account_id,
        token_id: Some(found.token_id),
        scope: found.caller.scope,
    };
    app.db
        .write(move |conn| {
            let new = new.clone();
            Box::pin(async move {
                super::touch(conn, found.token_id, now).await?;
                insert(conn, &new, now).await
            })
        })
        .await?;
    Ok(secret.text)
}

async fn insert(conn: &mut AnyConnection, new: &NewSession, now: UnixMillis) -> Result<()> {
    sqlx::query("DELETE FROM sessions WHERE account_id = $1 AND (expires_at <= $2 OR last_seen_at <= $3)")
        .bind(new.account_id.to_string())
        .bind(now.0)
        .bind(now.0 - IDLE_MILLIS)
        .execute(&mut *conn)
        .await?;
    sqlx::query(
        "INSERT INTO sessions (id, sha256, account_id, token_id, scope, created_at, authenticated_at, last_seen_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $6, $6, $7)",
    )
    .bind(new.id.to_string())
    .bind(new.sha256.to_vec())
    .bind(new.account_id.to_string())
    .bind(new.token_id.map(String::from))
    .bind(new.scope.as_str())
    .bind(now.0)
    .bind(now.0 + SESSION_MILLIS_MAX)
    .execute(conn)
    .await?;
    Ok(())
}

/// Who the cookie stands for; `Unauthorized` once the session has ended, or its token was revoked.
pub async fn find_session(app: &App, cookie: &str) -> Result<Session> {
    let now = app.clock.now();
    let row = sqlx::query(
        "SELECT s.id, s.account_id, s.scope, s.authenticated_at, s.last_seen_at, a.name, a.roles, a.wallet_address, a.time_zone
         FROM sessions s JOIN accounts a ON a.id = s.account_id LEFT JOIN tokens t ON t.id = s.token_id
         WHERE s.sha256 = $1 AND s.expires_at > $2 AND s.last_seen_at > $3 AND t.revoked_at IS NULL",
    )
    .bind(digest(cookie).to_vec())
    .bind(now.0)
    .bind(now.0 - IDLE_MILLIS)
    .fetch_optional(&mut *app.db.read().await?)
    .await?
    .ok_or(Error::Unauthorized)?;
    let session = Session {
        id: row.try_get::<String, _>("id")?.parse().map_err(anyhow::Error::from)?,
        caller: caller(&row, Actor::Session)?,
        authenticated_at: UnixMillis(row.try_get("authenticated_at")?),
        time_zone: row.try_get("time_zone")?,
    };
    if now.0 - row.try_get::<i64, _>("last_seen_at")? > SEEN_MILLIS {
        let id = session.id;
        app.db.write(move |conn| Box::pin(seen(conn, id, now))).await?;
    }
    Ok(session)
}

async fn seen(conn: &mut AnyConnection, id: SessionId, now: UnixMillis) -> Result<()> {
    sqlx::query("UPDATE sessions SET last_seen_at = $2 WHERE id = $1")
        .bind(id.to_string())
        .bind(now.0)
        .execute(conn)
        .await?;
    Ok(())
}

/// Signs out.
pub async fn end_session(app: &App, id: SessionId) -> Result<()> {
    app.db
        .write(move |conn| {
            Box::pin(async move {
                sqlx::query("DELETE FROM sessions WHERE id = $1").bind(id.to_string()).execute(conn).await?;
                Ok(())
            })
        })
        .await
}
