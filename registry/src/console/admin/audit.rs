//! The audit log.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Html;
use pictor_look::text;
use pictor_protocol::{AuditEntry, Micros, Role};
use serde::Deserialize;
use serde_json::Value;

use super::super::{Page, Visitor};
use super::ROWS;
use crate::App;
use crate::audit::{self, AuditQuery};
use crate::error::Result;

#[derive(Template)]
#[template(path = "console/admin/audit.html")]
struct AuditPage<'a> {
    page: &'a Page,
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
fn facts(detail: &Value, currency: &str) -> Vec<(String, String)> {
    let members = detail.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let fact = |(name, value): (&String, &Value)| match (name.strip_suffix("_micros"), value) {
        (Some(name), Value::Number(number)) => {
            let amount = Micros(number.as_i64().unwrap_or_default());
            (name.replace('_', " "), text::money(&amount, currency))
        }
        _ => (name.replace('_', " "), plain(value)),
    };
    members.map(fact).collect()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
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
    let page = Page::new(&app, &visitor, "Audit log");
    page.show(&AuditPage {
        page: &page,
        tab: "audit",
        entries: list.items,
        actions: audit::actions(&app).await?,
        asked,
        next: list.next_cursor,
    })
}
