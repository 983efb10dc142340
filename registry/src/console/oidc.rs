//! Signing in through the OpenID Connect provider, and connecting an account with somebody there.

use std::collections::HashMap;
use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pictor_protocol::{SessionId, UnixMillis};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::account::{Entry, show};
use super::login::local;
use super::visitor::{Browser, is_secure, session_cookie};
use super::{Form, Page, Visitor, said};
use crate::App;
use crate::accounts::{identities, sign_in};
use crate::error::{Error, Result};
use crate::oidc::{self, Arrival, CALLBACK, Departure, Identity, Provider};

const COOKIE: &str = "pictor_oidc";
/// How long somebody may take at the provider.
const AWAY_MAX: Duration = Duration::from_secs(10 * 60);

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/login/oidc", get(depart))
        .route(CALLBACK, get(arrive))
        .route("/account/identities/connect", post(connect))
}

/// What the browser keeps while somebody is at the provider. Another browser has none of it, so a link to
/// the callback signs nobody in who did not begin it.
#[derive(Serialize, Deserialize)]
struct Journey {
    state: String,
    nonce: String,
    verifier: String,
    since: UnixMillis,
    next: String,
    is_again: bool,
    /// Set: not to sign in, but to connect the account of this session.
    connects: Option<SessionId>,
}

#[derive(Deserialize)]
struct DepartQuery {
    #[serde(default)]
    next: String,
    #[serde(default)]
    again: bool,
}

#[derive(Deserialize)]
struct ConnectForm {
    #[serde(default)]
    token: String,
}

#[derive(Template)]
#[template(path = "console/oidc/leave.html")]
struct LeavePage<'a> {
    page: &'a Page,
    provider: String,
    url: String,
}

#[derive(Template)]
#[template(path = "console/oidc/unknown.html")]
struct UnknownPage {
    provider: String,
    identity: Identity,
}

#[derive(Template)]
#[template(path = "console/oidc/refused.html")]
struct RefusedPage<'a> {
    page: &'a Page,
    detail: String,
    is_signed_in: bool,
}

fn provider(app: &App) -> Result<&Provider> {
    app.oidc.as_deref().ok_or(Error::NotFound("way to sign in"))
}

async fn depart(
    State(app): State<App>,
    jar: CookieJar,
    Query(query): Query<DepartQuery>,
) -> Result<(CookieJar, Redirect)> {
    let leaving = provider(&app)?.depart(&app.clock, query.again).await?;
    let url = leaving.url.to_string();
    let next = local(&query.next, "/");
    let jar = jar.add(cookie(&app, &journey(&app, leaving, next, query.again, None))?);
    Ok((jar, Redirect::to(&url)))
}

/// A page with a link rather than a redirect: browsers let a form of ours lead nowhere but here.
async fn connect(
    State(app): State<App>,
    jar: CookieJar,
    Form(visitor, form): Form<ConnectForm>,
) -> Result<Response> {
    visitor.caller().require_full()?;
    let provider = provider(&app)?;
    match sign_in::confirm_session(&app, &visitor.session, &form.token).await {
        Err(Error::Forbidden(refusal)) => {
            let entry = Entry { refusal: Some(("connect_token", refusal)), ..Entry::default() };
            return show(&app, &visitor, entry).await;
        }
        confirmed => confirmed?,
    }
    let leaving = provider.depart(&app.clock, false).await?;
    let url = leaving.url.to_string();
    let journey = journey(&app, leaving, "/account".to_owned(), false, Some(visitor.session.id));
    let jar = jar.add(cookie(&app, &journey)?);
    let page = Page::new(&app, &visitor, "Connect an account");
    Ok((jar, page.show(&LeavePage { page: &page, provider: provider.name().to_owned(), url })?)
        .into_response())
}

fn journey(
    app: &App,
    leaving: Departure,
    next: String,
    is_again: bool,
    connects: Option<SessionId>,
) -> Journey {
    let Departure { state, nonce, verifier, .. } = leaving;
    Journey { state, nonce, verifier, since: app.clock.now(), next, is_again, connects }
}

fn cookie(app: &App, journey: &Journey) -> Result<Cookie<'static>> {
    let text = serde_json::to_vec(journey).map_err(anyhow::Error::from)?;
    Ok(plain_cookie(app, URL_SAFE_NO_PAD.encode(text)))
}

/// Lax, because it is the provider that sends people to the callback; without an age it would outlive them
/// in browsers that are never closed.
fn plain_cookie(app: &App, value: String) -> Cookie<'static> {
    Cookie::build((COOKIE, value))
        .http_only(true)
        .secure(is_secure(app))
        .same_site(SameSite::Lax)
        .path("/login/oidc")
        .max_age(AWAY_MAX.try_into().unwrap_or_default())
        .build()
}

async fn arrive(
    State(app): State<App>,
    jar: CookieJar,
    visitor: Result<Visitor>,
    Browser(browser): Browser,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response> {
    let kept = jar.get(COOKIE).map(|cookie| cookie.value().to_owned());
    let visitor = visitor.ok();
    let mut gone = plain_cookie(&app, String::new());
    gone.make_removal();
    let jar = CookieJar::new().add(gone);
    let came = came_back(&app, kept.as_deref(), &query).await;
    let answer = match came {
        Ok((journey, identity)) => match journey.connects {
            Some(session) => connected(&app, visitor.as_ref(), session, identity).await,
            None => signed_in(&app, visitor.as_ref(), &journey, identity, browser).await,
        },
        Err(error) => Err(error),
    };
    match answer {
        Ok(answer) => Ok((jar, answer).into_response()),
        Err(error) => Ok((jar, refused(&app, visitor.as_ref(), error)?).into_response()),
    }
}

/// Who came back, where everything that left with them did too.
async fn came_back(
    app: &App,
    kept: Option<&str>,
    query: &HashMap<String, String>,
) -> Result<(Journey, Identity)> {
    let provider = provider(app)?;
    let over =
        || Error::Forbidden("This sign-in is over, or was begun in another browser. Start again.".to_owned());
    let journey: Journey = kept
        .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or_else(over)?;
    let state = query.get("state").map_or("", String::as_str);
    // Of digests, so that how long it takes tells nothing.
    let is_ours = Sha256::digest(state) == Sha256::digest(&journey.state);
    if !is_ours || app.clock.now().seconds_since(journey.since) > AWAY_MAX.as_secs_f64() {
        return Err(over());
    }
    if let Some(refusal) = oidc::refusal(query) {
        return Err(Error::Forbidden(format!("{} signed nobody in: {refusal}.", provider.name())));
    }
    let code = query.get("code").cloned().ok_or_else(over)?;
    let arrival = Arrival {
        code,
        nonce: journey.nonce.clone(),
        verifier: journey.verifier.clone(),
        is_again: journey.is_again,
    };
    let identity = provider.arrive(&app.clock, arrival).await?;
    Ok((journey, identity))
}

async fn signed_in(
    app: &App,
    visitor: Option<&Visitor>,
    journey: &Journey,
    identity: Identity,
    browser: Option<String>,
) -> Result<Response> {
    let found = oidc::store::find(&mut *app.db.read().await?, &identity).await?;
    let Some(account_id) = found else {
        let provider = provider(app)?.name().to_owned();
        let page = Page::of_stranger(app, "No account here yet");
        let unknown = page.show(&UnknownPage { provider, identity })?;
        return Ok((Error::Forbidden(String::new()).status(), unknown).into_response());
    };
    let secret = sign_in::open_session_of(app, account_id, browser).await?;
    // The new session takes the place of the one that this browser had.
    if let Some(visitor) = visitor {
        sign_in::end_session(app, visitor.session.id).await?;
    }
    let jar = CookieJar::new().add(session_cookie(app, secret));
    Ok((jar, Redirect::to(&local(&journey.next, "/"))).into_response())
}

async fn connected(
    app: &App,
    visitor: Option<&Visitor>,
    session: SessionId,
    identity: Identity,
) -> Result<Response> {
    let visitor = visitor.filter(|visitor| visitor.session.id == session).ok_or_else(|| {
        Error::Forbidden("You were signed out meanwhile: sign in and start again.".to_owned())
    })?;
    let caller = visitor.caller();
    caller.require_full()?;
    let subject = identity.subject.clone();
    let made = identities::connect(app, caller, identity).await?;
    let text = if made {
        format!("Connected: {subject} signs in to this account from now on.")
    } else {
        format!("{subject} was connected already.")
    };
    Ok(said(&text, "/account"))
}

fn refused(app: &App, visitor: Option<&Visitor>, error: Error) -> Result<Response> {
    let status = error.status();
    if status.is_server_error() && !matches!(error, Error::Unavailable(_)) {
        return Err(error);
    }
    let title = "Not signed in";
    let page = match visitor {
        Some(visitor) => Page::new(app, visitor, title),
        None => Page::of_stranger(app, title),
    };
    let refused = RefusedPage { page: &page, detail: error.to_string(), is_signed_in: visitor.is_some() };
    Ok((status, page.show(&refused)?).into_response())
}
