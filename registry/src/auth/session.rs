//! People signed in with a browser: what their cookie stands for, and for how long.

use pictor_protocol::{SessionId, TokenId, UnixMillis};

use super::{Caller, store};
use crate::App;
use crate::error::Result;

/// A session that nobody used for so long has ended.
pub const SESSION_IDLE_MILLIS: i64 = 3 * 24 * 3_600_000;
/// It ends then, however busy.
pub const SESSION_MILLIS_MAX: i64 = 14 * 24 * 3_600_000;
/// How stale `last_seen_at` may be: a page is not worth a write.
const SEEN_MILLIS: i64 = 5 * 60_000;
/// Who signed in no longer ago need not prove again who they are.
const FRESH_MILLIS: i64 = 5 * 60_000;

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

/// Who the cookie stands for; `Unauthorized` once the session has ended, or its token was revoked.
pub async fn find_session(app: &App, cookie: &str) -> Result<Session> {
    let now = app.clock.now();
    let (session, last_seen_at) = store::session(&mut *app.db.read().await?, cookie, now).await?;
    if now.0 - last_seen_at.0 > SEEN_MILLIS {
        let id = session.id;
        app.db.write(move |conn| Box::pin(store::session_seen(conn, id, now))).await?;
    }
    Ok(session)
}
