//! What the forms of the account page do.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use pictor_look::text;
use pictor_protocol::{CreatedToken, NewToken, PatchMe, Scope, SessionId, TokenId};
use serde::Deserialize;

use super::{Entry, show};
use crate::App;
use crate::accounts::{identities, me, sessions, sign_in, tokens};
use crate::auth::Caller;
use crate::console::{Form, NoFields, Page, Visitor, said};
use crate::error::{Error, Path, Result};
use crate::oidc::Identity;

/// A form with nothing to fill in.
#[derive(Deserialize)]
pub(super) struct WalletForm {
    wallet_address: String,
    #[serde(default)]
    token: String,
}

#[derive(Deserialize)]
pub(super) struct TimeZoneForm {
    time_zone: String,
}

#[derive(Deserialize)]
pub(super) struct TokenForm {
    name: String,
    scope: Scope,
    #[serde(default)]
    token: String,
}

#[derive(Deserialize)]
pub(super) struct IdentityForm {
    issuer: String,
    subject: String,
}

#[derive(Template)]
#[template(path = "console/account/token.html")]
struct TokenPage {
    created: CreatedToken,
}

fn done(text: &str) -> Response {
    said(text, "/account")
}

fn acting(visitor: &Visitor) -> Result<&Caller> {
    visitor.caller().require_full()?;
    Ok(visitor.caller())
}

/// What a person typed wrong is told where they typed it; anything else is a page of its own.
async fn ask_again(
    app: &App,
    visitor: &Visitor,
    entry: Entry,
    field: &'static str,
    error: Error,
) -> Result<Response> {
    match error {
        Error::Unprocessable { detail, .. } | Error::Invalid(detail) | Error::Forbidden(detail) => {
            show(app, visitor, Entry { refusal: Some((field, detail)), ..entry }).await
        }
        error => Err(error),
    }
}

/// Payouts go elsewhere from now on, so whoever holds only the browser cannot do it.
pub(super) async fn change_wallet(
    State(app): State<App>,
    Form(visitor, form): Form<WalletForm>,
) -> Result<Response> {
    let caller = acting(&visitor)?;
    let entry = Entry { wallet_address: Some(form.wallet_address.clone()), ..Entry::default() };
    if let Err(error) = sign_in::confirm_session(&app, &visitor.session, &form.token).await {
        return ask_again(&app, &visitor, entry, "wallet_token", error).await;
    }
    let patch = PatchMe { wallet_address: Some(form.wallet_address), ..PatchMe::default() };
    match me::change(&app, caller, &patch).await {
        Ok(()) => Ok(done("The wallet address was saved.")),
        Err(error) => ask_again(&app, &visitor, entry, "wallet_address", error).await,
    }
}

pub(super) async fn change_time_zone(
    State(app): State<App>,
    Form(visitor, form): Form<TimeZoneForm>,
) -> Result<Response> {
    let patch = PatchMe { time_zone: Some(form.time_zone), ..PatchMe::default() };
    match me::change(&app, acting(&visitor)?, &patch).await {
        Ok(()) => Ok(done("The time zone was saved.")),
        Err(error) => ask_again(&app, &visitor, Entry::default(), "time_zone", error).await,
    }
}

/// A token of scope full outlives the session, and is what confirms a change of the wallet: whoever holds
/// only the browser must not make one.
pub(super) async fn create_token(
    State(app): State<App>,
    Form(visitor, form): Form<TokenForm>,
) -> Result<Response> {
    let caller = acting(&visitor)?;
    let entry = Entry { token_name: form.name.clone(), scope: Some(form.scope), ..Entry::default() };
    if form.scope == Scope::Full
        && let Err(error) = sign_in::confirm_session(&app, &visitor.session, &form.token).await
    {
        return ask_again(&app, &visitor, entry, "token_token", error).await;
    }
    match tokens::create(&app, caller, &NewToken { name: form.name, scope: form.scope }).await {
        Ok(created) => {
            let page = Page::new(&app, &visitor, "Your new access token");
            Ok(page.show(&TokenPage { created })?.into_response())
        }
        Err(error) => ask_again(&app, &visitor, entry, "token_name", error).await,
    }
}

pub(super) async fn revoke_token(
    State(app): State<App>,
    Path(id): Path<TokenId>,
    Form(visitor, NoFields {}): Form<NoFields>,
) -> Result<Response> {
    let name = tokens::revoke(&app, acting(&visitor)?, id).await?;
    Ok(done(&format!("The access token '{name}' was revoked: it opens nothing any more.")))
}

pub(super) async fn end_session(
    State(app): State<App>,
    Path(id): Path<SessionId>,
    Form(visitor, NoFields {}): Form<NoFields>,
) -> Result<Response> {
    sessions::end(&app, acting(&visitor)?, id).await?;
    Ok(done("That browser was signed out."))
}

pub(super) async fn end_other_sessions(
    State(app): State<App>,
    Form(visitor, NoFields {}): Form<NoFields>,
) -> Result<Response> {
    let ended = sessions::end_all(&app, acting(&visitor)?, Some(visitor.session.id)).await?;
    let ended = i64::try_from(ended).unwrap_or(i64::MAX);
    Ok(done(&format!("Signed out everywhere else: {}.", text::count(ended, "session", "sessions"))))
}

pub(super) async fn remove_identity(
    State(app): State<App>,
    Form(visitor, form): Form<IdentityForm>,
) -> Result<Response> {
    let identity = Identity { issuer: form.issuer, subject: form.subject };
    identities::remove(&app, acting(&visitor)?, identity).await?;
    Ok(done("That way to sign in was removed, and whoever used it was signed out."))
}
