//! `/workers`: all of an account's workers, and acting on many.

mod cells;
mod many;
mod one;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use pictor_look::live::Parts;
use pictor_look::text;
use pictor_protocol::{DesiredState, Role, Worker, WorkerStatus};

use super::{Page, Visitor, live};
use crate::App;
use crate::error::{Query, Result};
use crate::workers::{self, ListQuery, Listed, Order, Sort};
use cells::Cell;

/// Rows of one page: what a phone loads at once.
const ROWS: u32 = 40;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/workers", get(page))
        .route("/workers/live", get(live_rows))
        .route("/workers.csv", get(csv))
        .route("/workers/tags", get(tags))
        .route("/workers/selected", post(many::confirm))
        .route("/workers/bulk", post(many::act))
        .route("/workers/{id}/pause", post(one::pause))
        .route("/workers/{id}/resume", post(one::resume))
        .route("/workers/{id}/drain", post(one::drain))
        .route("/workers/{id}/rename", get(one::rename_page).post(one::rename))
        .route("/workers/{id}/config", get(one::config_page).post(one::config))
        .route("/workers/{id}/delete", get(one::delete_page).post(one::delete))
}

struct Column {
    label: &'static str,
    is_number: bool,
    link: Option<String>,
    sorted: Option<&'static str>,
}

struct Row<'a> {
    worker: &'a Worker,
    /// Whose it is, for operators.
    account: Option<&'a String>,
    page: &'a Page,
}

impl Row<'_> {
    fn cells(&self) -> Vec<Cell> {
        cells::of(self.worker, self.page)
    }

    fn is_active(&self) -> bool {
        self.worker.desired == DesiredState::Active
    }
}

#[derive(Template)]
#[template(path = "console/workers.html")]
struct WorkersPage<'a> {
    page: &'a Page,
    rows: Vec<Row<'a>>,
    columns: Vec<Column>,
    total: usize,
    total_text: String,
    statuses: Vec<&'static str>,
    tags: &'a [String],
    search: &'a str,
    chosen_status: &'a str,
    chosen_tag: &'a str,
    sort: &'static str,
    order: &'static str,
    query: String,
    first: String,
    next: Option<String>,
    is_filtered: bool,
    is_later_page: bool,
    grafana: Option<String>,
}

/// The list as the address says, in pages of [`ROWS`].
fn bounded(query: ListQuery) -> ListQuery {
    ListQuery { limit: Some(query.limit.unwrap_or(ROWS).min(ROWS)), ..query }
}

/// `?…` of a list: what differs from the default.
fn query_text(query: &ListQuery) -> String {
    let sort = if query.sort == Sort::default() { "" } else { query.sort.as_str() };
    let order = if query.order == Order::default() { "" } else { query.order.as_str() };
    let pairs = [
        ("search", query.search.as_deref().unwrap_or_default()),
        ("status", query.status.as_deref().unwrap_or_default()),
        ("tag", query.tag.as_deref().unwrap_or_default()),
        ("sort", sort),
        ("order", order),
        ("cursor", query.cursor.as_deref().unwrap_or_default()),
    ];
    let told = pairs.iter().filter(|(_, value)| !value.is_empty());
    let text: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(told).finish();
    if text.is_empty() { text } else { format!("?{text}") }
}

/// The list from which an action came, as [`query_text`] had written it.
fn back_to(list: &str) -> String {
    let is_query = list.starts_with('?') && list.bytes().all(|byte| byte.is_ascii_graphic());
    format!("/workers{}", if is_query { list } else { "" })
}

fn columns(query: &ListQuery) -> Vec<Column> {
    let plain = |label, is_number| Column { label, is_number, link: None, sorted: None };
    let sorting = |label, sort: Sort| {
        let is_sorted = query.sort == sort;
        let is_ascending = query.order == Order::Asc;
        let order = if is_sorted && is_ascending { Order::Desc } else { Order::Asc };
        let link = query_text(&ListQuery { sort, order, cursor: None, ..query.clone() });
        Column {
            label,
            is_number: false,
            link: Some(format!("/workers{link}")),
            sorted: is_sorted.then_some(if is_ascending { "ascending" } else { "descending" }),
        }
    };
    vec![
        sorting("Name", Sort::Name),
        sorting("Status", Sort::Status),
        plain("Uptime", true),
        plain("GPUs", false),
        plain("RAM", true),
        plain("Slots", true),
        plain("Task", false),
        plain("Earned", true),
        sorting("Created", Sort::CreatedAt),
        sorting("Updated", Sort::UpdatedAt),
    ]
}

async fn page(
    State(app): State<App>,
    visitor: Visitor,
    Query(query): Query<ListQuery>,
) -> Result<impl IntoResponse> {
    // Chosen by search, status and tag alone, so that "all that match" are those which the form names.
    let query = ListQuery { ids: None, ..bounded(query) };
    let caller = visitor.with_role(Role::Provider)?;
    let listed = workers::list(&app, caller, &query).await?;
    let Listed { workers, accounts, next_cursor, total, tags } = &listed;
    let account = |account| caller.is_operator().then_some(account);
    let mut page = Page::new(&app, &visitor, "Workers");
    if !workers.is_empty() {
        // Of the rows shown, whichever they are: a row that moves to another page goes on being told here.
        let ids: Vec<String> = workers.iter().map(|worker| worker.id.to_string()).collect();
        page = page.live(format!("/workers/live?ids={}", ids.join(",")));
    }
    let rows = workers.iter().zip(accounts);
    let next = next_cursor.clone().map(|cursor| ListQuery { cursor: Some(cursor), ..query.clone() });
    page.show(&WorkersPage {
        rows: rows.map(|(worker, owner)| Row { worker, account: account(owner), page: &page }).collect(),
        columns: columns(&query),
        total: *total,
        total_text: text::count(i64::try_from(*total).unwrap_or(i64::MAX), "worker", "workers"),
        statuses: WorkerStatus::ALL.iter().map(|status| status.as_str()).collect(),
        tags,
        search: query.search.as_deref().unwrap_or_default(),
        chosen_status: query.status.as_deref().unwrap_or_default(),
        chosen_tag: query.tag.as_deref().unwrap_or_default(),
        sort: query.sort.as_str(),
        order: query.order.as_str(),
        query: query_text(&query),
        first: format!("/workers{}", query_text(&ListQuery { cursor: None, ..query.clone() })),
        next: next.map(|next| format!("/workers{}", query_text(&next))),
        is_filtered: [&query.search, &query.status, &query.tag]
            .into_iter()
            .any(|value| value.as_deref().is_some_and(|value| !value.trim().is_empty())),
        is_later_page: query.cursor.is_some(),
        grafana: page.grafana("pictor-workers", &[]),
        page: &page,
    })
}

/// The cells that change by themselves, of the rows that a page shows.
async fn live_rows(
    State(app): State<App>,
    visitor: Visitor,
    Query(query): Query<ListQuery>,
) -> Result<impl IntoResponse> {
    visitor.with_role(Role::Provider)?;
    let query = bounded(query);
    Ok(live(app, visitor, move |app, visitor| {
        let query = query.clone();
        async move {
            let listed = workers::list(&app, visitor.caller(), &query).await?;
            let page = Page::new(&app, &visitor, "");
            let cells = listed.workers.iter().flat_map(|worker| cells::of(worker, &page));
            Ok(cells.map(|cell| (cell.id, cell.html)).collect::<Parts>())
        }
    }))
}

async fn csv(State(app): State<App>, visitor: Visitor, Query(query): Query<ListQuery>) -> Result<Response> {
    workers::csv(&app, visitor.with_role(Role::Provider)?, &query).await
}

#[derive(Template)]
#[template(path = "console/workers_tags.html")]
struct TagsPage<'a> {
    page: &'a Page,
    totals: Vec<workers::TagTotal>,
    query: String,
}

async fn tags(
    State(app): State<App>,
    visitor: Visitor,
    Query(query): Query<ListQuery>,
) -> Result<impl IntoResponse> {
    let totals = workers::totals_by_tag(&app, visitor.with_role(Role::Provider)?, &query).await?;
    let query = query_text(&ListQuery { cursor: None, ..query });
    let page = Page::new(&app, &visitor, "Totals by tag");
    page.show(&TagsPage { page: &page, totals, query })
}
