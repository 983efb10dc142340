//! Signing in and out with a browser, and showing once more that it is you.

use pictor_protocol::{AccountId, AuditEventId, Scope, SessionId, TokenId};
use serde_json::json;

use super::sessions::store::{self, NewSession};
use crate::App;
use crate::audit::{self, Event};
use crate::auth::{self, Actor, Session};
use crate::error::{Error, Result};

const BROWSER_CHARS_MAX: usize = 200;

/// Signs in with an access token; the cookie's value. The session can do what the token can, and ends with it.
pub(crate) async fn open_session(app: &App, token: &str, browser: Option<String>) -> Result<String> {
    let found = auth::persons_token(app, token).await?;
    open(app, found.account_id, Some(found.token_id), found.caller.scope, browser).await
}

/// Signs in whom an OpenID Connect provider vouched for.
pub(crate) async fn open_session_of(
    app: &App,
    account_id: AccountId,
    browser: Option<String>,
) -> Result<String> {
    open(app, account_id, None, Scope::Full, browser).await
}

async fn open(
    app: &App,
    account_id: AccountId,
    token_id: Option<TokenId>,
    scope: Scope,
    browser: Option<String>,
) -> Result<String> {
    let (secret, now) = (auth::new_token(&app.clock), app.clock.now());
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
                    auth::touch(conn, token_id, now).await?;
                }
                store::insert(conn, &new, now).await?;
                audit::record(conn, &event).await
            })
        })
        .await?;
    Ok(secret.text)
}

/// Signs in again within a session, where that was not done lately: `token` is one of the account's own.
pub(crate) async fn confirm_session(app: &App, session: &Session, token: &str) -> Result<()> {
    let (id, now) = (session.id, app.clock.now());
    if session.is_fresh(now) {
        return Ok(());
    }
    let refused = |why: &str| Err(Error::Forbidden(why.to_owned()));
    if token.trim().is_empty() {
        return refused("Paste an access token of your account once more, to show that it is you.");
    }
    match auth::persons_token(app, token).await {
        Err(Error::Unauthorized) => return refused("No account has this access token, or it was revoked."),
        Err(error) => return Err(error),
        Ok(found) if found.account_id != session.caller.account_id => {
            return refused("That is another account's access token.");
        }
        Ok(found) => found.caller.require_full()?,
    }
    app.db.write(move |conn| Box::pin(store::authenticated(conn, id, now))).await
}

/// Signs out.
pub(crate) async fn end_session(app: &App, id: SessionId) -> Result<()> {
    app.db.write(move |conn| Box::pin(store::end(conn, id))).await
}
