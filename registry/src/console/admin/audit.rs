//! The audit log.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Html;
use pictor_protocol::{AuditEntry, Role};
use serde::Deserialize;
use serde_json::Value;

use super::super::{Page, Visitor, render};
use super::ROWS;
use crate::App;
use crate::audit::{self, AuditQuery};
use crate::error::Result;

#[derive(Template)]
#[template(path = "console/admin/audit.html")]
struct AuditPage {
    page: Page,
    tab: &'static str,
    entries: Vec<AuditEntry>,
    actions: Vec<String>,
    asked: Asked,
    next: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    account: String,
    #[serde(default)]
    action: String,
    #[serde(default)]
    cursor: String,
}

/// The members of a detail, for people: what is null says nothing.
fn facts(detail: &Value) -> Vec<(String, String)> {
    let members = detail.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    members.map(|(name, value)| (name.replace('_', " "), text(value))).collect()
}

pub(super) async fn page(
    State(app): State<App>,
    visitor: Visitor,
    Query(asked): Query<Asked>,
) -> Result<Html<String>> {
    let operator = visitor.with_role(Role::Operator)?;
    let query = AuditQuery {
        account: Some(asked.account.clone()),
        action: Some(asked.action.clone()),
        limit: Some(ROWS),
        cursor: Some(asked.cursor.clone()),
    };
    let list = audit::entries(&app, operator, &query).await?;
    render(&AuditPage {
        page: Page::new(&app, &visitor, "Audit log"),
        tab: "audit",
        entries: list.items,
        actions: audit::actions(&app).await?,
        asked,
        next: list.next_cursor,
    })
}
