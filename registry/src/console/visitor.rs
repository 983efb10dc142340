//! Who looks at a page: the session behind the cookie, and how its forms prove that they are ours.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
use cookie::time::Duration;
use jiff::tz::TimeZone;
use pictor_protocol::Role;
use sha2::{Digest, Sha256};

use crate::App;
use crate::auth::{Caller, SESSION_MILLIS_MAX, Session, find_session};
use crate::error::{Error, Result};

pub(super) const SESSION_COOKIE: &str = "pictor_session";
/// The browser's time zone, told by the script.
const ZONE_COOKIE: &str = "pictor_zone";
pub(super) const FLASH_COOKIE: &str = "pictor_flash";

/// A person signed in, and what their browser said with this request.
#[derive(Debug, Clone)]
pub struct Visitor {
    pub session: Session,
    pub zone: TimeZone,
    /// What the last action came to, to be said once.
    pub flash: Option<String>,
    /// What the forms of this session carry. Masked anew for each request, so that compressing pages tells nobody
    /// what it is; live parts of a page carry the same for as long as it is open.
    pub form_token: String,
    /// The path and query that were asked for.
    pub location: String,
    cookie: String,
}

impl Visitor {
    pub fn caller(&self) -> &Caller {
        &self.session.caller
    }

    pub(super) fn cookie(&self) -> &str {
        &self.cookie
    }

    /// The caller, where it has the role.
    pub fn with_role(&self, role: Role) -> Result<&Caller> {
        self.session.caller.require_role(role)?;
        Ok(&self.session.caller)
    }

    /// The caller of an action: it has the role, and a session that may change things.
    pub fn acting(&self, role: Role) -> Result<&Caller> {
        self.session.caller.require_full()?;
        self.with_role(role)
    }

    /// Refuses a form that another site made.
    pub fn check_form(&self, token: &str) -> Result<()> {
        let refused = || {
            Error::Forbidden(
                "this form is not one of this session: go back, load the page again, and send it again"
                    .to_owned(),
            )
        };
        let bytes: [u8; 64] =
            hex::decode(token).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(refused)?;
        let (mask, masked) = bytes.split_at(32);
        let differs = form_secret(&self.cookie)
            .iter()
            .zip(mask.iter().zip(masked))
            .fold(0, |differs, (secret, (mask, masked))| differs | (secret ^ mask ^ masked));
        if differs == 0 { Ok(()) } else { Err(refused()) }
    }
}

fn form_token(cookie: &str, mask: [u8; 32]) -> String {
    let masked: Vec<u8> = form_secret(cookie).iter().zip(mask).map(|(secret, mask)| secret ^ mask).collect();
    format!("{}{}", hex::encode(mask), hex::encode(masked))
}

/// Follows from the cookie, which only this browser and, as a hash, the registry have.
fn form_secret(cookie: &str) -> [u8; 32] {
    Sha256::digest(format!("form:{cookie}").as_bytes()).into()
}

impl FromRequestParts<App> for Visitor {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Visitor> {
        let jar = CookieJar::from_headers(&parts.headers);
        let value = |name| jar.get(name).map(|cookie| cookie.value().to_owned());
        let cookie = value(SESSION_COOKIE).ok_or(Error::Unauthorized)?;
        let session = find_session(app, &cookie).await?;
        let named = session.time_zone.clone().or_else(|| value(ZONE_COOKIE));
        let zone = named.and_then(|name| TimeZone::get(&name).ok()).unwrap_or(TimeZone::UTC);
        let location = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let flash = value(FLASH_COOKIE).and_then(|text| String::from_utf8(hex::decode(text).ok()?).ok());
        let form_token = form_token(&cookie, app.clock.random());
        Ok(Visitor { session, zone, flash, location, form_token, cookie })
    }
}

/// How the browser names itself.
pub(super) struct Browser(pub(super) Option<String>);

impl FromRequestParts<App> for Browser {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> std::result::Result<Browser, Infallible> {
        let named = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        Ok(Browser(named.map(str::to_owned)))
    }
}

/// Browsers take a `Secure` cookie from plain HTTP only for their own machine, so a registry without TLS on
/// another address has to do without.
pub(super) fn is_secure(app: &App) -> bool {
    app.public_url.scheme() == "https" || pictor_protocol::is_loopback(&app.public_url)
}

/// The cookie of a session.
pub(super) fn session_cookie(app: &App, value: String) -> Cookie<'static> {
    Cookie::build((SESSION_COOKIE, value))
        .http_only(true)
        .secure(is_secure(app))
        .same_site(SameSite::Lax)
        .path("/")
        .max_age(Duration::milliseconds(SESSION_MILLIS_MAX))
        .build()
}

/// Goes to a page, which says `text` once.
pub fn said(text: &str, page: &str) -> Response {
    (CookieJar::new().add(flash(text)), Redirect::to(page)).into_response()
}

fn flash(text: &str) -> Cookie<'static> {
    Cookie::build((FLASH_COOKIE, hex::encode(text)))
        .http_only(true)
        .same_site(SameSite::Lax)
        .path("/")
        .build()
}

pub(super) fn no_flash() -> Cookie<'static> {
    let mut cookie = flash("");
    cookie.make_removal();
    cookie
}
