//! People signed in with a browser: what their cookie stands for, and for how long.

use pictor_protocol::{AccountId, AuditEventId, Scope, SessionId, TokenId, UnixMillis};
use serde_json::json;
use sqlx::{AnyConnection, Row};

use super::{Caller, TokenRow, caller, digest, new_token, token_row};
use crate::App;
use crate::audit::{self, Actor, Event};
use crate::error::{Error, Result};

/// A session that nobody used for so long has ended.
const IDLE_MILLIS: i64 = 3 * 24 * 3_600_000;
/// It ends then, however busy.
pub const SESSION_MILLIS_MAX: i64 = 14 * 24 * 3_600_000;
/// How stale `last_seen_at` may be: a page is not worth a write.
const SEEN_MILLIS: i64 = 5 * 60_000;
/// Who signed in no longer ago need not prove again who they are.
const FRESH_MILLIS: i64 = 5 * 60_000;
const BROWSER_CHARS_MAX: usize = 200;

/// Somebody signed in.
#[derive(Debug, Clone)]
pub struct Session {
    pub id: SessionId,
    pub caller: Caller,
    /// The access token it was opened with; none after OpenID Connect.
    pub token_id: Option<TokenId>,
    /// When the person last proved who they are.
    pub authenticated_at: UnixMillis,
    /// The account's IANA time zone, if it has chosen one.
    pub time_zone: Option<String>,
}

impl Session {
    /// Whether the person proved who they are so lately that what a thief would do may be done.
    pub fn is_fresh(&self, now: UnixMillis) -> bool {
        now.0 - self.authenticated_at.0 < FRESH_MILLIS
    }
}

#[derive(Clone)]
struct NewSession {
    id: SessionId,
    sha256: [u8; 32],
    account_id: AccountId,
    token_id: Option<TokenId>,
    scope: Scope,
    browser: Option<String>,
}

/// Signs in with an access token; the cookie's value. The session can do what the token can, and ends with it.
pub async fn open_session(app: &App, token: &str, browser: Option<String>) -> Result<String> {
    let found = persons_token(app, token).await?;
    open(app, found.account_id, Some(found.token_id), found.caller.scope, browser).await
}

/// Signs in whom an OpenID Connect provider vouched for.
pub async fn open_session_of(app: &App, account_id: AccountId, browser: Option<String>) -> Result<String> {
    open(app, account_id, None, Scope::Full, browser).await
}

async fn persons_token(app: &App, token: &str) -> Result<TokenRow> {
    let found = token_row(app, token.trim()).await?;
    if found.worker_id.is_some() {
        return Err(Error::Forbidden(
            "that is the token of a worker's config file; people sign in with an access token".to_owned(),
        ));
    }
    Ok(found)
}

async fn open(
    app: &App,
    account_id: AccountId,
    token_id: Option<TokenId>,
    scope: Scope,
    browser: Option<String>,
) -> Result<String> {
    let (secret, now) = (new_token(&app.clock), app.clock.now());
    let new = NewSession {
        id: app.clock.id(SessionId::from_parts),
        sha256: secret.sha256,
        account_id,
        token_id,
        scope,
        browser: browser.map(|text| text.chars().take(BROWSER_CHARS_MAX).collect()),
    };
    let event = Event {
        id: app.clock.id(AuditEventId::from_parts),
        at: now,
        account_id: Some(account_id),
        actor_account_id: Some(account_id),
        actor: Actor::Session,
        action: "signed_in".to_owned(),
        subject: new.id.to_string(),
        detail: json!({ "token": token_id, "browser": new.browser }),
    };
    app.db
        .write(move |conn| {
            let (new, event) = (new.clone(), event.clone());
            Box::pin(async move {
                if let Some(token_id) = new.token_id {
                    super::touch(conn, token_id, now).await?;
                }
                insert(conn, &new, now).await?;
                audit::record(conn, &event).await
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

/// Who the cookie stands for; `Unauthorized` once the session has ended, or its token was revoked.
pub async fn find_session(app: &App, cookie: &str) -> Result<Session> {
    let now = app.clock.now();
    let row = sqlx::query(
        "SELECT s.id, s.account_id, s.token_id, s.scope, s.authenticated_at, s.last_seen_at, a.name, a.roles, a.wallet_address, a.time_zone
         FROM sessions s JOIN accounts a ON a.id = s.account_id LEFT JOIN tokens t ON t.id = s.token_id
         WHERE s.sha256 = $1 AND s.expires_at > $2 AND s.last_seen_at > $3 AND t.revoked_at IS NULL",
    )
    .bind(digest(cookie).to_vec())
    .bind(now.0)
    .bind(now.0 - IDLE_MILLIS)
    .fetch_optional(&mut *app.db.read().await?)
    .await?
    .ok_or(Error::Unauthorized)?;
    let token_id: Option<String> = row.try_get("token_id")?;
    let session = Session {
        token_id: token_id.map(|id| id.parse()).transpose().map_err(anyhow::Error::from)?,
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

/// Signs in again within a session, where that was not done lately: `token` is one of the account's own.
pub async fn confirm_session(app: &App, session: &Session, token: &str) -> Result<()> {
    let (id, now) = (session.id, app.clock.now());
    if session.is_fresh(now) {
        return Ok(());
    }
    let refused = |why: &str| Err(Error::Forbidden(why.to_owned()));
    if token.trim().is_empty() {
        return refused("Paste an access token of your account once more, to show that it is you.");
    }
    match persons_token(app, token).await {
        Err(Error::Unauthorized) => return refused("No account has this access token, or it was revoked."),
        Err(error) => return Err(error),
        Ok(found) if found.account_id != session.caller.account_id => {
            return refused("That is another account's access token.");
        }
        Ok(found) => found.caller.require_full()?,
    }
    app.db
        .write(move |conn| {
            Box::pin(async move {
                sqlx::query("UPDATE sessions SET authenticated_at = $2 WHERE id = $1")
                    .bind(id.to_string())
                    .bind(now.0)
                    .execute(conn)
                    .await?;
                Ok(())
            })
        })
        .await
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

type SessionRow = (String, String, Option<String>, Option<String>, i64, i64, i64);

/// The sessions of an account that have not ended, the one seen last first.
pub async fn sessions(
    conn: &mut AnyConnection,
    account_id: AccountId,
    now: UnixMillis,
) -> Result<Vec<pictor_protocol::Session>> {
    let rows: Vec<SessionRow> = sqlx::query_as(
        "SELECT s.id, s.scope, t.name, s.browser, s.created_at, s.last_seen_at, s.expires_at
         FROM sessions s LEFT JOIN tokens t ON t.id = s.token_id
         WHERE s.account_id = $1 AND s.expires_at > $2 AND s.last_seen_at > $3 AND t.revoked_at IS NULL
         ORDER BY s.last_seen_at DESC, s.id DESC",
    )
    .bind(account_id.to_string())
    .bind(now.0)
    .bind(now.0 - IDLE_MILLIS)
    .fetch_all(conn)
    .await?;
    let session = |(id, scope, token_name, browser, created_at, last_seen_at, expires_at): SessionRow| {
        let ends = expires_at.min(last_seen_at + IDLE_MILLIS);
        Ok(pictor_protocol::Session {
            id: id.parse().map_err(anyhow::Error::from)?,
            scope: scope.parse().map_err(anyhow::Error::from)?,
            token_name,
            browser,
            created_at: UnixMillis(created_at),
            last_seen_at: UnixMillis(last_seen_at),
            expires_at: UnixMillis(ends),
        })
    };
    rows.into_iter().map(session).collect()
}

/// `NotFound` also when the session is another account's.
pub async fn end_session_of(conn: &mut AnyConnection, account_id: AccountId, id: SessionId) -> Result<()> {
    let ended = sqlx::query("DELETE FROM sessions WHERE id = $1 AND account_id = $2")
        .bind(id.to_string())
        .bind(account_id.to_string())
        .execute(conn)
        .await?
        .rows_affected();
    if ended == 0 { Err(Error::NotFound("session")) } else { Ok(()) }
}

/// Ends an account's sessions but the one to be kept; how many they were.
pub async fn end_sessions(
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
