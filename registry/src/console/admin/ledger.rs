//! The ledger: what its books hold, what its checks find, and its transfers.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Html;
use pictor_look::text;
use pictor_protocol::{Ledger, Role, Transfer};
use serde::Deserialize;

use super::super::{Page, Visitor};
use super::ROWS;
use crate::App;
use crate::error::Result;
use crate::ledger::{self, TransfersQuery};

#[derive(Template)]
#[template(path = "console/admin/ledger.html")]
struct LedgerPage<'a> {
    page: &'a Page,
    tab: &'static str,
    ledger: Ledger,
    transfers: Vec<Transfer>,
    search: String,
    next: Option<String>,
    is_first: bool,
}

#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    search: String,
    #[serde(default)]
    cursor: String,
}

fn book_hint(book: &str) -> &'static str {
    match book {
        "accounts" => "balances of all accounts",
        "escrow" => "set aside by jobs for their tasks",
        "payouts" => "held by payouts on their way",
        "fees" => "kept by the network",
        "issued" => "where credit comes from, so below zero",
        _ => "sent to wallets",
    }
}

pub(super) async fn page(
    State(app): State<App>,
    visitor: Visitor,
    Query(asked): Query<Asked>,
) -> Result<Html<String>> {
    visitor.with_role(Role::Operator)?;
    let query = TransfersQuery {
        search: Some(asked.search.clone()),
        limit: Some(ROWS),
        cursor: Some(asked.cursor.clone()),
    };
    let list = ledger::transfers(&app, &query).await?;
    let page = Page::new(&app, &visitor, "Ledger");
    page.show(&LedgerPage {
        page: &page,
        tab: "ledger",
        ledger: ledger::ledger(&app).await?,
        transfers: list.items,
        search: asked.search,
        next: list.next_cursor,
        is_first: asked.cursor.is_empty(),
    })
}
