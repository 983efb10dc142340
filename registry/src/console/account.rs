//! The account: who it is, where its payouts go, and everything that opens it.

mod actions;

use std::collections::BTreeSet;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use jiff::tz;
use pictor_look::text;
use pictor_protocol::{Identity, Me, Role, Scope, Session, Token, TokenId, UnixMillis};

use super::{Page, Visitor};
use crate::App;
use crate::accounts::{self, store::WorkerToken};
use crate::error::Result;

/// More workers than these are better found on their own page.
const WORKERS_SHOWN: i64 = 20;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/account", get(page))
        .route("/account/wallet", post(actions::change_wallet))
        .route("/account/time-zone", post(actions::change_time_zone))
        .route("/account/tokens", post(actions::create_token))
        .route("/account/tokens/{id}/revoke", post(actions::revoke_token))
        .route("/account/sessions/end", post(actions::end_other_sessions))
        .route("/account/sessions/{id}/end", post(actions::end_session))
        .route("/account/identities/remove", post(actions::remove_identity))
}

#[derive(Template)]
#[template(path = "console/account.html")]
struct AccountPage<'a> {
    page: &'a Page,
    me: Me,
    /// Whether this session may change things.
    may_act: bool,
    /// Whether the person signed in so lately that nothing more is asked of them.
    is_fresh: bool,
    session: crate::auth::Session,
    zones: Vec<String>,
    tokens: Vec<Token>,
    sessions: Vec<Session>,
    workers: Vec<WorkerToken>,
    workers_total: i64,
    identities: Vec<Identity>,
    /// The provider that can be connected, if there is one.
    provider: Option<String>,
    entry: Entry,
}

/// What was typed and could not be taken, shown again where it was typed.
#[derive(Default)]
pub(super) struct Entry {
    /// The field's name, and what is wrong with it.
    pub(super) refusal: Option<(&'static str, String)>,
    pub(super) wallet_address: Option<String>,
    pub(super) token_name: String,
    pub(super) scope: Option<Scope>,
}

impl AccountPage<'_> {
    fn refusal(&self, field: &str) -> Option<&str> {
        self.entry.refusal.as_ref().filter(|(at, _)| *at == field).map(|(_, text)| text.as_str())
    }

    fn wallet_typed(&self) -> &str {
        let kept = self.me.wallet_address.as_deref().unwrap_or_default();
        self.entry.wallet_address.as_deref().unwrap_or(kept)
    }

    fn has_role(&self, role: Role) -> bool {
        self.session.caller.has_role(role)
    }

    /// Whether this session was opened with the token.
    fn is_own(&self, token: &TokenId) -> bool {
        self.session.token_id == Some(*token)
    }

    fn exact(&self, at: &UnixMillis) -> String {
        text::exact(*at, &self.page.zone)
    }

    fn browser(&self, named: &Option<String>) -> String {
        browser_name(named.as_deref())
    }

    fn roles(&self) -> String {
        self.me.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ")
    }
}

async fn page(State(app): State<App>, visitor: Visitor) -> Result<Response> {
    show(&app, &visitor, Entry::default()).await
}

pub(super) async fn show(app: &App, visitor: &Visitor, entry: Entry) -> Result<Response> {
    let caller = visitor.caller();
    let me = accounts::me::get(app, caller).await?;
    let mut conn = app.db.read().await?;
    let (workers, workers_total) =
        accounts::store::worker_tokens(&mut conn, caller.account_id, WORKERS_SHOWN).await?;
    let tokens = accounts::store::tokens(&mut conn, caller.account_id).await?;
    drop(conn);
    let page = Page::new(app, visitor, "Account");
    let content = AccountPage {
        page: &page,
        may_act: caller.is_full(),
        is_fresh: visitor.session.is_fresh(app.clock.now()),
        session: visitor.session.clone(),
        zones: zones(me.time_zone.as_deref()),
        me,
        tokens,
        sessions: accounts::sessions::list(app, caller).await?,
        workers,
        workers_total,
        identities: accounts::identities::list(app, caller).await?,
        provider: app.oidc.as_ref().map(|provider| provider.name().to_owned()),
        entry,
    };
    Ok(page.show(&content)?.into_response())
}

/// The zones of places; the one in use stays in the list, whatever it is.
fn zones(chosen: Option<&str>) -> Vec<String> {
    let names: BTreeSet<String> = tz::db()
        .available()
        .map(|name| name.as_str().to_owned())
        .filter(|name| {
            let area = name.split_once('/').map(|(area, _)| area);
            name == "UTC" || area.is_some_and(|area| !["Etc", "SystemV", "posix", "right"].contains(&area))
        })
        .chain(chosen.map(str::to_owned))
        .collect();
    names.into_iter().collect()
}

/// What people call the browser that named itself so.
fn browser_name(named: Option<&str>) -> String {
    const BROWSERS: [(&str, &str); 6] = [
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chromium/", "Chromium"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ];
    const SYSTEMS: [(&str, &str); 6] = [
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("Linux", "Linux"),
    ];
    let Some(named) = named else { return "Unknown browser".to_owned() };
    let find = |words: &[(&str, &'static str)]| {
        words.iter().find(|(word, _)| named.contains(word)).map(|(_, name)| *name)
    };
    match (find(&BROWSERS), find(&SYSTEMS)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(name), None) | (None, Some(name)) => name.to_owned(),
        (None, None) => named.chars().take(40).collect(),
    }
}
