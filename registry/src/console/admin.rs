//! The operator's pages: the network at a glance, accounts, payouts, the ledger and the audit log.

mod audit;
mod ledger;
mod payouts;

use askama::Template;
use axum::Router;
use axum::extract::{Query, State};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use pictor_look::text;
use pictor_protocol::{Account, AccountId, NetworkOverview, Role, TaskStatus};
use serde::Deserialize;

use super::{Page, Visitor};
use crate::App;
use crate::error::{Error, Result};
use crate::{accounts, network};

const ROWS: u32 = 50;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/admin", get(overview))
        .route("/admin/accounts", get(account_list))
        .route("/admin/payouts", get(payouts::page).post(payouts::record))
        .route("/admin/payouts/{id}", post(payouts::end))
        .route("/admin/ledger", get(ledger::page))
        .route("/admin/audit", get(audit::page))
}

#[derive(Template)]
#[template(path = "console/admin/overview.html")]
struct OverviewPage<'a> {
    page: &'a Page,
    tab: &'static str,
    network: NetworkOverview,
}

impl OverviewPage<'_> {
    fn workers(&self) -> String {
        text::thousands(self.network.workers.values().sum())
    }

    fn tasks(&self, status: TaskStatus) -> String {
        text::thousands(self.network.tasks.get(&status).copied().unwrap_or(0))
    }

    fn dashboard(&self) -> Option<String> {
        self.page.grafana("pictor-network", &[])
    }
}

fn figure(count: &i64) -> String {
    text::thousands(*count)
}

async fn overview(State(app): State<App>, visitor: Visitor) -> Result<Html<String>> {
    visitor.with_role(Role::Operator)?;
    let page = Page::new(&app, &visitor, "Operator");
    page.show(&OverviewPage { page: &page, tab: "overview", network: network::overview(&app).await? })
}

#[derive(Template)]
#[template(path = "console/admin/accounts.html")]
struct AccountsPage<'a> {
    page: &'a Page,
    tab: &'static str,
    accounts: Vec<Account>,
    next: Option<String>,
    is_first: bool,
}

#[derive(Deserialize)]
struct Cursor {
    #[serde(default)]
    cursor: String,
}

async fn account_list(
    State(app): State<App>,
    visitor: Visitor,
    Query(Cursor { cursor }): Query<Cursor>,
) -> Result<Response> {
    visitor.with_role(Role::Operator)?;
    let after: Option<AccountId> = match cursor.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| Error::NotFound("page of the list"))?),
    };
    let list = accounts::page(&app, after, ROWS).await?;
    let page = Page::new(&app, &visitor, "Accounts");
    let content = AccountsPage {
        page: &page,
        tab: "accounts",
        accounts: list.items,
        next: list.next_cursor,
        is_first: after.is_none(),
    };
    Ok(page.show(&content)?.into_response())
}
